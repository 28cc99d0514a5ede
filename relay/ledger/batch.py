"""Rows to Postgres, many at a time: what goes into a batch, and how one is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import psycopg

from relay.ledger.postgres_thread import Connection, words_of
from relay.ledger.rows import ROW_TYPES, Identity
from relay.ledger.spill import Entry

BATCH_ROWS = 256  # more brings nothing: 17,500 rows/s at 20, 20,700 at 256, 22,400 at 1,000 [stack 3]
BATCH_BYTES = 1 << 20

# Errors that are the row's own: written again it would fail again. Whatever else goes wrong is the server's.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


def take(waiting: deque[Entry]) -> list[Entry]:
    """Take the next batch off the queue's head. It ends before an identity repeats: ON CONFLICT meets a row once."""
    batch: list[Entry] = []
    seen: set[Identity] = set()
    size_bytes = 0
    while waiting and len(batch) < BATCH_ROWS:
        entry = waiting[0]
        identities = entry.row.identities()
        size_bytes += len(entry.encoded)
        if batch and (size_bytes > BATCH_BYTES or not seen.isdisjoint(identities)):
            break
        seen.update(identities)
        batch.append(waiting.popleft())
    return batch


def write(connection: Connection, statements: Mapping[str, bytes], entries: list[Entry]) -> list[tuple[Entry, str]]:
    """Write a batch in one transaction. If a row spoils it, row by row; returns those that Postgres will never take."""
    try:
        _write_together(connection, statements, entries)
    except REFUSALS as error:
        if len(entries) > 1:
            return [refused for entry in entries for refused in write(connection, statements, [entry])]
        return _write_once_more(connection, statements, entries[0], error)
    return []


def _write_together(connection: Connection, statements: Mapping[str, bytes], entries: list[Entry]) -> None:
    with connection.transaction():
        for kind in ROW_TYPES:
            rows = b",".join(entry.encoded for entry in entries if type(entry.row) is kind)
            if rows:
                connection.execute(statements[kind.statement], {"rows": f"[{rows.decode()}]"})


def _write_once_more(
    connection: Connection, statements: Mapping[str, bytes], entry: Entry, error: psycopg.Error
) -> list[tuple[Entry, str]]:
    """A key that another relay claimed in this very moment is no refusal: the second look sees it."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        try:
            _write_together(connection, statements, [entry])
        except REFUSALS as again:
            return [(entry, words_of(again))]
        return []
    return [(entry, words_of(error))]
