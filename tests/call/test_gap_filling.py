"""Caller audio that never came, or came late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.call.gap_filling import IDLE_BEFORE_PAD_S, IDLE_PAD_MS, JITTER_MS, LONGEST_PAD_MS, Gaps, Lateness


def test_if_timestamps_jitter_a_little_no_silence_is_filled_in() -> None:
    gaps, media_ms = Gaps(), 155
    for frame in range(100):
        assert gaps.before(media_ms, 20, frame * 0.02) == 0
        media_ms += 20 + (3 if frame % 2 else -3)


def test_a_jump_of_the_timestamps_is_filled_with_whole_frames() -> None:
    gaps = Gaps()
    gaps.before(100, 20, 1.0)
    assert gaps.before(120 + JITTER_MS, 20, 1.1) == 0
    assert gaps.before(140 + JITTER_MS + 315, 20, 1.5) == 300
    assert gaps.padded_ms == 300


def test_a_jump_of_more_than_ten_seconds_is_filled_only_in_part() -> None:
    gaps = Gaps()
    gaps.before(100, 20, 1.0)
    assert gaps.before(100_000, 20, 101.0) == LONGEST_PAD_MS


def test_when_frames_stop_in_the_middle_of_speech_silence_is_filled_in_so_that_the_turn_can_end() -> None:
    gaps = Gaps()
    assert gaps.while_idle(5.0, True) == 0  # no frame has come yet
    gaps.before(100, 20, 10.0)
    assert gaps.while_idle(10.0 + IDLE_BEFORE_PAD_S - 0.01, True) == 0
    assert gaps.while_idle(10.0 + IDLE_BEFORE_PAD_S, False) == 0
    assert gaps.while_idle(10.0 + IDLE_BEFORE_PAD_S, True) == IDLE_PAD_MS
    assert gaps.while_idle(10.0 + IDLE_BEFORE_PAD_S + 0.1, True) == 0


def test_a_gap_that_was_already_filled_with_silence_is_not_filled_again() -> None:
    gaps = Gaps()
    gaps.before(100, 20, 10.0)
    gaps.while_idle(11.0, True)
    assert gaps.before(1_620, 20, 11.5) == 1_500 - IDLE_PAD_MS
    assert gaps.lost_ms == 1_500


def test_the_frames_of_a_burst_are_late_and_the_frames_after_the_burst_are_not() -> None:
    late = Lateness()
    for frame in range(50):
        late.heard(20, 1.0 + frame * 0.02)
    assert late.late_s < 0.001
    for _ in range(8):  # 160 ms of delayed audio come at once
        late.heard(20, 2.14)
    assert late.late_s < 0.02
    late.heard(20, 2.30)
    assert 0.13 < late.late_s < 0.15
    for _ in range(7):
        late.heard(20, 2.30)
    assert late.late_s < 0.01


@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=60))
def test_the_measured_lateness_is_between_zero_and_the_real_delay(delays: list[float]) -> None:
    late = Lateness()
    for number, delay in enumerate(delays):
        late.heard(20, 1.0 + number * 0.02 + delay)
        assert -1e-9 <= late.late_s <= max(delays) - min(delays) + 0.001


def test_audio_that_is_lost_does_not_make_the_later_audio_late_for_ever() -> None:
    late = Lateness()
    late.heard(20, 1.0)
    late.heard(20, 31.0)
    assert late.late_s == 0.0


def test_audio_is_ahead_of_the_clock_if_it_comes_faster_than_real_time_or_if_it_was_delayed() -> None:
    steady, held_up, mad = Lateness(), Lateness(), Lateness()
    assert steady.ahead_s == 0
    for frame in range(500):
        now = 1.0 + frame * 0.02
        steady.heard(20, now)
        held_up.heard(20, max(now, 3.0))  # the first two seconds of audio come at once
        mad.heard(1000, now)
    assert steady.ahead_s == pytest.approx(0, abs=0.001)
    assert held_up.ahead_s == pytest.approx(2.0, abs=0.05)
    assert mad.ahead_s == pytest.approx(489, abs=1)
