"""The port between a call and its ledger."""

from __future__ import annotations

from datetime import date, tzinfo
from typing import Protocol

import trio

from relay.ledger.rows import Already, Counts, Greeting, Json, Reserved, Row, SeenCall, Unavailable


class LedgerUnavailable(Exception):
    """Postgres did not answer a read in its time. The words say why, without secrets, words or numbers of a call."""


class Ledger(Protocol):
    """Rows in at any moment, without waiting; reads and reservations with a limit that their caller sets."""

    def record(self, row: Row, *also: Row) -> None:
        """Take a row. Never blocks, never raises: not on the audio path, not at a call's end.

        `also`: what is written in the same transaction, or not at all. All of it counts as one row.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what was recorded until cancelled; then drain within a deadline, and put the rest on disk."""

    async def fetch_call(self, call_sid: str, *, limit_s: float) -> SeenCall | None:
        """How a call ended and how often it was resumed; None if it is not known.

        Rows that wait to be written count. Raises LedgerUnavailable only if those do not know the call either.
        """

    async def spent_usd(self, day: date, tz: tzinfo, *, limit_s: float, besides: str = "") -> float:
        """Dollars of this day in this time zone: of calls that ended, and of those that live as far as they have told.

        `besides`: leaves out what this run of the relay has recorded. Raises LedgerUnavailable.
        """

    async def calls_from(self, number: str, since_s: float, *, limit_s: float) -> int:
        """How many calls this number, or with "" all hidden ones together, began in the last `since_s` seconds.

        Raises LedgerUnavailable.
        """

    async def numbers_called(self, *, limit_s: float) -> list[str]:
        """Every number of ours that a caller ever dialled. Raises LedgerUnavailable."""

    async def load_greeting(self, key: str, *, limit_s: float) -> Greeting | None:
        """The greeting kept under this key. Raises LedgerUnavailable."""

    async def keep_greeting(self, greeting: Greeting, *, limit_s: float) -> None:
        """Keep a rendered greeting, over an older one under its key. Raises LedgerUnavailable."""

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Claim the right to do what `key` stands for, once among all relays. Never raises."""

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Say how a reserved function ended. Never raises: what cannot be written now is recorded like a row.

        Where the reservation was `Unavailable` there is no row to settle: the FunctionCallRow, recorded with its key,
        is what a repeat will find.
        """

    async def ready(self, *, limit_s: float) -> str | None:
        """None if Postgres takes our rows now, else what is wrong and what to do, in words."""

    def counts(self) -> Counts:
        """What became of the rows so far."""
