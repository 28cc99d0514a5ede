"""Noisy places, in whole calls: the model's VAD hears speech all the time, and callers are still answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from trio.testing import MockClock

import dsp
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.speech.audio_files import RATE_HZ
from tests.helpers.play import Play, stage

# The stand-in's VAD takes everything over -42.5 dBFS for speech. It still recognises the words in this noise.
NOISE_DBFS = -42.0


def make_noise(play: Play, from_s: float) -> None:
    """Let every caller be in a noisy place from this time on."""
    observed = play.exchange.on_event
    rng = np.random.default_rng(1)
    done: set[str] = set()

    def look(kind: str, fields: Mapping[str, Any]) -> None:
        observed(kind, dict(fields))
        call = play.exchange.calls[fields["call_sid"]]
        if call.state.sid in done:
            return
        done.add(call.state.sid)
        speak = call.state.speech.read

        def read(first: int, count: int) -> bytes:
            own = dsp.decode(speak(first, count)).astype(np.float64)
            noise = rng.normal(0.0, 32_768 * 10 ** (NOISE_DBFS / 20), count) * (first >= from_s * RATE_HZ)
            return dsp.encode(np.clip(np.rint(own + noise), -32_768, 32_767).astype(np.int16))

        call.state.speech.read = read  # type: ignore[method-assign] # noise on the line, not of the caller

    play.exchange.on_event = look


@pytest.mark.parametrize(
    ("from_s", "limit_ms"),
    [(0.0, 5_000), (12.0, 8_000)],  # noise that begins just before an answer takes the answer back
    ids=["from the first ring on", "in the middle of a call"],
)
@pytest.mark.parametrize("record", ["transcripts", "off"], ids=["with a notice", "without one"])
async def test_a_caller_in_a_noisy_place_is_answered(
    record: str, from_s: float, limit_ms: int, autojump_clock: MockClock
) -> None:
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { say = "ask_booking" }, { listen = true }'
    async with stage(settings={"RECORD": record}) as play:
        make_noise(play, from_s)
        report = await run_scenario(
            parse(f'title = "t"\n[caller]\nsteps = [{steps}, {{ hang_up = true }}]', "t"), play.exchange
        )
        (session,) = play.model.sessions
        assert session.report.errors == []
        assert [words for words in session.report.heard if words] == [
            "Hi, what time do you open tomorrow?",
            "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe.",
        ]
        assert report.failures == []
        assert max(report.latencies_ms) <= limit_ms, "the answer is too late (ms)"
