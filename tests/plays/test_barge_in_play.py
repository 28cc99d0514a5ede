"""Barge-ins and coughs in whole calls: the model is told, to the frame, how much the caller heard.

The reference is the playback of the stand-in Twilio. It knows how long the audio had played before each `clear`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

import dsp
from relay.standin.model.items import Item
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.speech.audio_files import RATE_HZ
from relay.standin.twilio.playback import Playback
from tests.helpers.long_answers import LONG, MODEL
from tests.helpers.play import Play, stage

NETWORK = "[network]\ndelay_ms = {delay_ms}\n"


@dataclass
class Told:
    """One call: what the caller heard, the model's conversation, and the cuts."""

    play: Play
    # For each `clear`: when the interrupted audio began (s), when the `clear` came (s), how much was heard (ms)
    cuts: list[tuple[float, float, float]] = field(default_factory=list)
    ear: Playback | None = None

    @property
    def items(self) -> list[Item]:
        """The model's spoken items, in their order."""
        said = [item for session in self.play.model.sessions for item in session.history.items]
        return [item for item in said if item.role == "assistant" and item.audio_ms]

    @property
    def truncated(self) -> list[Item]:
        return [item for item in self.items if item.truncated]

    @property
    def errors(self) -> list[str]:
        return [error for session in self.play.model.sessions for error in session.report.errors]


async def tell(text: str, play: Play) -> Told:
    """Act a scenario on a stage."""
    told = Told(play)

    def note(kind: str, fields: Mapping[str, Any]) -> None:
        call = play.exchange.calls[fields["call_sid"]]
        told.ear = call.state.playback
        if kind == "cleared":
            now = trio.current_time()
            begun, over = call.state.playback.runs(now)[-1]
            told.cuts.append((begun, now, (over - begun) * 1000))

    play.exchange.on_event = note
    await run_scenario(parse(text, "barge_in"), play.exchange)
    return told


def interruptions(seed: int, number: int, delay_ms: int) -> str:
    """A scenario: the caller interrupts many times, and sometimes first hears a short answer to its end."""
    rng = random.Random(seed)
    steps = ["{ listen = true }", '{ say = "ask_hours" }']
    for _ in range(number):
        after_ms = rng.randrange(40, 4_000)
        steps.append(f'{{ interrupt_after_ms = {after_ms}, after_ms = {rng.randrange(1, 20)}, say = "oh_wait" }}')
        if rng.random() < 0.3:
            steps += [
                f'{{ interrupt_after_ms = {rng.randrange(300, 2_000)}, say = "can_you_hear" }}',
                "{ listen = true }",
                '{ say = "ask_hours" }',
            ]
    steps += ["{ silent_s = 4 }", "{ hang_up = true }"]
    return f'title = "t"\n{NETWORK.format(delay_ms=delay_ms)}[caller]\nsteps = [{", ".join(steps)}]\n{MODEL}'


async def check_interruptions(seed: int, number: int, delay_ms: int, late_deltas: int) -> int:
    """Play the interruptions, and compare the model's conversation with what the caller heard. Return the number of
    cuts.
    """
    text = interruptions(seed, number, delay_ms)
    script = Script.from_table({**_model_table(text), "seed": seed, "faults": {"late_deltas": late_deltas}})
    async with stage(script=script) as play:
        told = await tell(text, play)
    assert not told.errors, told.errors
    cuts = told.cuts
    assert len(cuts) >= number
    # Each cut truncates one item. This also holds for answers that the model had already generated to their end.
    assert len(told.truncated) == len(cuts)
    limit_ms = 40 if delay_ms else 20
    for item, (_, _, heard_ms) in zip(told.truncated, cuts, strict=True):
        assert abs(item.audio_ms - heard_ms) <= limit_ms, f"told {item.audio_ms} ms, heard {heard_ms:.1f} ms"
    for _, at, _ in cuts:
        assert told.ear is not None
        assert not any(at < begun < at + 0.5 for begun, _ in told.ear.runs(at + 0.5)), "audio after the clear"
    return len(cuts)


