"""Reads the rows of calls, also of running ones, for `relay calls`, `relay listen` and the end of the demo.

These functions block, so a process that carries calls must not use them.
"""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import connect, transaction, words_of

# The tables that hold a call, in the order in which they are shown. The values are the columns by which the rows are
# sorted.
TABLES_OF_CALL = {
    "calls": "call_sid",
    "consents": "seq",
    "transcripts": "seq",
    "function_calls": "number",
    "messages": "seq",
    "recording_pauses": "from_ms",
    "recordings": "started_ms",
    "call_outcomes": "call_sid",
}

DictRow = dict[str, object]


def rows_of_call(url: str, call_sid: str) -> dict[str, list[DictRow]]:
    """The rows of a call: a list for each table of TABLES_OF_CALL. The lists are empty if the call is unknown.

    Raises LedgerUnavailable.
    """
    found = {}
    try:
        with connect(url) as connection, transaction(connection), connection.cursor(row_factory=dict_row) as cursor:
            for table, order in TABLES_OF_CALL.items():
                query = SQL("select * from {} where call_sid = %s order by {}")
                cursor.execute(query.format(Identifier(table), Identifier(order)), [call_sid])
                found[table] = cursor.fetchall()
    except psycopg.Error as error:
        raise LedgerUnavailable(words_of(error)) from error
    return found


def list_calls(url: str, limit: int = 20) -> list[DictRow]:
    """The newest calls, and how they ended. The columns are those of list_calls in sql/statements.sql.

    Raises LedgerUnavailable.
    """
    try:
        with connect(url) as connection, transaction(connection), connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statements.read()["list_calls"], {"limit": limit}).fetchall()
    except psycopg.Error as error:
        raise LedgerUnavailable(words_of(error)) from error
