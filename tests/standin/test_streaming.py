"""The order of messages on a media stream: keys before it begins, and messages on their way when it ends."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
import trio

from relay.standin.twilio.exchange import LiveCall
from relay.standin.twilio.streaming import Network
from tests.helpers.tiny_relay import LINE, Media, TinyRelay, ring, twiml

SOUND = b"\x10\x90" * 80
PAGE = {"/twilio/incoming": twiml('<Connect><Stream url="wss://voice.example.com/s"/></Connect>')}
FAR = replace(LINE, network=Network(connect_ms=0, delay_ms=90))


async def test_a_key_pressed_while_the_socket_is_being_opened_is_lost_and_start_is_message_1(
    autojump_clock: Any,
) -> None:
    got: list[tuple[str, str | None]] = []

    async def stream(media: Media) -> None:
        await media.drain()
        got.extend((message["event"], message.get("sequenceNumber")) for message in media.got)

    async def act(call: LiveCall) -> None:
        await trio.sleep(0.1)
        await call.press("7")
        await trio.sleep(0.5)
        await call.press("8")
        call.hang_up()

    call = await ring(TinyRelay(dict(PAGE), stream), act, replace(LINE, network=Network(connect_ms=300)))
    assert got[:2] == [("connected", None), ("start", "1")]
    assert [event for event, _ in got].count("dtmf") == 1
    assert call.state.leg.keys == "78"


async def test_messages_on_their_way_are_not_lost_when_the_caller_hangs_up(autojump_clock: Any) -> None:
    numbers: list[int] = []

    async def stream(media: Media) -> None:
        await media.drain()
        numbers.extend(int(message["sequenceNumber"]) for message in media.got[1:])

    async def act(call: LiveCall) -> None:
        await trio.sleep(1)
        call.hang_up()

    await ring(TinyRelay(dict(PAGE), stream), act, FAR)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_messages_that_the_relay_sent_before_its_close_arrive_before_the_close(autojump_clock: Any) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")
        await media.send(event="media", media={"payload": base64.b64encode(SOUND * 50).decode()})
        await trio.sleep(0.5)
        await media.send(event="ping")

    call = await ring(TinyRelay(dict(PAGE), stream), line=FAR)
    assert call.state.playback.runs(5.0) == [pytest.approx((0.18, 0.68))]
    assert [each.code for each in call.state.complaints] == [31951, 31921]
