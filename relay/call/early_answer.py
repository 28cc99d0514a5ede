"""Early answers: the caller's turn is answered before the silence is long enough to end it.

The server's VAD reports a silence after VAD_SILENCE_MS. This does not end a turn, because
people pause to breathe. But the answer is asked for at once. Until the turn has ended, nothing of the answer counts:
its sound is withheld, and its functions do not run. If the caller goes on, the answer is taken back. Then nobody has
heard this answer, and nothing was done for it. The VAD may cut a turn into pieces. These pieces are one turn: one row,
one answer.

    CLOSED   by the VAD, the caller speaks, or has said nothing that may go on
    OPEN     a piece of a turn is an item, and the silence after it is not long enough yet
    ASKED    as OPEN, and an early answer was asked for or is coming

    event                          CLOSED          OPEN                       ASKED
    speech becomes an item         OPEN            one more piece of it       one more piece of it
    an answer may be asked for     (not early)     ASKED, if it may be early  -
    the VAD hears speech begin     -               the turn goes on           taken back: OPEN
    sound of the early answer      -               -                          withheld
    it calls a function            -               -                          held
    the agent is cut off, leaves   -               -                          taken back: OPEN
    the session is lost            -               -                          taken back: OPEN
    the silence is long enough     -               CLOSED: ask now            CLOSED: heard, functions run
    the VAD hears noise (idle)     -               the silence counts         the silence counts

turn_end.py decides how much silence is enough. Our own level (level_vad.py) measures the silence. Our level may hear
sound after the silence that the server has reported. If the server does not report speech within NO_SPEECH_MS, that
sound is noise. Then the server's silence counts instead. If no frames come, our level can hear nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.call.early_governor import Governor, reads_out
from relay.call.response_queue import Wish
from relay.call.turn_end import (
    BEGINNING_WAIT_MS,
    GOES_ON_MS,
    LATE_WAIT_MS,
    READING_WAIT_MS,
    WAIT_MS,
    TurnLengths,
)
from relay.call.vocabulary import FunctionAsked, ItemId, ResponseId

# This much silence ends a piece of a turn. Pauses inside words are up to 120 ms, so a shorter silence is not worth an
# answer. With 200 ms (OpenAI's own default) there are 8 fewer early answers in every 100, but all answers come 30 ms
# later. For the same median only 20 of 100 turns could then wait longer, not 33 (turn_end.py), and more callers would
# be cut off (docs/early-answers.md).
VAD_SILENCE_MS = 170
# A VAD reports speech within 100 ms of its beginning, and the report needs a round trip. A sound that our level has
# heard for this long, and that the server has not reported, is not speech.
NO_SPEECH_MS = 300
# The time to the server and back. The server reports the end of speech late: by the silence that it waits for, and by
# this time.
ROUND_TRIP_MS = 150
# Our level may hear a soft end of speech for this much longer than the server's VAD. Then the server's silence counts,
# as with ANSWER_EARLY=off.
SOFT_END_MS = 40
# A frame may come this much earlier than 20 ms after the frame before it.
JITTER_MS = 15
# If no frame has come for this long (a muted line, a stall), our level hears nothing. Then the server's silence counts.
NO_FRAMES_S = 0.5


@dataclass(slots=True)
class OpenTurn:
    """A turn of the caller that may still go on."""

    began_at: float  # When it began by our own level, Trio clock.
    stopped_at: float  # When the server reported the silence, Trio clock.
    sounds_since: float | None = None  # Since when our level has heard sound after that silence.
    pieces: list[ItemId] = field(default_factory=list)  # Its items, without those that were noises.
    heard_at: float = 0.0  # When the newest frame came.
    wants_answer: bool = False
    reads_out: bool = False  # True if its words are digits or letters: more will come.
    in_function: bool = False  # True if it began while a function was awaited: then nobody may wait long.


@dataclass(slots=True)
class EarlyAnswer:
    """The caller's open turn and its early answer. There is at most one of each. Times are of the Trio clock."""

    is_on: bool  # False: a turn ends when it becomes an item, by the server's VAD.
    turn: OpenTurn | None = None
    response: ResponseId | None = None  # The early answer, when it has begun.
    governor: Governor = field(default_factory=Governor)
    _began_at: float = 0.0  # When the newest speech began.
    _asked_ref: str = ""  # The reference of an early answer that has not begun.
    _back_ref: str = ""  # The reference of one that was taken back before it began.
    _items: list[ItemId] = field(default_factory=list)  # The items that the server made of the early answer.
    _held: list[FunctionAsked] = field(default_factory=list)
    _taken_back: set[ResponseId] = field(default_factory=set)
    _lengths: TurnLengths = field(default_factory=TurnLengths)
    _closed_at: float = 0.0  # when the last turn ended

    @property
    def is_asked(self) -> bool:
        """True while an early answer was asked for or has come, and nobody may hear it yet."""
        return self.turn is not None and (bool(self._asked_ref) or self.response is not None)

    # The turn

    @property
    def piece_before(self) -> ItemId | None:
        """A piece of the open turn. The caller's present words are one more piece of the same turn."""
        return self.turn.pieces[-1] if self.turn is not None and self.turn.pieces else None

    def goes_on(self, at: float) -> bool:
        """The VAD hears speech, which began at `at` by our own level. True if an early answer must be taken back."""
        self._began_at = at
        if self.turn is None and at - self._closed_at < GOES_ON_MS / 1000:
            self._lengths.was_none()
        return self.is_asked

    def piece(
        self, item_id: ItemId, now: float, *, reads_out: bool, in_function: bool, sounds: bool, wants_answer: bool
    ) -> bool:
        """Speech became an item: a turn, or one more piece of the open one. True if the turn wants an answer.

        `reads_out` and `in_function` count if it begins a turn: the agent has asked for digits or letters, or the
        caller waits for a function. `sounds`: our level hears somebody. `wants_answer`: this piece is worth an answer.
        """
        if self.turn is None:
            began_at = min(now, self._began_at or now)
            self.turn = OpenTurn(began_at, now, reads_out=reads_out, in_function=in_function)
        self.turn.pieces.append(item_id)
        self.turn.stopped_at, self.turn.sounds_since = now, now if sounds else None
        self.turn.heard_at = now
        self.turn.wants_answer = self.turn.wants_answer or wants_answer
        return self.turn.wants_answer

    def was_nothing(self, item_id: ItemId) -> None:
        """A piece of the turn was a noise. If no other piece is left, the turn wants no answer."""
        if self.turn is not None and item_id in self.turn.pieces:
            self.turn.pieces.remove(item_id)
            self.turn.wants_answer = self.turn.wants_answer and bool(self.turn.pieces)

    @staticmethod
    def _silent_since(turn: OpenTurn, loud_at: float) -> float:
        """When the silence after the turn began. `loud_at`: the last sound by our level."""
        by_server = turn.stopped_at - VAD_SILENCE_MS / 1000
        if loud_at < by_server - ROUND_TRIP_MS / 1000:
            return by_server  # our level has missed the last words (a soft voice, or one that it takes for noise)
        loud_at = min(loud_at, turn.stopped_at)
        return max(min(loud_at, by_server), loud_at - SOFT_END_MS / 1000)

    def _spoken_ms(self, turn: OpenTurn, loud_at: float) -> float:
        return (self._silent_since(turn, loud_at) - turn.began_at) * 1000

    def _wait_ms(self, turn: OpenTurn, loud_at: float) -> int:
        if not self.is_asked and (turn.reads_out or self.governor.why_off):
            return READING_WAIT_MS if turn.reads_out else LATE_WAIT_MS
        if turn.reads_out:
            return BEGINNING_WAIT_MS
        if turn.in_function:
            return WAIT_MS
        return self._lengths.wait_ms(self._spoken_ms(turn, loud_at))

    def words_are(self, item_id: ItemId, words: str) -> None:
        """The words of a piece are known while the turn is open."""
        if self.turn is not None and item_id in self.turn.pieces and reads_out(words):
            self.turn.reads_out = True

    def hear(self, now: float, *, sounds: bool) -> None:
        """A frame came while the turn is open. `sounds`: our level hears something in it."""
        if self.turn is None:
            return
        self.turn.heard_at = now
        if sounds and self.turn.sounds_since is None:
            self.turn.sounds_since = now

    def is_over(self, now: float, loud_at: float, quiet_ms: float) -> bool:
        """True if the silence is long enough. `loud_at` is the time of the last sound, by our level.

        `quiet_ms` is the length of the silent frames since then.
        """
        turn = self.turn
        if turn is None:
            return False
        wait_ms = self._wait_ms(turn, loud_at)
        if turn.sounds_since is not None:
            by_server = turn.stopped_at - VAD_SILENCE_MS / 1000
            return now >= max(by_server + wait_ms / 1000, turn.sounds_since + NO_SPEECH_MS / 1000)
        silent_s = now - self._silent_since(turn, loud_at)
        return quiet_ms >= wait_ms - SOFT_END_MS and silent_s >= (wait_ms - JITTER_MS) / 1000

    def is_overdue(self, now: float) -> bool:
        """True if frames no longer show whether the caller is silent, and the server has reported no speech."""
        return self.turn is not None and now - self.turn.heard_at >= NO_FRAMES_S

    def close(self, now: float, loud_at: float) -> tuple[OpenTurn | None, ResponseId | None, list[FunctionAsked]]:
        """The turn has ended. `loud_at`: the last sound by our level.

        Returns the turn, its early answer if that has begun, and the functions of that answer, which must run now.
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
        """True if this wish may be asked for now. While a turn is open, only its answer may."""
        if self.turn is None:
            return True
        is_its_answer = wish is not None and wish.kind == "turn" and wish.instructions is None
        return is_its_answer and not self.governor.why_off and not self.turn.reads_out

    def lost(self) -> None:
        """The session has ended, so the early answer will not begin."""
        self._back_ref = ""

    def asks(self, ref: str) -> None:
        """An answer was asked for while the turn is open."""
        self._asked_ref = ref
        self.governor.was_asked()

    def began(self, response_id: ResponseId, ref: str | None) -> None:
        """An answer began. Note if it is the early one. Without a reference, it is the one that was asked for."""
        if self._asked_ref and ref in (None, self._asked_ref):
            self.response, self._asked_ref = response_id, ""
        elif self._back_ref and ref in (None, self._back_ref):
            self._taken_back.add(response_id)
            self._back_ref = ""

    def refused(self, ref: str | None) -> None:
        """The server refused the response that was asked for."""
        if ref is not None and ref in (self._asked_ref, self._back_ref):
            self._asked_ref = self._back_ref = ""

    def is_early(self, response_id: ResponseId) -> bool:
        """True for the early answer of a turn that is still open."""
        return self.turn is not None and self.response == response_id

    def placed(self, item_id: ItemId, *, is_generated: bool) -> None:
        """An item got its place while the early answer is generated, so it belongs to that answer."""
        if is_generated and self.is_asked and self.response is not None and item_id not in self._items:
            self._items.append(item_id)

    def called(self, event: FunctionAsked) -> Literal["now", "held", "never"]:
        """An answer calls a function. Returns when the function runs. A function of an early answer waits.

        If the early answer was taken back, its function never runs.
        """
        if event.item_id and event.response_id in self._taken_back:
            return "never"
        if not self.is_early(event.response_id):
            return "now"
        if all(held.function_call_id != event.function_call_id for held in self._held):
            self._held.append(event)
        return "held"

    def take_back(self) -> tuple[ResponseId | None, list[ItemId], list[FunctionAsked]]:
        """The early answer is not wanted any more.

        Returns the answer's id if the answer has begun, its items, and its functions. These functions never ran.
        """
        response, items, held = self.response, self._items, self._held
        self.governor.was_taken_back()
        self._back_ref, self._asked_ref = self._asked_ref, ""
        self.response, self._items, self._held = None, [], []
        if response is not None:
            self._taken_back.add(response)
        return response, items, held

    def was_taken_back(self, response_id: ResponseId) -> bool:
        """True for an early answer that was taken back: nobody has heard it or will hear it."""
        return response_id in self._taken_back
