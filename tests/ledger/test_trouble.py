"""Databases in practice: after a failover, behind a pooler, with another encoding, or with triggers of their own.

Every test has a database of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import structlog
import trio
from psycopg.sql import SQL, Identifier

from relay.ledger import postgres_thread, store
from relay.ledger import rows as r
from relay.ledger.migrate import migrate
from relay.ledger.spill import set_aside_files
from relay.ledger.statements import SQL_DIR
from relay.ledger.store import PostgresLedger
from tests.helpers.until import until

pytestmark = pytest.mark.real

LIMIT_S = 20.0
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@asynccontextmanager
async def running(url: str, folder: Path) -> AsyncIterator[PostgresLedger]:
    ledger = PostgresLedger(url, spill_dir=folder / "spill")
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        yield ledger
        nursery.cancel_scope.cancel()


def turn(seq: int, said: str) -> r.TranscriptRow:
    return r.TranscriptRow(call_sid="CA1", seq=seq, role="caller", said=said)


def said(url: str) -> list[str]:
    with psycopg.connect(url, client_encoding="UTF8") as connection:
        return [row[0] for row in connection.execute("select said from transcripts order by seq").fetchall()]


def run_sql(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.encode())


# Failover


@pytest.mark.parametrize("is_told", [True, False], ids=["the server tells", "the server does not tell"])
async def test_connections_to_a_server_that_becomes_read_only_are_closed_at_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    if not is_told:  # Postgres before version 14, and some poolers
        monkeypatch.setattr(postgres_thread, "_READ_ONLY", ())
    turn_read_only = "set session characteristics as transaction read only"
    async with running(database_url, tmp_path) as ledger:
        for thread in (ledger._asker, ledger._writer):
            await thread.use(lambda connection: connection.execute(turn_read_only), limit_s=LIMIT_S, again=False)
            assert (thread._connection is None) is is_told
        answer = await ledger.reserve("k", "CA1", "book", {}, function_call_id="f", limit_s=LIMIT_S)
        assert answer == r.Reserved()
        ledger.record(turn(1, "after"))
        await until(lambda: ledger.counts().written == 1)
        assert await ledger.ready(limit_s=LIMIT_S) is None


async def test_a_read_only_database_is_not_ready_and_rows_wait(database_url: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    run_sql(database_url, f"alter database {name} set default_transaction_read_only = on")
    async with running(database_url, tmp_path) as ledger:
        assert "read-only" in (await ledger.ready(limit_s=LIMIT_S) or "")
        ledger.record(turn(1, "waits"))
        await until(lambda: ledger.counts().spilled == 1)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(f"alter database {name} reset default_transaction_read_only".encode())
        await until(lambda: ledger.counts().written == 1)
        assert await ledger.ready(limit_s=LIMIT_S) is None
    assert said(database_url) == ["waits"]


# Poolers


async def test_no_setting_of_the_relay_stays_in_the_database_session(database_url: str, tmp_path: Path) -> None:
    names = ("statement_timeout", "lock_timeout", "TimeZone", "DateStyle", "search_path", "standard_conforming_strings")

    def settings(connection: postgres_thread.Connection) -> list[object]:
        return [connection.execute(SQL("show {}").format(Identifier(name))).fetchone() for name in names]

    with psycopg.connect(database_url) as fresh:
        before = settings(fresh)
    async with running(database_url, tmp_path) as ledger:
        ledger.record(turn(1, "x"))
        await ledger.reserve("k", "CA1", "book", {}, function_call_id="f", limit_s=LIMIT_S)
        await until(lambda: ledger.counts().written == 1)
        for thread in (ledger._asker, ledger._writer):
            assert thread._connection is not None
            assert settings(thread._connection) == before


async def test_a_statement_ends_within_five_seconds_whatever_the_databases_setting(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as ledger:
        for thread in (ledger._asker, ledger._writer):
            limit = await thread.use(
                lambda connection: connection.execute("show statement_timeout").fetchone(), limit_s=LIMIT_S, again=False
            )
            assert limit == ("5s",)


async def test_an_unused_connection_is_closed_and_opened_again_when_needed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_thread, "IDLE_LIMIT_S", 0.2)
    monkeypatch.setattr(store, "SPILL_EVERY_S", 0.05)
    async with running(database_url, tmp_path) as ledger:
        ledger.record(turn(1, "x"))
        assert await ledger.fetch_call("CA1", limit_s=LIMIT_S) is None
        await until(lambda: ledger.counts().written == 1)
        ours = "select count(*) from pg_stat_activity where application_name = 'relay' and datname = current_database()"
        with psycopg.connect(database_url, autocommit=True) as connection:
            await until(lambda: connection.execute(ours).fetchone() == (0,))
        ledger.record(turn(2, "y"))
        await until(lambda: ledger.counts().written == 2)


# Encodings and styles


@pytest.fixture
def latin_url(postgres: str, tmp_path: Path) -> str:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("drop database if exists latin with (force)")
        connection.execute("create database latin template template0 encoding 'LATIN1' locale 'C' locale_provider libc")
    url = postgres.replace("/postgres?", "/latin?")
    for text in sorted(SQL_DIR.glob("0*.sql")):
        run_sql(url, text.read_text())
    return url


async def test_a_row_with_a_letter_that_the_database_cannot_store_is_set_aside_and_the_others_are_stored(
    latin_url: str, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with running(latin_url, tmp_path) as ledger:
            for seq, words in enumerate(["plain", "naïve", "Zażółć 中文", "after"]):
                ledger.record(turn(seq, words))
            await until(lambda: ledger.counts().queued == 0)
            assert ledger.counts().refused == 1
    assert said(latin_url) == ["plain", "naïve", "after"]
    assert [line["event"] for line in logs] == ["ledger.row_refused"]
    async with running(latin_url, tmp_path) as ledger:  # the row is not tried again
        assert ledger.counts() == r.Counts(recorded=0, written=0, queued=0, spilled=0, refused=0, lost=0)


async def test_rows_are_the_same_in_a_session_with_other_defaults(database_url: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Kolkata'", "client_encoding = 'LATIN1'"):
        run_sql(database_url, f"alter database {name} set {setting}")
    async with running(database_url, tmp_path) as ledger:
        ledger.record(r.CallRow(call_sid="CA1", started_at=NOON))
        ledger.record(turn(1, "Zażółć 中文 😀"))
        await until(lambda: ledger.counts().written == 2)
        seen = await ledger.fetch_call("CA1", limit_s=LIMIT_S)
    assert seen is not None
    assert seen.started_at == NOON
    assert said(database_url) == ["Zażółć 中文 😀"]


# Rows that make the writer fail


TRIGGER = """
create function poison() returns trigger language plpgsql as $$
begin
    if new.said = 'poison' then
        {does};
    end if;
    return new;
