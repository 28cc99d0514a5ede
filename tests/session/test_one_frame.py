"""A walk: one caller frame and one model delta through the real session, and the list of rooms that each enters.

The call runs on memory streams with all stand-ins; `tests/helpers/path_walk.py` writes down which file calls which.
A room that is new on the way, or entered once more, makes the list longer: is it worth its place there?
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.helpers.path_walk import PATHS, Step, walked

UPLINK = (
    "websocket text_frame call_session media_protocol uplink gap_filling line protocol machine gap_filling playout "
    "echo level_vad websocket text_frame wire"
)
DOWNLINK = (
    "websocket text_frame call_session protocol downlink line machine responses response_queue playout response_queue "
    "state state conversation response_queue cost conversation playout state playout echo g711 waterfall "
    "media_protocol media_protocol websocket text_frame wire"
)


@cache
def steps() -> tuple[Step, ...]:
    return tuple(walked())


def rooms(path: str) -> str:
    return " ".join(Path(room).name.removesuffix(".py") for room in PATHS[path](list(steps())).entered)


def test_a_caller_frame_goes_from_twilios_socket_to_the_models_through_these_rooms() -> None:
    assert rooms("uplink frame") == UPLINK


def test_a_delta_goes_from_the_models_socket_to_twilios_through_these_rooms() -> None:
    assert rooms("downlink delta") == DOWNLINK
