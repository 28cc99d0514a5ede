"""The stand-ins' speech is audible and has the right length. They understand only audio that arrived undamaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

import dsp
from relay import functions, settings
from relay.business import owner_files
from relay.standin.model.script import Script
from relay.standin.model.server import load_script
from relay.standin.speech import voice as standin_voice
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import FOLDER, Clip, Voice, babble, clips, find, words

Samples = npt.NDArray[np.int16]
Break = Callable[[Samples], Samples]

CALLERS = [clip for clip in clips().values() if clip.speaker == "caller"]
EAR = ClipRecogniser()


def line(mulaw: bytes, lead_ms: int = 300, tail_ms: int = 500) -> bytes:
    """A clip on a phone line, with silence around it."""
    return b"\xff" * (8 * lead_ms) + mulaw + b"\xff" * (8 * tail_ms)


def arrived(mulaw: bytes) -> Samples:
    """The audio as the relay's uplink sends it on, at 24 kHz."""
    up = dsp.Uplink()
    return np.frombuffer(b"".join(up.feed(mulaw[at : at + 160]) for at in range(0, len(mulaw), 160)), "<i2")


def heard(samples: Samples, rate_hz: int = 24000) -> list[str]:
    return [each.clip.id for each in EAR.hear(samples, rate_hz)]


# Speaking


def test_all_clips_together_take_less_than_4_mb() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


@pytest.mark.parametrize("record", ["on", "transcripts", "off"])
def test_every_phrase_and_every_greeting_of_the_relay_has_a_clip(record: str) -> None:
    texts = owner_files.read(settings.load({"RECORD": record, "RECORDING_KEY": "a" * 43}, serving=False)).prompts
    assert texts.closed_greeting
    holding = filter(None, functions.load(None).holding().values())
    greetings = {part for announces in (True, False) for closed in (True, False)
                 for part in texts.greeting(announces, closed)}  # fmt: skip
    voice = Voice()

    for text in (*texts.phrases.values(), *holding, *greetings):
        voice.say(text)

    assert voice.babbled == []


@pytest.mark.parametrize("clip", clips().values(), ids=lambda clip: clip.id)
def test_each_clip_is_as_loud_as_speech_and_is_not_clipped(clip: Clip) -> None:
    samples = dsp.decode(clip.mulaw).astype(float)
    assert 250 < clip.ms < 12_000
    assert -30 < 20 * np.log10(np.sqrt((samples**2).mean()) / 32768) < -14
    assert (np.abs(samples) > 31_000).mean() < 0.002


def test_a_clip_is_found_by_id_and_by_its_text_in_any_spelling() -> None:
    assert find("ask_hours") is find("hi what time do you open tomorrow") is clips()["ask_hours"]
    assert find("nobody says this") is None


def test_a_text_with_a_clip_gives_that_clip() -> None:
    voice = Voice()
    assert voice.say("No problem. What can I do for you?") == clips()["no_problem"].mulaw
    assert voice.babbled == []


def test_a_text_of_several_clips_gives_the_audio_of_all_these_clips() -> None:
    voice = Voice()
    spoken = voice.say("Let me book that for you. One moment, I'm checking that. Are you still there?")
    for name in ("booking", "checking", "still_there"):
        assert clips()[name].mulaw in spoken
    assert voice.babbled == []


def test_a_text_without_a_clip_is_babbled_for_its_length_and_reported() -> None:
    voice = Voice()
    text = "We close at half past nine on Sundays."
    spoken = voice.say("Let me book that for you. " + text)
    assert voice.babbled == [text]
    assert len(spoken) // 8 == pytest.approx(clips()["booking"].ms + 80 + 60 * len(text) + 140, abs=5)
    assert Voice().say(text) == Voice().say(text) == babble(text)
    assert babble(text) != babble(text + "!")
    assert dsp.level_dbfs(babble(text)) == pytest.approx(-22, abs=2)


class Piper:
    """A fake of the extra package's voice: 22,050 Hz, and never the same audio twice."""

    def __init__(self) -> None:
        self.spoke: list[str] = []

    def synthesize(self, sentence: str) -> list[SimpleNamespace]:
        self.spoke.append(sentence)
        tone = np.sin(np.arange(22_050) * 440 * 2 * np.pi / 22_050 + len(self.spoke))
        return [SimpleNamespace(audio_float_array=0.3 * tone, sample_rate=22_050)]


def test_a_text_without_a_clip_is_spoken_when_the_extra_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    piper = Piper()
    monkeypatch.setattr(standin_voice, "piper_is_installed", lambda: True)
    monkeypatch.setattr(standin_voice, "_load_piper", lambda: piper)
    voice = Voice(piper=True)
    text = "We close at half past nine on Sundays."
    spoken = voice.say("Let me book that for you. " + text)
    assert spoken.startswith(clips()["booking"].mulaw)
    assert dsp.level_dbfs(voice.say(text)) == pytest.approx(-22, abs=1)
    assert len(voice.say(text)) == 8000
    assert voice.say(text) == voice.say(text)
    assert (piper.spoke, voice.babbled) == ([text], [])
    assert Voice().say(text) == babble(text)


