"""Keeps the diary in Postgres.

Rule 1: no person and no place is booked twice at one time. An exclusion constraint of the table refuses that, also if
        another program writes into the table.
Rule 2: each change is a transaction that holds one lock. So a time that was found free is still free when it is booked.
        If two relays write, the second one waits, and then sees what the first one has done.
Rule 3: a repeated change is found in the history by its key. So a change can be tried again after its answer was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar, cast

import psycopg
import trio

from relay.business.diary import Appointment, Block, Change, DiaryUnavailable, Store
from relay.business.rules import Resource, Span
from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, words_of

T = TypeVar("T")

LOCK: Final = 0x6469617279  # The number of the advisory lock: "diary" in ASCII.
# A program that does not take the lock may collide with a change. The change is tried this many times.
TRIES: Final = 3
CLOSE_LIMIT_S: Final = 1.0
IDLE_EVERY_S: Final = 30.0

STATEMENTS: Final = statements.read(statements.SQL_DIR / "diary.sql")


class PostgresDiary:
    """Implements the port `Diary`. It has a thread and a connection of its own."""

    def __init__(self, url: str) -> None:
        self._thread = PostgresThread(url)

    async def read(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        return await self._use(lambda connection: _told(work, PostgresStore(connection)), limit_s, writes=False)

    async def write(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        return await self._use(lambda connection: _alone(connection, work), limit_s, writes=True)

    async def keep_idle_closed(self) -> None:
        """Close the connection whenever it is not used for a while. Runs until cancelled.

        Some hosted databases sleep while they have no connection.
        """
        while True:
            await trio.sleep(IDLE_EVERY_S)
            await self._thread.close_if_idle()

    async def close(self) -> None:
        await self._thread.close(limit_s=CLOSE_LIMIT_S)

    async def _use(self, work: Callable[[Connection], _Told[T]], limit_s: float, *, writes: bool) -> T:
        try:
            told = await self._thread.use(work, limit_s=limit_s, again=True)
        except LedgerUnavailable as error:
            raise DiaryUnavailable(str(error), may_have_happened=writes) from None
        except psycopg.Error as error:
            lost = writes and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            raise DiaryUnavailable(words_of(error), may_have_happened=lost) from error
        if told.refusal is not None:
            raise told.refusal
        return cast("T", told.result)


@dataclass(frozen=True, slots=True)
class _Told(Generic[T]):
    """What the work returned or raised. A refusal is stored here, so that the thread does not close the connection."""

    result: T | None = None
    refusal: Exception | None = None


def _told(work: Callable[[Store], T], store: Store) -> _Told[T]:
    try:
        return _Told(work(store))
    except psycopg.Error:
        raise
    except Exception as refusal:
        return _Told(refusal=refusal)


def _alone(connection: Connection, work: Callable[[Store], T]) -> _Told[T]:
    for number in range(TRIES):
        try:
            # This is a savepoint inside the thread's transaction. After a collision only `work` is rolled back.
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
                return _told(work, PostgresStore(connection))
        except (psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation):
            if number == TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


class PostgresStore:
    """The diary within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def busy(self, resources: Sequence[Resource], span: Span, but: str = "") -> Mapping[Resource, Sequence[Span]]:
        found: dict[Resource, list[Span]] = {resource: [] for resource in resources}
        names = list({resource.name for resource in resources})
        for name, number, start, end in self._rows("busy", **_ends(span), names=names, but=_number(but, "apt_")):
            taken = found.get(Resource(name, number))
            if taken is not None:
                taken.append((start, end))
        for block in self.blocks(span):
            for resource in resources:
                if block.who in ("", resource.name):
                    found[resource].append(block.span)
        return found

    def appointment(self, appointment_id: str) -> Appointment | None:
        return next(map(_appointment, self._rows("appointment", id=_number(appointment_id, "apt_"))), None)

    def of_phone(self, phone: str, after_min: int) -> list[Appointment]:
        return [_appointment(row) for row in self._rows("of_phone", phone=phone, after=after_min)]

    def last_name(self, phone: str) -> str:
        return next((str(name) for (name,) in self._rows("last_name", phone=phone)), "")

    def change(self, key: str) -> Change | None:
        for kind, by, call_sid, name, number, start, busy, of in self._rows("change", key=key or None):
            now = self.appointment(f"apt_{of}")
            assert now is not None, "a history goes with its appointment"
            then = replace(
                now,
                resource=Resource(name, number),
                start_min=start,
                busy_min=busy,
                state="cancelled" if kind == "cancelled" else "booked",
            )
            return Change(kind, then, key, by, call_sid or "")
        return None

    def keep(self, change: Change) -> Appointment:
        made = change.appointment
        values = {
            "service": made.service, "resource": self._resource(made.resource), "start": made.start_min,
            "end": made.start_min + made.busy_min, "minutes": made.minutes, "state": made.state, "name": made.name,
            "phone": made.phone, "notes": made.notes, "made_by": made.call_sid or None, "id": _number(made.id, "apt_"),
            "kind": change.kind, "by": change.by, "call_sid": change.call_sid or None, "key": change.key or None,
        }  # fmt: skip
        if made.id:
            self._do("update", values)
        else:
            ((values["id"],),) = self._rows("insert", **values)
        self._do("add_change", values)
        return replace(made, id=f"apt_{values['id']}")

    def listed(self, span: Span) -> list[Appointment]:
        return [_appointment(row) for row in self._rows("listed", **_ends(span))]

    def blocks(self, span: Span) -> list[Block]:
        rows = self._rows("blocks", **_ends(span))
        return [Block((start, end), who, why, f"blk_{number}") for number, who, why, start, end in rows]

    def block(self, block: Block) -> str:
        ((number,),) = self._rows("add_block", **_ends(block.span), who=block.who, why=block.why)
        return f"blk_{number}"

    def unblock(self, block_id: str) -> bool:
        return self._do("remove_block", {"id": _number(block_id, "blk_")}) > 0

    def _resource(self, resource: Resource) -> int:
        ((number,),) = self._rows("resource", name=resource.name, number=resource.number)
        return int(number)

    def _rows(self, statement: str, /, **values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(STATEMENTS[statement], values).fetchall()

    def _do(self, statement: str, values: Mapping[str, Any]) -> int:
        return self._connection.execute(STATEMENTS[statement], values).rowcount


def _ends(span: Span) -> dict[str, int]:
    return {"start": span[0], "end": span[1]}


def _appointment(row: Sequence[Any]) -> Appointment:
    number, service, who, place, start, minutes, busy, name, phone, notes, state, call_sid = row
    return Appointment(
        service, Resource(who, place), start, minutes, busy, name, phone, notes, f"apt_{number}", state, call_sid or ""
    )


def _number(shown_id: str, prefix: str) -> int:
    """The number in an id like `apt_12` (or in `12` alone). Any other text gives -1, which no row has."""
    digits = shown_id.removeprefix(prefix)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 18 else -1
