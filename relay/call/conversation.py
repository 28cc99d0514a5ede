"""Keeps the turns and the function calls of a call, in the order of the model's conversation.

The model reports this order (`previous_item_id`). The events come in another order, because transcriptions come about a
second late. A turn gets a number (`seq`) when it is placed in the conversation. The number does not change, so the
turn's row can be written early and replaced later. The numbers have gaps, so that a turn can be placed between two
others. Sorted by number, the rows are in the order of the conversation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from relay.call.actions import (
    CreateFunctionPair,
    CreateItem,
    RecordTurn,
    TurnLatency,
)
from relay.call.call_config import PastTurn
from relay.call.playout import Cut
from relay.call.vocabulary import ItemId, Position
from relay.call.wording import BROKEN_OFF

# The usual speed of speech: the shipped clips have 16 to 22 characters a second. It is used until an item's length is
# known.
CHARACTERS_PER_MS = 0.0185
# The distance between the numbers of two neighbours. It can be halved three times, for turns that are placed between
# them later.
NUMBERS_APART = 10


def heard_words(said: str, said_ms: float, heard_ms: float, complete: bool = True) -> str:
    """The first words of `said`: those that the caller has heard when `heard_ms` of its `said_ms` have been played.

    The API does not say when a word is spoken. So the share of the time is used as the share of the characters. The
    result is right to about one word. The text comes before its audio. So while the item is not `complete`, the usual
    speed of speech also limits the result.
    """
    if said_ms <= 0 or heard_ms <= 0:
        return ""
    if complete and heard_ms >= said_ms - 1:
        return said
    limit = len(said) * heard_ms / said_ms
    if not complete:
        limit = min(limit, heard_ms * CHARACTERS_PER_MS)
    if limit >= len(said):
        return said
    cut = int(limit)
    while cut > 0 and not said[cut].isspace():
        cut -= 1
    return said[:cut].rstrip()


def words_at(said: str, positions: Sequence[Position], heard_ms: float) -> str:
    """The words of `said` that the caller has heard after `heard_ms`. Only whole words count.

    Each of the `positions` says how many characters have been spoken at which time. They are sorted by time.
    """
    index = bisect_right(positions, heard_ms, key=lambda position: position.item_ms)
    cut = min(positions[index - 1].chars, len(said)) if index else 0
    while 0 < cut < len(said) and not said[cut].isspace():
        cut -= 1
    return said[:cut].rstrip()


def is_said(text: str, said: str) -> bool:
    """True if `said` has all words of `text` in the same order, without other words between them.

    Case and punctuation do not count.
    """
    return f" {' '.join(words_of(text))} " in f" {' '.join(words_of(said))} "


def words_of(text: str) -> list[str]:
    """The words alone, so that a transcript can be compared with a sentence."""
    return re.findall(r"[\w']+", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


@dataclass(slots=True)
class Turn:
    """What one side says until the other side speaks."""

    seq: int
    item_id: ItemId
    role: str
    said: str = ""
    heard: str | None = None
    started_ms: int = 0
    ended_ms: int = 0
    waits_ms: int = 0  # How long its sound waited, because earlier audio was played first.
    said_ms: float = 0.0
    own: bool = False  # True for a sentence of the relay's own.
    whole: bool = False  # True after the turn has ended. False again if more audio of the turn comes.
    interrupted: bool = False
    gap: bool = False  # True while words of a caller's turn are missing.
    latency: TurnLatency | None = None
    # How many characters of the text have been spoken at which time. None if the model itself speaks.
    positions: list[Position] | None = None
    is_spoken: bool = False  # True if all sound of the text has come. Used only if another voice speaks it.
    # The pieces of a caller's turn. A piece is an item of the model's conversation. Item -> its words, None until they
    # come.
    pieces: dict[ItemId, str | None] = field(default_factory=dict)

    # Turns of the caller

    def was_spoken(self, item_id: ItemId, began_ms: int, ended_ms: int) -> None:
        """The caller spoke this turn, or a piece of it, from `began_ms` to `ended_ms`.

        Its words come later.
        """
        if not self.pieces:
            self.started_ms = began_ms
        self.ended_ms = max(began_ms, ended_ms)
        self.pieces.setdefault(item_id, None)
        self._put_together()

    def was_written_down(self, item_id: ItemId, words: str) -> RecordTurn:
        """The words of the turn, or of a piece of it, have come. Returns the turn's row."""
        self.pieces[item_id] = words
        self._put_together()
        return self.row()

    def has_lost(self, item_id: ItemId) -> bool:
        """Remove a piece, for example because it was a noise. Returns True if no piece is left."""
        self.pieces.pop(item_id, None)
        if self.pieces:
            self._put_together()
        return not self.pieces

    def said_without(self, item_id: ItemId) -> str:
        """The known words of the turn without this piece."""
        return " ".join(words for piece, words in self.pieces.items() if words and piece != item_id)

    def said_with(self, item_id: ItemId, words: str) -> str:
        """The known words of the turn, with `words` as the words of this piece."""
        pieces = {**self.pieces, item_id: words}
        return " ".join(filter(None, pieces.values()))

    def _put_together(self) -> None:
        self.said = " ".join(filter(None, self.pieces.values()))
        self.gap = any(words is None for words in self.pieces.values())

    # Turns of the agent

    def has_words(self, words: str, said_ms: float) -> None:
        """The turn is a sentence of the relay's own, so all its words and its length are known."""
        self.said, self.said_ms = words, said_ms

    def begins(self, now_ms: int, waits_ms: int) -> None:
        """The turn's first sound came at `now_ms`. It plays `waits_ms` later, after the audio that came before."""
        self.started_ms, self.waits_ms = now_ms, waits_ms

    def sounds(self, said_ms: float, positions: tuple[Position, ...] | None = None) -> None:
        """More audio of the turn came. If the turn had ended, it goes on."""
        if self.whole and not self.interrupted:
            self.whole, self.heard = False, None
        self.said_ms = max(self.said_ms, said_ms)
        if positions is not None:
            self.positions = self.positions or []
            self.positions.extend(positions)

    def was_spoken_whole(self) -> None:
        """All sound of the text has come, from the model or from the other voice."""
        self.is_spoken = True

    @property
    def is_text(self) -> bool:
        """True if another voice speaks the model's text. Then the model's item is text and cannot be truncated."""
        return self.positions is not None

    @property
    def spoken(self) -> str:
        """The words that have sound. The text of an item may be ahead of the voice that speaks it."""
        return self.said if self.positions is None else self.heard_until(self.said_ms, self.said_ms)

    def heard_until(self, heard_ms: float, said_ms: float, complete: bool = True) -> str:
        """The words that the caller has heard when `heard_ms` of the turn's `said_ms` have been played.

        `complete`: see heard_words.
        """
        if self.positions is None:
            return heard_words(self.said, said_ms, heard_ms, complete)
        if self.is_spoken and heard_ms >= said_ms - 1:
            return self.said
        if self.positions:
            return words_at(self.said, self.positions, heard_ms)
        return heard_words(self.said, said_ms, heard_ms, self.is_spoken)

    def goes_on(self, words: str) -> None:
        """More words of the turn came. They usually come before the audio, sometimes after it."""
        self.said += words
        if self.whole and not self.interrupted:
            self.heard = self.spoken

    def was_heard(self, heard: str, ended_ms: int, *, interrupted: bool, latency: TurnLatency | None) -> RecordTurn:
        """The turn has ended. The caller heard `heard` of it. Returns the turn's row."""
        self.heard, self.whole, self.interrupted, self.ended_ms = heard, True, interrupted, ended_ms
        self.latency = latency or self.latency
        return self.row()

    def row(self) -> RecordTurn:
        """The turn as a row of the transcript. The row begins when the caller could hear the turn."""
        begins_ms = self.started_ms + self.waits_ms
        if self.whole:  # The turn may have been cut off before its sound was played.
            begins_ms = min(begins_ms, max(self.started_ms, self.ended_ms))
        return RecordTurn(
            self.seq,
            self.item_id,
            self.role,
            self.said or None,
            self.heard,
            begins_ms,
            max(begins_ms, self.ended_ms),
            self.interrupted,
            self.gap,
            self.latency,
        )


