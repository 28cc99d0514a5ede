"""Missing caller audio in whole calls: silence fills the gap, so that the model's clock goes on and turns can end."""

from __future__ import annotations

import re

import pytest
from trio.testing import MockClock

from tests.helpers.greeting_play import Told, ring
from tests.helpers.play import Play, stage


def padded_ms(play: Play) -> float:
    """The silence that was filled in, by the metrics."""
    found = re.search(r"^relay_padded_caller_ms_total (.+)$", play.daemon.desk.metrics.text().decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0


def missing_ms(told: Told) -> float:
    """The length of the stream minus the length of the audio that the model got."""
    at_s = {event.kind: event.at_s for event in told.report.events}
    (session,) = told.play.model.sessions
    return (at_s["stream_stopped"] - at_s["stream_started"]) * 1000 - session._input.clock_ms


@pytest.mark.parametrize(("mute_s", "filled_ms"), [(3, 3_000), (13, 10_000)], ids=["all of it", "ten seconds at most"])
async def test_the_gap_of_a_muted_line_is_measured_by_twilios_timestamps_and_filled(
    mute_s: int, filled_ms: int, autojump_clock: MockClock
) -> None:
    async with stage() as play:
        steps = f'{{ listen = true }}, {{ mute_s = {mute_s} }}, {{ say = "can_you_hear" }}, {{ listen = true }}'
        told = await ring(play, f"{steps}, {{ hang_up = true }}")
        assert told.report.failures == []
        assert abs(padded_ms(play) - filled_ms) <= 40
        assert abs(missing_ms(told) - (mute_s * 1_000 - filled_ms)) <= 200
        assert "Can you hear me?" in told.said


async def test_a_gap_in_the_middle_of_speech_is_filled_before_the_frames_come_back(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:
        steps = '{ listen = true }, { say = "can_you_hear" }, { mute_s = 5 }, { silent_s = 1 }'
        told = await ring(play, f"{steps}, {{ hang_up = true }}")
        assert told.report.failures == []
        assert told.report.latencies_ms[0] <= 3_500, "ms; the turn did not end while no frames came"
        assert abs(missing_ms(told)) <= 200, "ms; silence that was filled in ahead was filled in again"
