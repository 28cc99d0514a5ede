"""While the model's socket is full, the caller's side does not wait for it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.transport.websocket import WebSocketEnd
from tests.helpers.play import Play, stage

CALL = """
title = "a key for a person while the model's link is congested"
[caller]
steps = [{ silent_s = 9.5 }, { press = "0" }, { silent_s = 12 }, { hang_up = true }]
"""
STALLS_AT_S = 9.0


def congest(play: Play, until_s: float) -> None:
    """From STALLS_AT_S until `until_s` of the play, let every write to the model wait."""
    realtime = play.daemon.desk.realtime
    dial, began_s = realtime._dial, trio.current_time()

    async def dial_end(
        url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
    ) -> WebSocketEnd:
        end = await dial(url, dict(headers), tls, limit_s)
        stream: Any = end._wire._stream  # type: ignore[attr-defined] # a StreamWire, in a play
        send_all, take = stream.send_all, stream.take

        async def slow(data: bytes) -> None:
            if trio.current_time() - began_s > STALLS_AT_S:
                await trio.sleep_until(began_s + until_s)
            await send_all(data)

        def slowly(data: bytes) -> int:
            return 0 if trio.current_time() - began_s > STALLS_AT_S else take(data)

        stream.send_all, stream.take = slow, slowly
        return end

    realtime._dial = dial_end  # the real dial, whose stream then stalls


@pytest.mark.parametrize("stall_s", [0.0, 4.0])
async def test_a_key_takes_effect_at_once_although_the_models_socket_is_congested(
    stall_s: float, autojump_clock: object
) -> None:
    async with stage() as play:
        congest(play, STALLS_AT_S + stall_s)
        got = await run_scenario(parse(CALL, "t"), play.exchange)
        pressed = next(event.at_s for event in got.events if event.kind == "caller_pressed")
        said = next(turn for turn in got.turns if turn.who == "agent" and "connecting you" in turn.text)
        told = said.to_s - pressed + got.events[0].at_s
        assert told <= 6.0, "s; keys count after 1.5 s, and the phrase takes 3 s"
