"""The input audio buffer of a session: takes appended audio, detects speech in it, and gives the audio of a commit.

With a VAD, the buffer forgets silence except its last part (KEEP_MS), so that an hour of silence needs little memory.
Positions are ms of received audio since the session began.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from relay.standin.model.audio import Samples, from_wire, rate_hz
from relay.standin.model.vad import Started, Stopped, Vad

KEEP_MS = 1000  # While nobody speaks, the buffer holds audio of the length of the prefix plus this.
# The pauses after which the semantic VAD ends a turn. The real model waits up to 8, 4 or 2 s if a sentence sounds
# unfinished (docs/protocol/openai.md 2.1). The stand-in cannot judge sentences, so its times are shorter.
SEMANTIC_SILENCE_MS = {"low": 1500, "medium": 900, "auto": 900, "high": 500}


class InputBuffer:
    """The buffer of one session. Call `configure` again after each session.update."""

    def __init__(self) -> None:
        self._vad: Vad | None = None
        self._prefix_ms = 0
        self._samples: list[Samples] = []
        self._held = 0  # The number of samples in `_samples`.
        self._dropped_ms = 0.0  # How much audio is not in `_samples`: taken, dropped, or received at another rate.
        self._settings: tuple[Any, Any] | None = None
        self._format: dict[str, Any] = {"type": "audio/pcm"}

    def configure(self, session_input: dict[str, Any]) -> None:
        """Take over the session's `audio.input`.

        If the format or the turn detection has changed, a new detector starts.
        """
        detection, form = session_input["turn_detection"], session_input["format"]
        if self._settings == (detection, form):
            return
        clock_ms = round(self.clock_ms)
        if self._format != form:
            self._dropped_ms, self._samples, self._held = self.clock_ms, [], 0
        self._settings, self._format, self._vad = (detection, form), form, None
        if detection is not None:
            silence_ms = detection.get("silence_duration_ms", SEMANTIC_SILENCE_MS[detection.get("eagerness", "auto")])
            self._prefix_ms = detection.get("prefix_padding_ms", 300)
            threshold = detection.get("threshold", 0.5)
            self._vad = Vad(rate_hz(form), threshold, self._prefix_ms, silence_ms, clock_ms)

    @property
    def clock_ms(self) -> float:
        """How much audio was received in this session, in ms."""
        return self._dropped_ms + self._held * 1000 / rate_hz(self._format)

    @property
    def held_ms(self) -> float:
        """How much audio a commit would take, in ms."""
        return self._held * 1000 / rate_hz(self._format)

    @property
    def speaking(self) -> bool:
        """True while the detector hears speech."""
        return self._vad is not None and self._vad.speaking

    def append(self, data: bytes) -> list[Started | Stopped]:
        """Add whole samples in the session's input format. Returns what the detector has found."""
        samples = from_wire(data, self._format)
        self._samples.append(samples)
        self._held += len(samples)
        if self._vad is None:
            return []
        events = self._vad.feed(samples)
        if not events and not self._vad.speaking:
            self._forget_silence()
        return events

    def take(self, from_ms: float | None = None, until_ms: float | None = None) -> Samples:
        """Remove the audio up to `until_ms` (default: all), and return its part after `from_ms` (default: all)."""
        held = np.concatenate(self._samples) if self._samples else np.empty(0, np.int16)
        per_ms = rate_hz(self._format) / 1000
        start = 0 if from_ms is None else max(0, round((from_ms - self._dropped_ms) * per_ms))
        end = len(held) if until_ms is None else max(start, round((until_ms - self._dropped_ms) * per_ms))
        self._samples, self._held = [held[end:]], len(held) - min(end, len(held))
        self._dropped_ms += min(end, len(held)) / per_ms
        return held[start:end]

    def clear(self) -> None:
        """input_audio_buffer.clear: drop what was not committed."""
        self.take()

    def _forget_silence(self) -> None:
        longest = (self._prefix_ms + KEEP_MS) * rate_hz(self._format) // 1000
        while self._samples and self._held - len(self._samples[0]) >= longest:
            gone = self._samples.pop(0)
            self._held -= len(gone)
            self._dropped_ms += len(gone) * 1000 / rate_hz(self._format)
