"""Deletes words and numbers that are older than RETENTION_DAYS_WORDS, in Postgres and on this disk.

On this disk it deletes only rows that Postgres has refused, and incomplete files. Rows that wait for Postgres are
deleted there later.

In Postgres, the words of a small group of calls are deleted at once. The rows of the calls stay. Each run goes through
all old calls, also through calls of which everything was deleted before. Some rows of such a call may have waited on
the disk of a machine, and may have come to Postgres later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import trio

from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, words_of
from relay.ledger.spill import delete_old

Result = TypeVar("Result")
Place = tuple[dt.datetime, str]

GROUP = 200  # The calls of one transaction. They have about 5,000 rows.
LIMIT_S = 10.0
END = dt.datetime.max.replace(tzinfo=dt.UTC)
BEGINNING: Place = (dt.datetime.min.replace(tzinfo=dt.UTC), "")
STATEMENTS = statements.read(statements.SQL_DIR / "retention.sql")
# The tables in which a call's words and numbers are deleted. Appointments and recordings are deleted by their own age.
OF_A_CALL = ("transcripts", "function_calls", "messages", "outbox", "reviews", "call_outcomes", "calls")


class OldWords:
    """Deletes old words in this database and in `spill_dir`. It has its own thread and connection for the database."""

    def __init__(self, url: str, spill_dir: Path) -> None:
        self._thread = PostgresThread(url)
        self._spill_dir = spill_dir
        self._place = BEGINNING

    async def delete_files(self, before: dt.datetime) -> int:
        """Delete the files of rows that Postgres refused before this time. Returns how many. Raises OSError."""
        return await trio.to_thread.run_sync(partial(delete_old, self._spill_dir, before_s=before.timestamp()))

    async def delete_next(self, before: dt.datetime) -> int | None:
        """Delete the words of the next group of calls that are older than `before`. Returns how many calls had words.

        After the last group, it deletes old appointments and news (and returns 0). When nothing is left, it returns
        None, and the next run begins again at the oldest phone call.
        """
        place = self._place

        def work(connection: Connection) -> tuple[int, Place | None]:
            group = _group(connection, before, place)
            if not group:
                values = {"before": before, "limit": 10 * GROUP}
                others = [
                    connection.execute(STATEMENTS[name], values)
                    for name in ("delete_old_appointments", "delete_old_news")
                ]
                return 0, place if any(one.rowcount for one in others) else None
            delete(connection, OF_A_CALL, sids=[sid for sid, _, has_words in group if has_words])
            return sum(has_words for _, _, has_words in group), (group[-1][1], group[-1][0])

        deleted, then = await self._use(work)
        self._place = then or BEGINNING
        return deleted if then is not None else None

    async def oldest(self, since: dt.datetime) -> dt.datetime | None:
        """When the oldest call that has words began. None if no call has words.

        Calls that began before `since` are left out, because their words were deleted.
        """
        place = (since, "")
        while group := await self._use(partial(_group, before=END, place=place)):
            found = next((began_at for _, began_at, has_words in group if has_words), None)
            if found is not None:
                return found
            place = (group[-1][1], group[-1][0])
        return None

    async def _use(self, work: Callable[[Connection], Result]) -> Result:
        try:
            return await self._thread.use(work, limit_s=LIMIT_S, again=True)
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close(limit_s=1.0)


def _group(connection: Connection, before: dt.datetime, place: Place) -> list[tuple[str, dt.datetime, bool]]:
    values = {"before": before, "after": place[0], "after_sid": place[1], "limit": GROUP}
    return connection.execute(STATEMENTS["group_of_calls"], values).fetchall()  # type: ignore[return-value]


def delete(
    connection: Connection, tables: tuple[str, ...], *, sids: list[str], **also: Any
) -> dict[str, list[str | None]]:
    """Delete words and numbers of these calls. For each table, returns the call of each row that was changed."""
    values = {"sids": sids, "number": None, "written": None, "running": [], "later": [], "elsewhere": [], **also}
    return {
        table: [sid for (sid,) in connection.execute(STATEMENTS[f"delete_{table}"], values).fetchall()]  # type: ignore[misc]
        for table in tables
    }
