"""The port between a call and its ledger."""

from __future__ import annotations

from datetime import date, tzinfo
from typing import Protocol

import trio

from relay.ledger.rows import Already, Counts, Greeting, Json, Reserved, Row, SeenCall, Unavailable


class LedgerUnavailable(Exception):
    """Postgres did not answer a read in time. The message says why.

    It holds no secret, and no words or numbers of a call.
    """


class Ledger(Protocol):
    """The ledger as a call uses it. Rows are taken without waiting.

    Reads and reservations have a limit that the caller sets.
    """

    def record(self, row: Row, *also: Row) -> None:
        """Take a row. Never blocks, never raises: neither on the audio path, nor at the end of a call.

        `also` is written in the same transaction, or not at all. Together they count as one row.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is recorded, until cancelled. Then write the rest within a limit, and put on disk what is left."""

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> SeenCall | None:
        """How a call ended and how often it was resumed; None if it is not known.

        Rows that wait to be written count. Raises LedgerUnavailable if Postgres is away and these rows do not know the
        call.
        """

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        """Dollars of this day in this time zone: calls that ended, and running calls as far as they have reported.

        `besides`: leaves out what this run of the relay has recorded. Raises LedgerUnavailable.
        """

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        """How many calls of this number began in the last `since_s` seconds. "" counts all hidden numbers together.

        Raises LedgerUnavailable.
        """

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        """All numbers of ours that callers have dialled so far. Raises LedgerUnavailable."""

    async def load_greeting(self, key: str, *, limit_s: float) -> Greeting | None:
        """The greeting kept under this key. Raises LedgerUnavailable."""

    async def keep_greeting(self, greeting: Greeting, *, limit_s: float) -> None:
        """Keep a rendered greeting. It replaces the one under the same key. Raises LedgerUnavailable."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Claim `key`: the right to do what it stands for, once among all relays. Never raises."""

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Say how a reserved function ended. Never raises: if it cannot be written now, it is recorded like a row.

        After `Unavailable` there is no row to settle. Then the FunctionCallRow, recorded with its key, is what a repeat
        finds.
        """

    async def ready(self, *, limit_s: float) -> str | None:
        """None if Postgres takes our rows now. Otherwise what is wrong and what to do, in words."""

    def counts(self) -> Counts:
        """What became of the rows so far."""
