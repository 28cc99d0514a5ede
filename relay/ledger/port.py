"""Defines the port between a call and the ledger."""

from __future__ import annotations

from datetime import date, tzinfo
from typing import Protocol

import trio

from relay.ledger.rows import Already, Counts, Greeting, Json, Reserved, Row, SeenCall, Unavailable


class LedgerUnavailable(Exception):
    """Postgres did not answer in time, or answered with an error. The message says why.

    It contains no secret, no words of a call and no phone numbers.
    """


class Ledger(Protocol):
    """The ledger as a call uses it. Recording a row does not wait for Postgres.

    Reads and reservations wait at most `limit_s` seconds.
    """

    def record(self, row: Row, *also: Row) -> None:
        """Take a row.

        Never waits for Postgres and never raises, because it is called on the audio path and at the end of a call. Uses
        the disk only if memory is full, or after `run` has ended.

        The rows of `also` are written in the same transaction as `row`: all of them, or none. They count as one row.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write the recorded rows to Postgres, until cancelled.

        After the cancellation, write the remaining rows for a limited time. Put on disk the rows that Postgres still
        has not taken.
        """

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> SeenCall | None:
        """How a call ended and how often it was resumed. None if the call is not known.

        This includes rows that this process has recorded and that are not in Postgres yet. Raises LedgerUnavailable if
        Postgres is away and no such row belongs to the call.
        """

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        """The dollars that were spent on this day in this time zone: by calls that have ended, and by running calls so
        far.

        Calls that the relay process `besides` carries or carried are left out. Raises LedgerUnavailable.
        """

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        """How many calls from this number began in the last `since_s` seconds.

        The number "" stands for all hidden numbers. Test calls do not count.

        Raises LedgerUnavailable.
        """

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        """All numbers of the business that callers have dialled so far. Raises LedgerUnavailable."""

    async def load_greeting(self, key: str, *, limit_s: float) -> Greeting | None:
        """The kept greeting with this key. Raises LedgerUnavailable."""

    async def keep_greeting(self, greeting: Greeting, *, limit_s: float) -> None:
        """Keep a rendered greeting. It replaces an earlier greeting with the same key. Raises LedgerUnavailable."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Reserve an idempotency key. Only one relay process gets it, and may then run the function. Never raises."""

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Write the result of a reserved function. Never raises: if Postgres is away, the result waits like a row.

        If `reserve` returned `Unavailable`, there is no reservation to settle. The FunctionCallRow then holds the key,
        so that a repeat of the function call finds it.
        """

    async def ready(self, *, limit_s: float) -> str | None:
        """None if Postgres takes rows now. Otherwise a text that says what is wrong."""

    def counts(self) -> Counts:
        """How many rows were written or lost since the start, and how many rows wait."""
