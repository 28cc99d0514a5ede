"""A thread with one connection to Postgres. Each use has a time limit, and the task that uses it waits no longer.

psycopg has no support for Trio, so it runs in a thread (docs/protocol/postgres.md 1). A server that hangs would block
the thread, and Trio cannot stop a thread. So at the limit Trio stops waiting (`abandon_on_cancel`), and the
connection's socket is shut down. The statement in the thread then fails, and the next use connects again.

Rule 1: after work that succeeded, or after an error that is a row's fault, the connection stays open. After any other
        error it is closed, and the next use connects again. It is also closed if the server has become read-only,
        because this server would refuse all later rows.
Rule 2: no setting is made for the whole session. A pooler in transaction mode gives the session to other clients,
        together with its settings. `transaction` makes the needed settings in each transaction.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import trio

from relay.ledger.port import LedgerUnavailable

Result = TypeVar("Result")
Connection = psycopg.Connection[tuple[object, ...]]

CONNECT_LIMIT_S = 3
# 100 times longer than the slowest of our statements. This limit ends the wait for a lock that nobody releases.
STATEMENT_LIMIT_MS = 5_000
# A connection that was not used for this long is closed. Some hosted databases sleep while they have no connection.
IDLE_LIMIT_S = 60.0

# The settings that our statements need. The defaults of the server, the database or the role may differ. psycopg reads
# timestamps only in the ISO style. The encoding is not set here, because `connect` sets it, and a pooler keeps it for
# each client.
_BEGIN = f"""begin;
set local statement_timeout = {STATEMENT_LIMIT_MS};
set local timezone = 'UTC';
set local datestyle = 'ISO, MDY';
set local standard_conforming_strings = on"""

# Errors that are a row's fault. The same row would fail again. The connection can still be used.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
# The server reports these settings by itself when they change (Postgres 14 and later).
_READ_ONLY = ("in_hot_standby", "default_transaction_read_only")


def connect(url: str) -> Connection:
    """Open a connection for short statements. Raises psycopg.Error."""
    connection: Connection = psycopg.connect(
        url,
        autocommit=True,  # transaction() begins and ends the transactions.
        connect_timeout=CONNECT_LIMIT_S,
        prepare_threshold=None,  # Behind a pooler in transaction mode, prepared statements are lost.
        client_encoding="UTF8",
        application_name="relay",
        keepalives_idle=5,  # TCP keepalive: a server that has gone is noticed in about 10 s.
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    return connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """One transaction with the settings that our statements need.

    The settings end with the transaction, so no other client of a pooler gets them.
    """
    connection.execute(_BEGIN)
    try:
        yield
    except BaseException:
        if not connection.broken and not connection.closed:
            connection.execute("rollback")
        raise
    connection.execute("commit")


def is_read_only(connection: Connection) -> bool:
    """True if the server has reported that it is read-only.

    A server becomes read-only when a failover makes another server the primary.
    """
    return any(connection.info.parameter_status(name) == "on" for name in _READ_ONLY)


class _Use:
    """The state of one use. The thread and the task that waits for it share this object.

    Only the thread writes `running`, and only the task writes `abandoned`. So the GIL makes this safe without a lock.
    """

    __slots__ = ("abandoned", "again", "running")

    def __init__(self, again: bool) -> None:
        self.again = again
        self.running = False
        self.abandoned = False


class PostgresThread:
    """One thread with one connection. It serves one use at a time.

    Another use waits until the thread is free, but not longer than its own limit.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._limiter = trio.CapacityLimiter(1)
        self._connection: Connection | None = None
        self._used_at = 0.0

    async def use(self, work: Callable[[Connection], Result], *, limit_s: float, again: bool) -> Result:
        """Run `work` with the connection, in the thread. Raises psycopg.Error, or LedgerUnavailable at the limit.

        A pooler or a restart may have cut the connection since its last use (docs/protocol/fly.md 9). Then `use`
        connects again, and tries the work once more. Pass `again=False` for work that must not run twice: it is tried
        once more only if the server has surely stored nothing.
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
            if use.running:  # If it is False, another use may run in the thread, and must keep the connection.
                self._cut()

    def _work(self, work: Callable[[Connection], Result], use: _Use) -> Result:
        """Runs in the thread."""
        use.running = True
        try:
            kept = self._connection is not None
            try:
                return self._try(work)
            except psycopg.Error as error:
                if use.abandoned or not kept or self._connection is not None:
                    raise
                if not (use.again or _stored_nothing(error)):
                    raise
            return self._try(work)
        finally:
            use.running = False

    def _try(self, work: Callable[[Connection], Result]) -> Result:
        """Do the work once, in one transaction. If the connection is bad afterwards, close it."""
        connection = self._connection = self._connection or connect(self._url)
        try:
            with transaction(connection):
                result = work(connection)
        except BaseException as error:
            if not isinstance(error, REFUSALS) or connection.closed:
                self._connection = None
                connection.close()
            raise
        if is_read_only(connection):
            self._connection = None
            connection.close()
        self._used_at = time.monotonic()
        return result

    def _cut(self) -> None:
        """Shut down the socket on which the thread waits. The thread's statement then fails."""
        connection = self._connection
        if connection is None or connection.closed:
            return  # The thread is still connecting. That ends after CONNECT_LIMIT_S.
        try:
            with socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            pass  # The socket is closed already.

    async def close_if_idle(self) -> None:
        """Close the connection if nobody has used it for IDLE_LIMIT_S."""
        idle_s = time.monotonic() - self._used_at
        if self._connection is None or idle_s < IDLE_LIMIT_S or self._limiter.borrowed_tokens:
            return
        await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    async def close(self, *, limit_s: float) -> None:
        """Close the connection in the thread. If that does not happen in time, cut the connection."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limit_s) as scope:
            await trio.to_thread.run_sync(self._close, abandon_on_cancel=True, limiter=self._limiter)
        if scope.cancelled_caught:
            self._cut()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _stored_nothing(error: psycopg.Error) -> bool:
    """True if the server has surely stored nothing of the transaction, so that a second try is safe.

    Returns False if the error has no SQLSTATE, or one of class 08 or 57. The connection or the server has then ended,
    perhaps after a commit whose answer was lost.
    """
    return error.sqlstate is not None and error.sqlstate[:2] not in ("08", "57")


def words_of(error: Exception) -> str:
    """The text of a database error without the values of a row.

    The details of an error, and some messages, quote these values.
    """
    if not isinstance(error, psycopg.Error):
        return f"{type(error).__name__} in the relay's own code"  # Its message may quote a row.
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "the tables are not there, or are older than this relay: run `relay migrate`, in the folder of your .env"
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return "the server takes no rows: it is read-only (SQLSTATE 25006). DATABASE_URL must lead to the main server"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "DATABASE_URL's user may not write to the relay's tables (SQLSTATE 42501): grant it, or use their owner"
    if error.sqlstate is not None:
        return f"{type(error).__name__} (SQLSTATE {error.sqlstate})"
    if isinstance(error, psycopg.OperationalError):
        # psycopg's own message has host, port and user, but never the password.
        return " ".join(str(error).split())[:300] + " (DATABASE_URL says where Postgres is)"
    # The message would quote a URL that cannot be parsed, with the password.
    return f"{type(error).__name__}: DATABASE_URL is not a connection string, or the connection is gone"
