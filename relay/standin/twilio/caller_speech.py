"""The caller's speech: what the caller says, and at which sample.

Between the clips there is the silence of a telephone line.

Pure: the time is passed in, in seconds of one monotonic clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from relay.standin.speech.audio_files import RATE_HZ
from relay.standin.twilio.listening import loud_span_ms
from relay.standin.twilio.playback import samples_at

Silence = Literal["ff", "7f", "noise"]
"""Three kinds of silence: mu-law +0 and mu-law -0 (both were seen, docs/protocol/twilio.md 3.1), and faint noise."""

_NOISE = bytes((0xFF, 0xFF, 0x7F, 0x7F, 0xFE, 0x7E, 0xFD, 0x7D))
"""The mu-law codes of the amplitudes 0 to 16: about -75 dBFS."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip that the caller says, from sample `at` on. `text` is "" for a cough, and for a recording."""

    at: int
    mulaw: bytes
    text: str
    kind: Literal["speech", "cough", "wav"]

    @property
    def end(self) -> int:
        """The first sample after the clip."""
        return self.at + len(self.mulaw)

    @property
    def sound_s(self) -> tuple[float, float]:
        """When the clip's first and last sound are (seconds of the clock)."""
        first_ms, last_ms = loud_span_ms(self.mulaw)
        return self.at / RATE_HZ + first_ms / 1000, self.at / RATE_HZ + last_ms / 1000


class CallerSpeech:
    """Everything that the caller has said or will say."""

    def __init__(self, silence: Silence = "ff", seed: int = 0) -> None:
        self.utterances: list[Utterance] = []
        self._muted: list[tuple[int, int]] = []
        rng = random.Random(seed)
        self._noise = bytes(rng.choices(_NOISE, k=RATE_HZ)) if silence == "noise" else b""
        self._quiet = b"\x7f" if silence == "7f" else b"\xff"

    def say(
        self, mulaw: bytes, now: float, text: str = "", kind: Literal["speech", "cough", "wav"] = "speech"
    ) -> float:
        """Say a clip now, or after the clip that is being said. Returns when the clip ends (seconds)."""
        busy_until = self.utterances[-1].end if self.utterances else 0
        self.utterances.append(Utterance(max(samples_at(now), busy_until), mulaw, text, kind))
        return self.utterances[-1].end / RATE_HZ

    def mute(self, now: float, for_s: float) -> None:
        """Send nothing for a while, as telephones with silence suppression do."""
        self._muted.append((samples_at(now), samples_at(now + for_s)))

    def muted(self, at: int) -> bool:
        """True if the line sends no frame at this sample."""
        return any(first <= at < last for first, last in self._muted)

    def read(self, first: int, count: int) -> bytes:
        """`count` mu-law bytes from sample `first` on: speech where the caller speaks, otherwise silence."""
        out, end = bytearray(self._silence(first, count)), first + count
        for said in reversed(self.utterances):
            if said.end <= first:
                break
            low, high = max(first, said.at), min(end, said.end)
            if low < high:
                out[low - first : high - first] = said.mulaw[low - said.at : high - said.at]
        return bytes(out)

    def speaking(self, now: float) -> bool:
        """True while the caller says a clip with known words. A cough and a recording do not count."""
        return any(said.text and said.at <= samples_at(now) < said.end for said in self.utterances[-2:])

    def heard_words(self, since: float, now: float) -> str:
        """The words of the utterances that began and ended between two moments."""
        first, last = samples_at(since), samples_at(now)
        return " ".join(said.text for said in self.utterances if said.at >= first and said.end <= last and said.text)

    def words_ended(self, since: float, now: float) -> str:
        """The words of the utterances that ended between two moments. They may have begun earlier."""
        first, last = samples_at(since), samples_at(now)
        return " ".join(said.text for said in self.utterances if first < said.end <= last and said.text)

    def _silence(self, first: int, count: int) -> bytes:
        if not self._noise:
            return self._quiet * count
        at = first % len(self._noise)
        return (self._noise[at:] + self._noise * (count // len(self._noise) + 1))[:count]
