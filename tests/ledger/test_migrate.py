"""Migrations are applied once, in order, and all or none. An applied migration must not be changed."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from relay.ledger import statements
from relay.ledger.migrate import MigrationRefused, migrate, read_migrations
from relay.ledger.statements import SQL_DIR


@pytest.fixture
def sql_dir(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("create table one (n int);\ncreate index on one (n);\n")
    (tmp_path / "0002_second.sql").write_text("alter table one add column m text default '50%';\n")
    (tmp_path / "statements.sql").write_text("-- name: x\nselect 1\n")
    return tmp_path


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    return {str(name) for (name,) in found}


@pytest.mark.real
def test_a_fresh_database_gets_the_ledgers_tables_once(empty_database_url: str) -> None:
    names = migrate(empty_database_url)
    assert names == [path.name for path in sorted(SQL_DIR.glob("0*.sql"))]
    assert tables(empty_database_url) >= {
        "calls",
        "transcripts",
        "function_calls",
        "call_outcomes",
        "consents",
        "greetings",
        "messages",
    }
    assert migrate(empty_database_url) == []


@pytest.mark.real
def test_only_pending_migrations_are_applied(empty_database_url: str, sql_dir: Path) -> None:
    second = (sql_dir / "0002_second.sql").read_text()
    (sql_dir / "0002_second.sql").unlink()
    assert migrate(empty_database_url, sql_dir) == ["0001_first.sql"]
    (sql_dir / "0002_second.sql").write_text(second)
    assert migrate(empty_database_url, sql_dir) == ["0002_second.sql"]


@pytest.mark.real
def test_a_changed_migration_is_refused_with_its_name(empty_database_url: str, sql_dir: Path) -> None:
    migrate(empty_database_url, sql_dir)
    (sql_dir / "0001_first.sql").write_text("create table one (n bigint);\n")
    with pytest.raises(MigrationRefused, match=r"0001_first\.sql was changed.*new file"):
        migrate(empty_database_url, sql_dir)


@pytest.mark.real
def test_other_line_ends_do_not_count_as_a_change(empty_database_url: str, sql_dir: Path) -> None:
    migrate(empty_database_url, sql_dir)
    path = sql_dir / "0001_first.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(empty_database_url, sql_dir) == []


@pytest.mark.real
def test_a_migration_that_fails_leaves_the_database_unchanged(empty_database_url: str, sql_dir: Path) -> None:
    (sql_dir / "0003_third.sql").write_text("create table three (n int); alter table nowhere add column n int;")
    with pytest.raises(MigrationRefused, match=r'0003_third\.sql failed, nothing was applied: .*"nowhere"'):
        migrate(empty_database_url, sql_dir)
    assert tables(empty_database_url) == set()


@pytest.mark.real
def test_a_database_with_later_migrations_is_left_unchanged(empty_database_url: str, sql_dir: Path) -> None:
    migrate(empty_database_url, sql_dir)
    (sql_dir / "0002_second.sql").unlink()
    assert migrate(empty_database_url, sql_dir) == []


@pytest.mark.real
def test_when_several_processes_migrate_at_once_only_one_applies_the_migrations(
    empty_database_url: str, sql_dir: Path
) -> None:
    (sql_dir / "0003_third.sql").write_text("select pg_sleep(0.2);")
    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(migrate(empty_database_url, sql_dir))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, answers)) == [0, 0, 0, 3]


@pytest.mark.real
def test_a_database_that_cannot_be_reached_is_reported_with_a_sentence() -> None:
    with pytest.raises(MigrationRefused, match="could not be migrated"):
        migrate("postgresql://postgres@/postgres?host=/nonexistent")
    with pytest.raises(MigrationRefused) as refusal:
        migrate("me:SECRET@host")
    assert "SECRET" not in str(refusal.value)


@pytest.mark.parametrize("names", [["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"], ["0002_b.sql"], []])
def test_migration_numbers_with_gaps_or_duplicates_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;")
    with pytest.raises(MigrationRefused, match="without gaps"):
        read_migrations(tmp_path)


def test_a_file_whose_name_is_not_that_of_a_migration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1_short.sql").write_text("select 1;")
    with pytest.raises(MigrationRefused, match="four digits"):
        read_migrations(tmp_path)


def test_statements_are_found_by_name_and_read_without_the_header(tmp_path: Path) -> None:
    path = tmp_path / "statements.sql"
    path.write_text("-- a header\n\n-- name: one\n-- why\nselect 1\n\n-- name: two\nselect 2\n")
    assert statements.read(path) == {"one": b"-- why\nselect 1", "two": b"select 2"}


# Databases that the relay shares with other programs


def run_sql(url: str, *texts: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for text in texts:
            connection.execute(text.encode())


@pytest.mark.real
def test_a_migrations_table_of_another_program_is_left_alone(empty_database_url: str, sql_dir: Path) -> None:
    run_sql(empty_database_url, "create table migrations (id serial, migration text, batch int)")
    assert migrate(empty_database_url, sql_dir) == ["0001_first.sql", "0002_second.sql"]
    assert migrate(empty_database_url, sql_dir) == []
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select count(*) from migrations").fetchone() == (0,)


@pytest.mark.real
def test_a_table_of_another_program_with_one_of_our_names_is_reported(empty_database_url: str) -> None:
    run_sql(empty_database_url, "create table messages (id int)")
    with pytest.raises(MigrationRefused, match=r'"messages" already exists: .*database of its own'):
        migrate(empty_database_url)
    assert tables(empty_database_url) == {"messages"}


@pytest.mark.real
def test_a_user_who_may_not_create_tables_is_told_who_can_allow_it(empty_database_url: str) -> None:
    run_sql(
        empty_database_url,
        "drop role if exists guest",
        "create role guest login",
        "revoke create on schema public from public",
    )
    guest = empty_database_url.replace("//postgres@", "//guest@")
    with pytest.raises(MigrationRefused, match=r"permission denied for schema public.*grant create"):
        migrate(guest)
    run_sql(empty_database_url, "drop role guest")


@pytest.mark.real
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_whose_encoding_lacks_letters_is_refused(postgres: str, encoding: str) -> None:
    url = postgres.replace("/postgres?", "/lacks_letters?")
    run_sql(
        postgres,
        "drop database if exists lacks_letters",
        f"create database lacks_letters template template0 encoding '{encoding}' locale 'C' locale_provider libc",
    )
    with pytest.raises(MigrationRefused, match=rf"encoding is {encoding}.*UTF8"):
        migrate(url)
    run_sql(postgres, "drop database lacks_letters with (force)")


@pytest.mark.real
def test_migrating_leaves_no_setting_in_the_session(
    empty_database_url: str, sql_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    class Watched(psycopg.Connection[tuple[object, ...]]):
        def commit(self) -> None:
            super().commit()
            left.append([self.execute(f"show {name}").fetchone() for name in ("lock_timeout", "statement_timeout")])
            self.rollback()

    monkeypatch.setattr(psycopg, "connect", Watched.connect)
    migrate(empty_database_url, sql_dir)
    assert left == [[("0",), ("0",)]]
