"""The lead in a whole call: neither a stall of the loop nor a line without frames is heard in an answer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.call import playout
from relay.session.call_session import CallSession
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.twilio.playback import Playback
from tests.helpers.long_answers import LONG, MODEL
from tests.helpers.play import Play, stage

LISTENS, SENDS_NOTHING = "{ listen = true }", "{ mute_s = 13 }"


async def stand_still(clock: MockClock, seed: int, stall_s: float) -> None:
    """Stop the whole process for `stall_s`, about 20 times a minute: time passes, and no task runs."""
    rng = random.Random(seed)
    while True:
        await trio.sleep(rng.uniform(0.7, 3.0))
        clock.jump(stall_s)


async def gaps_in_the_answer(clock: MockClock, seed: int, stall_s: float, meanwhile: str = LISTENS) -> list[int]:
    """Play a call with a long answer and a loop that stalls.

    Return the silences that the caller heard inside the answer, in ms.
    """
    ears: list[Playback] = []
    steps = f'{{ listen = true }}, {{ say = "ask_hours" }}, {meanwhile}, {{ silent_s = 2 }}, {{ hang_up = true }}'
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n{MODEL}', "t")
    async with stage(script=Script.from_table(dict(scenario.model))) as play:
        listen(play, ears)
        if stall_s:
            play.nursery.start_soon(stand_still, clock, seed, stall_s)
        await run_scenario(scenario, play.exchange)
        (session,) = play.model.sessions
        (answer,) = [item for item in session.history.items if item.role == "assistant" and item.audio_ms]
    assert answer.text == LONG
    runs = [run for run in ears[0].runs(1e9) if run[1] - run[0] > 0]
    said_s = answer.audio_ms / 1000
    at = next(i for i, run in enumerate(runs) if sum(over - begun for begun, over in runs[i:]) <= said_s + 0.1)
    assert sum(over - begun for begun, over in runs[at:]) >= said_s, "a part of the answer was not heard"
    return [round((begun - over) * 1000) for (_, over), (begun, _) in pairwise(runs[at:])]


def listen(play: Play, ears: list[Playback]) -> None:
    observed = play.exchange.on_event

    def look(kind: str, fields: Mapping[str, Any]) -> None:
        observed(kind, dict(fields))
        ears[:] = [play.exchange.calls[fields["call_sid"]].state.playback]

    play.exchange.on_event = look


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_repeated_stalls_of_150_ms_cause_no_gap_in_an_answer(seed: int, autojump_clock: MockClock) -> None:
    assert await gaps_in_the_answer(autojump_clock, seed, 0.150) == []


async def test_with_a_shorter_lead_a_stall_of_150_ms_causes_a_gap(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playout.Lead.__init__, "__defaults__", (60, 120))
    assert await gaps_in_the_answer(autojump_clock, 1, 0.150) != []


async def test_when_no_frames_come_the_watchdog_sends_more_audio_to_twilio(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pass_over(*_: object) -> None:
        """Ignore the message, so that neither frames nor marks wake the relay."""

    monkeypatch.setattr(CallSession, "_take_event", pass_over)
    assert await gaps_in_the_answer(autojump_clock, 1, 0.0, SENDS_NOTHING) == []
