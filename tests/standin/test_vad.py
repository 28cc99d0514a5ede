"""The stand-in's VAD reports the start and the end of speech. It measures time in bytes of audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsp
from relay.standin.model.listening import InputBuffer
from relay.standin.model.settings import SEMANTIC_VAD, SERVER_VAD
from relay.standin.model.vad import Started, Stopped, Vad
from relay.standin.speech.voice import clips

RATE_HZ = 8000


def tone(ms: int, dbfs: float = -20.0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """A 440 Hz tone with this RMS level."""
    at = np.arange(ms * RATE_HZ // 1000)
    return np.asarray(32768 * 2**0.5 * 10 ** (dbfs / 20) * np.sin(2 * np.pi * 440 * at / RATE_HZ), np.int16)


def silence(ms: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.zeros(ms * RATE_HZ // 1000, np.int16)


def test_speech_starts_at_its_onset_minus_the_prefix_and_stops_after_the_silence() -> None:
    vad = Vad(RATE_HZ, prefix_ms=300, silence_ms=500)
    events = vad.feed(np.concatenate([silence(1000), tone(400), silence(600)]))
    assert events == [Started(700), Stopped(1900)]


def test_prefix_does_not_reach_before_the_beginning() -> None:
    assert Vad(RATE_HZ, prefix_ms=300).feed(np.concatenate([silence(100), tone(100)])) == [Started(0)]


def test_onset_is_noticed_within_50_ms() -> None:
    vad = Vad(RATE_HZ)
    vad.feed(silence(500))
    assert vad.feed(tone(50)) != []


def test_a_click_is_not_speech() -> None:
    click = silence(1000)
    click[4000] = 30000
    assert Vad(RATE_HZ).feed(click) == []


def test_pause_shorter_than_the_silence_duration_does_not_end_a_turn() -> None:
    vad = Vad(RATE_HZ, silence_ms=500)
    assert len(vad.feed(np.concatenate([tone(200), silence(480), tone(200), silence(600)]))) == 2


@pytest.mark.parametrize(("threshold", "heard"), [(0.1, True), (0.5, True), (0.9, False)])
def test_the_threshold_is_a_level_below_which_no_speech_is_heard(threshold: float, heard: bool) -> None:
    assert bool(Vad(RATE_HZ, threshold).feed(tone(200, -38))) is heard


@pytest.mark.parametrize("mulaw", [b"\xff", b"\x7f", b"\xfe\x7e\xff\x7f"])
def test_each_mu_law_code_for_silence_is_silence(mulaw: bytes) -> None:
    assert Vad(RATE_HZ).feed(dsp.decode(mulaw * 8000)) == []


@given(st.lists(st.integers(0, 900), min_size=1, max_size=30))
def test_events_do_not_depend_on_how_the_audio_was_cut(cuts: list[int]) -> None:
    audio = np.concatenate([silence(200), dsp.decode(clips()["hello"].mulaw), silence(700)])
    whole, pieces = Vad(RATE_HZ), Vad(RATE_HZ)
    found: list[Started | Stopped] = []
    at = 0
    for cut in cuts:
        found += pieces.feed(audio[at : at + cut])
        at += cut
    assert found + pieces.feed(audio[at:]) == whole.feed(audio)


@pytest.mark.parametrize("clip", [clip for clip in clips().values() if clip.speaker == "caller"], ids=lambda c: c.id)
def test_a_callers_clip_is_one_turn_even_for_a_vad_that_waits_only_200_ms(clip: object) -> None:
    assert hasattr(clip, "mulaw")
    events = Vad(RATE_HZ, silence_ms=200).feed(np.concatenate([silence(100), dsp.decode(clip.mulaw), silence(400)]))
    assert [type(event) for event in events] == [Started, Stopped]


def buffer(detection: dict[str, object] | None, form: str = "audio/pcmu") -> InputBuffer:
    made = InputBuffer()
    made.configure({"turn_detection": detection, "format": {"type": form}})
    return made


def test_the_input_buffer_returns_the_speech_with_its_prefix() -> None:
    held = buffer(dict(SERVER_VAD))
    started, stopped = held.append(dsp.encode(np.concatenate([silence(5000), tone(400), silence(300)])))
    assert (started, stopped) == (Started(4700), Stopped(5600))
    assert len(held.take(4700, 5600)) == 900 * 8
    assert held.clock_ms == 5700
    assert held.held_ms == 100


def test_change_of_format_keeps_the_clock_and_drops_the_audio() -> None:
    held = buffer(dict(SERVER_VAD))
    held.append(b"\xff" * 8000)
    held.configure({"turn_detection": dict(SERVER_VAD), "format": {"type": "audio/pcm", "rate": 24000}})
    assert (held.clock_ms, held.held_ms) == (1000, 0)
    assert held.append(tone(100).repeat(3).astype("<i2").tobytes()) == [Started(700)]


def test_the_same_settings_again_do_not_reset_the_detector() -> None:
    held = buffer(dict(SERVER_VAD))
    held.append(dsp.encode(tone(100)))
    held.configure({"turn_detection": dict(SERVER_VAD), "format": {"type": "audio/pcmu"}})
    assert held.speaking


def test_without_turn_detection_no_speech_is_reported_and_all_audio_is_kept() -> None:
    held = buffer(None)
    assert held.append(dsp.encode(tone(3000))) == []
    assert held.held_ms == 3000


def test_semantic_vad_waits_longer_when_it_is_less_eager() -> None:
    ends = []
    for eagerness in ("high", "low"):
        events = buffer({**SEMANTIC_VAD, "eagerness": eagerness}).append(
            dsp.encode(np.concatenate([tone(300), silence(3000)]))
        )
        assert isinstance(events[1], Stopped)
        ends.append(events[1].audio_end_ms)
    assert ends == [800, 1800]
