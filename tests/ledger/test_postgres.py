"""The ledger with a Postgres that stops, hangs, restarts or refuses: calls go on, and no row is lost or doubled.

Every test has a server or a database of its own. The tests that both ledgers must pass are in test_port.py.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import structlog
import trio

from relay.ledger import backlog, spill, store
from relay.ledger import rows as r
from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.history import list_calls, rows_of_call
from relay.ledger.migrate import migrate
from relay.ledger.port import LedgerUnavailable
from relay.ledger.spill import set_aside_files
from relay.ledger.store import PostgresLedger
from tests.helpers.until import until

pytestmark = pytest.mark.real

LIMIT_S = 20.0
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOWHERE = "postgresql://postgres@/postgres?host=/nonexistent&port=5432"


def turn(seq: int, **values: str) -> r.TranscriptRow:
    return r.TranscriptRow(call_sid=f"CA{seq % 7}", seq=seq, role="caller", said=values.get("said", f"turn {seq}"))


@pytest.fixture
def spill_dir(tmp_path: Path) -> Path:
    return tmp_path / "spill"


@asynccontextmanager
async def running(ledger: PostgresLedger) -> AsyncIterator[trio.Nursery]:
    """Run the writer in its own nursery. At the end it is cancelled, as in the daemon."""
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        yield nursery
        nursery.cancel_scope.cancel()


def stored(url: str) -> list[tuple[int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select seq, said from transcripts order by seq").fetchall()


def modes(folder: Path) -> dict[str, int]:
    """The files in a folder with their permissions. Empty if the folder does not exist."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*")}


