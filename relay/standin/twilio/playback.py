"""Plays audio to the caller, with marks and `clear`, and keeps what was played and when (docs/protocol/twilio.md 3.2).

Pure: the time is passed in, in seconds of one monotonic clock. Positions are counted in samples (8 kHz mu-law, one byte
a sample), so that rounding errors do not add up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

from relay.standin.speech.audio_files import RATE_HZ

SILENCE = b"\xff"
"""Silence in mu-law. The caller hears it while the buffer is empty."""


def samples_at(now: float) -> int:
    """The sample that the clock has reached at `now` (seconds)."""
    return round(now * RATE_HZ)


@dataclass(frozen=True, slots=True)
class PlayedMark:
    """A mark that goes back to the relay. `heard` is true if the audio before it was played to its end."""

    name: str
    at_s: float
    heard: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A `clear`, or the end of a stream while audio was waiting.

    `heard_ms` is the audio of this stream that was played by then, without silence. `lost_ms` is the audio that was
    dropped.
    """

    at_s: float
    heard_ms: float
    lost_ms: float
    marks: tuple[str, ...]


class Playback:
    """A queue of mu-law audio. It plays at exactly 8,000 samples a second from the moment when audio arrives."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        # Runs of audio that are played without a break. Run i begins at sample _starts[i].
        self._runs: list[bytearray] = []
        # Marks, each with the sample at which the audio before it has been played.
        self._pending: deque[tuple[str, int]] = deque()
        self._stream_from = 0  # The index of the first run of the present stream.
        self._stream_skip = 0  # How many samples of that run were played before the present stream.
        self.marks: list[PlayedMark] = []
        self.cuts: list[Cut] = []

    @property
    def _free_at(self) -> int:
        """The sample at which the buffer is empty."""
        return self._starts[-1] + len(self._runs[-1]) if self._runs else 0

    def begin_stream(self, now: float) -> None:
        """A new media stream begins. Audio that was played before belongs to earlier streams."""
        self.stop(now)
        self._stream_from = len(self._runs) - 1 if self._runs else 0
        self._stream_skip = len(self._runs[-1]) if self._runs else 0

    def media(self, mulaw: bytes, now: float) -> None:
        """Add mu-law audio at the end of the buffer. If the buffer is empty, it plays at once."""
        if not mulaw:
            return
        at = samples_at(now)
        if self._runs and self._free_at >= at:
            self._runs[-1] += mulaw
            return
        self._starts.append(at)
        self._runs.append(bytearray(mulaw))

    def mark(self, name: str, now: float) -> None:
        """Add a mark at the end of the buffer. If the buffer is empty, the mark comes back at once."""
        self._pending.append((name, max(self._free_at, samples_at(now))))

    def played_marks(self, now: float) -> list[str]:
        """Take the marks whose audio has been played by `now`, in order."""
        at, played = samples_at(now), []
        while self._pending and self._pending[0][1] <= at:
            name, due = self._pending.popleft()
            played.append(name)
            self.marks.append(PlayedMark(name, due / RATE_HZ, heard=True))
        return played

    def next_mark_s(self) -> float | None:
        """When the next mark comes back (seconds of the clock). None if no mark waits."""
        return self._pending[0][1] / RATE_HZ if self._pending else None

    def clear(self, now: float) -> list[str]:
        """Drop the audio that was not played. Every mark that waits comes back at once, heard or not."""
        played = self.played_marks(now)
        names = [name for name, _ in self._pending]
        self.marks.extend(PlayedMark(name, now, heard=False) for name in names)
        self._pending.clear()
        lost = self._drop_after(samples_at(now))
        self.cuts.append(Cut(now, self.heard_ms(now), lost * 1000 / RATE_HZ, tuple(names)))
        return played + names

    def stop(self, now: float) -> None:
        """The stream has ended. Audio in the buffer is lost, and no mark comes back."""
        self.played_marks(now)
        names = tuple(name for name, _ in self._pending)
        self._pending.clear()
        if lost := self._drop_after(samples_at(now)):
            self.cuts.append(Cut(now, self.heard_ms(now), lost * 1000 / RATE_HZ, names))

    def buffered_ms(self, now: float) -> float:
        """How much audio still waits to be played, in ms."""
        return max(0, self._free_at - samples_at(now)) * 1000 / RATE_HZ

    def heard_ms(self, now: float) -> float:
        """How much audio of the present stream was played by `now`, in ms."""
        at, total = samples_at(now), -self._stream_skip
        for i in range(self._stream_from, len(self._runs)):
            total += max(0, min(at - self._starts[i], len(self._runs[i])))
        return total * 1000 / RATE_HZ

    def runs(self, until_s: float) -> list[tuple[float, float]]:
        """The spans in which audio was played without a break, up to `until_s`, as (from, to) in seconds."""
        end = samples_at(until_s)
        return [
            (start / RATE_HZ, min(start + len(run), end) / RATE_HZ)
            for start, run in zip(self._starts, self._runs, strict=True)
            if start < end
        ]

    def read(self, first: int, count: int) -> bytes:
        """`count` bytes of mu-law from sample `first` on. Where nothing was played, there is silence (0xFF)."""
        out, end = bytearray(SILENCE * count), first + count
        for i in range(max(0, bisect_right(self._starts, first) - 1), len(self._runs)):
            start, run = self._starts[i], self._runs[i]
            if start >= end:
                break
            low, high = max(first, start), min(end, start + len(run))
            if low < high:
                out[low - first : high - first] = run[low - start : high - start]
        return bytes(out)

    def played(self, first: int, last: int) -> bytes:
        """The audio that was played from sample `first` to `last`, without the silence of an empty buffer."""
        return b"".join(
            bytes(run[max(0, first - start) : max(0, last - start)])
            for start, run in zip(self._starts, self._runs, strict=True)
        )

    def _drop_after(self, at: int) -> int:
        """Drop the audio from sample `at` on. Returns the number of dropped samples."""
        lost = 0
        while self._runs and self._starts[-1] + len(self._runs[-1]) > at:
            keep = max(0, at - self._starts[-1])
            lost += len(self._runs[-1]) - keep
            if keep:
                del self._runs[-1][keep:]
                break
            self._runs.pop()
            self._starts.pop()
        return lost
