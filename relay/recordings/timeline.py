"""Puts the audio of the caller and of the agent at its place on the call's time line. Pure.

A place is a number of samples (8,000 a second) since the start of the call. `at` is the present moment as a place.

CallerTrack has the caller's audio, placed by Twilio's timestamps. A gap keeps its length.

PlaybackTrack has our audio, placed as Twilio played it to the caller. Audio that is written during silence plays at
once. Audio that is written while other audio plays comes after that audio. A `clear` drops what was not played. A mark
proves that the piece before it was played. The mark also shows when the piece ended: it comes between two frames of the
caller, and these frames have Twilio's timestamps. A piece is settled when its mark has come and the piece is
SETTLE_SAMPLES old. A settled piece is never moved again. If the mark is overdue, the piece is moved to a later place.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SAMPLES_PER_MS = 8
RATE_HZ = 8_000
CHUNK_SAMPLES = 2_000  # 250 ms are passed on and encrypted together.
FRAME_SAMPLES = 160  # 20 ms.
SILENCE = b"\xff"  # Silence in mu-law.

# A gap between Twilio's timestamps that is smaller than this is jitter. In captured calls, the timestamps of two frames
# were wrong by up to 19 ms.
GAP_SAMPLES = 30 * SAMPLES_PER_MS
# A timestamp this far ahead of the clock is wrong. Then the audio is placed by its time of arrival.
AHEAD_SAMPLES = 1_000 * SAMPLES_PER_MS
# After a stall of the network, audio comes in a burst and is placed later than it was said. If audio is placed more
# than this too late, its silent frames are left out until the delay is gone.
BEHIND_SAMPLES = 100 * SAMPLES_PER_MS
QUIET_HEIGHT = 32  # A frame whose peak is below this counts as silent. 127 is the loudest, 32 is -38 dBFS.
_HEIGHT = bytes(127 - (code & 0x7F) for code in range(256))

NEVER = -(1 << 60)

# If the delay of a mark differs from the usual delay by at most this, the piece keeps its planned place. So small a
# difference comes from Twilio's rounding of timestamps.
JITTER_SAMPLES = 6 * SAMPLES_PER_MS
# The usual delay (see `lag`) may grow by 1 ms with each mark. So a delay that has become longer is learned within a
# minute.
USUAL_GROWS = SAMPLES_PER_MS
# The assumed delay of marks until the first mark has come. The real delay to Twilio is shorter.
USUAL_AT_FIRST = 400 * SAMPLES_PER_MS
# A piece this old is settled if its mark has come. This time must be longer than a burst of frames. Bursts of 233 ms
# are normal (docs/protocol/twilio.md 3.3).
SETTLE_SAMPLES = 300 * SAMPLES_PER_MS
# If the mark of a piece has not come for this long, the mark is overdue. The piece is not being played yet, and is
# moved to a later place.
HOLD_SAMPLES = 600 * SAMPLES_PER_MS
# A longer usual delay is not believed.
USUAL_LIMIT = 1_500 * SAMPLES_PER_MS
# If a mark is late by more than this, the peer returns no marks. From then on only the clock is used.
NO_MARKS_SAMPLES = 5_000 * SAMPLES_PER_MS


def samples_at(now: float) -> int:
    """The place of the time `now` (in seconds)."""
    return round(now * RATE_HZ)


class CallerTrack:
    """The caller's audio of one stream."""

    def __init__(self) -> None:
        # The place of timestamp 0. It is the earliest place that fits the arrivals so far.
        self._offset: int | None = None
        self.heard_to: int | None = None  # Where the last frame ends on the time line.
        self._from: int | None = None  # Audio before this place is dropped.
        self._taken_to = 0  # Audio before this place was read.
        self._audio_to = 0  # Where the received audio ends.
        self._mulaw = bytearray()  # The audio that was not read yet.

    @property
    def end(self) -> int:
        """Where the received audio ends, or where reading has ended if that is later."""
        return self._taken_to + len(self._mulaw)

    def begin(self, place: int) -> None:
        """Keep audio from this place on. Earlier audio is not kept anywhere."""
        self._from = self._taken_to = place

    def append(self, mulaw: bytes, media_ms: int, at: int) -> None:
        """Add audio that has just come, with Twilio's timestamp."""
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
            # Only whole frames count as missing, because timestamps are exact only to some ms.
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
        """The next `count` samples, with silence where no audio came."""
        mulaw = bytes(self._mulaw[:count])
        del self._mulaw[:count]
        self._taken_to += count
        return mulaw + SILENCE * (count - len(mulaw))


@dataclass(slots=True)
class Piece:
    """Audio that was written together, and the place at which it was probably played."""

    mulaw: bytes
    mark: str | None
    planned: int  # The place if nothing delays the playback.
    start: int  # The place as far as it is known now.
    late: int = 0  # How much later than planned it is played, in samples.
    proved: bool = False  # True if the piece was surely played, or if it has no mark.
    moved: bool = False  # True if the mark is overdue. The piece is then not being played yet.
    follows: bool = False  # True if the piece was written before the previous piece had been played.

    @property
    def end(self) -> int:
        return self.start + len(self.mulaw)


class PlaybackTrack:
    """Our audio that the caller hears on one stream."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._marks: dict[str, Piece] = {}
        self._planned_to = NEVER
        self._played_to = NEVER  # The end of the last piece that was read and removed.
        self._settled_to = NEVER
        self._usual: int | None = None
        self._base: int | None = None  # The usual delay when recording began. `late` is measured from it.
        self._trusts_clock = False

    @property
    def lag(self) -> int:
        """The usual delay from the end of a piece to its mark, in samples. It is the delay to Twilio and back."""
        return min(self._usual or 0, USUAL_LIMIT)

    def begin(self) -> None:
        """Recording begins. From now on a piece stays at its planned place if its mark takes the usual time."""
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
        """A mark came back. `at` is when the mark would have come without a delay on its way."""
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
        """Correct the places of earlier pieces. A playback never catches up.

        So if this piece was not late, the pieces that played directly before it were not late either.
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
        """Compute the place of every piece that is not settled, in order."""
        end = self._played_to
        for piece in self._pieces:
            if piece.start >= self._settled_to:
                piece.start = max(piece.planned + piece.late, end, self._settled_to)
            end = piece.end

    def cleared(self, at: int) -> None:
        """A `clear` was written. Drop the audio that was not played by now."""
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
        """Settle pieces. Returns the place before which nothing changes any more."""
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
        """The mark of this piece is overdue. So this piece and all later pieces still wait at Twilio. Move them."""
        if piece.start < self._settled_to:  # The beginning of the piece was read already.
            piece.proved = True
            return
        piece.late, piece.moved = to - piece.planned, True
        if piece.late > NO_MARKS_SAMPLES:
            self._trusts_clock = True
        self._settled_to = max(self._settled_to, to)
        self._place()

    def read(self, first: int, count: int) -> bytes:
        """`count` samples from `first` on, with silence where nothing is played. Pieces before `first` are dropped."""
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
