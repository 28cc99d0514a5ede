"""A lane to Postgres: one thread, one connection, and a caller who never waits longer than it said.

psycopg knows no Trio, so it runs in a thread. A hung server would hold that thread, and Trio cannot stop one: when the
limit is over the caller goes on (`abandon_on_cancel`), and the connection's socket is shut down under the thread, which
then ends by an error. The next use dials anew.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TypeVar

import psycopg
import trio

from relay.ledger.port import LedgerUnavailable

Result = TypeVar("Result")
Connection = psycopg.Connection[tuple[object, ...]]

CONNECT_LIMIT_S = 3
STATEMENT_LIMIT_MS = 5_000  # longer than any of our statements by a factor of 100; a forgotten lock ends there


def connect(url: str) -> Connection:
    """A connection for short statements. Raises psycopg.Error."""
    connection: Connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_LIMIT_S,
        prepare_threshold=None,  # a pooler in transaction mode loses prepared statements [fly 6.11]
        application_name="relay",
        keepalives_idle=5,  # a peer that is gone without a word is noticed in about 10 s
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    try:
        connection.execute(f"set statement_timeout = {STATEMENT_LIMIT_MS}")
        connection.execute("set timezone = 'UTC'")
    except BaseException:
        connection.close()
        raise
    return connection


class _Use:
    """What the thread and its caller know of each other. Flags of one writer each, under the GIL: no lock."""

    __slots__ = ("abandoned", "again", "running")

    def __init__(self, again: bool) -> None:
        self.again = again
        self.running = False
        self.abandoned = False


class Lane:
    """One thread with one connection. One use at a time; a second one waits for the first, within its own limit."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._limiter = trio.CapacityLimiter(1)
        self._connection: Connection | None = None

    async def use(self, work: Callable[[Connection], Result], *, limit_s: float, again: bool) -> Result:
        """Run `work` with the connection, in the thread. Raises psycopg.Error, or LedgerUnavailable at the limit.

        `again`: after a lost connection try once more with a new one. A pooler or a restart has cut the one we kept,
        and for a read that is no news [fly 6.11].
        """
        use = _Use(again)
        try:
            with trio.move_on_after(limit_s):
                return await trio.to_thread.run_sync(
                    self._work, work, use, abandon_on_cancel=True, limiter=self._limiter
                )
            raise LedgerUnavailable(f"Postgres did not answer within {limit_s:g} s.")
        finally:
            use.abandoned = True
            if use.running:  # and not another use, for which we have only been waiting
                self._cut()

    def _work(self, work: Callable[[Connection], Result], use: _Use) -> Result:
        """In the thread."""
        use.running = True
        try:
            kept = self._connection is not None
            try:
                return self._try(work)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if use.abandoned or not (use.again and kept and self._connection is None):
                    raise
            return self._try(work)
        finally:
            use.running = False

    def _try(self, work: Callable[[Connection], Result]) -> Result:
        """Once. A connection that has failed is closed here, in its thread: nobody else uses it."""
        connection = self._connection = self._connection or connect(self._url)
        try:
            return work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self._connection = None
            connection.close()
            raise

    def _cut(self) -> None:
        """Shut the socket down under the thread that waits for it: its statement ends by an error."""
        connection = self._connection
        if connection is None or connection.closed:
            return  # still dialling: CONNECT_LIMIT_S ends that
        try:
            with socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            pass  # closed in this very moment: what we wanted

    async def close(self, *, limit_s: float) -> None:
        """Close the connection, in its thread; cut it if the thread does not come to it."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limit_s) as scope:
            await trio.to_thread.run_sync(self._close, abandon_on_cancel=True, limiter=self._limiter)
        if scope.cancelled_caught:
            self._cut()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def words_of(error: psycopg.Error) -> str:
    """What a database error says, without the values of a row (its details, and some messages, quote them)."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "the tables are not there, or are older than this relay: run `relay migrate`"
    if error.sqlstate is not None:
        return f"{type(error).__name__} (SQLSTATE {error.sqlstate})"
    if isinstance(error, psycopg.OperationalError):
        return " ".join(str(error).split())[:300]  # the connection's own words: host, port, user; never the password
    # A URL that cannot be parsed is quoted in full, password and all.
    return f"{type(error).__name__}: DATABASE_URL is not a connection string, or the connection is gone"
