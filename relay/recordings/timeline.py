"""What both sides of a call heard, with each piece at its place on the call's time line. Pure.

Places are counted in samples (8,000 a second) from the start of the call. `at` is the present moment in samples.

CallerTrack    The caller as received, placed by Twilio's timestamps. A gap keeps its length.
PlaybackTrack  What the caller heard of us, on Twilio's playback clock. Audio that is written during silence plays at
               once. Audio that is written while something plays comes after it. A `clear` drops what was not played.
               A mark proves that its piece was played. It also shows when: it comes between two of the caller's frames,
               and Twilio itself wrote their timestamps. So a piece is settled (never moved again) only when its mark
               has come or is overdue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SAMPLES_PER_MS = 8
RATE_HZ = 8_000
CHUNK_SAMPLES = 2_000  # 250 ms: the amount that is handed on and encrypted together.
FRAME_SAMPLES = 160  # 20 ms.
SILENCE = b"\xff"  # Mu-law zero.

# A smaller step of Twilio's timestamps is jitter. In captures two frames were up to 19 ms off.
GAP_SAMPLES = 30 * SAMPLES_PER_MS
# A timestamp this far ahead of the clock is wrong. Its audio is placed by its arrival.
AHEAD_SAMPLES = 1_000 * SAMPLES_PER_MS
# After a stall, audio comes in a burst and is placed later than it was said. If it is this late, its silence is left
# out until the delay is gone.
BEHIND_SAMPLES = 100 * SAMPLES_PER_MS
QUIET_HEIGHT = 32  # Of 127: about -48 dBFS.
_HEIGHT = bytes(127 - (code & 0x7F) for code in range(256))

NEVER = -(1 << 60)

# A mark is exact to 10 ms (half a frame). A smaller delay comes from Twilio's rounding.
JITTER_SAMPLES = 6 * SAMPLES_PER_MS
# The usual delay may grow by 1 ms with each mark. So a longer way is learned within a minute.
USUAL_GROWS = SAMPLES_PER_MS
# The delay of marks until the first one has come. Twilio's delay is below this.
USUAL_AT_FIRST = 400 * SAMPLES_PER_MS
# A piece this old is settled if its mark has come. Bursts of 233 ms are normal (docs/protocol/twilio.md 3.3).
SETTLE_SAMPLES = 300 * SAMPLES_PER_MS
# A piece this old is settled in any case. If its mark has not come by then, it is not being played yet, and it is moved
# to a later place.
HOLD_SAMPLES = 600 * SAMPLES_PER_MS
USUAL_LIMIT = 1_500 * SAMPLES_PER_MS
# No mark for this long means: this peer returns no marks. Then only the clock is used.
NO_MARKS_SAMPLES = 5_000 * SAMPLES_PER_MS


def samples_at(now: float) -> int:
    """The sample that the clock has reached at `now` (in seconds)."""
    return round(now * RATE_HZ)


class CallerTrack:
    """The caller's audio of one stream."""

    def __init__(self) -> None:
        self._offset: int | None = None  # The place of timestamp 0: the earliest one that any arrival allows.
        self.heard_to: int | None = None  # Where the last frame ends on the time line.
        self._from: int | None = None  # Nothing before this place is taken.
        self._taken_to = 0  # Everything before this place was read.
        self._audio_to = 0  # The end of the last audio.
        self._mulaw = bytearray()  # The audio from _taken_to on.

    @property
    def end(self) -> int:
        """Where the received audio ends."""
        return self._taken_to + len(self._mulaw)

    def begin(self, place: int) -> None:
        """Take audio from this place on. Earlier audio is not kept anywhere."""
        self._from = self._taken_to = place

    def append(self, mulaw: bytes, media_ms: int, at: int) -> None:
        """Audio that has just come, with Twilio's timestamp."""
        offset = at - len(mulaw) - media_ms * SAMPLES_PER_MS
        if self._offset is None or offset < self._offset:
            self._offset = offset
        target = media_ms * SAMPLES_PER_MS + self._offset
        self.heard_to = target + len(mulaw)
        if self._from is None:
            return
        if not self._audio_to:
            if target < self._from:
                return
            self._put(target, mulaw)
            return
        gap = target - self._audio_to
        if gap > AHEAD_SAMPLES and target > at + AHEAD_SAMPLES:
            self._offset = offset
            gap = at - len(mulaw) - self._audio_to
        if gap >= GAP_SAMPLES:
            # Only whole frames count as missing: timestamps are exact only to some milliseconds.
            self._put(self._audio_to + (gap + FRAME_SAMPLES // 2) // FRAME_SAMPLES * FRAME_SAMPLES, mulaw)
        elif self.end - target > BEHIND_SAMPLES and max(mulaw.translate(_HEIGHT), default=0) < QUIET_HEIGHT:
            return
        else:
            self._put(self._audio_to, mulaw)

    def _put(self, place: int, mulaw: bytes) -> None:
        missing = place - self.end
        if missing > 0:
            self._mulaw += SILENCE * missing
        self._mulaw += mulaw
        self._audio_to = self.heard_to = self.end

    def read(self, count: int) -> bytes:
        """The next `count` samples. Where nothing came, there is silence."""
        mulaw = bytes(self._mulaw[:count])
        del self._mulaw[:count]
        self._taken_to += count
        return mulaw + SILENCE * (count - len(mulaw))


@dataclass(slots=True)
class Piece:
    """Audio that was written at once, and the place at which it was probably played."""

    mulaw: bytes
    mark: str | None
    planned: int  # The piece's place if nothing delays the playback.
    start: int
    late: int = 0
    proved: bool = False
    moved: bool = False  # True if the mark of the piece is overdue: the piece is not being played yet.
    follows: bool = False  # True if the piece was written before the previous piece had been played.

    @property
    def end(self) -> int:
        return self.start + len(self.mulaw)


class PlaybackTrack:
    """What the caller of one stream hears of us."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._marks: dict[str, Piece] = {}
        self._planned_to = NEVER
        self._played_to = NEVER  # The end of the pieces that were dropped.
        self._settled_to = NEVER
        self._usual: int | None = None
        self._base: int | None = None  # The delay by which pieces are placed, as soon as recording has begun.
        self._trusts_clock = False

    @property
    def lag(self) -> int:
        """The usual number of samples from the end of a piece to its mark: the way to Twilio and back."""
        return min(self._usual or 0, USUAL_LIMIT)

    def begin(self) -> None:
        """From now on places count. A piece is at its planned place if its mark takes the usual time."""
        self._base = self.lag

    def played(self, mulaw: bytes, mark: str | None, at: int) -> None:
        """Audio was written to Twilio, with a mark after it."""
        last_end = self._pieces[-1].end if self._pieces else self._played_to
        follows = self._planned_to >= at
        planned = max(at, self._planned_to)
        piece = Piece(mulaw, mark, planned, max(planned, last_end), proved=mark is None, follows=follows)
        self._planned_to = planned + len(mulaw)
        self._pieces.append(piece)
        if mark is not None:
            self._marks[mark] = piece

    def marked(self, name: str, at: int) -> None:
        """A mark came back. `at` is when it would have come without delay on its way."""
        piece = self._marks.pop(name, None)
        if piece is None:
            return
        lag = at - piece.planned - len(piece.mulaw)
        self._usual = max(0, lag if self._usual is None else min(lag, self._usual + USUAL_GROWS))
        late = lag - (self._usual if self._base is None else self._base)
        piece.proved, piece.moved, piece.late = True, False, late if abs(late) > JITTER_SAMPLES else 0
        self._hindsight(piece)
        self._place()

    def _hindsight(self, piece: Piece) -> None:
        """Correct earlier pieces.

        A playback never catches up, so the piece that played just before was not later than this one.
        """
        pieces = list(self._pieces)
        if piece not in pieces:
            return
        at = next(i for i, one in enumerate(pieces) if one is piece)
        while at > 0 and pieces[at].follows:
            before = pieces[at - 1]
            before.late = min(before.late, pieces[at].late)
            before.proved = True  # Marks come back in order.
            at -= 1

    def _place(self) -> None:
        """Put every piece that is not settled at its place, in order."""
        end = self._played_to
        for piece in self._pieces:
            if piece.start >= self._settled_to:
                piece.start = max(piece.planned + piece.late, end, self._settled_to)
            end = piece.end

    def cleared(self, at: int) -> None:
        """Audio that was not played by now is never heard."""
        while self._pieces:
            piece = self._pieces[-1]
            if not piece.moved and piece.start < at:
                break
            self._pieces.pop()
        if self._pieces and self._pieces[-1].end > at:
            last = self._pieces[-1]
            last.mulaw = last.mulaw[: at - last.start]
        for piece in self._pieces:
            piece.proved = True
        self._marks.clear()
        self._planned_to = min(self._planned_to, at)

    def settle(self, at: int) -> int:
        """The place up to which nothing changes any more."""
        usual = USUAL_AT_FIRST if self._usual is None and self._marks else self.lag
        settled, latest = at - SETTLE_SAMPLES - usual, at - HOLD_SAMPLES - usual
        for piece in self._pieces:
            if piece.start >= settled:
                break
            if piece.proved or self._trusts_clock:
                continue
            if piece.start >= latest:
                settled = piece.start
            else:
                self._move_on(piece, latest)
                settled = latest
            break
        self._settled_to = max(self._settled_to, settled)
        return self._settled_to

    def _move_on(self, piece: Piece, to: int) -> None:
        """The mark of this piece is overdue. So the piece and all pieces after it are still waiting at Twilio."""
        if piece.start < self._settled_to:  # A part of the piece was written already.
            piece.proved = True
            return
        piece.late, piece.moved = to - piece.planned, True
        if piece.late > NO_MARKS_SAMPLES:
            self._trusts_clock = True
        self._settled_to = max(self._settled_to, to)
        self._place()

    def read(self, first: int, count: int) -> bytes:
        """`count` samples from `first` on. Where nothing is played, there is silence. Everything before is dropped."""
        while self._pieces and self._pieces[0].end <= first:
            piece = self._pieces.popleft()
            self._played_to = piece.end
            if not piece.proved and piece.mark is not None:
                self._marks.pop(piece.mark, None)
        if not self._pieces or self._pieces[0].start >= first + count:
            return SILENCE * count
        out = bytearray(SILENCE * count)
        for piece in self._pieces:
            low, high = max(first, piece.start), min(first + count, piece.end)
            if low < high:
                out[low - first : high - first] = piece.mulaw[low - piece.start : high - piece.start]
        return bytes(out)

    @property
    def end(self) -> int:
        """Where the last piece ends."""
        return self._pieces[-1].end if self._pieces else self._played_to
