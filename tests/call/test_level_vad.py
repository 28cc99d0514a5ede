"""Our VAD finds the caller's voice by the level of the sound: speech, coughs, noise, echo."""

from __future__ import annotations

import pytest

import dsp
from relay.call.level_vad import CallerVoice
from relay.call.turn_taking import EARLY_WORD_MS, GIVE_UP_MS, SHORT_TURN_MS
from relay.standin.speech.voice import clips


def longest_run(mulaw: bytes, offset_bytes: int = 0) -> int:
    """For how many ms the VAD hears a voice without a break, if the frames begin at this byte."""
    voice, longest = CallerVoice(), 0
    line = b"\xff" * (8_000 + offset_bytes) + mulaw + b"\xff" * 4_000
    for at in range(0, len(line) - 159, 160):
        voice.hear(dsp.level_dbfs(line[at : at + 160]), 20)
        longest = max(longest, voice.run_ms)
    return longest


@pytest.mark.parametrize("offset_bytes", range(0, 160, 32))
def test_a_cough_is_too_short_to_interrupt_wherever_the_frames_begin(offset_bytes: int) -> None:
    assert longest_run(clips()["cough"].mulaw, offset_bytes) < min(GIVE_UP_MS, SHORT_TURN_MS)


@pytest.mark.parametrize("clip", ["hello", "bye", "oh_wait", "stop_stop", "yes_right", "operator", "no_thanks"])
def test_a_word_is_long_enough_to_interrupt(clip: str) -> None:
    assert longest_run(clips()[clip].mulaw) >= GIVE_UP_MS


def test_on_a_quiet_line_a_quiet_caller_counts_as_a_voice() -> None:
    voice = CallerVoice()
    for _ in range(100):
        voice.hear(-72.0, 20)
    for _ in range(20):
        voice.hear(-47.0, 20)
    assert voice.run_ms == 400


def test_steady_noise_no_longer_counts_as_a_voice_after_a_while_but_a_voice_over_the_noise_counts() -> None:
    voice = CallerVoice()
    for _ in range(500):
        voice.hear(-42.0, 20)
    assert not voice.is_up
    for _ in range(20):
        voice.hear(-24.0, 20)
    assert voice.is_up


@pytest.mark.parametrize("noise_dbfs", [-42.0, -36.0, -30.0])
def test_noise_that_is_there_from_the_first_frame_is_too_short_to_interrupt_a_greeting(noise_dbfs: float) -> None:
    voice = CallerVoice()
    for _ in range(250):
        voice.hear(noise_dbfs, 20)
        assert voice.run_ms < EARLY_WORD_MS
    assert not voice.is_up


def test_a_caller_who_speaks_from_the_first_frame_is_heard_and_not_learned_as_noise() -> None:
    voice = CallerVoice()
    line = clips()["hello"].mulaw * 4
    for at in range(0, len(line) - 159, 160):
        voice.hear(dsp.level_dbfs(line[at : at + 160]), 20)
        assert voice.threshold_dbfs <= -35.0
    assert voice.run_ms >= GIVE_UP_MS


def test_a_caller_who_shouts_is_heard_in_the_loudest_noise() -> None:
    voice = CallerVoice()
    for _ in range(3_000):
        voice.hear(-26.0, 20)
    voice.hear(-18.0, 20)
    assert voice.is_up


def test_a_pause_between_syllables_does_not_end_a_run_of_speech() -> None:
    voice = CallerVoice()
    for level in (-20.0, -20.0, -80.0, -80.0, -80.0, -20.0):
        voice.hear(level, 20)
    assert voice.run_ms == 120
    for _ in range(7):
        voice.hear(-80.0, 20)
    assert not voice.is_up
    voice.hear(-20.0, 20)
    assert voice.run_ms == 20


def test_the_echo_of_the_worst_telephone_is_not_taken_for_the_caller() -> None:
    voice = CallerVoice()
    for _ in range(50):
        voice.hear(-30.0, 20, echo_dbfs=-20.0)
    assert not voice.is_up


def test_on_a_line_without_echo_a_quiet_caller_can_interrupt() -> None:
    voice = CallerVoice()
    for _ in range(250):  # five seconds of a greeting, and no echo comes back
        voice.hear(-75.0, 20, echo_dbfs=-20.0)
    voice.hear(-38.0, 20, echo_dbfs=-20.0)
    assert voice.is_up


def test_before_the_echo_is_learned_a_caller_must_be_louder_than_any_possible_echo() -> None:
    voice = CallerVoice()
    voice.hear(-38.0, 20, echo_dbfs=-20.0)
    assert not voice.is_up
    voice.hear(-18.0, 20, echo_dbfs=-20.0)
    assert voice.is_up


def test_a_loud_syllable_of_an_echo_after_a_soft_one_is_not_taken_for_the_caller() -> None:
    voice = CallerVoice()
    for second in range(20):
        for frame in range(50):
            voice.hear(-36.0 if frame % 12 < 2 else -55.0, 20, echo_dbfs=-20.0)
            assert not voice.is_up, f"an echo at -16 dB was taken for the caller in second {second}"


def test_after_an_echo_was_taken_for_the_caller_the_next_echo_is_not() -> None:
    voice = CallerVoice()
    for _ in range(250):
        voice.hear(-75.0, 20, echo_dbfs=-20.0)
    voice.hear(-35.0, 20, echo_dbfs=-20.0)  # the caller has put us on a loudspeaker
    assert voice.is_up
    voice.was_echo()
    for _ in range(20):
        voice.hear(-75.0, 20)
    voice.hear(-35.0, 20, echo_dbfs=-20.0)
    assert not voice.is_up


def test_our_own_echo_is_not_learned_as_noise_of_the_line() -> None:
    voice = CallerVoice()
    for frame in range(500):
        voice.hear(-33.0 if frame % 20 < 16 else -70.0, 20, echo_dbfs=-20.0)  # words, and the pauses between them
    assert voice.threshold_dbfs < -45.0


def test_noise_that_is_there_from_the_first_frame_on_is_learned_when_the_greeting_is_over() -> None:
    voice = CallerVoice()
    for _ in range(500):
        voice.hear(-42.0, 20, echo_dbfs=-20.0)
    voice.hear(-42.0, 20)
    assert not voice.is_up
