"""One caller frame and one model delta go through the real session, and the test lists the files that each enters.

The call runs on memory streams with all stand-ins. `tests/helpers/path_walk.py` records which file calls which. A new
file on the path, or another visit to one, makes the list longer. Then decide whether the change is worth the longer
path.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.path_walk import PATHS, Step, Walk, function_steps, walked

UPLINK = (
    "websocket call_session media_protocol uplink gap_filling line protocol machine gap_filling "
    "echo level_vad websocket wire"
)
DOWNLINK = (
    "websocket call_session protocol downlink line machine responses response_queue conversation "
    "cost playout playout echo g711 media_protocol websocket wire"
)


# For each path: how often one file may call another. These are the present numbers. Before you add a call, look whether
# the calling file already knows the result.
MOST = {"barge-in hold": 20, "barge-in give up": 34, "transcript row": 16, "writing function": 50}


@cache
def steps(*, by_phone: bool = True) -> tuple[Step, ...]:
    return tuple(walked(by_phone=by_phone))


def rooms(path: str, *, by_phone: bool = True) -> str:
    found = PATHS[path](list(steps(by_phone=by_phone)))
    return " ".join(Path(room).name.removesuffix(".py") for room in found.entered)


def test_a_caller_frame_goes_from_twilios_socket_to_the_models_through_these_files() -> None:
    assert rooms("uplink frame") == UPLINK


def test_a_delta_goes_from_the_models_socket_to_twilios_through_these_files() -> None:
    assert rooms("downlink delta") == DOWNLINK


@pytest.mark.parametrize(("path", "most"), MOST.items())
def test_the_changes_of_file_on_a_path_do_not_increase(path: str, most: int) -> None:
    all_steps = list(steps())
    walk = [PATHS[path](all_steps)] if path in PATHS else function_steps(all_steps)
    assert sum(step.changes for step in walk) <= most, "\n".join(way for step in walk for way in step.ways)


def rooms_of(task: str, *, by_phone: bool) -> set[str]:
    """All files that tasks with this name went through during the whole call."""
    found = [step for step in steps(by_phone=by_phone) if step.task.endswith(task)]
    assert found, task
    return {room for step in found for room in step.rooms}


@pytest.mark.parametrize("path", ["uplink frame", "downlink delta", "barge-in hold"])
def test_the_path_of_a_test_call_differs_only_in_its_protocol(path: str) -> None:
    phones = rooms(path)
    assert "media_protocol" in phones
    assert rooms(path, by_phone=False) == phones.replace("media_protocol", "browser_protocol")


@pytest.mark.parametrize("task", ["Twilio reader", "OpenAI reader", "watchdog", "Ticker.run", "_run_function"])
def test_the_session_of_a_test_call_enters_the_same_files_except_those_of_its_protocol(task: str) -> None:
    phone, browser = (rooms_of(task, by_phone=by_phone) for by_phone in (True, False))
    assert phone - browser <= {"relay/twilio/media_protocol.py", "relay/notify/news.py"}  # a test call is no news
    assert browser - phone <= {"relay/browser/browser_protocol.py", "relay/functions/backend/dry_diary.py"}


def test_only_the_read_function_of_a_socket_counts_as_the_wait_for_the_next_message() -> None:
    def read() -> bool:
        return Walk()._is_new(sys._getframe(), room)

    room = "relay/realtime/protocol.py"
    assert read()
    room = "relay/transport/wire.py"
    assert not read()
