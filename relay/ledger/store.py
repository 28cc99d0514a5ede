"""The ledger in Postgres: a queue, a writer with its own thread, and reads beside it.

Rule 1: nothing here may hold up a call. record() appends to a list; reads have their caller's limit.
Rule 2: no row is lost while either Postgres or the disk works. Order: what is being written, spill, queue.
Rule 3: a row is written again until Postgres has said yes; statements are idempotent, so twice is once.
Rule 4: a row that Postgres will never take is set aside, so that the others get past it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
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
from relay.ledger.batch import BATCH_ROWS, take, write
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, Lane, words_of
from relay.ledger.spill import Entry, Spill

Result = TypeVar("Result")

# A call makes about one row a second: 100 calls fill this in 40 s. While Postgres is away the writer moves the queue to
# disk, in a thread, when it is half full. Should that come too late, record() does it at once (10-60 ms for 2 MiB on a
# busy disk: a jolt, but no row lost). The spill is bounded by the disk alone.
QUEUE_ROWS = 4_096
QUEUE_BYTES = 2 << 20

GATHER_S = 0.05  # rows wait this long for company
WRITE_LIMIT_S = 10.0  # twice the statement timeout: then the server hangs, and its connection is cut
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0  # between tries while Postgres is away
CLOSE_LIMIT_S = 1.0
# A disk that has refused is asked again by record() no sooner than this: at each row it would stop all calls' audio.
SPILL_PAUSE_S = 1.0

log = structlog.get_logger()


class PostgresLedger:
    """The port `Ledger` on a real Postgres. `keep_words=False` is RECORD=off. Construct it before the first call."""

    def __init__(self, url: str, *, spill_dir: Path, keep_words: bool = True, drain_limit_s: float = 5.0) -> None:
        self._statements = statements.read()
        self._writer = Lane(url)
        self._asker = Lane(url)
        self._spill = Spill(spill_dir)
        self._keep_words = keep_words
        self._drain_limit_s = drain_limit_s
        self._queue: deque[Entry] = deque()
        self._queue_bytes = 0
        self._in_flight: list[Entry] = []  # older than the spill
        self._in_flight_file = self._spill.next_file()  # where they would go: ahead of what is spilled meanwhile
        self._to_disk: list[Entry] = []  # newer than the spill, older than the queue
        self._disk_again_at = 0.0
        self._wake = trio.Event()
        self._ended = False
        self._trouble: str | None = None
        self._recorded = self._written = self._refused = self._lost = 0

    def record(self, row: r.Row) -> None:
        self._recorded += 1
        try:
            row = row if self._keep_words else r.without_words(row)
            entry = Entry(row, r.encode(row))
        except Exception as error:  # whatever a dict of the model's holds: a call does not end over its ledger
            self._refused += 1
            log.error("ledger.row_refused", statement=row.statement, error=type(error).__name__, do="report it: a bug")
            return
        full = len(self._queue) >= QUEUE_ROWS or self._queue_bytes + len(entry.encoded) > QUEUE_BYTES
        if full and (time.monotonic() < self._disk_again_at or not self._spill_queue()):
            self._lost += 1
            return
        self._queue.append(entry)
        self._queue_bytes += len(entry.encoded)
        self._wake.set()
        if self._ended:
            self._spill_queue()  # no writer any more: the next start ships it

    def _spill_queue(self) -> bool:
        """Move the queue to disk, now. False if the disk refuses too; then it stays where it is."""
        entries = list(self._queue)
        if not self._put(self._spill.next_file(), entries):
            return False
        self._queue.clear()
        self._queue_bytes = 0
        return True

    def _put(self, path: Path, entries: list[Entry]) -> bool:
        if not entries:
            return True
        try:
            self._spill.put(path, entries)
        except OSError as error:
            self._disk_refused(error, len(entries))
            return False
        self._spilled(entries)
        return True

    async def _relieve_queue(self) -> None:
        """The same in a thread, before it is full."""
        if len(self._queue) < QUEUE_ROWS // 2 and self._queue_bytes < QUEUE_BYTES // 2:
            return
        self._to_disk = list(self._queue)
        size_bytes, self._queue_bytes = self._queue_bytes, 0
        self._queue.clear()
        on_disk = False
        try:
            await trio.to_thread.run_sync(self._spill.put, self._spill.next_file(), self._to_disk)
            on_disk = True
        except OSError as error:
            self._disk_refused(error, len(self._to_disk))
        finally:
            if on_disk:
                self._spilled(self._to_disk)
            else:  # also when we were cancelled before the thread began
                self._queue.extendleft(reversed(self._to_disk))
                self._queue_bytes += size_bytes
            self._to_disk = []

    def _disk_refused(self, error: OSError, rows: int) -> None:
        self._disk_again_at = time.monotonic() + SPILL_PAUSE_S
        do = "make room in DATA_DIR, or bring Postgres back: rows wait in memory, and are lost once that is full"
        log.error("ledger.spill_failed", rows=rows, lost=self._lost, error=error.strerror, do=do)

    def _spilled(self, entries: list[Entry]) -> None:
        self._spill.rows += len(entries)
        log.warning("ledger.spilled", rows=len(entries))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                await self._write_what_waits()
                self._wake = trio.Event()
                await self._wake.wait()
                if len(self._queue) < BATCH_ROWS:
                    await trio.sleep(GATHER_S)
        finally:
            try:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + self._drain_limit_s):
                    await self._write_what_waits()
            finally:  # a bug that has ended the writer meets us here again: its rows must not stay in memory
                self._ended = True
                self._keep_the_rest()
                await self._writer.close(limit_s=CLOSE_LIMIT_S)
                await self._asker.close(limit_s=CLOSE_LIMIT_S)

    def _keep_the_rest(self) -> None:
        """What Postgres has not taken in time: to disk, each in its place."""
        if self._put(self._in_flight_file, self._in_flight):
            self._in_flight = []
        if not self._spill_queue() or self._in_flight:
            rows = len(self._queue) + len(self._in_flight)
            self._lost += rows
            log.error("ledger.rows_lost", rows=rows, do="make room in DATA_DIR before the next start")

    async def _write_what_waits(self) -> None:
        """Until nothing waits: what was in flight when we were cancelled, then the spill, then the queue."""
        if self._in_flight:
            await self._write_in_flight()
        while True:
            oldest = self._spill.oldest()
            if oldest is not None:
                await self._ship(oldest)
            elif self._queue:
                self._in_flight = take(self._queue)
                self._in_flight_file = self._spill.next_file()
                self._queue_bytes -= sum(len(entry.encoded) for entry in self._in_flight)
                await self._write_in_flight()
            else:
                return

    async def _write_in_flight(self) -> None:
        await self._write(self._in_flight)
        self._written += len(self._in_flight)
        self._in_flight = []

    async def _ship(self, path: Path) -> None:
        """A file of the spill. Cut short, it is shipped again from its start: the statements do not mind."""
        try:
            entries, unreadable = await trio.to_thread.run_sync(self._spill.read, path)
        except OSError as error:
            log.error("ledger.spill_unreadable", error=error.strerror, do="give DATA_DIR to this user, start again")
            self._spill.skip(path)
            return
        self._set_aside(unreadable, "unreadable")
        waiting, rows = deque(entries), len(entries) + len(unreadable)
        while waiting:
            await self._write(take(waiting))
        self._written += len(entries)
        try:
            self._spill.remove(path, rows)
        except OSError as error:  # a disk that has gone read-only; twice is once, so the next start ships it again
            log.error("ledger.spill_stays", error=error.strerror, do="look at DATA_DIR: can the relay write to it?")
            self._spill.skip(path)
            return
        log.info("ledger.spill_shipped", rows=len(entries))

    async def _write(self, entries: list[Entry]) -> None:
        """Write until Postgres has said yes."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                work = partial(write, statements=self._statements, entries=entries)
                refused = await self._writer.use(work, limit_s=WRITE_LIMIT_S, again=False)
                break
            except (psycopg.Error, LedgerUnavailable) as error:
                words = words_of(error) if isinstance(error, psycopg.Error) else str(error)
                if self._trouble is None:
                    log.error("ledger.unavailable", words=words, caller_hears="nothing: rows wait on disk")
                self._trouble = words
            await self._relieve_queue()
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
        if self._trouble is not None:
            self._trouble = None
            log.info("ledger.available", queued=len(self._queue), spilled=self._spill.rows)
        for entry, words in refused:
            self._set_aside([entry.line()], words)
            self._written -= 1

    def _set_aside(self, lines: list[bytes], words: str) -> None:
        if not lines:
            return
        self._refused += len(lines)
        log.error("ledger.row_refused", rows=len(lines), error=words, do="see refused.jsonl in DATA_DIR/ledger-spill")
        with suppress(OSError):  # the disk is full: the count and the log line are what is left of it
            self._spill.set_aside(lines)

    def counts(self) -> r.Counts:
        return r.Counts(
            recorded=self._recorded,
            written=self._written,
            queued=len(self._in_flight) + len(self._to_disk) + len(self._queue),
            spilled=self._spill.rows,
            refused=self._refused,
            lost=self._lost,
        )

    async def _ask(self, work: Callable[[Connection], Result], limit_s: float, again: bool = True) -> Result:
        try:
            return await self._asker.use(work, limit_s=limit_s, again=again)
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    def _query(self, name: str, **values: object) -> Callable[[Connection], tuple[object, ...] | None]:
        """A piece of work: the first row of a named statement, or None."""
        return lambda connection: connection.execute(self._statements[name], values).fetchone()

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> r.SeenCall | None:
        statement = self._statements["fetch_call"]

        def work(connection: Connection) -> r.SeenCall | None:
            with connection.cursor(row_factory=class_row(r.SeenCall)) as cursor:
                return cursor.execute(statement, {"call_sid": call_sid}).fetchone()

        waiting: Iterable[r.Row] = [entry.row for entry in (*self._in_flight, *self._to_disk, *self._queue)]
        pending = [row for row in waiting if isinstance(row, r.CallRow | r.OutcomeRow)]
        try:
            return r.seen(call_sid, await self._ask(work, limit_s), pending)
        except LedgerUnavailable:
            known = r.seen(call_sid, None, pending)
            if known is None:
                raise
            return known

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float) -> float:
        since, until = r.day_bounds(day, tz)
        row = await self._ask(self._query("spent_usd", since=since, until=until), limit_s)
        return float(cast("float", row[0])) if row else 0.0

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        row = await self._ask(self._query("calls_from", number=number, since_s=since_s), limit_s)
        return cast("int", row[0]) if row else 0

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
            except psycopg.errors.UniqueViolation:  # another relay has claimed it since we looked
                return False

        try:
            with trio.fail_after(limit_s):
                holder = await self._ask(before, limit_s)  # and finds out whether our connection still lives
                if holder is None:
                    # Not again: a claim whose answer was lost may stand, and would look like somebody else's.
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
        except Exception:  # Postgres is away, or the output is no JSON: record() knows what to do with either
            self.record(settlement)

    async def ready(self, *, limit_s: float) -> str | None:
        try:
            await self._ask(lambda connection: connection.execute("select from function_calls limit 1"), limit_s)
        except LedgerUnavailable as error:
            return f"Postgres does not take rows ({error}); they wait on this machine until it does."
        if self._trouble is not None:
            return f"Postgres does not take rows ({self._trouble}); they wait on this machine until it does."
        return None