end $$;
create trigger poison before insert on transcripts for each row execute function poison();
"""


@pytest.mark.parametrize(
    "does",
    [
        "raise exception 'no such words here'",
        "raise exception using errcode = 'XX000'",
        "raise exception using errcode = '40001'",
        "perform pg_terminate_backend(pg_backend_pid())",
        "perform pg_sleep(60)",
    ],
    ids=["trigger", "internal error", "always a conflict", "kills its backend", "hangs"],
)
async def test_a_row_that_makes_the_writer_fail_is_set_aside_and_the_others_are_stored(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    monkeypatch.setattr(store, "SUSPECT_S", 0.0)
    monkeypatch.setattr(store, "SUSPECT_TRIES", 2)
    monkeypatch.setattr(postgres_thread, "_BEGIN", postgres_thread._BEGIN.replace("5000", "300"))
    run_sql(database_url, TRIGGER.format(does=does))
    async with running(database_url, tmp_path) as ledger:
        for seq, words in enumerate(["before", "poison", "after"]):
            ledger.record(turn(seq, words))
        await until(lambda: ledger.counts().written == 2)
        await until(lambda: ledger.counts().queued + ledger.counts().spilled == 0)
        assert ledger.counts().refused == 1
        ledger.record(turn(3, "later"))
        await until(lambda: ledger.counts().written == 3)
    assert said(database_url) == ["before", "after", "later"]
    (refused,) = set_aside_files(tmp_path / "spill")
    assert '"poison"' in refused.read_text()


async def test_when_the_databases_disk_is_full_no_row_is_set_aside(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SUSPECT_S", 0.0)
    monkeypatch.setattr(store, "SUSPECT_TRIES", 1)
    run_sql(database_url, TRIGGER.format(does="raise exception using errcode = '53100'"))
    async with running(database_url, tmp_path) as ledger:
        ledger.record(turn(1, "poison"))
        await until(lambda: ledger.counts().spilled == 1)
        await trio.sleep(0.3)
        assert ledger.counts().refused == 0
        run_sql(database_url, "drop trigger poison on transcripts")
        await until(lambda: ledger.counts().written == 1)
    assert said(database_url) == ["poison"]


async def test_when_tables_are_missing_no_row_is_set_aside(empty_database_url: str, tmp_path: Path) -> None:
    async with running(empty_database_url, tmp_path) as ledger:
        ledger.record(turn(1, "x"))
        await until(lambda: ledger.counts().spilled == 1)
        migrate(empty_database_url)
        await until(lambda: ledger.counts().written == 1)