def test_only_the_process_of_the_command_uses_the_extra_package(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text("[model]\npiper = false\n")
    assert (Script().piper, load_script(None).piper, load_script(str(script)).piper) == (False, True, False)


def test_an_empty_text_gives_no_audio() -> None:
    assert Voice().say("  ") == b""


def test_case_punctuation_and_blanks_do_not_count_in_words() -> None:
    assert words("  I’m HERE, now!\n") == "i'm here now"


# Hearing


@pytest.mark.parametrize("clip", CALLERS, ids=lambda clip: clip.id)
def test_a_clip_that_came_through_the_uplink_is_understood(clip: Clip) -> None:
    assert heard(arrived(line(clip.mulaw))) == [clip.id]


@pytest.mark.parametrize("gain_db", [-10, -6, 6])
@pytest.mark.parametrize("shift_ms", [0, 107, 200])
def test_a_clip_of_any_level_and_position_is_understood(gain_db: int, shift_ms: int) -> None:
    for name in ("hello", "ask_booking", "oh_wait"):
        louder = (dsp.decode(line(clips()[name].mulaw, shift_ms)) * 10 ** (gain_db / 20)).clip(-32768, 32767)
        assert heard(louder.astype(np.int16), 8000) == [name]


def test_a_clip_with_a_cut_edge_is_understood() -> None:
    assert heard(arrived(clips()["ask_hours"].mulaw[400:-400])) == ["ask_hours"]


def test_a_clip_with_noise_20_db_below_it_is_understood() -> None:
    random = np.random.default_rng(1)
    for clip in CALLERS:
        samples = dsp.decode(line(clip.mulaw)).astype(float)
        noise = random.standard_normal(len(samples)) * np.sqrt((dsp.decode(clip.mulaw).astype(float) ** 2).mean()) / 10
        assert heard((samples + noise).clip(-32768, 32767).astype(np.int16), 8000) == [clip.id]


def test_two_sentences_in_one_turn_are_heard_in_their_order() -> None:
    both = clips()["hello"].mulaw + b"\xff" * 800 + clips()["ask_hours"].mulaw
    found = EAR.hear(arrived(line(both)), 24000)
    assert [each.clip.id for each in found] == ["hello", "ask_hours"]
    assert found[0].start_ms == pytest.approx(300, abs=15)
    assert EAR.transcribe(arrived(both), 24000) == "Hello? Hi, what time do you open tomorrow?"


def test_sentence_that_is_said_twice_in_one_turn_is_heard_twice() -> None:
    assert heard(arrived(line(clips()["hello"].mulaw + b"\xff" * 2400 + clips()["hello"].mulaw))) == ["hello", "hello"]


@pytest.mark.parametrize("clip", [clip for clip in clips().values() if clip.speaker != "caller"], ids=lambda c: c.id)
def test_other_voices_and_noises_are_not_understood(clip: Clip) -> None:
    assert heard(arrived(line(clip.mulaw))) == []


def test_babble_silence_and_empty_audio_are_not_understood() -> None:
    assert heard(arrived(line(babble("Hello? Hi, what time do you open tomorrow?")))) == []
    assert heard(np.zeros(48000, np.int16)) == []
    assert heard(np.empty(0, np.int16)) == []


def _frames(samples: Samples, rate_hz: int = 24000) -> list[Samples]:
    size = rate_hz // 50
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def every_tenth_frame_silent(samples: Samples) -> Samples:
    return np.concatenate([each * (number % 10 != 0) for number, each in enumerate(_frames(samples))]).astype(np.int16)


def every_tenth_frame_lost(samples: Samples) -> Samples:
    return np.concatenate([each for number, each in enumerate(_frames(samples)) if number % 10])


def every_tenth_frame_doubled(samples: Samples) -> Samples:
    frames = _frames(samples)
    return np.concatenate([each for number, frame in enumerate(frames) for each in [frame] * (1 + (number % 10 == 5))])


def clicks_at_frame_edges(samples: Samples) -> Samples:
    broken = samples.copy()
    broken[::480] = np.clip(broken[::480].astype(int) + 4000, -32768, 32767)
    return broken


def resampled_frame_by_frame(samples: Samples) -> Samples:
    """The audio of a relay that loses its filter's state between frames."""
    frames = [each[::3] for each in _frames(samples)]
    return np.concatenate([np.concatenate([dsp.Upsampler().feed(each)]) for each in frames])


def five_percent_faster(samples: Samples) -> Samples:
    faster = np.interp(np.arange(0, len(samples) - 1, 1.05), np.arange(len(samples)), samples)
    return np.asarray(faster, np.int16)


def eight_khz_taken_for_24(samples: Samples) -> Samples:
    return samples[::3].copy()


def bytes_swapped(samples: Samples) -> Samples:
    return samples.byteswap()


def off_by_one_byte(samples: Samples) -> Samples:
    return np.frombuffer(samples.tobytes()[1:-1], "<i2")


def mulaw_taken_for_pcm(samples: Samples) -> Samples:
    return np.frombuffer(dsp.encode(samples[: len(samples) // 2 * 2]), "<i2")


@pytest.mark.parametrize(
    "broken",
    [
        every_tenth_frame_silent, every_tenth_frame_lost, every_tenth_frame_doubled, clicks_at_frame_edges,
        resampled_frame_by_frame, five_percent_faster, eight_khz_taken_for_24, bytes_swapped, off_by_one_byte,
        mulaw_taken_for_pcm,
    ],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_audio_that_was_damaged_on_its_way_is_not_understood(broken: Break) -> None:
    """Only sentences longer than a second are counted, because a shorter one may be between two faults."""
    long = [clip for clip in CALLERS if clip.ms > 1500]
    understood = [clip.id for clip in long if heard(broken(arrived(line(clip.mulaw))))]
    assert len(understood) <= len(long) // 5, understood