class Server:
    """A Postgres of the test's own, which the test can stop and start again."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder / "postgres", url

    def _keeper(self, number: signal.Signals) -> None:
        os.kill(int((self.folder / "keeper.lock").read_text()), number)

    def _pid(self) -> int:
        return int((self.folder / "server" / "data" / "postmaster.pid").read_text().splitlines()[0])

    async def stop(self, how: signal.Signals) -> None:
        pid = self._pid()
        self._keeper(signal.SIGSTOP)
        os.kill(pid, how)
        await until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")

    def start(self) -> None:
        self._keeper(signal.SIGCONT)

    def hang(self) -> list[int]:
        """Freeze the server and all its backends with SIGSTOP. Return their pids."""
        self._keeper(signal.SIGSTOP)
        children = Path(f"/proc/{self._pid()}/task/{self._pid()}/children").read_text().split()
        pids = [self._pid(), *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def go_on(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        self.start()


@pytest.fixture
def server(open_folder: Path) -> Iterator[Server]:
    with embedded(open_folder) as url:  # durable, so that a crash does not lose confirmed rows
        migrate(url)
        server = Server(open_folder, url)
        yield server
        server.start()


def test_every_table_has_the_columns_of_its_rows(database_url: str) -> None:
    tables = {
        "calls": r.CallRow,
        "transcripts": r.TranscriptRow,
        "function_calls": r.FunctionCallRow,
        "call_outcomes": r.OutcomeRow,
        "consents": r.ConsentRow,
        "messages": r.MessageRow,
        "greetings": r.Greeting,
    }
    query = "select column_name from information_schema.columns where table_name = %s"
    with psycopg.connect(database_url) as connection:
        for table, kind in tables.items():
            columns = {str(column) for (column,) in connection.execute(query, [table])}
            # Columns that are in no row. Postgres itself fills in when words were deleted, and when and in which order
            # function calls were recorded. The console writes when a message was done.
            of_others = {
                "calls": {"words_deleted_at"},
                "function_calls": {"recorded_at", "number"},
                "messages": {"done_at"},
            }.get(table, set())
            assert columns - of_others == {field.name for field in fields(kind)}, table


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "crash"])
async def test_a_restart_of_postgres_while_2000_rows_are_written_loses_no_row_and_doubles_no_row(
    server: Server, spill_dir: Path, how: signal.Signals
) -> None:
    ledger = PostgresLedger(server.url, spill_dir=spill_dir)
    async with running(ledger):
        for seq in range(2_000):
            ledger.record(turn(seq))
            if seq % 10 == 0:
                await trio.sleep(0.005)
            if seq == 600:
                await server.stop(how)
            if seq == 1_400:
                assert ledger.counts().queued > 0
                assert "rows" in (await ledger.ready(limit_s=5) or "")
                server.start()
        await until(lambda: ledger.counts().written == 2_000)
        assert await ledger.ready(limit_s=5) is None
    assert stored(server.url) == [(seq, f"turn {seq}") for seq in range(2_000)]
    assert ledger.counts() == r.Counts(recorded=2_000, written=2_000, queued=0, spilled=0, refused=0, lost=0)


async def test_a_queue_that_is_full_while_postgres_is_away_is_put_on_disk_and_stored_later(
    server: Server, spill_dir: Path
) -> None:
    rows = 2 * backlog.QUEUE_ROWS + 100
    ledger = PostgresLedger(server.url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(turn(0))
        await until(lambda: ledger.counts().written == 1)
        await server.stop(signal.SIGINT)
        for seq in range(1, rows):
            ledger.record(turn(seq))
            if seq == backlog.QUEUE_ROWS + 10:
                ledger.record(turn(5, said="corrected"))  # its first words are in an earlier file
        ledger.record(turn(6, said="corrected"))  # this row is still in the queue, and its first words are on disk
        counts = ledger.counts()
        assert counts.spilled >= 2 * backlog.QUEUE_ROWS
        assert counts.queued <= backlog.QUEUE_ROWS
        server.start()
        await until(lambda: ledger.counts().written == rows + 2)
    expected = {seq: f"turn {seq}" for seq in range(rows)} | {5: "corrected", 6: "corrected"}
    assert dict(stored(server.url)) == expected
    assert modes(spill_dir) == {}
    assert ledger.counts().spilled == 0


async def test_rows_that_could_not_be_written_at_shutdown_are_written_at_the_next_start(
    database_url: str, spill_dir: Path
) -> None:
    ledger = PostgresLedger(NOWHERE, spill_dir=spill_dir, drain_limit_s=0.2)
    async with running(ledger):
        for seq in range(300):
            ledger.record(turn(seq))
        await trio.sleep(0.2)
    ledger.record(turn(300))  # after the end of the writer
    assert ledger.counts().spilled == 301
    assert set(modes(spill_dir).values()) == {0o600}
    assert modes(spill_dir.parent)["spill"] == 0o700

    after = PostgresLedger(database_url, spill_dir=spill_dir)
    assert after.counts().spilled == 301
    async with running(after):
        await until(lambda: after.counts().spilled == 0)
    assert stored(database_url) == [(seq, f"turn {seq}") for seq in range(301)]


async def test_a_spill_that_cannot_be_removed_does_not_end_the_writer_or_the_calls(
    database_url: str, spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PostgresLedger(NOWHERE, spill_dir=spill_dir)
    before._ended = True
    before.record(turn(0))

    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", read_only)
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(turn(1))
        await until(lambda: ledger.counts().queued == 0)
    assert stored(database_url) == [(0, "turn 0"), (1, "turn 1")]
    assert ledger.counts().spilled == 1  # the spill is still there


async def test_a_spilled_line_with_broken_bytes_is_set_aside_and_the_others_are_stored(
    database_url: str, spill_dir: Path
) -> None:
    before = PostgresLedger(NOWHERE, spill_dir=spill_dir)
    before._ended = True
    before.record(turn(0))
    (spilled,) = before._backlog._spill._files()
    with spilled.open("ab") as file:
        file.write(b'{"statement":"\xff","row":{}}\n')
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(turn(1))
        await until(lambda: ledger.counts().queued == 0)
    assert stored(database_url) == [(0, "turn 0"), (1, "turn 1")]
    assert ledger.counts().refused == 1


async def test_a_bug_in_the_writer_does_not_end_it_or_lose_a_row(
    database_url: str, spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of the writer's")

    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        with monkeypatch.context() as patched:
            patched.setattr(store, "write", bug)
            ledger.record(turn(0))
            await until(lambda: ledger.counts().spilled == 1)
            assert "RuntimeError" in (await ledger.ready(limit_s=LIMIT_S) or "")
        ledger.record(turn(1))
        await until(lambda: ledger.counts().written == 2)
    assert stored(database_url) == [(0, "turn 0"), (1, "turn 1")]


async def test_rows_that_come_after_the_end_of_the_writer_are_put_on_disk(
    database_url: str, spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(_: object) -> None:
        raise RuntimeError("a bug that ends the writer")

    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    with monkeypatch.context() as patched:
        patched.setattr(backlog.Backlog, "first", bug)
        ledger.record(turn(0))
        with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
            async with running(ledger):
                await trio.sleep(LIMIT_S)
    ledger.record(turn(1))
    after = PostgresLedger(database_url, spill_dir=spill_dir)
    assert after.counts().spilled == 2
    async with running(after):
        await until(lambda: after.counts().spilled == 0)
    assert stored(database_url) == [(0, "turn 0"), (1, "turn 1")]


async def test_a_row_that_was_being_written_at_shutdown_does_not_overwrite_its_later_version(
    database_url: str, spill_dir: Path
) -> None:
    ledger = PostgresLedger(NOWHERE, spill_dir=spill_dir, drain_limit_s=0.1)
    async with running(ledger):
        ledger.record(turn(0))
        await until(lambda: ledger._backlog._pieces)
        ledger.record(turn(0, said="corrected"))
        for seq in range(1, backlog.QUEUE_ROWS // 2):
            ledger.record(turn(seq))
        await until(lambda: ledger.counts().spilled == backlog.QUEUE_ROWS // 2 + 1)
    after = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(after):
        await until(lambda: after.counts().spilled == 0)
    assert stored(database_url)[:2] == [(0, "corrected"), (1, "turn 1")]
    assert len(stored(database_url)) == backlog.QUEUE_ROWS // 2


async def test_queued_rows_are_stored_at_shutdown(database_url: str, spill_dir: Path) -> None:
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        for seq in range(1_000):
            ledger.record(turn(seq))
    assert len(stored(database_url)) == 1_000
    assert modes(spill_dir) == {}


async def test_a_postgres_that_hangs_delays_no_caller_and_loses_no_row(server: Server, spill_dir: Path) -> None:
    ledger = PostgresLedger(server.url, spill_dir=spill_dir)
    async with running(ledger):
        assert await ledger.ready(limit_s=LIMIT_S) is None  # connect before the server hangs
        ledger.record(turn(0))
        await until(lambda: ledger.counts().written == 1)
        pids = server.hang()
        try:
            ledger.record(turn(1))
            for _ in range(3):
                with trio.fail_after(LIMIT_S), pytest.raises(LedgerUnavailable, match=r"within 0\.2 s"):
                    await ledger.spent_usd(date(2026, 11, 24), UTC, limit_s=0.2)
            with trio.fail_after(LIMIT_S):
                answer = await ledger.reserve("k", "CA1", "book", {}, function_call_id="f", limit_s=0.2)
                assert isinstance(answer, r.Unavailable)
                await ledger.settle("k", True, {}, limit_s=0.2)
                assert await ledger.ready(limit_s=0.2) is not None
            assert ledger.counts().queued == 2
            # No thread waits for the server that hangs, because its connection was cut.
            await until(lambda: ledger._asker._limiter.borrowed_tokens == 0)
        finally:
            server.go_on(pids)
        await until(lambda: ledger.counts().queued == 0)
        assert await ledger.spent_usd(date(2026, 11, 24), UTC, limit_s=LIMIT_S) == 0.0
    assert [seq for seq, _ in stored(server.url)] == [0, 1]


async def test_a_read_that_waits_for_a_slow_read_does_not_cancel_the_slow_read(
    database_url: str, spill_dir: Path
) -> None:
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    answers: list[object] = []

    async def slow() -> None:
        answers.append(
            await ledger._ask(lambda connection: connection.execute("select pg_sleep(1)").fetchone(), LIMIT_S, False)
        )

    async with running(ledger), trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        await trio.sleep(0.3)
        with pytest.raises(LedgerUnavailable):
            await ledger.calls_from("+12125550101", 60, limit_s=0.1)
    assert answers == [("",)]


async def test_a_read_after_a_restart_connects_again(server: Server, spill_dir: Path) -> None:
    ledger = PostgresLedger(server.url, spill_dir=spill_dir)
    async with running(ledger):
        assert await ledger.calls_from("+12125550101", 60, limit_s=LIMIT_S) == 0
        await server.stop(signal.SIGINT)
        with pytest.raises(LedgerUnavailable):
            await ledger.calls_from("+12125550101", 60, limit_s=LIMIT_S)
        server.start()

        async def answered() -> bool:
            try:
                return await ledger.calls_from("+12125550101", 60, limit_s=LIMIT_S) == 0
            except LedgerUnavailable:
                return False

        with trio.fail_after(60):
            while not await answered():  # noqa: ASYNC110  # the server is another process
                await trio.sleep(0.05)
        # The server cuts the connection and the relay is not told, as with a pooler. The next read must succeed.
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay'"
            )
        assert await ledger.calls_from("+12125550101", 60, limit_s=LIMIT_S) == 0
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay'"
            )
        answer = await ledger.reserve("k", "CA1", "book", {}, function_call_id="f", limit_s=LIMIT_S)
        assert answer == r.Reserved()


async def test_a_row_that_postgres_refuses_is_set_aside_and_the_others_are_stored(
    database_url: str, spill_dir: Path
) -> None:
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    with structlog.testing.capture_logs() as logs:
        async with running(ledger):
            ledger.record(turn(1))
            ledger.record(r.TranscriptRow(call_sid="CA1", seq=2, role="caller", said="bad", started_ms=2**40))
            ledger.record(r.TranscriptRow(call_sid="CA1", seq=3, role="nobody"))  # type: ignore[arg-type]  # on purpose
            ledger.record(r.FunctionCallRow(call_sid="CA1", function_call_id="f", name="x", arguments={"a": object()}))
            ledger.record(turn(4))
            await until(lambda: ledger.counts().queued == 0)
    assert all("do" in line for line in logs)
    assert {line["event"] for line in logs} == {"ledger.row_refused"}
    assert [seq for seq, _ in stored(database_url)] == [1, 4]
    assert ledger.counts() == r.Counts(recorded=5, written=2, queued=0, spilled=0, refused=3, lost=0)
    refused = [json.loads(line) for path in set_aside_files(spill_dir) for line in path.read_text().splitlines()]
    assert [line["row"]["seq"] for line in refused] == [2, 3]


async def test_no_words_and_no_numbers_of_a_call_reach_the_log(
    database_url: str, spill_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(r.TranscriptRow(call_sid="CA1", seq=2, role="caller", said="SECRET", started_ms=2**40))
        ledger.record(r.CallRow(call_sid="SECRET" * 1_000, from_number="SECRET"))
        await until(lambda: ledger.counts().queued == 0)
    printed = capsys.readouterr()
    assert "ledger.row_refused" in printed.out
    assert "SECRET" not in printed.out + printed.err


async def test_when_postgres_and_the_disk_both_fail_lost_rows_are_counted_and_no_error_is_raised(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no folder")
    ledger = PostgresLedger(NOWHERE, spill_dir=tmp_path / "file", drain_limit_s=0.1)
    for seq in range(backlog.QUEUE_ROWS + 10):
        ledger.record(turn(seq))
    assert ledger.counts().lost == 10
    async with running(ledger):
        pass
    counts = ledger.counts()
    assert counts.lost == counts.recorded == backlog.QUEUE_ROWS + 10


def test_a_full_disk_is_not_tried_for_each_row_and_keeps_no_incomplete_files(
    spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def full(path: Path, *_: object) -> None:
        nonlocal asked
        asked += 1
        path.write_bytes(b"as much as there was room for")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spill, "_write", full)
    monkeypatch.setattr(backlog, "DISK_PAUSE_S", 1_000.0)
    ledger = PostgresLedger(NOWHERE, spill_dir=spill_dir)
    for seq in range(backlog.QUEUE_ROWS + 10):
        ledger.record(turn(seq))
    assert ledger.counts().lost == 10
    assert asked == 1  # each try stops the audio of all calls for 10 to 60 ms
    assert modes(spill_dir) == {}


async def test_a_database_without_tables_is_reported_and_rows_wait_for_the_tables(
    empty_database_url: str, spill_dir: Path
) -> None:
    ledger = PostgresLedger(empty_database_url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(turn(1))
        assert "relay migrate" in (await ledger.ready(limit_s=LIMIT_S) or "")
        migrate(empty_database_url)
        await until(lambda: ledger.counts().written == 1)
    assert stored(empty_database_url) == [(1, "turn 1")]


@pytest.mark.parametrize("url", [NOWHERE, "postgresql://me:SECRET@:::/", "me:SECRET@host"])
async def test_the_message_about_a_bad_url_has_no_password(url: str, spill_dir: Path) -> None:
    ledger = PostgresLedger(url, spill_dir=spill_dir, drain_limit_s=0.1)
    words = await ledger.ready(limit_s=LIMIT_S)
    assert words is not None
    assert "SECRET" not in words


async def test_the_demo_can_print_the_rows_of_a_call(database_url: str, spill_dir: Path) -> None:
    ledger = PostgresLedger(database_url, spill_dir=spill_dir)
    async with running(ledger):
        ledger.record(r.CallRow(call_sid="CA1", started_at=NOON, greeting_ms=3.0))
        ledger.record(r.CallRow(call_sid="CA2", started_at=NOON.replace(hour=13)))
        for seq in (2, 1):
            ledger.record(r.TranscriptRow(call_sid="CA1", seq=seq, role="agent", said=str(seq)))
        ledger.record(r.OutcomeRow(call_sid="CA1", ended_at=NOON, cost_usd=Decimal("0.25"), end_reason="agent_ended"))
        await until(lambda: ledger.counts().queued == 0)
    rows = rows_of_call(database_url, "CA1")
    assert [row["seq"] for row in rows["transcripts"]] == [1, 2]
    assert rows["call_outcomes"][0]["cost_usd"] == Decimal("0.25")
    assert rows["messages"] == []
    assert [(call["call_sid"], call["end_reason"]) for call in list_calls(database_url)] == [
        ("CA2", None),
        ("CA1", "agent_ended"),
    ]
    with pytest.raises(LedgerUnavailable, match="connection"):
        rows_of_call(NOWHERE, "CA1")
