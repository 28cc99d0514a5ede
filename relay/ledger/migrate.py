"""Applies migrations: the numbered files of sql/. Each file is applied once, in order. No migration can be undone.

Rule 1: a file that was applied must not be changed. Its checksum is kept in the database. If the file has another
        checksum, nothing is applied.
Rule 2: all new files are applied in one transaction. If one of them fails, none is applied.
Rule 3: the transaction holds an advisory lock, so that a second `relay migrate` waits. The lock ends with the
        transaction, so it also works through a connection pooler.
Rule 4: the table `migrations` says which files were applied. If another program has a table of this name in the
        database, our table is called `relay_migrations`.
Rule 5: a database may have more migrations than sql/ has files. So the operator can go back to an older release.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Identifier

from relay.ledger.postgres_thread import Connection, words_of
from relay.ledger.statements import SQL_DIR

# The number of the advisory lock: "relay" in ASCII. Another program in this database is unlikely to use this number.
LOCK = 0x72656C6179
LOCK_LIMIT_S = 60

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_TABLE = """
create table {} (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default now()
)"""


class MigrationRefused(Exception):
    """No migration was applied. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(sql_dir: Path = SQL_DIR) -> list[Migration]:
    """The migrations of `sql_dir`, in order.

    Raises MigrationRefused if a number is missing or is used twice, or if a name is wrong.
    """
    found = []
    for path in sorted(sql_dir.glob("[0-9]*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationRefused(
                f"{path} is not the name of a migration: four digits, an underscore, small letters, .sql."
            )
        # Text mode reads CRLF as LF, so the checksum is the same on all systems.
        found.append(Migration(int(match[1]), path.name, path.read_text()))
    numbers = [migration.number for migration in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise MigrationRefused(f"The migrations in {sql_dir} must be numbered from 0001 without gaps: {numbers}.")
    return found


def migrate(url: str, sql_dir: Path = SQL_DIR) -> list[str]:
    """Apply the files that were not applied yet. Returns their names. Raises MigrationRefused."""
    migrations = read_migrations(sql_dir)
    try:
        with psycopg.connect(url, connect_timeout=10, client_encoding="UTF8", application_name="relay") as connection:
            _check_encoding(connection)
            # SET LOCAL ends with the transaction. A pooler gives the session to another client after that.
            connection.execute(f"set local lock_timeout = '{LOCK_LIMIT_S}s'")
            connection.execute("set local statement_timeout = 0")
            connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
            table = _table_of_migrations(connection)
            query = SQL("select number, name, sha256 from {} order by number").format(table)
            applied = connection.execute(query).fetchall()
            pending = _pending(migrations, applied)
            for migration in pending:
                _apply(connection, migration, table)
    except psycopg.Error as error:
        raise MigrationRefused(f"The database could not be migrated: {_words(error)}") from error
    return [migration.name for migration in pending]


def _check_encoding(connection: Connection) -> None:
    """Refuse a database whose encoding lacks letters that callers' names may have.

    SQL_ASCII is refused too. It stores text in UTF-8, but it knows only the letters of ASCII. So jsonb refuses an
    escaped letter ("\\u00eb"), and a booking for Zoë fails. The search of the console splits words at such letters.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise MigrationRefused(
            f"The database's encoding is {encoding}. It lacks letters of callers' names, so it would refuse their "
            "rows. Create the database again with: create database relay encoding 'UTF8' template template0"
        )


def _table_of_migrations(connection: Connection) -> Identifier:
    """The name of the table that says which files were applied. The table is made if there is none."""
    columns = (
        "select column_name from information_schema.columns where table_schema = current_schema() and table_name = %s"
    )
    name = "migrations"
    found = {str(column) for (column,) in connection.execute(columns, [name])}
    if found and not found >= {"number", "name", "sha256"}:
        name = "relay_migrations"
        found = {str(column) for (column,) in connection.execute(columns, [name])}
    if not found:
        connection.execute(SQL(_TABLE).format(Identifier(name)))
    return Identifier(name)


def _words(error: psycopg.Error) -> str:
    """What is wrong, and what to do about it, as text."""
    primary = error.diag.message_primary or type(error).__name__
    match error:
        case errors.InsufficientPrivilege() | errors.InvalidSchemaName():
            return (
                f"{primary}. Since Postgres 15 only a database's owner may make tables in it. Give the relay a "
                "database that its user owns. Or run as the owner: grant create, usage on schema public to that user"
            )
        case errors.DuplicateTable():
            return f"{primary}: it is another program's table. Give the relay a database of its own"
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return primary
        case errors.LockNotAvailable():
            return f"another migration or query has held a lock for {LOCK_LIMIT_S} s: try again when it has ended"
    return words_of(error)


def _pending(migrations: list[Migration], applied: list[tuple[int, str, str]]) -> list[Migration]:
    known = {migration.number: migration for migration in migrations}
    for number, name, sha256 in applied:
        if number in known and known[number].sha256 != sha256:
            raise MigrationRefused(
                f"sql/{known[number].name} was changed after it had been applied (as {name}). Undo the change, and put "
                "the new SQL into a new file with the next number."
            )
    done = {number for number, _, _ in applied}
    return [migration for migration in migrations if migration.number not in done]


def _apply(connection: Connection, migration: Migration, table: Identifier) -> None:
    try:
        connection.execute(migration.text.encode())
    except psycopg.Error as error:
        known = isinstance(error, errors.InsufficientPrivilege | errors.DuplicateTable | errors.LockNotAvailable)
        words = _words(error) if known else error.diag.message_primary or words_of(error)
        raise MigrationRefused(f"sql/{migration.name} failed, nothing was applied: {words}") from error
    insert = SQL("insert into {} (number, name, sha256) values (%s, %s, %s)").format(table)
    connection.execute(insert, [migration.number, migration.name, migration.sha256])
