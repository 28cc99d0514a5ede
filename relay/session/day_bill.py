"""Counts today's dollars of all machines: those of this process in memory, and the others from the ledger.

Rule 1: the dollars that this run of the relay spent are counted only in memory, and the ledger's sum leaves them out.
        So a call that ends while the ledger is read is neither missing nor counted twice.
Rule 2: while a call runs, a row with its cost so far is written every EVERY_S seconds, if the cost has changed. Other
        machines read these rows.
Rule 3: while there are no calls, the ledger is read only once, at the start. So a database that sleeps when idle stays
        asleep.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable
from decimal import Decimal

import structlog

from relay.call.early_governor import MOST_OF_MONEY
from relay.ledger.port import Ledger, LedgerUnavailable
from relay.ledger.rows import CallRow
from relay.session.call_file import CallFile

log = structlog.get_logger()

EVERY_S = 30.0
# When this share of MAX_DAY_USD is spent, money is short, and no call asks for early answers any more.
SHORT_SHARE = MOST_OF_MONEY
READ_LIMIT_S = 2.0


class DayBill:
    """The bill of the present day in the business's time zone. It begins again at midnight."""

    def __init__(self, ledger: Ledger, tz: dt.tzinfo, utc_now: Callable[[], dt.datetime]) -> None:
        self.process = secrets.token_hex(6)  # The name of this run of the relay in rows.
        self._ledger, self._tz, self.utc_now = ledger, tz, utc_now
        self._day = self._today()
        self._others_usd = 0.0
        self._own_usd = 0.0  # The cost of streams and sessions that ended in this process.
        self._told: dict[str, float] = {}
        self.is_short = False

    def _today(self) -> dt.date:
        return self.utc_now().astimezone(self._tz).date()

    def _turn_page(self) -> None:
        today = self._today()
        if today != self._day:
            self._day, self._others_usd, self._own_usd = today, 0.0, 0.0

    @property
    def usd(self) -> float:
        """Today's dollars, without the streams that are open in this process."""
        self._turn_page()
        return self._others_usd + self._own_usd

    @usd.setter
    def usd(self, usd: float) -> None:
        self._turn_page()
        self._others_usd, self._own_usd = usd, 0.0

    def ended(self, usd: float) -> None:
        """Add the dollars of a stream that has ended, or of a model session whose greeting nobody heard."""
        self._turn_page()
        self._own_usd += usd

    def weigh(self, spent_usd: float, most_usd: float) -> None:
        """Decide whether money is short. `spent_usd`: today's dollars, open streams included."""
        self.is_short = spent_usd >= SHORT_SHARE * most_usd

    def tell(self, live: Iterable[CallFile]) -> None:
        """Write rows with what our running calls have cost so far. Other machines read them."""
        told, self._told = self._told, {}
        for file in live:
            self._told[file.call_sid] = file.talk.spent_usd
            if file.talk.spent_usd != told.get(file.call_sid, 0.0):
                self._ledger.record(
                    CallRow(
                        call_sid=file.call_sid,
                        resumed=file.resumes,
                        process=self.process,
                        spent_usd=Decimal(f"{file.talk.spent_usd:.6f}"),
                        spent_at=self.utc_now(),
                    )
                )

    async def read(self) -> None:
        """Read from the ledger what other machines, and earlier runs of this relay, have spent today."""
        self._turn_page()
        day = self._day
        try:
            usd = await self._ledger.spent_usd(day, self._tz, limit_s=READ_LIMIT_S, besides=self.process)
        except LedgerUnavailable as error:
            log.warning("ledger.unavailable", words=str(error), caller_hears="no change: rows wait on disk")
            return
        self._turn_page()
        if day == self._day:
            self._others_usd = usd
