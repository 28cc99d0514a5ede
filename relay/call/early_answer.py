"""Keeps the caller's open turn and its early answer, which is asked for before the turn has certainly ended.

The server's VAD makes an item of the speech after a silence of VAD_SILENCE_MS. People pause for longer than that inside
a turn, so the caller may go on: the turn is open. But the relay asks for the answer at once. Until the turn has ended,
the caller does not hear this answer, and its functions do not run. If the caller goes on, the answer is taken back: it
is cancelled and deleted. The VAD may make several items of one turn. These items are the pieces of the turn. Together
they have one row and one answer.

    CLOSED   no turn is open
    OPEN     a piece of a turn is an item, and the silence after it is not long enough yet
    ASKED    a turn is open, and its early answer was asked for or is coming

    event                            CLOSED          OPEN                        ASKED
    speech becomes an item           OPEN            one more piece              taken back: OPEN, one more piece
    an answer may be asked for       (not early)     ASKED, if it may be early   -
    the VAD hears speech begin       -               the turn goes on            taken back: OPEN
    sound of the early answer        -               -                           withheld
    the answer calls a function      -               -                           held
    the agent is cut off             -               -                           taken back: OPEN
    the session is lost              -               -                           taken back: OPEN
    the silence is long enough       -               CLOSED: ask now             CLOSED: heard, functions run
    only our level hears a sound     -               the silence counts          the silence counts

turn_end.py decides how much silence is enough. More silence is needed if the answer has not come after ON_TIME_MS. The
silence is measured by our own level: the level of the caller's audio, in which level_vad.py finds the caller's voice.
If our level hears sound after the item, but the server reports no speech within NO_SPEECH_MS, that sound is noise. Then
the silence counts from the moment at which, for the server's VAD, the silence began. If no frames come, our level
cannot measure the silence, and the turn ends after NO_FRAMES_S.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.call.early_governor import Governor, reads_out
from relay.call.response_queue import Wish
from relay.call.turn_end import (
    BEGINNING_WAIT_MS,
    FUNCTION_WAIT_MS,
    GOES_ON_MS,
    LATE_WAIT_MS,
    ON_TIME_MS,
    READING_WAIT_MS,
    WAIT_MS,
    TurnLengths,
)
from relay.call.vocabulary import FunctionAsked, ItemId, ResponseId

# After this much silence the VAD makes an item of the speech. Pauses inside words last up to 120 ms. So with a much
# shorter silence, more early answers would reply to half words. With 200 ms, the median answer comes 15 ms later
# (docs/early-answers.md has the table).
VAD_SILENCE_MS = 170
# A VAD usually reports speech within 100 to 300 ms. So if the server has reported no speech this long after our level
# began to hear a sound, the sound counts as noise.
NO_SPEECH_MS = 300
# The time to the server and back. If our level heard its last sound more than this before the end of speech that the
# server's VAD reports, it has missed the last words.
ROUND_TRIP_MS = 150
# Our own level may hear a soft end of a word that the server's VAD does not hear. If this soft end lasts at most this
# long, the silence begins where the server's VAD says. If it lasts longer, its last SOFT_END_MS count as silence.
SOFT_END_MS = 40
# A frame may come up to this much too early. So by the clock a silence may be up to this much shorter than the sum of
# its frames.
JITTER_MS = 15
# If no frame has come for this long (a muted line, a stall), the turn ends, because the silence cannot be measured.
NO_FRAMES_S = 0.5


@dataclass(slots=True)
class OpenTurn:
    """A turn of the caller that may still continue."""

    began_at: float  # When the turn began, by our own level (Trio clock).
    stopped_at: float  # When the server's VAD reported the end of the newest piece (Trio clock).
    # When our own level heard the first sound after `stopped_at`. None until it hears one.
    sounds_since: float | None = None
    pieces: list[ItemId] = field(default_factory=list)  # The turn's items. Items that were noises are removed.
    heard_at: float = 0.0  # When the newest frame or piece came.
    wants_answer: bool = False
    # True if the agent has asked for digits or letters, or the caller reads some out. Then more may come.
    reads_out: bool = False
    # True if the turn began while the caller waited for a function. Then WAIT_MS is the usual wait.
    in_function: bool = False
    is_late: bool = False  # True if its early answer had not come after ON_TIME_MS of silence.


@dataclass(slots=True)
class EarlyAnswer:
    """Keeps the caller's open turn and its early answer. There is at most one of each. Times are of the Trio clock."""

    is_on: bool  # False: a turn ends when the server's VAD makes an item of it.
    turn: OpenTurn | None = None
    response: ResponseId | None = None  # The early answer, once the model has begun it.
    governor: Governor = field(default_factory=Governor)
    _began_at: float = 0.0  # When the newest speech began.
    _asked_ref: str = ""  # The reference of an early answer that the model has not begun.
    _back_ref: str = ""  # The reference of an early answer that was taken back before the model began it.
    _items: list[ItemId] = field(default_factory=list)  # The items of the early answer.
    _held: list[FunctionAsked] = field(default_factory=list)  # Function calls of the early answer. They must wait.
    _taken_back: set[ResponseId] = field(default_factory=set)
    _lengths: TurnLengths = field(default_factory=TurnLengths)
    _closed_at: float = 0.0  # When the last turn ended.

    @property
    def is_asked(self) -> bool:
        """True while a turn is open and its early answer was asked for or has begun. Nobody may hear it yet."""
        return self.turn is not None and (bool(self._asked_ref) or self.response is not None)

    # The turn

    @property
    def piece_before(self) -> ItemId | None:
        """The newest piece of the open turn. None if no turn is open.

        What the caller says now belongs to the turn of this piece.
        """
        return self.turn.pieces[-1] if self.turn is not None and self.turn.pieces else None

    def goes_on(self, at: float) -> bool:
        """The VAD hears speech begin. By our own level the speech began at `at`.

        Returns True if an early answer must be taken back.
        """
        self._began_at = at
        if self.turn is None and at - self._closed_at < GOES_ON_MS / 1000:
            self._lengths.was_none()
        return self.is_asked

    def piece(
        self, item_id: ItemId, now: float, *, reads_out: bool, in_function: bool, sounds: bool, wants_answer: bool
    ) -> bool:
        """Speech became an item: it begins a turn, or is one more piece of the open turn.

        Returns True if the turn wants an answer. `reads_out`: the agent has asked for digits or letters. `in_function`:
        the caller waits for a function. `reads_out` and `in_function` count only if the turn begins now. `sounds`: our
        own level hears a voice now. `wants_answer`: this piece alone wants an answer.
        """
        if self.turn is None:
            began_at = min(now, self._began_at or now)
            self.turn = OpenTurn(began_at, now, reads_out=reads_out, in_function=in_function)
        self.turn.pieces.append(item_id)
        self.turn.stopped_at, self.turn.sounds_since = now, now if sounds else None
        self.turn.is_late = False
        self.turn.heard_at = now
        self.turn.wants_answer = self.turn.wants_answer or wants_answer
        return self.turn.wants_answer

    def was_nothing(self, item_id: ItemId) -> None:
        """A piece of the turn was a noise. If the turn has no other piece, it wants no answer."""
        if self.turn is not None and item_id in self.turn.pieces:
            self.turn.pieces.remove(item_id)
            self.turn.wants_answer = self.turn.wants_answer and bool(self.turn.pieces)

    @staticmethod
    def _silent_since(turn: OpenTurn, loud_at: float) -> float:
        """When the caller became silent after the turn's last words. `loud_at`: when our own level heard sound last."""
        by_server = turn.stopped_at - VAD_SILENCE_MS / 1000
        if loud_at < by_server - ROUND_TRIP_MS / 1000:
            return by_server  # Our level has missed the last words: the voice was soft, or like noise.
        loud_at = min(loud_at, turn.stopped_at)
        return max(min(loud_at, by_server), loud_at - SOFT_END_MS / 1000)

    def _spoken_ms(self, turn: OpenTurn, loud_at: float) -> float:
        return (self._silent_since(turn, loud_at) - turn.began_at) * 1000

    def _wait_ms(self, turn: OpenTurn, loud_at: float, *, is_here: bool) -> int:
        if not self.is_asked and (turn.reads_out or self.governor.why_off):
            return READING_WAIT_MS if turn.reads_out else LATE_WAIT_MS
        if turn.reads_out:
            return BEGINNING_WAIT_MS
        if turn.in_function:
            return WAIT_MS
        is_late = self.is_asked and (turn.is_late or not is_here)
        wait_ms = self._lengths.wait_ms(self._spoken_ms(turn, loud_at))
        wait_ms = max(wait_ms, BEGINNING_WAIT_MS) if is_late else wait_ms
        return min(wait_ms, FUNCTION_WAIT_MS) if self._held else wait_ms

    def words_are(self, item_id: ItemId, words: str) -> None:
        """The words of a piece have come. Note whether the caller reads out digits or letters."""
        if self.turn is not None and item_id in self.turn.pieces and reads_out(words):
            self.turn.reads_out = True

    def hear(self, now: float, *, sounds: bool) -> None:
        """A frame came while the turn is open. `sounds`: our own level hears sound in it."""
        if self.turn is None:
            return
        self.turn.heard_at = now
        if sounds and self.turn.sounds_since is None:
            self.turn.sounds_since = now

    def is_over(self, now: float, loud_at: float, quiet_ms: float, *, is_here: bool) -> bool:
        """True if the silence is long enough. `loud_at`: when our own level heard the last sound.

        `quiet_ms`: the length of all frames since that sound. `is_here`: sound of the early answer has come, or the
        early answer calls a function.
        """
        turn = self.turn
        if turn is None:
            return False
        silent_ms = self._silent_ms(turn, now, loud_at, quiet_ms)
        turn.is_late = turn.is_late or (silent_ms > ON_TIME_MS and not is_here)
        return silent_ms >= self._wait_ms(turn, loud_at, is_here=is_here)

    def _silent_ms(self, turn: OpenTurn, now: float, loud_at: float, quiet_ms: float) -> float:
        """How long the caller has been silent."""
        if turn.sounds_since is not None:
            by_server = turn.stopped_at - VAD_SILENCE_MS / 1000
            return (now - by_server) * 1000 if now >= turn.sounds_since + NO_SPEECH_MS / 1000 else 0.0
        silent_ms = (now - self._silent_since(turn, loud_at)) * 1000
        return min(quiet_ms + SOFT_END_MS, silent_ms + JITTER_MS)

    def is_overdue(self, now: float) -> bool:
        """True if no frame has come for NO_FRAMES_S, so our own level cannot measure the silence."""
        return self.turn is not None and now - self.turn.heard_at >= NO_FRAMES_S

    def close(self, now: float, loud_at: float) -> tuple[OpenTurn | None, ResponseId | None, list[FunctionAsked]]:
        """The turn has ended. `loud_at`: when our own level heard the last sound.

        Returns the turn, its early answer if the model has begun it, and that answer's functions, which must run now.
        """
        closed = self.turn, self.response, self._held
        if self.turn is not None and self.turn.wants_answer:
            self._lengths.ended(self._spoken_ms(self.turn, loud_at))
        self._closed_at = now
        self.turn, self.response, self._asked_ref = None, None, ""
        self._held, self._items = [], []
        return closed

    # The early answer

    def may_ask(self, wish: Wish | None) -> bool:
        """True if the model may be asked for this answer (`wish`) now.

        While a turn is open, the model may be asked only for the answer to this turn. This answer must wait, too, if
        the governor has stopped early answers, or if the caller reads something out.
        """
        if self.turn is None:
            return True
        is_its_answer = wish is not None and wish.kind == "turn" and wish.instructions is None
        return is_its_answer and not self.governor.why_off and not self.turn.reads_out

    def lost(self) -> None:
        """The session has ended, so an answer that was taken back will not begin any more."""
        self._back_ref = ""

    def asks(self, ref: str) -> None:
        """An answer was asked for while the turn is open: it is an early answer."""
        self._asked_ref = ref
        self.governor.was_asked()

    def began(self, response_id: ResponseId, ref: str | None) -> None:
        """The model began an answer. Note whether this is the early answer.

        If the server sends no reference (`ref`), the answer counts as the one that was asked for last.
        """
        if self._asked_ref and ref in (None, self._asked_ref):
            self.response, self._asked_ref = response_id, ""
        elif self._back_ref and ref in (None, self._back_ref):
            self._taken_back.add(response_id)
            self._back_ref = ""

    def refused(self, ref: str | None) -> None:
        """The server refused a request for a response. Forget the request, if it was for an early answer."""
        if ref is None:
            return
        if ref == self._asked_ref:
            self._asked_ref = ""
        if ref == self._back_ref:
            self._back_ref = ""

    @property
    def calls_function(self) -> bool:
        """True if the early answer calls a function, which is held."""
        return bool(self._held)

    def is_early(self, response_id: ResponseId) -> bool:
        """True for the early answer of a turn that is still open."""
        return self.turn is not None and self.response == response_id

    def placed(self, item_id: ItemId, *, is_generated: bool) -> None:
        """The server has placed an item.

        If the model generated the item during the early answer, the item belongs to this answer.
        """
        if is_generated and self.is_asked and self.response is not None and item_id not in self._items:
            self._items.append(item_id)

    def called(self, event: FunctionAsked) -> Literal["now", "held", "never"]:
        """A response calls a function.

        Returns whether this function may run now, is held until the turn has ended, or never runs. It never runs if the
        early answer was taken back. But if the server has not named the item of the function call, the item cannot
        be deleted. Then the result is "now", and response_queue.py refuses the function, so that the model gets an
        output.
        """
        if event.item_id and event.response_id in self._taken_back:
            return "never"
        if not self.is_early(event.response_id):
            return "now"
        if all(held.function_call_id != event.function_call_id for held in self._held):
            self._held.append(event)
        return "held"

    def take_back(self) -> tuple[ResponseId | None, list[ItemId], list[FunctionAsked]]:
        """Forget the early answer: it is taken back.

        Returns its id if the model has begun it, its items, and its functions. These functions did not run.
        """
        response, items, held = self.response, self._items, self._held
        self.governor.was_taken_back()
        self._back_ref, self._asked_ref = self._asked_ref, ""
        self.response, self._items, self._held = None, [], []
        if response is not None:
            self._taken_back.add(response)
        return response, items, held

    def was_taken_back(self, response_id: ResponseId) -> bool:
        """True for an early answer that was taken back. Nobody hears it."""
        return response_id in self._taken_back
