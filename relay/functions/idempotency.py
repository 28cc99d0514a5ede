"""Makes sure that a function that writes runs once for the same call, the same function and the same wish.

Three guards do this:

1. The record of the call (`Once`). A repeat waits while the first attempt runs, and gets its result. A repeat after the
   first attempt gets the result only if the first attempt was a success.
2. A reservation in Postgres. Another machine that resumes the call finds the result there.
3. The header Idempotency-Key in the request to the backend. A retry after a lost answer has the same key, so the
   backend books nothing new.

A wish is a function with its arguments. The function declares which arguments identify a wish. A booking is identified
by its time, and not by the notes or the spelling of the name. After a successful booking, the model may call the
function for the same time with other notes. Then the agent asks whether the caller wants a second booking. If so, the
function runs again with a new key.

Only a success is final. After a refusal (for example, the time is taken) the next attempt has a new key. A backend may
store its answers by key, and would repeat the refusal for the old key. After a lost answer the next attempt has the
same key. If that attempt is refused, it is still not known whether the booking was made: the first attempt may have
made it, and so caused the refusal.

A later write may undo a success: for example, it cancels the booking. Then a repeat of the first wish runs again with a
new key. A write undoes another one if both functions have the same `about` and both results have the same `id`. The id
alone is not enough, because two tables of a backend may have equal ids. `_undoes` has the rule for functions without
`about`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog
import trio

from relay.functions.arguments import Phone, plain
from relay.functions.outcome import Outcome, envelope
from relay.functions.questions import Questions
from relay.ledger.rows import Already, Json, Reserved, Unavailable

# The longest wait for Postgres, in seconds. If Postgres does not answer, the function runs without a reservation. The
# backend's Idempotency-Key still prevents a second booking.
RESERVE_LIMIT_S: Final = 0.3

log = structlog.get_logger()


class Reservations(Protocol):
    """Reservations of keys that other processes see: the part of `relay.ledger.port.Ledger` that is used here."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Reserve a key.

        If this returns Already(state="done") with `ok` and an `output`, the output is the result of this key. After any
        other return value, the function runs with this key.
        """

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Store the result of the key. The first success is never replaced."""


@dataclass(frozen=True)
class Wish:
    """What the model wants: one function of one call with these arguments, defaults included.

    `same`: the arguments that identify the wish. If it is None, all arguments do. `about`: the kind of thing whose `id`
    is in the result, such as "appointment".
    """

    call_sid: str
    function: str
    arguments: msgspec.Struct
    tz: ZoneInfo
    function_call_id: str = ""
    same: tuple[str, ...] | None = None
    about: str | None = None

    def digest(self, again: int = 0) -> str:
        """The idempotency key: 64 hex digits, equal on every machine for the same wish.

        `again`: how many earlier keys of this wish were given up.
        """
        said = self._said(self.same)
        parts: list[Any] = [self.call_sid, self.function, normalised(said, self.tz)]
        return hashlib.sha256(msgspec.json.encode([*parts, again] if again else parts)).hexdigest()

    def words(self) -> dict[str, Any]:
        """All arguments, normalised."""
        return normalised(self._said(None), self.tz)

    def _said(self, names: tuple[str, ...] | None) -> dict[str, Any]:
        names = self.arguments.__struct_fields__ if names is None else names
        return {name: getattr(self.arguments, name) for name in names}


def normalised(arguments: Mapping[str, Any], tz: ZoneInfo) -> dict[str, Any]:
    """The arguments without differences that do not matter: case and blanks of texts, offsets of times, key order."""
    return {name: _normal(value, tz) for name, value in sorted(arguments.items())}


def _normal(value: Any, tz: ZoneInfo) -> Any:
    if isinstance(value, Phone):
        return str(value)
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=tz)
        try:
            return aware.astimezone(dt.UTC).isoformat()
        except OverflowError:  # A time in the year 1 or 9999. The function will refuse it.
            return aware.isoformat()
    if isinstance(value, list | tuple):
        return [_normal(each, tz) for each in value]
    if isinstance(value, Mapping):
        return normalised({str(key): each for key, each in value.items()}, tz)
    return msgspec.to_builtins(value, enc_hook=plain)


@dataclass
class _Record:
    """What is known of one wish.

    `wish` has the arguments that attempts send to the backend. After a lost answer, the next attempts send the same
    arguments again, because a backend may refuse a known key with another body.
    """

    wish: Wish
    # How many keys were given up. A key is given up after a refusal, when another write has undone the result, and when
    # the caller wants a second booking.
    again: int = 0
    under_way: trio.Event | None = None
    outcome: Outcome | None = None
    unsure: bool = False  # True if the answer of an attempt was lost, and no attempt has succeeded since.
    changed: object = None  # The id of the thing that a success has written.

    @property
    def key(self) -> str:
        return self.wish.digest(self.again)

    @property
    def is_done(self) -> bool:
        return self.outcome is not None and self.outcome.ok

    def give_up_key(self) -> None:
        """Forget the result. The next attempt has a new key."""
        self.again, self.outcome, self.unsure, self.changed = self.again + 1, None, False, None


