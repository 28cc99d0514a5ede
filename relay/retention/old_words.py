"""Words and numbers in Postgres that are older than RETENTION_DAYS_WORDS. They are deleted in small groups of calls.

It walks over all old calls, also over those that were looked at before. Rows of such a call may have waited on the disk
of a machine, and have come later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psycopg

from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, words_of

Result = TypeVar("Result")
Place = tuple[dt.datetime, str]

GROUP = 200  # Calls that are looked at in one transaction: about 5,000 rows.
LIMIT_S = 10.0
END = dt.datetime.max.replace(tzinfo=dt.UTC)
BEGINNING: Place = (dt.datetime.min.replace(tzinfo=dt.UTC), "")
STATEMENTS = statements.read(statements.SQL_DIR / "retention.sql")
# What is deleted of a call. Its appointments and recordings have their own age.
OF_A_CALL = ("transcripts", "function_calls", "messages", "outbox", "reviews", "call_outcomes", "calls")


class OldWords:
    """The rows of this database, with a thread and a connection of its own."""

    def __init__(self, url: str) -> None:
        self._thread = PostgresThread(url)
        self._place = BEGINNING

    async def delete_next(self, before: dt.datetime) -> int | None:
        """Look at the next group, and delete what is older than `before`. Returns how many calls had words.

        None: everything that is old has been looked at. The next call begins anew.
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
        """When the oldest call that has words began. None if there is none.

        Calls that began before `since` are not looked at. They have no words any more.
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
    """Delete words and numbers of these calls. Returns for each table the calls of the rows that were changed."""
    values = {"sids": sids, "number": None, "written": None, "running": [], "later": [], "elsewhere": [], **also}
    return {
        table: [sid for (sid,) in connection.execute(STATEMENTS[f"delete_{table}"], values).fetchall()]  # type: ignore[misc]
        for table in tables
    }
