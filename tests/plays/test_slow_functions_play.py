"""Many calls at once, in each of which a function takes two seconds: the sound that each caller hears meanwhile."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest
import trio
from trio.testing import MockClock

from relay.call import function_calls
from relay.ledger import rows
from relay.standin.business.faults import Faults
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, parse
from relay.standin.twilio.numbers import fictional_number
from tests.helpers.play import Play, stage

INTERRUPTERS = (3, 7)
SILENCE_LIMIT_MS = 900
STOP_LIMIT_MS = 300
PHRASE = "One moment, I'm writing that down."
MUTE, ANNOUNCED = "message_words", "message"
MODEL = {
    "first_delta_ms": 150,
    "reaction": [
        {
            "clip": clip,
            "say": say,
            "call": "take_message",
            "arguments": {"name": "Jane Doe", "message": "The delivery was two boxes short."},
            "then": "Thank you, I will pass on your message.",
        }
        for clip, say in ((MUTE, ""), (ANNOUNCED, "Let me book that for you."))
    ],
}


def caller(number: int) -> Scenario:
    """A caller's scenario. With an odd number, no words come before the function. INTERRUPTERS speak while it runs."""
    says = ANNOUNCED if number % 2 == 0 else MUTE
    speaks = '{ interrupt_after_ms = 400, say = "Hello?" },' if number in INTERRUPTERS else ""
    steps = f'{{ listen = true }}, {{ say = "{says}" }}, {speaks} {{ silent_s = 7 }}, {{ hang_up = true }}'
    return parse(f'title = "t"\n[caller]\nnumber = "{fictional_number(number)}"\nsteps = [{steps}]', f"caller {number}")


def slow_stage() -> AbstractAsyncContextManager[Play]:
    faults = Faults.from_table({"POST /messages": {"kind": "slow", "ms": 2000}})
    return stage(script=Script.from_table(MODEL), settings={"MAX_CALLS": "100"}, faults=faults)


async def ring_all(play: Play, callers: int) -> dict[int, CallReport]:
    """Start the calls 70 ms apart, so that all functions run at the same time."""
    reports: dict[int, CallReport] = {}

    async def ring(number: int) -> None:
        await trio.sleep(number * 0.07)
        reports[number] = await run_scenario(caller(number), play.exchange)

    async with trio.open_nursery() as nursery:
        for number in range(callers):
            nursery.start_soon(ring, number)
    return reports


@pytest.mark.parametrize("callers", [8, pytest.param(20, marks=pytest.mark.deep)])
async def test_during_many_slow_functions_at_once_no_caller_waits_in_silence(
    callers: int, autojump_clock: MockClock
) -> None:
    async with slow_stage() as play:
        reports = await ring_all(play, callers)
        assert sorted(reports) == list(range(callers))
        took = [row.took_ms or 0.0 for row in play.ledger.of(rows.FunctionCallRow)]
        assert len(took) == callers
        assert min(took) >= 2000
        assert len(play.business.diary.messages) == callers
    for number, got in reports.items():
        heard = " ".join(got.heard)
        assert got.failures == []
        assert max(got.silences_ms) <= SILENCE_LIMIT_MS, f"{number}: {got.silences_ms} {got.turns}"
        assert got.gaps_ms == [], number
        assert heard.endswith("Thank you, I will pass on your message.")
        if number in INTERRUPTERS:
            (phrase,) = [turn for turn in got.turns if turn.cut]
            (hello,) = [turn for turn in got.turns if turn.text == "Hello?"]
            assert (phrase.to_s - hello.from_s) * 1000 <= STOP_LIMIT_MS
            assert "How can I help you? Thank you" in heard  # an answer, and the result after it
        else:
            assert PHRASE in heard
            assert not any(turn.cut for turn in got.turns)


async def test_without_a_phrase_the_same_callers_wait_in_silence(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_calls, "_phrase_due", lambda _: float("inf"))
    async with slow_stage() as play:
        reports = await ring_all(play, 2)
    assert all(max(got.silences_ms) > SILENCE_LIMIT_MS for got in reports.values())
