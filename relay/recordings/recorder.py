"""Records the caller (left) and what the caller heard (right) on one stream. Pure.

The recording has chunks of 250 ms. The recorder gives them to a tape (`Tape`), which writes them to the disk.

Nothing that is said or heard before `begin` gets into the recording. `begin` is called when the notice was heard, or at
once if no notice is needed. Until then only the last 4 s of our own audio are in memory. During a pause both
channels are silent. The delay to Twilio and the delay back cannot be measured apart, so they are assumed to be equal.
So caller audio that we get was said half a round trip earlier, and audio that we write is heard half a round trip
later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from relay.recordings.timeline import (
    CHUNK_SAMPLES,
    SAMPLES_PER_MS,
    SETTLE_SAMPLES,
    SILENCE,
    CallerTrack,
    PlaybackTrack,
    samples_at,
)


class Frame(Protocol):
    """A piece of caller audio with Twilio's timestamp."""

    @property
    def mulaw(self) -> bytes: ...
    @property
    def media_ms(self) -> int: ...


class Tape(Protocol):
    """Takes the chunks of a recording."""

    def write(self, left: bytes, right: bytes) -> None:
        """Take a full chunk of both channels. Never blocks, never raises."""

    def close(self, left: bytes, right: bytes) -> None:
        """Take the last chunk, which is not full. Never blocks, never raises."""


class Pauses(Protocol):
    """Called when a pause begins or ends.

    Arguments: when the pause began, when it ended (None if it goes on), and why. The times are on the call's time line.
    """

    def __call__(self, from_ms: int, to_ms: int | None, why: str) -> None: ...


Hearer: TypeAlias = Callable[[bytes, bytes], None]
"""Gets full chunks of both channels, like the tape. Never blocks, never raises."""

# The caller's next frame after a mark shows when Twilio sent the mark. If no frame comes for this long, the mark's time
# of arrival is used.
FRAME_LIMIT = 60 * SAMPLES_PER_MS
# A mark that arrives up to this long after the place of the next frame is not late, because Twilio's timestamps are
# exact only to some ms.
MARK_JITTER = 5 * SAMPLES_PER_MS
# Before recording begins, our audio that is older than this is dropped. Its mark has surely come by then.
FORGOTTEN = 4_000 * SAMPLES_PER_MS

NOTICE = "the notice had not been heard"
WISH = "the caller does not want to be recorded"


