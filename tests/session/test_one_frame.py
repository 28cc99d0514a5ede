"""One caller frame and one model delta through the real session, and the list of rooms that each enters.

The call runs on memory streams with all stand-ins. `tests/helpers/path_walk.py` notes which file calls which. If a room
is added, or entered once more, the list becomes longer: is it worth that?
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.path_walk import PATHS, Step, Walk, function_steps, walked

UPLINK = (
    "websocket text_frame call_session media_protocol uplink gap_filling line protocol machine gap_filling "
    "echo level_vad websocket text_frame wire"
)
DOWNLINK = (
    "websocket text_frame call_session protocol downlink line machine responses response_queue conversation "
    "cost playout playout echo g711 media_protocol websocket text_frame wire"
)


# Calls from one file into another, at most. Who adds a call asks first whether an answer that is there tells.
MOST = {"barge-in hold": 22, "barge-in commit": 36, "transcript row": 20, "writing function": 56}


@cache
def steps(*, by_phone: bool = True) -> tuple[Step, ...]:
    return tuple(walked(by_phone=by_phone))


def rooms(path: str, *, by_phone: bool = True) -> str:
    found = PATHS[path](list(steps(by_phone=by_phone)))
    return " ".join(Path(room).name.removesuffix(".py") for room in found.entered)


def test_a_caller_frame_goes_from_twilios_socket_to_the_models_through_these_rooms() -> None:
    assert rooms("uplink frame") == UPLINK


def test_a_delta_goes_from_the_models_socket_to_twilios_through_these_rooms() -> None:
    assert rooms("downlink delta") == DOWNLINK


@pytest.mark.parametrize(("path", "most"), MOST.items())
def test_control_goes_no_more_often_from_file_to_file_than_it_did(path: str, most: int) -> None:
    all_steps = list(steps())
    walk = [PATHS[path](all_steps)] if path in PATHS else function_steps(all_steps)
    assert sum(step.changes for step in walk) <= most, "\n".join(way for step in walk for way in step.ways)


def rooms_of(task: str, *, by_phone: bool) -> set[str]:
    """Every file that a task of the session went through in the whole call."""
    found = [step for step in steps(by_phone=by_phone) if step.task.endswith(task)]
    assert found, task
    return {room for step in found for room in step.rooms}


@pytest.mark.parametrize("path", ["uplink frame", "downlink delta", "barge-in hold"])
def test_a_call_from_the_consoles_page_goes_the_same_way_but_for_its_protocol(path: str) -> None:
    phones = rooms(path)
    assert "media_protocol" in phones
    assert rooms(path, by_phone=False) == phones.replace("media_protocol", "browser_protocol")


@pytest.mark.parametrize("task", ["Twilio reader", "OpenAI reader", "watchdog", "_run_function"])
def test_the_session_of_a_call_from_the_page_enters_the_same_rooms_but_for_its_protocol(task: str) -> None:
    phone, browser = (rooms_of(task, by_phone=by_phone) for by_phone in (True, False))
    assert phone - browser <= {"relay/twilio/media_protocol.py", "relay/notify/news.py"}  # nobody is told of a test
    assert browser - phone <= {"relay/browser/browser_protocol.py", "relay/functions/backend/dry_diary.py"}


def test_only_a_sockets_read_is_the_wait_for_the_next_message() -> None:
    def read() -> bool:
        return Walk()._is_new(sys._getframe(), room)

    room = "relay/realtime/protocol.py"
    assert read()
    room = "relay/transport/wire.py"
    assert not read()
