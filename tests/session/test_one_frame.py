"""A walk: one caller frame and one model delta through the real session, and the list of rooms that each enters.

The call runs on memory streams with all stand-ins; `tests/helpers/path_walk.py` writes down which file calls which.
A room that is new on the way, or entered once more, makes the list longer: is it worth its place there?
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.helpers.path_walk import PATHS, Step, function_steps, walked

UPLINK = (
    "websocket wire text_frame media_protocol uplink gap_filling g711 machine gap_filling playout echo level_vad "
    "uplink line protocol websocket text_frame wire"
)
DOWNLINK = (
    "websocket wire text_frame protocol downlink line machine responses response_queue playout "
    "response_queue state state conversation response_queue cost conversation playout state playout echo g711 "
    "waterfall media_protocol media_protocol websocket text_frame wire"
)


# Calls from one file into another, at most. When the paths were made straight they were 22, 46, 22 and 77; the rest is
# room for a feature that has a question of its own. Who adds a call asks first whether an answer that is there tells it.
MOST = {"barge-in hold": 26, "barge-in commit": 50, "transcript row": 28, "writing function": 84}


@cache
def steps() -> tuple[Step, ...]:
    return tuple(walked())


def rooms(path: str) -> str:
    return " ".join(Path(room).name.removesuffix(".py") for room in PATHS[path](list(steps())).entered)


def test_a_caller_frame_goes_from_twilios_socket_to_the_models_through_these_rooms() -> None:
    assert rooms("uplink frame") == UPLINK


def test_a_delta_goes_from_the_models_socket_to_twilios_through_these_rooms() -> None:
    assert rooms("downlink delta") == DOWNLINK


@pytest.mark.parametrize(("path", "most"), MOST.items())
def test_control_goes_no_more_often_from_file_to_file_than_it_did(path: str, most: int) -> None:
    all_steps = list(steps())
    walk = [PATHS[path](all_steps)] if path in PATHS else function_steps(all_steps)
    assert sum(step.changes for step in walk) <= most, "\n".join(way for step in walk for way in step.ways)