class Recorder:
    """Records one stream. The methods are called on the audio path, so no method waits."""

    def __init__(self, call_began_s: float, open_tape: Callable[[int], Tape], paused: Pauses) -> None:
        """`call_began_s` is the beginning of the call's time line, on the clock that `now` uses."""
        self._zero = samples_at(call_began_s)
        self._open_tape, self._paused = open_tape, paused
        self._caller, self._playback = CallerTrack(), PlaybackTrack()
        self._tape: Tape | None = None
        self._next = 0  # Where the next chunk begins on the time line.
        self._half_lag = 0  # Half a round trip to Twilio, in samples.
        self._began_at = 0
        self._waits = False  # True until `begin` is called.
        self._refused = False
        # The marks that came since the last frame: name, time of arrival, and where the last frame ended.
        self._marks: list[tuple[str, int, int | None]] = []
        self._blanks: list[tuple[int, int | None, str]] = []
        self._closed = False
        self.hearers: list[Hearer] = []  # They get each chunk, except the chunks that `close` writes.

    def _place(self, now: float) -> int:
        return samples_at(now) - self._zero

    # Whether to record

    def start(self, now: float, *, consented: bool, refused: bool = False) -> None:
        """The stream begins. If the notice must be heard first, nothing that is heard before `begin` is recorded."""
        self._began_at = max(0, self._place(now))
        if refused:
            self.refuse(now)
        elif consented:
            self.begin(now)
        else:
            self._paused(self._began_at // SAMPLES_PER_MS, None, NOTICE)
            self._waits = True

    def begin(self, now: float) -> None:
        """The notice was heard, or no notice is needed: record from now on."""
        if self._tape is not None or self._closed or self._refused:
            return
        self._take_marks()
        self._half_lag = self._playback.lag // 2
        self._playback.begin()
        self._next = max(0, self._place(now) - self._half_lag)
        self._caller.begin(self._next)
        self._tape = self._open_tape(self._next)
        if self._waits:
            self._paused(self._began_at // SAMPLES_PER_MS, self._next // SAMPLES_PER_MS, NOTICE)

    def pause(self, why: str, now: float) -> None:
        """Record silence from now on. A pause during a pause changes nothing."""
        if self._closed or (self._blanks and self._blanks[-1][1] is None):
            return
        at = max(self._next, self._place(now) - self._half_lag)
        self._blanks.append((at, None, why))
        self._paused(at // SAMPLES_PER_MS, None, why)

    def resume(self, now: float) -> None:
        """End a pause. If the caller has refused, recording stays silent."""
        if self._blanks and self._blanks[-1][1] is None and not self._refused:
            start, _, why = self._blanks[-1]
            end = max(start, self._place(now) + self._half_lag)
            self._blanks[-1] = (start, end, why)
            self._paused(start // SAMPLES_PER_MS, end // SAMPLES_PER_MS, why)

    def refuse(self, now: float) -> None:
        """The caller wants no recording. Record silence until the end of the call. `resume` does not change that."""
        if not self._refused:
            self.resume(now)
            self.pause(WISH, now)
            self._refused = True

    # What is heard

    def caller(self, frames: Sequence[Frame], now: float) -> None:
        """Frames of the caller have come."""
        at = self._place(now) - self._half_lag
        for frame in frames:
            self._caller.append(frame.mulaw, frame.media_ms, at)
        if self._marks:
            self._take_marks(frame_came=True)
        self.tick(now)

    def played(self, mulaw: bytes, mark: str | None, now: float) -> None:
        """Audio was written to Twilio, followed by a mark."""
        self._playback.played(mulaw, mark, self._place(now))

    def cleared(self, now: float) -> None:
        """A `clear` was written."""
        self._take_marks()
        self._playback.cleared(self._place(now))

    def marked(self, mark: str, now: float) -> None:
        """A mark has come back. The timestamps of the caller's frames before and after it tell when Twilio sent it."""
        self._marks.append((mark, self._place(now), self._caller.heard_to))

    def _take_marks(self, *, frame_came: bool = False) -> None:
        marks, self._marks = self._marks, []
        after = self._caller.heard_to if frame_came else None
        for mark, at, before in marks:
            self._playback.marked(mark, self._undisturbed(at, before, after))

    def _undisturbed(self, at: int, before: int | None, after: int | None) -> int:
        """When a mark would have come without a delay on its way: between the caller's frames before and after it."""
        if before is None or after is None or before >= after:
            return at
        first, last = before + self._half_lag, after + self._half_lag
        if at > last + MARK_JITTER:
            return (first + last) // 2
        return at

    def tick(self, now: float) -> None:
        """Pass on the chunks that no longer change. Most calls of this method cost only one comparison."""
        at = self._place(now)
        if at - self._next < CHUNK_SAMPLES + SETTLE_SAMPLES:
            return
        if self._marks and at - self._marks[0][1] > FRAME_LIMIT:
            self._take_marks()
        if self._tape is None:
            self._next = at
            self._playback.read(at - FORGOTTEN, 0)
            return
        settled = self._playback.settle(at) + self._half_lag
        while self._next + CHUNK_SAMPLES <= settled:
            left, right = self._take(CHUNK_SAMPLES)
            self._tape.write(left, right)
            for hear in self.hearers:
                hear(left, right)

    def _take(self, count: int) -> tuple[bytes, bytes]:
        first = self._next
        left = self._caller.read(count)
        right = self._playback.read(first - self._half_lag, count)
        self._next += count
        for start, end, _ in self._blanks:
            low, high = max(start, first), min(self._next if end is None else end, self._next)
            if low < high:
                gone = SILENCE * (high - low)
                left = left[: low - first] + gone + left[high - first :]
                right = right[: low - first] + gone + right[high - first :]
        return left, right

    # The end

    def close(self, now: float, *, by_caller: bool) -> None:
        """The stream has ended. If `by_caller`, it ended at Twilio, half a round trip before we knew."""
        if self._closed:
            return
        self._closed = True
        self._take_marks()
        at = self._place(now)
        self._playback.cleared(at - self._playback.lag if by_caller else at)
        if self._blanks and self._blanks[-1][1] is None:
            start, _, why = self._blanks[-1]
            self._paused(start // SAMPLES_PER_MS, at // SAMPLES_PER_MS, why)
        if self._tape is None:
            if self._waits:
                self._paused(self._began_at // SAMPLES_PER_MS, at // SAMPLES_PER_MS, NOTICE)
            return
        end = max(self._next, self._caller.end, self._playback.end + self._half_lag, at - self._half_lag)
        while self._next + CHUNK_SAMPLES <= end:
            self._tape.write(*self._take(CHUNK_SAMPLES))
        self._tape.close(*self._take(end - self._next))
