"""Decides for each ring whether it gets the agent, the human's phone, or nobody.

A caller who rings again and again is connected with the human, because the agent could not help this caller. The number
of these transfers is limited too. Otherwise an automatic dialler would ring the human without end. The rings at all
machines count: the ledger has a row for each ring.
"""

from __future__ import annotations

import enum

import structlog
import trio

from relay.ledger.port import LedgerUnavailable
from relay.session.call_file import CallFile
from relay.session.context import Desk

log = structlog.get_logger()

WINDOW_S = 600.0
# Within WINDOW_S, one number gets the agent this many times. All hidden numbers together count as one number, which has
# a limit of its own.
CALLS_PER_WINDOW = 10
HIDDEN_CALLS_PER_WINDOW = 30
# After that, this many rings of the number reach the human's phone. Further rings get a busy line, until enough of the
# earlier rings are older than WINDOW_S.
HUMAN_CALLS_PER_WINDOW = 3
# A ring waits at most this long until Postgres has counted the rings at the other machines.
COUNT_LIMIT_S = 0.1


class Refusal(enum.StrEnum):
    """Why a call does not get the agent. The reason is also the outcome in the call's row."""

    DRAINING = "draining"
    CAPACITY = "capacity"
    DAY_SPEND = "day_spend"
    TOO_OFTEN = "too_often"
    FLOOD = "flood"  # Too many rings, even for the human.
    OWN_NUMBER = "own_number"  # A human's phone forwards our call back to our own number.


# After these refusals the call is rejected with a busy line, and does not reach the human either. Nobody pays for a
# rejected call. The values tell the operator what to do.
FOR_NOBODY: dict[str, str] = {
    Refusal.OWN_NUMBER: "turn off call forwarding on the human's phone: it forwards calls back to the agent's number",
    Refusal.FLOOD: "block the number at Twilio if it goes on",
}


class Admission:
    """Decides about the rings that reach this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def judge(self, file: CallFile) -> Refusal | None:
        """The reason why this call does not get the agent. None if it gets the agent."""
        caller = file.caller.id
        if caller.is_own:
            return Refusal.OWN_NUMBER
        rings, limit = 0, 0
        if not caller.is_shared:  # The rings of a shared number are not counted, because each may be another caller's.
            rings = await self._rings(file)
            limit = HIDDEN_CALLS_PER_WINDOW if caller.is_hidden else CALLS_PER_WINDOW
        if rings > limit + HUMAN_CALLS_PER_WINDOW:
            return Refusal.FLOOD
        if refusal := self.refusal_for_anyone():
            return refusal
        return Refusal.TOO_OFTEN if rings > limit else None

    def refusal_for_anyone(self) -> Refusal | None:
        """The reason why no further call can be taken, whoever calls. None if one more call can be taken."""
        desk = self._desk
        if desk.draining:
            return Refusal.DRAINING
        if desk.lines_taken >= desk.settings.max_calls:
            return Refusal.CAPACITY
        return Refusal.DAY_SPEND if desk.spent_today_usd >= desk.settings.max_day_usd else None

    async def _rings(self, file: CallFile) -> int:
        """How many times this number rang within the window, this ring included."""
        caller, now = file.caller.id, trio.current_time()
        here = self._desk.files.rings(file.caller, WINDOW_S, now)
        try:
            everywhere = await self._desk.ledger.calls_from(caller.number, WINDOW_S, limit_s=COUNT_LIMIT_S)
        except LedgerUnavailable as error:
            log.info("ring.counted_here_only", words=str(error))
            return here
        # Find the number of rings at the other machines. `everywhere` includes the rings of this process, except this
        # ring, whose row is written later (-1). While Postgres was counting, this process may have got more rings. So
        # its rings are counted again.
        besides = everywhere - (self._desk.files.rings(file.caller, WINDOW_S, now) - 1)
        return here + max(0, besides)
