"""Reads and changes the outbox in Postgres, the table of the news for the owner.

A machine claims the news that waits, for the time of a lease. During the lease no other machine sends this news. If a
machine is killed while it sends, the lease ends, and another machine sends the same news again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import psycopg
from psycopg.rows import class_row, dict_row

from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, connect, transaction, words_of
from relay.ledger.statements import SQL_DIR
from relay.notify.digest import HELD_KINDS, Digest
from relay.notify.letter import Item

# The lease must be longer than the longest try. A mail may take 60 s, a webhook 15 s.
LEASE_S = 120.0
CLAIM_ROWS = 10
LIMIT_S = 5.0

Key = tuple[str, str]  # The key of a row: the id of the news, and the channel.


class Outbox:
    """The outbox, which all machines share. Each method that reads or changes it raises LedgerUnavailable."""

    def __init__(
        self, url: str, channels: tuple[str, ...], digest: Digest | None = None, only: Sequence[Key] | None = None
    ) -> None:
        """If `only` is given, only this news is claimed."""
        self._thread = PostgresThread(url)
        self._channels, self._digest = list(channels), digest
        self._held = list(HELD_KINDS) if digest is not None else []
        self._only: dict[str, object] = {
            "only_news": None if only is None else [news for news, _ in only],
            "only_channels": None if only is None else [channel for _, channel in only],
        }
        self._statements = statements.read(SQL_DIR / "outbox.sql")

    async def claim(self) -> list[Item]:
        """Claim news that is due, at most CLAIM_ROWS. Until the lease ends, only this process sends it."""
        values = {
            "channels": self._channels, "limit": CLAIM_ROWS, "lease_s": LEASE_S, "held": self._held, **self._only,
        }  # fmt: skip

        def work(connection: Connection) -> list[Item]:
            with connection.cursor(row_factory=class_row(Item)) as cursor:
                found = cursor.execute(self._statements["claim"], values).fetchall()
                for index, item in enumerate(found):
                    if item.kind == "digest":
                        of = {"channel": item.channel, "news": item.body["news"]}
                        members = cursor.execute(self._statements["members"], of).fetchall()
                        found[index] = replace(item, members=tuple(members))
                return found

        try:
            return await self._thread.use(work, limit_s=LIMIT_S, again=False)
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    async def gather(self) -> None:
        """Make the latest digest that was due. If it was made before, or if there is no news for it, do nothing."""
        if self._digest is not None:
            news, before = self._digest.last()
            await self._query("gather", {"news": news, "before": before, "held": self._held})

    async def settle(self, item: Item, state: str, *, words: str = "", pause_s: float = 0.0) -> None:
        """Mark news as sent or as dead, or let it wait for its next try."""
        values = {"news": item.news, "channel": item.channel, "state": state, "words": words[:500], "pause_s": pause_s}
        await self._query("settle", values)

    async def next_in_s(self) -> float | None:
        """The seconds until the next try or the digest is due, or a lease ends. None if no news waits."""
        digest_in_s = self._digest.next_in_s() if self._digest is not None else 0.0
        values = {"channels": self._channels, "held": self._held, "digest_in_s": digest_in_s, **self._only}
        found = await self._query("next_in", values)
        return cast("float | None", found[0][0]) if found else None

    async def counts(self) -> dict[str, int]:
        """The number of rows in each state."""
        return {str(state): cast("int", count) for state, count in await self._query("counts", {})}

    async def _query(self, name: str, values: dict[str, object]) -> list[tuple[object, ...]]:
        def work(connection: Connection) -> list[tuple[object, ...]]:
            cursor = connection.execute(self._statements[name], values)
            return cursor.fetchall() if cursor.description else []

        try:
            return await self._thread.use(work, limit_s=LIMIT_S, again=True)
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    async def close_if_idle(self) -> None:
        """Close the connection if it is idle, so that a hosted database can sleep."""
        await self._thread.close_if_idle()

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close(limit_s=1.0)


def waiting(url: str) -> list[dict[str, object]]:
    """The news that was not sent, oldest first, at most 200, for `relay outbox`. Blocking. Raises LedgerUnavailable."""
    try:
        with connect(url) as connection, transaction(connection), connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statements.read(SQL_DIR / "outbox.sql")["list"]).fetchall()
    except psycopg.Error as error:
        raise LedgerUnavailable(words_of(error)) from error


def send_again(url: str, channels: tuple[str, ...]) -> list[Key]:
    """Let the dead letters of these channels wait for a new try. Returns them. Blocking. Raises LedgerUnavailable."""
    try:
        with connect(url) as connection, transaction(connection):
            values = {"news": None, "channel": None, "channels": list(channels)}
            found = connection.execute(statements.read(SQL_DIR / "outbox.sql")["again"], values).fetchall()
            return [(str(news), str(channel)) for news, channel in found]
    except psycopg.Error as error:
        raise LedgerUnavailable(words_of(error)) from error
