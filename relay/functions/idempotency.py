"""A function that writes runs exactly once by (call, function, arguments).

Three guards, each enough where the others fail: the call's own record (a repeat while the first runs waits for it, a
repeat after a success gets the first result), a reservation in Postgres (another machine that resumes the call finds
the result there), and the same key as the backend's Idempotency-Key (a retry after a lost answer books nothing new).

Only a success is final. A refusal (the time is taken, the date is past) or a fault is told and recorded, but a repeat
asks the backend again, with the same key: had the first attempt been done after all, the backend gives its answer.
When another write of the call changes the same thing (it cancels the booking, moves it on), the earlier success no
longer stands, and a repeat of it is a new wish with a new key. "Same" is the `id` in both results.
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
from relay.functions.outcome import Outcome
from relay.ledger.rows import Already, Json, Reserved, Unavailable

RESERVE_LIMIT_S: Final = 0.3  # a Postgres that is away must not be heard: the Idempotency-Key holds alone

log = structlog.get_logger()


class Reservations(Protocol):
    """Where keys outlive the process: the part of `relay.ledger.port.Ledger` that is needed here."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Claim a key. Already(state="done") holds the first result; any other state means: go on, same key."""

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Say how it ended. The first success stands for ever."""


@dataclass(frozen=True)
class Wish:
    """What the model asks for: one function of one call with these arguments, defaults filled in."""

    call_sid: str
    function: str
    arguments: msgspec.Struct
    tz: ZoneInfo
    function_call_id: str = ""

    def digest(self, again: int = 0) -> str:
        """64 hex digits, equal on every machine for two ways of saying the same. `again` counts withdrawals."""
        said = {name: getattr(self.arguments, name) for name in self.arguments.__struct_fields__}
        parts: list[Any] = [self.call_sid, self.function, normalised(said, self.tz)]
        return hashlib.sha256(msgspec.json.encode([*parts, again] if again else parts)).hexdigest()


def normalised(arguments: Mapping[str, Any], tz: ZoneInfo) -> dict[str, Any]:
    """Arguments without what does not matter: case and blanks of text, offsets of times, order."""
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
        except OverflowError:  # the ends of the calendar: the function will refuse them
            return aware.isoformat()
    if isinstance(value, list | tuple):
        return [_normal(each, tz) for each in value]
    if isinstance(value, Mapping):
        return normalised({str(key): each for key, each in value.items()}, tz)
    return msgspec.to_builtins(value, enc_hook=plain)


@dataclass
class _Record:
    wish: Wish  # the first one: a retry sends its very words, since backends compare bodies under one key
    under_way: trio.Event | None = None
    outcome: Outcome | None = None
    unsure: bool = False  # an attempt whose answer was lost stays so, until one says yes or no
    changed: object = None  # the id of what a success wrote


class Once:
    """One call's record of its writes, in front of the reservations (None: there is no database)."""

    def __init__(self, reservations: Reservations | None = None) -> None:
        self._reservations = reservations
        self._records: dict[str, _Record] = {}  # by key
        self._withdrawn: dict[str, int] = {}  # digest -> how often its success was undone by another write

    def key(self, wish: Wish) -> str:
        """The exactly-once key of this wish now."""
        return wish.digest(self._withdrawn.get(wish.digest(), 0))

    async def run(self, wish: Wish, work: Callable[[str, Any], Awaitable[Outcome]]) -> Outcome:
        """The wish's outcome: of `work(key, arguments)`, or of the time before. `work` must not raise."""
        key = self.key(wish)
        record = self._records.setdefault(key, _Record(wish))
        while record.under_way is not None:
            await record.under_way.wait()
            if record.outcome is not None:
                return replace(record.outcome, effect=None)
            # The first attempt was cancelled before it had an outcome: this one takes its place.
        if record.outcome is not None and record.outcome.ok:
            return replace(record.outcome, effect=None)
        record.under_way, record.outcome = trio.Event(), None
        try:
            record.outcome = await self._attempt(key, record, work)
            record.unsure = record.outcome.unsure
        finally:
            record.unsure = record.unsure or record.outcome is None  # cancelled half-way
            record.under_way.set()
            record.under_way = None
        self._withdraw_what_it_undoes(key, record)
        return record.outcome

    async def _attempt(self, key: str, record: _Record, work: Callable[[str, Any], Awaitable[Outcome]]) -> Outcome:
        before = await self._reserve(key, record.wish)
        if isinstance(before, Already) and before.state == "done" and before.ok and before.output is not None:
            return Outcome(msgspec.json.encode(before.output).decode(), ok=True, writes=True, key=key)
        outcome = await work(key, record.wish.arguments)
        unsure = (record.unsure or outcome.unsure) and not (outcome.ok or outcome.refused)
        if not unsure:  # what nobody knows has not ended
            await self._settle(key, outcome)
        return replace(outcome, unsure=unsure)

    def _withdraw_what_it_undoes(self, key: str, record: _Record) -> None:
        assert record.outcome is not None
        if not record.outcome.ok:
            return
        record.changed = msgspec.json.decode(record.outcome.output).get("id")
        if record.changed is None:
            return
        for other_key, other in list(self._records.items()):
            if other_key != key and other.changed == record.changed:
                del self._records[other_key]
                digest = other.wish.digest()
                self._withdrawn[digest] = self._withdrawn.get(digest, 0) + 1

    async def _reserve(self, key: str, wish: Wish) -> Reserved | Already | Unavailable:
        if self._reservations is None:
            return Unavailable("no database")
        said: Json = msgspec.to_builtins(wish.arguments, enc_hook=plain)
        with trio.move_on_after(RESERVE_LIMIT_S):
            try:
                return await self._reservations.reserve(
                    key,
                    wish.call_sid,
                    wish.function,
                    said,
                    function_call_id=wish.function_call_id or key,
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