@dataclass(frozen=True, slots=True)
class CutOff:
    """What was heard of an item that was cut off."""

    heard: str  # The words that were heard.
    in_full: bool  # True if the caller heard the whole item.
    is_text: bool  # See `Turn.is_text`.
    row: RecordTurn | None  # The turn's row. None if the turn had ended before.


def _stays_with_the_turn_before(entry: Turn | Called | PastTurn) -> bool:
    """True for an entry that stays directly behind the entry before it. A new turn is placed behind such entries.

    `place` does not find them by the id of an item. They are function calls, texts of earlier streams, and turns of the
    agent that were given up unheard. The items of these turns were deleted at the model.
    """
    return not isinstance(entry, Turn) or (entry.interrupted and not entry.heard)


@dataclass(slots=True)
class Called:
    """A function call. The output is None while the function runs."""

    function_call_id: str
    name: str
    arguments: str
    output: str | None = None


class Conversation:
    """The turns and function calls of one phone call, over all its streams and model sessions."""

    def __init__(self, history: tuple[PastTurn, ...], first_seq: int) -> None:
        self._entries: list[Turn | Called | PastTurn] = list(history)
        self._turns: dict[str, Turn] = {}
        self._calls: dict[str, Called] = {}
        self._next_seq = first_seq
        self._numbers: set[int] = set()

    @property
    def next_seq(self) -> int:
        """The number of the next turn."""
        return self._next_seq

    def place(
        self,
        item_id: ItemId,
        role: str,
        after: ItemId | None,
        now_ms: int,
        *,
        own: bool = False,
        part_of: ItemId | None = None,
    ) -> Turn:
        """Returns the turn of an item. If the item is new, its turn is placed after the item `after`, or at the end.

        `part_of`: the new item is one more piece of the turn of this other item.
        """
        turn = self._turns.get(item_id)
        if turn is not None:
            return turn
        if part_of is not None and part_of in self._turns:
            self._turns[item_id] = self._turns[part_of]
            return self._turns[item_id]
        at = len(self._entries)
        if after is not None and after in self._turns:
            at = self._entries.index(self._turns[after]) + 1
        while at < len(self._entries) and _stays_with_the_turn_before(self._entries[at]):
            at += 1
        turn = Turn(self._number(at), item_id, role, started_ms=now_ms, ended_ms=now_ms, own=own)
        self._turns[item_id] = turn
        self._entries.insert(at, turn)
        return turn

    def _number(self, at: int) -> int:
        """A number between the numbers of the turns around the place `at`, or the next new number if none is free."""
        before, behind = (
            [e.seq for e in part if isinstance(e, Turn)] for part in (self._entries[:at], self._entries[at:])
        )
        seq = (before[-1] + behind[0]) // 2 if before and behind else self._next_seq
        if seq in self._numbers:
            seq = self._next_seq
        self._numbers.add(seq)
        self._next_seq = max(self._next_seq, seq + NUMBERS_APART)
        return seq

    def turn(self, item_id: ItemId) -> Turn | None:
        """The turn of an item. None if the item was not placed."""
        return self._turns.get(item_id)

    def sounds(
        self, item_id: ItemId, said_ms: float, positions: tuple[Position, ...] | None
    ) -> tuple[Turn | None, float]:
        """Audio of an agent's item came. Returns its turn and the length of its earlier audio.

        The turn is None if the item was not placed.
        """
        turn = self._turns.get(item_id)
        if turn is None:
            return None, 0.0
        before_ms = turn.said_ms
        turn.sounds(said_ms, positions)
        return turn, before_ms

    def noted(self, role: str, text: str) -> None:
        """Add a text that the model got, such as the pressed keys.

        It is not a turn, but a later model session must get it, too.
        """
        self._entries.append(PastTurn(role, text))

    def was_cut(self, cut: Cut, ended_ms: int, latency: TurnLatency | None) -> CutOff | None:
        """An item was cut off. Returns None if it was not placed. `ended_ms` and `latency`: see `Turn.was_heard`."""
        turn = self._turns.get(cut.item)
        if turn is None:
            return None
        heard = turn.heard_until(cut.heard_ms, cut.said_ms, cut.complete)
        in_full = cut.complete and int(cut.heard_ms) >= int(cut.said_ms)
        row = None if turn.whole else turn.was_heard(heard, ended_ms, interrupted=not in_full, latency=latency)
        return CutOff(heard, in_full, turn.is_text, row)

    def drop(self, item_id: ItemId) -> None:
        """Forget an item that was deleted. If its turn has no other piece, the turn is forgotten, too."""
        turn = self._turns.pop(item_id, None)
        if turn is not None and turn.has_lost(item_id):
            self._entries.remove(turn)

    def drop_soundless(self, item_ids: Iterable[ItemId]) -> list[ItemId]:
        """Forget the turns of the items that have no sound. Returns these items."""
        turns = [self._turns[item] for item in item_ids if item in self._turns]
        dropped = [turn.item_id for turn in turns if not turn.whole and turn.said_ms == 0]
        for item in dropped:
            self.drop(item)
        return dropped

    def knows_call(self, function_call_id: str) -> bool:
        """True if this function call is known already."""
        return function_call_id in self._calls

    def called(self, function_call_id: str, name: str, arguments: str) -> tuple[int, int] | None:
        """A function was called. Returns `newest()`, or None if this function call is known already."""
        if self.knows_call(function_call_id):
            return None
        call = Called(function_call_id, name, arguments)
        self._calls[function_call_id] = call
        self._entries.append(call)
        return self.newest()

    def returned(self, function_call_id: str, output: str) -> tuple[int, int]:
        """The output of a function has come. Returns `newest()`."""
        if function_call_id in self._calls:
            self._calls[function_call_id].output = output
        return self.newest()

    def turns(self) -> list[Turn]:
        """All turns, in order."""
        return [entry for entry in self._entries if isinstance(entry, Turn)]

    def newest(self) -> tuple[int, int]:
        """The numbers of the caller's newest turn and of the model's newest turn with sound. -1 if there is none."""
        turns = self.turns()
        caller = max((turn.seq for turn in turns if turn.role == "caller"), default=-1)
        return caller, max((t.seq for t in turns if t.role == "agent" and not t.own and t.said_ms), default=-1)

    def lately_said(self) -> str:
        """What the agent said in its last two turns. An echo may repeat these words."""
        said = [turn.said for turn in self.turns() if turn.role == "agent"]
        return " ".join(said[-2:])

    def asked(self) -> str:
        """The words of the agent's last turn: those that were heard, or all of them while the turn goes on."""
        newest = next((turn for turn in reversed(self.turns()) if turn.role == "agent"), None)
        return "" if newest is None else newest.said if newest.heard is None else newest.heard

    def words_are_missing(self) -> bool:
        """True if the words of the caller's newest turn are missing, and the model has not answered it."""
        newest = next((turn for turn in reversed(self.turns()) if not turn.own), None)
        return newest is not None and newest.role == "caller" and not newest.said

    def past(self) -> tuple[PastTurn, ...]:
        """The conversation as text, for the next stream: what the caller said, and what they heard of the agent.

        A function that still runs gets the output BROKEN_OFF. Without an output, the model would wait for it.
        """
        past = [each for _, each in self._past()]
        return tuple(replace(p, text=BROKEN_OFF) if p.role == "function" and not p.text else p for p in past)

    def _past(self) -> list[tuple[ItemId | None, PastTurn]]:
        past: list[tuple[ItemId | None, PastTurn]] = []
        for entry in self._entries:
            if isinstance(entry, PastTurn):
                past.append((None, entry))
            elif isinstance(entry, Called):
                call = PastTurn("function", entry.output or "", entry.name, entry.arguments, entry.function_call_id)
                past.append((None, call))
            elif text := (entry.spoken if entry.heard is None else entry.heard):
                past.append((entry.item_id, PastTurn("user" if entry.role == "caller" else "assistant", text)))
        return past

    def replay(self, prefix: str) -> tuple[list[CreateItem | CreateFunctionPair], dict[ItemId, ItemId]]:
        """The items with which a new model session gets this conversation. Their ids begin with `prefix`.

        Also returns, for each turn, the id that it has in the new session.
        """
        items: list[CreateItem | CreateFunctionPair] = []
        ids: dict[ItemId, ItemId] = {}
        for number, (turn_id, past) in enumerate(self._past()):
            if past.role == "function":
                items.append(CreateFunctionPair(past.function_call_id, past.name, past.arguments, past.text or None))
                continue
            item = ItemId(f"{prefix}{number}")
            items.append(CreateItem(item, past.role, past.text))
            if turn_id is not None:
                ids[turn_id] = item
        return items, ids
