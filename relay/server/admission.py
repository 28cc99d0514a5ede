"""Which rings get the agent, which the human's phone, and which nobody.

A caller who rings again and again is put through to the human, because the agent cannot help them. But not without end:
a machine that rings us would ring the human. The ledger counts the rings of all machines.
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
# One number gets the agent this often within the window. Hidden callers are many, and are counted together.
CALLS_PER_WINDOW = 10
HIDDEN_CALLS_PER_WINDOW = 30
# After those, so many rings reach the human's phone. Then it is busy until the window has passed.
HUMAN_CALLS_PER_WINDOW = 3
# A ring waits this long for the count of the other machines.
COUNT_LIMIT_S = 0.1


class Refusal(enum.StrEnum):
    """Why a call does not get the agent. It is also the outcome in its row."""

    DRAINING = "draining"
    CAPACITY = "capacity"
    DAY_SPEND = "day_spend"
    TOO_OFTEN = "too_often"
    FLOOD = "flood"  # too often even for the human
    OWN_NUMBER = "own_number"  # a human's phone that forwards back to us: our own call comes in again


# For these not even the human is rung. The call is rejected, and nobody pays for it. What the operator can do:
FOR_NOBODY: dict[str, str] = {
    Refusal.OWN_NUMBER: "the human's phone forwards its calls back to the agent's number: turn that off",
    Refusal.FLOOD: "block the number at Twilio if it goes on",
}


class Admission:
    """Judges the rings of a process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def judge(self, file: CallFile) -> Refusal | None:
        """None if the call is for the agent."""
        caller = file.caller.id
        if caller.is_own:
            return Refusal.OWN_NUMBER
        rings, limit = 0, 0
        if not caller.is_shared:  # a caller on a line that many use may not be the one who rang before
            rings = await self._rings(file)
            limit = HIDDEN_CALLS_PER_WINDOW if caller.is_hidden else CALLS_PER_WINDOW
        if rings > limit + HUMAN_CALLS_PER_WINDOW:
            return Refusal.FLOOD
        if refusal := self.room():
            return refusal
        return Refusal.TOO_OFTEN if rings > limit else None

    def room(self) -> Refusal | None:
        """None if there is room and money for one more call, whoever calls."""
        desk = self._desk
        if desk.draining:
            return Refusal.DRAINING
        if desk.lines_taken >= desk.settings.max_calls:
            return Refusal.CAPACITY
        return Refusal.DAY_SPEND if desk.spent_today_usd >= desk.settings.max_day_usd else None

    async def _rings(self, file: CallFile) -> int:
        """How often this number rang within the window, with this ring. Hidden callers count together."""
        caller, now = file.caller.id, trio.current_time()
        here = self._desk.files.rings(file.caller, WINDOW_S, now)
        try:
            everywhere = await self._desk.ledger.calls_from(caller.number, WINDOW_S, limit_s=COUNT_LIMIT_S)
        except LedgerUnavailable as error:
            log.info("ring.counted_here_only", words=str(error))
            return here
        # The ledger's rows of this process are counted already, with those who rang while it was asked.
        besides = everywhere - (self._desk.files.rings(file.caller, WINDOW_S, now) - 1)
        return here + max(0, besides)