def _model_table(text: str) -> dict[str, Any]:
    return dict(parse(text, "barge_in").model)


@pytest.mark.parametrize(("seed", "delay_ms", "late_deltas"), [(1, 0, 0), (2, 0, 1), (3, 40, 0), (4, 40, 2)], ids=str)
async def test_an_interrupted_answer_is_truncated_at_the_point_where_the_caller_stopped_hearing_it(
    seed: int, delay_ms: int, late_deltas: int, autojump_clock: object
) -> None:
    await check_interruptions(seed, 5, delay_ms, late_deltas)


@pytest.mark.deep
@pytest.mark.parametrize("tenth", range(10))
async def test_500_interrupted_answers_are_truncated_at_the_point_where_the_caller_stopped_hearing_them(
    tenth: int, autojump_clock: object
) -> None:
    seeds = range(100 + 5 * tenth, 105 + 5 * tenth)
    assert sum([await check_interruptions(seed, 10, 40 * (seed % 2), seed % 3) for seed in seeds]) >= 50


# Coughs


def coughs(seed: int, answers: int) -> str:
    """A scenario: the caller coughs several times during every answer, and once in the silence after it."""
    rng = random.Random(seed)
    steps = ["{ listen = true }"]
    for _ in range(answers):
        steps += ['{ say = "ask_hours" }', f"{{ interrupt_after_ms = {rng.randrange(200, 1_500)}, cough = true }}"]
        steps += [f"{{ after_ms = {rng.randrange(1_100, 1_900)}, cough = true }}" for _ in range(3)]
        steps += ["{ listen = true }", "{ cough = true }", "{ silent_s = 3 }"]
    steps.append("{ hang_up = true }")
    return f'title = "t"\n[caller]\nsteps = [{", ".join(steps)}]\n{MODEL}'


async def check_coughs(seed: int, answers: int) -> int:
    """Play the coughs. No answer is cut, no cough is answered, no sample is lost. Return the number of coughs."""
    text = coughs(seed, answers)
    script = Script.from_table({**_model_table(text), "seed": seed})
    async with stage(script=script) as play:
        told = await tell(text, play)
    assert not told.errors, told.errors
    assert not told.truncated
    assert [item.text for item in told.items] == [LONG] * answers, "a cough was answered"
    assert told.ear is not None
    runs = told.ear.runs(1e9)
    for item in told.items:
        runs = heard_in_full(item, told.ear, runs)
    return 5 * answers


def heard_in_full(item: Item, ear: Playback, runs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Check that these runs have the whole audio of an item, bit by bit. Return the runs after it."""
    line = dsp.Downlink()
    wanted = line.feed(item.audio) + line.flush()
    wanted += b"\xff" * (-len(wanted) % 160)
    pieces = [ear.played(round(begun * RATE_HZ), round(over * RATE_HZ)) for begun, over in runs]
    first = next(at for at, piece in enumerate(pieces) if len(piece) >= 1_500 and wanted.startswith(piece[:1_500]))
    heard = 0
    for at in range(first, len(pieces)):
        piece = pieces[at]
        begins = next((b for b in range(max(0, heard - 168), heard + 1) if wanted[b : b + len(piece)] == piece), None)
        assert begins is not None, f"after {heard} bytes the answer does not go on where it stopped"
        heard = begins + len(piece)
        if heard == len(wanted):
            return runs[at + 1 :]
    raise AssertionError(f"only {heard} of {len(wanted)} bytes were heard")


@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_after_a_cough_the_answer_goes_on_without_a_lost_sample_and_the_cough_gets_no_answer(
    seed: int, autojump_clock: object
) -> None:
    await check_coughs(seed, 2)


@pytest.mark.deep
@pytest.mark.parametrize("tenth", range(10))
async def test_none_of_a_thousand_coughs_ends_an_answer_or_loses_a_sample(tenth: int, autojump_clock: object) -> None:
    assert sum([await check_coughs(seed, 4) for seed in range(200 + 5 * tenth, 205 + 5 * tenth)]) >= 100