class Once:
    """Makes sure that each wish of a call is done once. `reservations` is None if there is no database."""

    def __init__(self, reservations: Reservations | None = None) -> None:
        self._reservations = reservations
        self._records: dict[str, _Record] = {}  # `digest()` of a wish -> its record.
        self.questions = Questions()

    def key(self, wish: Wish) -> str:
        """The key that this wish has now."""
        record = self._records.get(wish.digest())
        return record.key if record is not None else wish.digest()

    async def run(
        self, wish: Wish, work: Callable[[str, Any], Awaitable[Outcome]], *, caller_turn: int | None = None
    ) -> Outcome:
        """Carry the wish out: return the result of `work(key, arguments)`, or the result of an earlier attempt.

        `work` must not raise. `caller_turn`: the number of the caller's newest turn. None if it is not known.
        """
        record = self._records.setdefault(wish.digest(), _Record(wish))
        while record.under_way is not None:
            await record.under_way.wait()
            if record.outcome is not None and record.wish.words() == wish.words():
                return replace(record.outcome, effect=None)
            # The first attempt was cancelled before it had a result, or it had other arguments. So this attempt goes
            # on.
        if record.is_done:
            assert record.outcome is not None
            if record.wish.words() == wish.words():
                return replace(record.outcome, effect=None)
            if not self.questions.is_answered(_question(wish), caller_turn):
                return _second(record)
            record.give_up_key()
        if not record.unsure:
            record.wish = wish
        record.under_way, record.outcome = trio.Event(), None
        try:
            record.outcome = await self._settled(record, work)
            record.unsure = record.outcome.unsure
        finally:
            # The outcome is None if the attempt was cancelled while it ran.
            record.unsure = record.unsure or record.outcome is None
            record.under_way.set()
            record.under_way = None
        outcome = record.outcome
        if outcome.ok:
            self._give_up_what_it_undoes(record)
        elif outcome.is_no:
            record.again += 1
        return outcome

    async def _settled(self, record: _Record, work: Callable[[str, Any], Awaitable[Outcome]]) -> Outcome:
        """Make an attempt. While it is refused with a key that has failed earlier, make another one with a new key.

        Such a refusal may only be the answer that the backend has stored for the old key.
        """
        while True:
            outcome, had_failed = await self._attempt(record, work)
            if not (outcome.is_no and had_failed):
                return outcome
            record.again += 1

    async def _attempt(self, record: _Record, work: Callable[[str, Any], Awaitable[Outcome]]) -> tuple[Outcome, bool]:
        """Make one attempt. Returns its outcome, and whether an earlier attempt with this key had failed."""
        before = await self._reserve(record)
        if isinstance(before, Already) and before.state == "done" and before.ok and before.output is not None:
            return Outcome(msgspec.json.encode(before.output).decode(), ok=True, writes=True, key=record.key), False
        was_lost = record.unsure or (isinstance(before, Already) and before.state in ("reserved", "unknown"))
        outcome = await work(record.key, record.wish.arguments)
        if was_lost and not outcome.ok:
            if outcome.refused or outcome.is_no:
                outcome = replace(
                    outcome, output=_UNKNOWN, refused=False, is_no=False, error="a refusal after a lost answer"
                )
            outcome = replace(outcome, unsure=True)
        if not outcome.unsure:  # If it is not known whether the attempt was done, its key stays reserved.
            await self._settle(record.key, outcome)
        return outcome, isinstance(before, Already) and before.state == "failed"

    def _give_up_what_it_undoes(self, record: _Record) -> None:
        """If this success has undone an earlier success, give up the key of the earlier one."""
        assert record.outcome is not None
        output = msgspec.json.decode(record.outcome.output)
        record.changed = output.get("id")
        if record.changed is None:
            return
        for other in self._records.values():
            if other is not record and other.changed == record.changed and _undoes(record.wish, other.wish, output):
                other.give_up_key()

    async def _reserve(self, record: _Record) -> Reserved | Already | Unavailable:
        if self._reservations is None:
            return Unavailable("no database")
        wish = record.wish
        said: Json = msgspec.to_builtins(wish.arguments, enc_hook=plain)
        with trio.move_on_after(RESERVE_LIMIT_S):
            try:
                return await self._reservations.reserve(
                    record.key,
                    wish.call_sid,
                    wish.function,
                    said,
                    function_call_id=wish.function_call_id or record.key,
                    limit_s=RESERVE_LIMIT_S,
                )
            except Exception:
                log.exception("function.reserve_failed", function=wish.function)
        return Unavailable("no answer")

    async def _settle(self, key: str, outcome: Outcome) -> None:
        if self._reservations is None:
            return
        with trio.move_on_after(RESERVE_LIMIT_S):
            try:
                await self._reservations.settle(
                    key, outcome.ok, msgspec.json.decode(outcome.output), limit_s=RESERVE_LIMIT_S
                )
            except Exception:
                log.exception("function.settle_failed")


_UNKNOWN: Final = envelope({"status": "error", "error": "It is not known whether the first attempt was carried out."})


def _question(wish: Wish) -> str:
    return f"{wish.digest()} {msgspec.json.encode(wish.words(), order='sorted').decode()}"


def _second(record: _Record) -> Outcome:
    """The answer to a repeat with other arguments: the agent must ask the caller whether they want a second one."""
    assert record.outcome is not None
    first = {name: value for name, value in msgspec.json.decode(record.outcome.output).items() if name != "status"}
    words = "This was done for this caller in this call already, under other words; nothing was done again."
    asks = "Say what stands, and ask whether they want a second one. Only if they say so, call this again like this."
    output = envelope({"status": "error", "error": words, "stands": first, "next": asks})
    return Outcome(output, ok=False, writes=True, refused=True, error=words)


def _undoes(newer: Wish, older: Wish, output: Mapping[str, Any]) -> bool:
    """True if a success has undone an older success. Both results have the same id.

    If a function declares `about`, both must declare the same. If neither does, the newer function must have got the id
    as an argument, and its result must say that it cancelled or moved something.
    """
    if newer.about is not None or older.about is not None:
        return newer.about == older.about
    acts_on_it = str(output["id"]) in {str(value) for value in newer.words().values()}
    return acts_on_it and output.get("done") in ("cancelled", "moved")
