"""A ledger in memory, for plays. A play is a simulated call in a test. It has a fake clock, so no thread may run in it.

MemoryLedger must do the same as PostgresLedger with sql/statements.sql. tests/ledger/test_port.py runs the same cases
against both classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TypeVar

import trio

from relay.ledger import rows as r
from relay.ledger.port import LedgerUnavailable

Kept = TypeVar(
    "Kept",
    r.CallRow,
    r.TranscriptRow,
    r.FunctionCallRow,
    r.OutcomeRow,
    r.ConsentRow,
    r.MessageRow,
    r.RecordingRow,
    r.RecordingPauseRow,
    r.OutboxRow,
)

AWAY = "Postgres is away (in this play)."


class MemoryLedger:
    """Implements the port `Ledger`.

    While `away` is true, it behaves as if Postgres could not be reached: reads fail, and rows wait.
    """

    def __init__(self, *, keep_words: bool = True, utc_now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._keep_words = keep_words
        self._utc_now = utc_now
        self._away = False
        self._tables: dict[type[r.Row], dict[r.Identity, r.Row]] = {kind: {} for kind in r.ROW_TYPES}
        self._waiting: list[tuple[r.Row, ...]] = []  # Each tuple holds the rows of one `record`.
        self._recorded = 0
        self.greetings: dict[str, r.Greeting] = {}

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if not away:
            waiting, self._waiting = self._waiting, []
            for row in itertools.chain.from_iterable(waiting):
                self._write(row)

    def of(self, kind: type[Kept], call_sid: str | None = None) -> list[Kept]:
        """The rows of one table, sorted by their identity (rows.py).

        With `call_sid`, only the rows of this call.
        """
        table = sorted(self._tables[kind].items(), key=lambda entry: entry[0])
        found = [row for _, row in table if isinstance(row, kind)]
        return [row for row in found if call_sid is None or row.call_sid == call_sid]

    def record(self, row: r.Row, *also: r.Row) -> None:
        self._recorded += 1
        # If a row is not JSON, PostgresLedger only counts it, and the call goes on. Here `record` raises, so that a
        # test fails.
        for one in (row, *also):
            r.encode(one)
        together = (row if self._keep_words else r.without_words(row), *also)
        if self._away:
            self._waiting.append(together)
            return
        for one in together:
            self._write(one)

    def _write(self, row: r.Row) -> None:
        if isinstance(row, r.Settlement):
            self._settle(row)
            return
        identity = row.identities()[0]
        if isinstance(row, r.FunctionCallRow) and row.key is not None:
            holder = self._holder(row.key)
            if holder is not None and holder[0] != identity:
                row = replace(row, key=None)
        table = self._tables[type(row)]
        old = table.get(identity)
        table[identity] = row if old is None else r.merge(old, row)  # type: ignore[type-var]  # one table, one kind

    def _holder(self, key: str) -> tuple[r.Identity, r.FunctionCallRow] | None:
        """The function row that has this key, and its identity."""
        rows = self._tables[r.FunctionCallRow].items()
        return next(((at, row) for at, row in rows if isinstance(row, r.FunctionCallRow) and row.key == key), None)

    def _settle(self, settlement: r.Settlement) -> None:
        identity, holder = self._holder(settlement.key) or (None, None)
        if identity is not None and holder is not None and holder.state != "done":
            settled = replace(holder, state=settlement.state, ok=settlement.ok, output=settlement.output)
            self._tables[r.FunctionCallRow][identity] = settled

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._away:
            raise LedgerUnavailable(AWAY)

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> r.SeenCall | None:
        await trio.lowlevel.checkpoint()
        known: list[r.CallRow | r.OutcomeRow] = []
        if not self._away:
            known += self.of(r.CallRow, call_sid)
            known += self.of(r.OutcomeRow, call_sid)
        waiting = itertools.chain.from_iterable(self._waiting)
        known += [row for row in waiting if isinstance(row, r.CallRow | r.OutcomeRow)]
        seen = r.seen(call_sid, None, known)
        if seen is None and self._away:
            raise LedgerUnavailable(AWAY)
        return seen

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        await self._answer()
        since, until = r.day_bounds(day, tz)
        spent: dict[str, Decimal] = {}
        for outcome in self.of(r.OutcomeRow):
            if since <= outcome.ended_at < until and outcome.cost_usd and not (besides and outcome.process == besides):
                spent[outcome.call_sid] = outcome.cost_usd
        for call in self.of(r.CallRow):
            if call.spent_at and since <= call.spent_at < until and not (besides and call.process == besides):
                spent[call.call_sid] = max(spent.get(call.call_sid, Decimal(0)), call.spent_usd or Decimal(0))
        return float(sum(spent.values()))

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        await self._answer()
        since = self._utc_now() - timedelta(seconds=since_s)
        calls = [row for row in self.of(r.CallRow) if not row.is_test]
        of_number = (row.started_at for row in calls if (row.from_number or "") == number)
        return sum(1 for started_at in of_number if started_at is not None and started_at > since)

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        await self._answer()
        return sorted({row.to_number for row in self.of(r.CallRow) if row.to_number})

    async def load_greeting(self, key: str, *, limit_s: float) -> r.Greeting | None:
        await self._answer()
        return self.greetings.get(key)

    async def keep_greeting(self, greeting: r.Greeting, *, limit_s: float) -> None:
        await self._answer()
        self.greetings[greeting.key] = greeting

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: r.Json, *, function_call_id: str, limit_s: float
    ) -> r.Reserved | r.Already | r.Unavailable:
        await trio.lowlevel.checkpoint()
        if self._away:
            return r.Unavailable(AWAY)
        _, holder = self._holder(key) or (None, None)
        if holder is not None:
            return r.Already(holder.state or "unknown", holder.ok, holder.output)
        row = r.FunctionCallRow(
            call_sid=call_sid,
            function_call_id=function_call_id,
            name=function,
            arguments=arguments,
            key=key,
            state="reserved",
        )
        self._write(row if self._keep_words else r.without_words(row))
        return r.Reserved()

    async def settle(self, key: str, ok: bool, output: r.Json, *, limit_s: float) -> None:
        await trio.lowlevel.checkpoint()
        self.record(r.Settlement(key=key, state="done" if ok else "failed", ok=ok, output=output))

    async def ready(self, *, limit_s: float) -> str | None:
        await trio.lowlevel.checkpoint()
        return AWAY if self._away else None

    def counts(self) -> r.Counts:
        queued = len(self._waiting)
        written = self._recorded - queued
        return r.Counts(recorded=self._recorded, written=written, queued=queued, spilled=0, refused=0, lost=0)
