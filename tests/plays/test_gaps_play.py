"""Caller audio that never came, in whole calls: the model's clock goes on, so that turns can end."""

from __future__ import annotations

import re

import pytest
from trio.testing import MockClock

from tests.helpers.greeting_play import Told, ring
from tests.helpers.play import Play, stage


def padded_ms(play: Play) -> float:
    """What the metrics say about it."""
    found = re.search(r"^relay_padded_caller_ms_total (.+)$", play.daemon.desk.metrics.text().decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0


def missing_ms(told: Told) -> float:
    """How much less audio the model got than the stream was long."""
    at_s = {event.kind: event.at_s for event in told.report.events}
    (session,) = told.play.model.sessions
    return (at_s["stream_stopped"] - at_s["stream_started"]) * 1000 - session._input.clock_ms


@pytest.mark.parametrize(("mute_s", "filled_ms"), [(3, 3_000), (13, 10_000)], ids=["all of it", "ten seconds at most"])
async def test_a_line_that_was_muted_is_filled_up_by_twilios_timestamps(
    mute_s: int, filled_ms: int, autojump_clock: MockClock
) -> None:
    async with stage() as play:
        steps = f'{{ listen = true }}, {{ mute_s = {mute_s} }}, {{ say = "can_you_hear" }}, {{ listen = true }}'
        told = await ring(play, f"{steps}, {{ hang_up = true }}")
        assert told.report.failures == []
        assert abs(padded_ms(play) - filled_ms) <= 40
        assert abs(missing_ms(told) - (mute_s * 1_000 - filled_ms)) <= 200
        assert "Can you hear me?" in told.said


async def test_a_line_that_falls_silent_in_the_middle_of_speech_is_filled_before_it_is_back(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:
        steps = '{ listen = true }, { say = "can_you_hear" }, { mute_s = 5 }, { silent_s = 1 }'
        told = await ring(play, f"{steps}, {{ hang_up = true }}")
        assert told.report.failures == []
        assert told.report.latencies_ms[0] <= 3_500, "the turn ended although nothing came"
        assert abs(missing_ms(told)) <= 200, "what was put in ahead is not put in again when the line is back"
