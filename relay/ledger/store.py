"""The ledger in Postgres. It has a backlog, a thread that writes rows, and another thread that reads and reserves.

Rule 1: record() never waits for Postgres. It appends to a list. It uses the disk only if the list is full, or after the
        writer has ended. Reads and reservations wait at most for their limit.
Rule 2: no row is lost while either Postgres or the disk works. When Postgres begins to refuse rows, all waiting rows
        are put on disk at once, and new rows every second. If the process is killed then, it loses the rows of one
        second, or of two seconds if Postgres hangs.
Rule 3: a row is written again until Postgres has confirmed it. Writing a row twice changes nothing.
Rule 4: a row that Postgres will never take is set aside, so that the rows after it are written.
Rule 5: while no calls run, the ledger sends nothing. After a minute it closes its connections. So a hosted database
        can sleep.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import psycopg
import structlog
import trio
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from relay.ledger import rows as r
from relay.ledger import statements
from relay.ledger.backlog import Backlog
from relay.ledger.batch import BATCH_ROWS, may_be_of_the_row, take, take_plain_rows, write
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, words_of
from relay.ledger.spill import Entry

Result = TypeVar("Result")

GATHER_S = 0.05  # Rows wait this long, so that more rows are written together.
SPILL_EVERY_S = 1.0  # If Postgres does not take rows, they are put on disk after this time.
WRITE_LIMIT_S = 10.0  # Twice the statement timeout. A server that takes longer hangs, so the connection is cut.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0  # The pauses between tries while Postgres is away.
CLOSE_LIMIT_S = 1.0
# A batch may fail again and again although its tables take other rows. One of its rows may then make Postgres crash or
# hang. After SUSPECT_TRIES failures and SUSPECT_S seconds, the rows of the batch are tried one by one. Other causes,
# such as a lock or a failover, end sooner.
SUSPECT_TRIES, SUSPECT_S = 5, 60.0

log = structlog.get_logger()


class PostgresLedger:
    """Implements the port `Ledger` with Postgres. `keep_words` is false if RECORD=off is set.

    Make this object before the first call, because the constructor reads the files that an earlier process has left.
    """

    def __init__(self, url: str, *, spill_dir: Path, keep_words: bool = True, drain_limit_s: float = 5.0) -> None:
        self._statements = statements.read()
        self._writer = PostgresThread(url)
        self._asker = PostgresThread(url)
        self._backlog = Backlog(spill_dir)
        self._keep_words = keep_words
        self._drain_limit_s = drain_limit_s
        self._wake = trio.Event()
        self._refused_now = trio.Event()  # Set when Postgres begins to refuse rows.
        self._ended = False
        self._trouble: str | None = None
        self._recorded = self._written = self._lost = self._no_json = 0

    def record(self, row: r.Row, *also: r.Row) -> None:
        self._recorded += 1
        try:
            row = row if self._keep_words else r.without_words(row)
            entry = Entry(row, r.encode(row), tuple(Entry(one, r.encode(one)) for one in also))
        # A dict from the model may hold a value that is not JSON. That must not end the call.
        except Exception as error:
            self._no_json += 1
            log.error("ledger.row_refused", statement=row.statement, error=type(error).__name__, do="report it: a bug")
            return
        if not self._backlog.add(entry):
            self._lost += 1
            return
        self._wake.set()
        if self._ended:
            self._backlog.put_now()  # The writer has ended, so put the row on disk. The next process writes it.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_on_disk)
                while True:
                    await self._write_what_waits()
                    self._wake = trio.Event()
                    await self._wake.wait()
                    if self._backlog.in_memory < BATCH_ROWS:
                        await trio.sleep(GATHER_S)
        finally:
            try:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + self._drain_limit_s):
                    if self._trouble is not None:
                        await self._backlog.put()
                    await self._write_what_waits()
            finally:  # The error that ended the writer may come again here. The rows must still go to disk.
                self._ended = True
                self._keep_the_rest()
                await self._writer.close(limit_s=CLOSE_LIMIT_S)
                await self._asker.close(limit_s=CLOSE_LIMIT_S)

    def _keep_the_rest(self) -> None:
        """Put all rows on disk that Postgres has not taken within the limit."""
        if not self._backlog.put_now():
            rows = self._backlog.in_memory
            self._lost += rows
            self._backlog.forget()
            log.error("ledger.rows_lost", rows=rows, do="make room in DATA_DIR before the next start")

    async def _keep_on_disk(self) -> None:
        """Every second: put rows on disk if Postgres does not take them, and close connections that are not used."""
        while True:
            with trio.move_on_after(SPILL_EVERY_S):
                await self._refused_now.wait()
                self._refused_now = trio.Event()
            if self._trouble is not None or self._backlog.waits_s > SPILL_EVERY_S:
                await self._backlog.put()
            await self._writer.close_if_idle()
            await self._asker.close_if_idle()

    async def _write_what_waits(self) -> None:
        while (waiting := await self._backlog.first()) is not None:
            piece, entries = waiting
            rows = len(entries)
            while entries:
                batch = take(entries)
                refused = await self._write(batch)
                for entry, words in refused:
                    self._backlog.set_aside([entry.line()], words)
                self._written += len(batch) - len(refused)
                await self._backlog.written(piece, len(batch))
            await self._backlog.finish(piece, rows)

    async def _write(self, entries: list[Entry]) -> list[tuple[Entry, str]]:
        """Write rows, again and again, until Postgres has confirmed them.

        Returns the rows that Postgres will never take.
        """
        pause_s, tries, began_at = FIRST_PAUSE_S, 0, trio.current_time()
        while True:
            try:
                work = partial(write, statements=self._statements, entries=entries)
                refused = await self._writer.use(work, limit_s=WRITE_LIMIT_S, again=True)
                break
            # Catch any error. Otherwise the writer would end, and the next process would end at the same rows.
            except Exception as error:
                failure = error
            self._in_trouble(failure)
            tries += 1
            is_long = tries >= SUSPECT_TRIES and trio.current_time() - began_at >= SUSPECT_S
            if is_long and may_be_of_the_row(failure) and await self._takes_plain_rows(entries):
                if len(entries) == 1:
                    return [(entries[0], _words(failure))]
                return [refused for entry in entries for refused in await self._write([entry])]
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
        if self._trouble is not None:
            self._trouble = None
            log.info("ledger.available", queued=self._backlog.in_memory, spilled=self._backlog.on_disk)
        return refused

    def _in_trouble(self, error: Exception) -> None:
        words = _words(error)
        if self._trouble is None:
            log.error("ledger.unavailable", words=words, caller_hears="no change: rows wait on disk")
            self._refused_now.set()
        self._trouble = words

    async def _takes_plain_rows(self, entries: list[Entry]) -> bool:
        """True if the tables of these rows take plain rows (batch.py)."""
        try:
            work = partial(take_plain_rows, statements=self._statements, entries=entries)
            await self._writer.use(work, limit_s=WRITE_LIMIT_S, again=True)
        except Exception:
            return False
        return True

    def counts(self) -> r.Counts:
        return r.Counts(
            recorded=self._recorded,
            written=self._written,
            queued=self._backlog.in_memory,
            spilled=self._backlog.on_disk,
            refused=self._backlog.refused + self._no_json,
            lost=self._lost,
        )

    async def _ask(self, work: Callable[[Connection], Result], limit_s: float, again: bool = True) -> Result:
        try:
            return await self._asker.use(work, limit_s=limit_s, again=again)
        except (psycopg.Error, UnicodeError, ValueError, TypeError) as error:  # ValueError: an unreadable answer.
            raise LedgerUnavailable(words_of(error)) from error

    def _query(self, name: str, **values: object) -> Callable[[Connection], tuple[object, ...] | None]:
        """Return work for the thread: a function that runs a named statement and returns its first row, or None."""
        return lambda connection: connection.execute(self._statements[name], values).fetchone()

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> r.SeenCall | None:
        statement = self._statements["fetch_call"]

        def work(connection: Connection) -> r.SeenCall | None:
            with connection.cursor(row_factory=class_row(r.SeenCall)) as cursor:
                return cursor.execute(statement, {"call_sid": call_sid}).fetchone()

        pending = self._backlog.of_call(call_sid)
        try:
            return r.seen(call_sid, await self._ask(work, limit_s), pending)
        except LedgerUnavailable:
            known = r.seen(call_sid, None, pending)
            if known is None:
                raise
            return known

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        since, until = r.day_bounds(day, tz)
        row = await self._ask(self._query("spent_usd", since=since, until=until, besides=besides), limit_s)
        return float(cast("float", row[0])) if row else 0.0

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        row = await self._ask(self._query("calls_from", number=number, since_s=since_s), limit_s)
        return cast("int", row[0]) if row else 0

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        statement = self._statements["numbers_called"]

        def work(connection: Connection) -> list[str]:
            return [cast("str", row[0]) for row in connection.execute(statement).fetchall()]

        return await self._ask(work, limit_s)

    async def load_greeting(self, key: str, *, limit_s: float) -> r.Greeting | None:
        statement = self._statements["load_greeting"]

        def work(connection: Connection) -> r.Greeting | None:
            with connection.cursor(row_factory=class_row(r.Greeting)) as cursor:
                return cursor.execute(statement, {"key": key}).fetchone()

        return await self._ask(work, limit_s)

    async def keep_greeting(self, greeting: r.Greeting, *, limit_s: float) -> None:
        values = {name: getattr(greeting, name) for name in greeting.__slots__}
        statement = self._statements["keep_greeting"]
        await self._ask(lambda connection: connection.execute(statement, values), limit_s)

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: r.Json, *, function_call_id: str, limit_s: float
    ) -> r.Reserved | r.Already | r.Unavailable:
        before = self._query("reserved_before", key=key)
        claim = self._query(
            "reserve",
            key=key,
            call_sid=call_sid,
            function=function,
            arguments=Jsonb(arguments) if self._keep_words else None,
            function_call_id=function_call_id,
        )

        def claim_or_none(connection: Connection) -> bool:
            try:
                return claim(connection) is not None
            except psycopg.errors.UniqueViolation:  # Another relay has claimed the key in the meantime.
                return False

        try:
            with trio.fail_after(limit_s):
                holder = await self._ask(before, limit_s)  # This read also connects again if the connection is lost.
                if holder is None:
                    # If the answer to the claim is lost, the claim is not tried again. The first try may have
                    # succeeded. A second try would then find the key taken, and would blame another relay.
                    if await self._ask(claim_or_none, limit_s, again=False):
                        return r.Reserved()
                    holder = await self._ask(before, limit_s)
        except trio.TooSlowError:
            return r.Unavailable(f"Postgres did not answer within {limit_s:g} s.")
        except LedgerUnavailable as error:
            return r.Unavailable(str(error))
        if holder is None:
            return r.Unavailable("This function call holds another key already.")
        state, ok, output = cast("tuple[r.FunctionState | None, bool | None, r.Json | None]", holder)
        return r.Already(state or "unknown", ok, output)

    async def settle(self, key: str, ok: bool, output: r.Json, *, limit_s: float) -> None:
        settlement = r.Settlement(key=key, state="done" if ok else "failed", ok=ok, output=output)
        try:
            values = {"rows": "[" + r.encode(settlement).decode() + "]"}
            statement = self._statements["settle_function_calls"]
            await self._ask(lambda connection: connection.execute(statement, values), limit_s)
        except Exception:  # Postgres is away, or the output is not JSON. record() handles both.
            self.record(settlement)

    async def ready(self, *, limit_s: float) -> str | None:
        try:
            await self._ask(partial(take_plain_rows, statements=self._statements, entries=None), limit_s)
        except LedgerUnavailable as error:
            return f"Postgres does not take rows ({error}); they wait on this machine until it does."
        if self._trouble is not None:
            return f"Postgres does not take rows ({self._trouble}); they wait on this machine until it does."
        return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, LedgerUnavailable) else words_of(error)
