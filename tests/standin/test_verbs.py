"""Verbs of the stand-in Twilio when callers talk too early, and when a document repeats without end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from relay.standin.twilio.exchange import LiveCall
from tests.helpers.tiny_relay import TinyRelay, ring, twiml

SOUND = b"\x10\x90" * 80


async def test_gather_takes_words_that_began_before_the_gather(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        call.state.speech.say(SOUND * 100, trio.current_time() + 0.5, "Yes please")  # from 0.5 s to 2.5 s
        await trio.sleep_forever()

    page = twiml('<Pause length="1"/><Gather input="speech" action="/got" timeout="3"/>')
    relay = TinyRelay({"/twilio/incoming": page, "/got": twiml("")})
    with trio.fail_after(60):
        await ring(relay, act)
    assert relay.fields("/got")["SpeechResult"] == "Yes please"


async def test_gather_takes_no_words_that_ended_before_the_gather(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        call.state.speech.say(SOUND * 10, trio.current_time() + 0.5, "Yes please")
        await trio.sleep_forever()

    page = twiml('<Pause length="1"/><Gather input="speech" action="/got" timeout="3"/><Say>none</Say>')
    call = await ring(TinyRelay({"/twilio/incoming": page}), act)
    assert [words.text for words in call.state.leg.words] == ["none"]


async def test_loop_0_repeats_the_words_until_the_caller_hangs_up(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        await trio.sleep(10)
        call.hang_up()

    call = await ring(TinyRelay({"/twilio/incoming": twiml('<Say loop="0">ten chars.</Say>')}), act)
    assert call.state.ended_by == "caller"
    assert len(call.state.leg.words) == pytest.approx(17, abs=1)  # 0.6 s each


async def test_loop_0_of_empty_words_ends_at_once(autojump_clock: Any) -> None:
    call = await ring(TinyRelay({"/twilio/incoming": twiml('<Say loop="0"></Say>')}))
    assert call.state.ended_by == "relay"
