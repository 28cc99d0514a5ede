"""A function that writes runs exactly once for the same call, the same function and the same wish.

There are three guards. Each is enough if the others fail. The first is the record of the call: a repeat waits while the
first run goes on, and gets its result if it succeeded. The second is a reservation in Postgres: another machine that
resumes the call finds the result there. The third is the backend's Idempotency-Key, which is the same key: a retry
after a lost answer books nothing new.

The function declares which arguments make two wishes the same. For a booking this is the time, not the notes or the
spelling of the name. If the model repeats a wish in other words after its success, the agent first asks the caller. If
the caller wants a second one, it is done. Only a success is final. After a refusal (the time is taken) the next try
gets a new key, because a backend may keep its answers by key and would repeat the refusal. If the answer of an attempt
was lost, the key stays. If the next attempt is then refused, the result stays unknown, because the first attempt may be
the cause of the refusal. Another write of the call may change the same thing: it cancels or moves the booking. Then the
earlier success no longer counts, and a repeat of it is a new wish with a new key. Two functions change the same thing
if both have the same `about`, and both results have the same `id`. The id alone is not enough, because two tables may
have equal ids.
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

# The limit of a request to Postgres. While Postgres is away, the caller must not wait: the Idempotency-Key is the
# guard.
RESERVE_LIMIT_S: Final = 0.3

log = structlog.get_logger()


class Reservations(Protocol):
    """Keys that are kept beyond the process: the part of `relay.ledger.port.Ledger` that is used here."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Reserve a key. Already(state="done") holds the first result.

        After any other state the function runs, with the same key.
        """

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Keep the result. The first success is never replaced."""


@dataclass(frozen=True)
class Wish:
    """The model's wish: one function of one call with these arguments, with defaults filled in.

    `same`: the arguments that make two wishes the same. None means all arguments. `about`: the thing that the result's
    `id` names.
    """

    call_sid: str
    function: str
    arguments: msgspec.Struct
    tz: ZoneInfo
    function_call_id: str = ""
    same: tuple[str, ...] | None = None
    about: str | None = None

    def digest(self, again: int = 0) -> str:
        """64 hex digits. They are the same on every machine, and for two wordings of the same wish.

        `again` is the number of keys that were given up before.
        """
        said = self._said(self.same)
        parts: list[Any] = [self.call_sid, self.function, normalised(said, self.tz)]
        return hashlib.sha256(msgspec.json.encode([*parts, again] if again else parts)).hexdigest()

    def words(self) -> dict[str, Any]:
        """All arguments, in one form."""
        return normalised(self._said(None), self.tz)

    def _said(self, names: tuple[str, ...] | None) -> dict[str, Any]:
        names = self.arguments.__struct_fields__ if names is None else names
        return {name: getattr(self.arguments, name) for name in names}


def normalised(arguments: Mapping[str, Any], tz: ZoneInfo) -> dict[str, Any]:
    """The arguments without differences that do not matter: case and blanks of text, offsets of times, order."""
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
        except OverflowError:  # A time in the year 1 or 9999. The function refuses it.
            return aware.isoformat()
    if isinstance(value, list | tuple):
        return [_normal(each, tz) for each in value]
    if isinstance(value, Mapping):
        return normalised({str(key): each for key, each in value.items()}, tz)
    return msgspec.to_builtins(value, enc_hook=plain)


@dataclass
class _Record:
    """The record of one wish. `wish` has the words of the attempt that counts, because backends compare bodies."""

    wish: Wish
    # The number of keys that were given up: another write undid it, it was refused, or the caller wants a second one.
    again: int = 0
    under_way: trio.Event | None = None
    outcome: Outcome | None = None
    unsure: bool = False  # True if the answer of an attempt was lost and no attempt has succeeded since.
    changed: object = None  # The id of the thing that a success wrote.

    @property
    def key(self) -> str:
        return self.wish.digest(self.again)

    @property
    def is_done(self) -> bool:
        return self.outcome is not None and self.outcome.ok

    def give_up_key(self) -> None:
        """The result under the present key no longer counts. The next try is a new wish."""
        self.again, self.outcome, self.unsure, self.changed = self.again + 1, None, False, None


