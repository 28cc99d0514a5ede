"""Chooses the rows of a batch, and writes them to Postgres in one transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

import psycopg

from relay.ledger.postgres_thread import REFUSALS, Connection, words_of
from relay.ledger.rows import (
    ROW_TYPES,
    CallRow,
    ConsentRow,
    FunctionCallRow,
    Identity,
    MessageRow,
    OutboxRow,
    OutcomeRow,
    RecordingPauseRow,
    RecordingRow,
    Row,
    Settlement,
    TranscriptRow,
    encode,
)
from relay.ledger.spill import Entry

# A larger batch is hardly faster: 20,700 rows/s with 256 rows, 22,400 with 1,000 (docs/protocol/postgres.md 2).
BATCH_ROWS = 256
BATCH_BYTES = 1 << 20

# SQLSTATE classes of errors whose cause is usually the server: connection, transaction state, login, database, rollback
# by a conflict, resources, object state, intervention, system. After such an error the same rows are tried again.
_OF_THE_SERVER = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
# The classes of _OF_THE_SERVER whose cause is never a row: disk, memory or connections are used up, or the operating
# system failed. Errors of the other classes may also come from a row that makes its Postgres process crash or hang.
_NEVER_OF_A_ROW = ("53", "58")

# A row of each kind that every working database takes. If the database takes this row and refuses another row of the
# same kind, the other row is at fault.
_PLAIN: tuple[Row, ...] = (
    CallRow(call_sid="plain"),
    TranscriptRow(call_sid="plain", seq=0, role="system"),
    FunctionCallRow(call_sid="plain", function_call_id="plain", name="plain"),
    Settlement(key="plain", state="failed", ok=False, output={}),
    OutcomeRow(call_sid="plain", ended_at=datetime.fromtimestamp(0, UTC)),
    ConsentRow(call_sid="plain", seq=0),
    MessageRow(call_sid="plain", seq=0),
    RecordingRow(name="plain", call_sid="plain"),
    RecordingPauseRow(call_sid="plain", from_ms=0),
    OutboxRow(news="plain", channel="email", kind="plain", body={}, created_at=datetime.fromtimestamp(0, UTC)),
)


def take(waiting: deque[Entry]) -> list[Entry]:
    """Take the next batch from the head of the queue.

    No two rows of a batch have the same identity (rows.py), because an INSERT with ON CONFLICT may not change the same
    row of a table twice.
    """
    batch: list[Entry] = []
    seen: set[Identity] = set()
    size_bytes = 0
    while waiting and len(batch) < BATCH_ROWS:
        entry = waiting[0]
        identities = [identity for one in entry.all() for identity in one.row.identities()]
        size_bytes += sum(len(one.encoded) for one in entry.all())
        if batch and (size_bytes > BATCH_BYTES or not seen.isdisjoint(identities)):
            break
        seen.update(identities)
        batch.append(waiting.popleft())
    return batch


def write(connection: Connection, statements: Mapping[str, bytes], entries: list[Entry]) -> list[tuple[Entry, str]]:
    """Write a batch. If a row makes the batch fail, write the rows of the batch one by one.

    Returns the rows that Postgres will never take, each with the reason.

    Call it in a transaction. Savepoints keep the transaction usable when a row is refused. Raises the errors that are
    not a row's fault.
    """
    try:
        _write_together(connection, statements, entries)
        return []
    except Exception as error:
        if not is_of_the_row(error):
            raise
        failure = error
    if not isinstance(failure, REFUSALS):
        # If Postgres refuses even plain rows, no row of the batch is at fault. This line then raises the error.
        take_plain_rows(connection, statements, entries)
    if len(entries) > 1:
        return [refused for entry in entries for refused in write(connection, statements, [entry])]
    if isinstance(failure, psycopg.errors.UniqueViolation):
        # Another relay may have claimed the same idempotency key a moment ago. A second try sees the other relay's row,
        # and writes this row without the key.
        try:
            _write_together(connection, statements, entries)
            return []
        except REFUSALS as again:
            failure = again
    return [(entries[0], words_of(failure))]


def is_of_the_row(error: Exception) -> bool:
    """True if a row may be at fault, so that even a working server would refuse the row again.

    Errors that do not come from psycopg count as a row's fault.
    """
    if not isinstance(error, psycopg.Error) or isinstance(error, REFUSALS):
        return True
    return error.sqlstate is not None and error.sqlstate[:2] not in _OF_THE_SERVER


def may_be_of_the_row(error: Exception) -> bool:
    """True if a row may cause this error by making its Postgres process crash or hang.

    Ask this about an error that comes again and again.
    """
    return not (isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in _NEVER_OF_A_ROW)


def take_plain_rows(
    connection: Connection, statements: Mapping[str, bytes], entries: list[Entry] | None = None
) -> None:
    """Write a plain row of each kind in `entries`, and roll back. If `entries` is None, write one of every kind.

    Raises psycopg.Error.
    """
    kinds = set(ROW_TYPES) if entries is None else {type(one.row) for entry in entries for one in entry.all()}
    plain = [Entry(row, encode(row)) for row in _PLAIN if type(row) in kinds]
    with connection.transaction(force_rollback=True):
        _write_together(connection, statements, plain)


def _write_together(connection: Connection, statements: Mapping[str, bytes], entries: list[Entry]) -> None:
    everything = [one for entry in entries for one in entry.all()]
    with connection.transaction():
        for kind in ROW_TYPES:
            rows = b",".join(entry.encoded for entry in everything if type(entry.row) is kind)
            if rows:
                connection.execute(statements[kind.statement], {"rows": f"[{rows.decode()}]"})
