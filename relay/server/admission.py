"""Decides for each ring whether it gets the agent, the human's phone, or nobody.

A caller who rings again and again is put through to the human, because the agent cannot help them. There is a limit
for this too: otherwise a machine that rings us would ring the human without end. The ledger counts the rings of all
machines.
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
# One number gets the agent this often within the window. All hidden callers are counted as one number.
CALLS_PER_WINDOW = 10
HIDDEN_CALLS_PER_WINDOW = 30
# After that, this many rings reach the human's phone. Further rings get a busy line until the window has passed.
HUMAN_CALLS_PER_WINDOW = 3
# A ring waits this long for the count of the other machines.
COUNT_LIMIT_S = 0.1


class Refusal(enum.StrEnum):
    """Why a call does not get the agent. The reason is also the outcome in the call's row."""

    DRAINING = "draining"
    CAPACITY = "capacity"
    DAY_SPEND = "day_spend"
    TOO_OFTEN = "too_often"
    FLOOD = "flood"  # Too many rings, even for the human.
    OWN_NUMBER = "own_number"  # A human's phone forwards to our number: our own call comes in again.


# These calls do not reach the human either. These calls are rejected, so that nobody pays for them. Values: what to do.
FOR_NOBODY: dict[str, str] = {
    Refusal.OWN_NUMBER: "the human's phone forwards its calls back to the agent's number: turn that off",
    Refusal.FLOOD: "block the number at Twilio if it goes on",
}


class Admission:
    """Decides about the rings of a process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def judge(self, file: CallFile) -> Refusal | None:
        """Why this call does not get the agent. None: it gets the agent."""
        caller = file.caller.id
        if caller.is_own:
            return Refusal.OWN_NUMBER
        rings, limit = 0, 0
        if not caller.is_shared:  # On a line that many people share, this caller may not be the one who rang before.
            rings = await self._rings(file)
            limit = HIDDEN_CALLS_PER_WINDOW if caller.is_hidden else CALLS_PER_WINDOW
        if rings > limit + HUMAN_CALLS_PER_WINDOW:
            return Refusal.FLOOD
        if refusal := self.room():
            return refusal
        return Refusal.TOO_OFTEN if rings > limit else None

    def room(self) -> Refusal | None:
        """Why one more call cannot be taken, whoever calls. None: there is room and money for it."""
        desk = self._desk
        if desk.draining:
            return Refusal.DRAINING
        if desk.lines_taken >= desk.settings.max_calls:
            return Refusal.CAPACITY
        return Refusal.DAY_SPEND if desk.spent_today_usd >= desk.settings.max_day_usd else None

    async def _rings(self, file: CallFile) -> int:
        """How often this number rang within the window, this ring included. Hidden callers count as one number."""
        caller, now = file.caller.id, trio.current_time()
        here = self._desk.files.rings(file.caller, WINDOW_S, now)
        try:
            everywhere = await self._desk.ledger.calls_from(caller.number, WINDOW_S, limit_s=COUNT_LIMIT_S)
        except LedgerUnavailable as error:
            log.info("ring.counted_here_only", words=str(error))
            return here
        # The rows in the ledger that this process wrote are already counted in `rings`, and so are the rings that came
        # while the ledger was asked.
        besides = everywhere - (self._desk.files.rings(file.caller, WINDOW_S, now) - 1)
        return here + max(0, besides)