class Once:
    """One call's record of its writes. It is asked before the reservations (None: there is no database)."""

    def __init__(self, reservations: Reservations | None = None) -> None:
        self._reservations = reservations
        self._records: dict[str, _Record] = {}  # Digest of the wish -> its record.
        self.questions = Questions()

    def key(self, wish: Wish) -> str:
        """The present exactly-once key of this wish."""
        record = self._records.get(wish.digest())
        return record.key if record is not None else wish.digest()

    async def run(
        self, wish: Wish, work: Callable[[str, Any], Awaitable[Outcome]], *, caller_turn: int | None = None
    ) -> Outcome:
        """The outcome of the wish: that of `work(key, arguments)`, or an earlier one. `work` must not raise."""
        record = self._records.setdefault(wish.digest(), _Record(wish))
        while record.under_way is not None:
            await record.under_way.wait()
            if record.outcome is not None and record.wish.words() == wish.words():
                return replace(record.outcome, effect=None)
            # The first attempt was cancelled before it had an outcome. This one takes its place.
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
            record.unsure = record.unsure or record.outcome is None  # None: the attempt was cancelled while it ran.
            record.under_way.set()
            record.under_way = None
        outcome = record.outcome
        if outcome.ok:
            self._give_up_what_it_undoes(record)
        elif outcome.is_no:
            record.again += 1
        return outcome

    async def _settled(self, record: _Record, work: Callable[[str, Any], Awaitable[Outcome]]) -> Outcome:
        """The outcome under the first key that was not refused before.

        A refusal under an old key may be an old answer.
        """
        while True:
            outcome, had_failed = await self._attempt(record, work)
            if not (outcome.is_no and had_failed):
                return outcome
            record.again += 1

    async def _attempt(self, record: _Record, work: Callable[[str, Any], Awaitable[Outcome]]) -> tuple[Outcome, bool]:
        """The outcome of one attempt under the wish's key, and whether an earlier attempt under this key had failed."""
        before = await self._reserve(record)
        if isinstance(before, Already) and before.state == "done" and before.ok and before.output is not None:
            return Outcome(msgspec.json.encode(before.output).decode(), ok=True, writes=True, key=record.key), False
        was_lost = record.unsure or (isinstance(before, Already) and before.state in ("reserved", "unknown"))
        outcome = await work(record.key, record.wish.arguments)
        if was_lost and not outcome.ok:
            if outcome.refused or outcome.is_no:
                outcome = replace(
                    outcome, output=_UNKNOWN, refused=False, is_no=False, error="a no after a lost answer"
                )
            outcome = replace(outcome, unsure=True)
        if not outcome.unsure:  # An attempt whose result is not known does not count as ended.
            await self._settle(record.key, outcome)
        return outcome, isinstance(before, Already) and before.state == "failed"

    def _give_up_what_it_undoes(self, record: _Record) -> None:
        """If this success has changed what an earlier success did, the earlier one no longer counts."""
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
    """The same wish came in other words after it was done. The agent is told to ask whether a second one is wanted."""
    assert record.outcome is not None
    first = {name: value for name, value in msgspec.json.decode(record.outcome.output).items() if name != "status"}
    words = "This was done for this caller in this call already, under other words; nothing was done again."
    asks = "Say what stands, and ask whether they want a second one. Only if they say so, call this again like this."
    output = envelope({"status": "error", "error": words, "stands": first, "next": asks})
    return Outcome(output, ok=False, writes=True, refused=True, error=words)


def _undoes(newer: Wish, older: Wish, output: Mapping[str, Any]) -> bool:
    """True if a success changes what an older success wrote. The ids in both results must be equal.

    If the functions have no `about`, two more things must be true: the newer function got that id as an argument, and
    it says that it cancelled or moved something.
    """
    if newer.about is not None or older.about is not None:
        return newer.about == older.about
    acts_on_it = str(output["id"]) in {str(value) for value in newer.words().values()}
    return acts_on_it and output.get("done") in ("cancelled", "moved")
