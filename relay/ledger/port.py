"""The port between a call and its ledger."""

from __future__ import annotations

from datetime import date, tzinfo
from typing import Protocol

import trio

from relay.ledger.rows import Already, Counts, Greeting, Json, Reserved, Row, SeenCall, Unavailable


class LedgerUnavailable(Exception):
    """Postgres did not answer a read in time. The message says why.

    The message holds no secret, no words and no numbers of a call.
    """


class Ledger(Protocol):
    """The ledger as a call uses it. It takes rows without waiting.

    The caller of a read or a reservation sets its time limit.
    """

    def record(self, row: Row, *also: Row) -> None:
        """Take a row. Never blocks and never raises: it is called on the audio path and at the end of a call.

        `also` is written in the same transaction: both rows are written, or none. Together they count as one row.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is recorded, until cancelled. Then write the rest within a limit. Put on disk what is left."""

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> SeenCall | None:
        """How a call ended and how often it was resumed. None if the call is not known.

        Rows that wait to be written count too. Raises LedgerUnavailable if Postgres is away and none of these rows
        belongs to the call.
        """

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        """Dollars of this day in this time zone: calls that ended, and what running calls have reported so far.

        `besides`: the run of the relay whose calls are left out. Raises LedgerUnavailable.
        """

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        """How many calls of this number began in the last `since_s` seconds. "" counts all hidden numbers together.

        Raises LedgerUnavailable.
        """

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        """All numbers of the business that callers have dialled so far. Raises LedgerUnavailable."""

    async def load_greeting(self, key: str, *, limit_s: float) -> Greeting | None:
        """The greeting kept under this key. Raises LedgerUnavailable."""

    async def keep_greeting(self, greeting: Greeting, *, limit_s: float) -> None:
        """Keep a rendered greeting. It replaces the one under the same key. Raises LedgerUnavailable."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Claim `key`: the right to do its action, once among all relays. Never raises."""

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Write how a reserved function ended. Never raises: if Postgres is away, the end is recorded like a row.

        After `Unavailable` there is no row to settle. Then a repeat finds the FunctionCallRow recorded with the key.
        """

    async def ready(self, *, limit_s: float) -> str | None:
        """None if Postgres takes our rows now. Otherwise a text that says what is wrong and what to do."""

    def counts(self) -> Counts:
        """How many rows were written, wait, or were lost so far."""
