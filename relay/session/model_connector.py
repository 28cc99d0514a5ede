"""Provides a stream's model sessions: warm since the phone rang, newly opened, or kept beside the present one.

It carries out the machine's orders (call/sessions.py). Each order gets one answer: what `next_session` returns or
raises, or what `keep_one_ready` reports.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from relay.call import wording
from relay.call.machine import Machine
from relay.call.vocabulary import Event, MoveFailed, NextModelLost, NextModelReady
from relay.realtime.client import ModelSession, ModelUnreachable
from relay.session.bills import count_unheard
from relay.session.call_file import CallFile
from relay.session.context import Desk
from relay.transport.websocket import Gone

log = structlog.get_logger()

# After a lost model, the next session is opened after this pause. If it cannot be opened, the pause doubles each time,
# up to REDIAL_PAUSE_LIMIT_S. If the server says when to come back (Retry-After), that time is used, up to the other
# limit.
REDIAL_PAUSE_S = 0.3
REDIAL_PAUSE_LIMIT_S = 2.0
RETRY_AFTER_LIMIT_S = 5.0


def warm_up(desk: Desk, file: CallFile, now: float) -> None:
    """Open a session for a call that rings. If its greeting is not kept, ask this session for it at once."""
    greeting = file.briefing.phrases.greeting(file.announces, file.closed)
    live = file.resumed_as is None and not greeting.is_kept
    ask = wording.say_exactly(greeting.text) if live else None
    desk.ring(file, ask, now)


class ModelConnector:
    """The sessions of one stream."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine) -> None:
        self._desk = desk
        self._file = file
        self._machine = machine
        self._to_dial: str | None = machine.plan.model  # The model that was ordered and is not opened yet.
        self._to_switch = False
        self._is_released = False
        self._ordered = trio.Event()  # Set when one of the three was ordered.
        self._pause_s = 0.0  # The pause before the next dial.
        self._kept: ModelSession | None = None
        self._kept_waits = trio.CancelScope()  # Ends the waiting of the kept session, not the session itself.
        self._kept_is_free = trio.Event()  # Set when nobody reads the kept session.

    # Orders

    def dial(self, model: str) -> None:
        """A session of this model must serve at once."""
        self._to_dial = model
        self._ordered.set()

    def switch(self) -> None:
        """The kept session must serve."""
        self._to_switch = True
        self._ordered.set()

    def release(self) -> None:
        """No session is wanted any more."""
        self._is_released = True
        self._ordered.set()

    def forget(self) -> ModelSession | None:
        """The kept session is not wanted any more. Returns it, so that it can be closed."""
        session, self._kept = self._kept, None
        if session is not None:
            self._kept_waits.cancel()
        return session

    # The results of the orders

    async def next_session(self) -> ModelSession | None:
        """The session that serves from now on. Waits for the order. None if no session is wanted any more.

        Raises ModelUnreachable if the session that was ordered could not be opened.
        """
        while not self._is_released:
            if self._to_switch:
                self._to_switch = False
                return await self._take_kept()
            if self._to_dial is not None:
                model, self._to_dial = self._to_dial, None
                return await self._open(model, may_be_warm=True)
            self._ordered = trio.Event()
            await self._ordered.wait()
        return None

    async def _take_kept(self) -> ModelSession:
        session, self._kept = self._kept, None
        if session is None:
            raise ModelUnreachable("the session that was kept ready was closed just when it was needed")
        self._kept_waits.cancel()
        await self._kept_is_free.wait()
        return session

    async def _open(self, model: str, *, may_be_warm: bool) -> ModelSession:
        await trio.sleep(self._pause_s)
        try:
            session = await self._find(model) if may_be_warm else await self._dial(model)
        except ModelUnreachable as error:
            self._pause_s = min(2 * self._pause_s, REDIAL_PAUSE_LIMIT_S) if self._pause_s else REDIAL_PAUSE_S
            if error.retry_after_s is not None:
                self._pause_s = max(self._pause_s, min(error.retry_after_s, RETRY_AFTER_LIMIT_S))
            raise
        self._pause_s = REDIAL_PAUSE_S
        return session

    async def _find(self, model: str) -> ModelSession:
        """The session that was opened when the phone rang, if there is one."""
        if self._desk.warm.knows(self._file.call_sid):
            try:
                session = await self._desk.warm.claim(self._file.call_sid)
                if not (session.greeting_asked and self._machine.plan.greeting.is_kept):
                    return session
                count_unheard(self._machine.meter, session)
                await session.end.close()  # This session has a greeting, and would greet the caller a second time.
            except ModelUnreachable as error:
                log.warning("model.warm_session_lost", words=str(error), caller_hears="nothing yet: another is dialled")
        return await self._dial(model)

    async def _dial(self, model: str) -> ModelSession:
        return await self._desk.realtime.open(self._desk.wanted(self._file, model))

    async def keep_one_ready(self, model: str, tell: Callable[[Event], None]) -> None:
        """Open the session that will take over the conversation, and keep it until the machine switches."""
        try:
            session = await self._open(model, may_be_warm=False)
        except ModelUnreachable as error:
            tell(MoveFailed(str(error)))
            return
        self._kept, self._kept_waits, self._kept_is_free = session, trio.CancelScope(), trio.Event()
        is_free = self._kept_is_free
        try:
            tell(NextModelReady())
            with self._kept_waits:
                while self._kept is session:  # Answer pings, and keep the messages that come.
                    session.backlog += await session.end.receive()
        except Gone as gone:
            if self._kept is session:
                self._kept = None
                tell(NextModelLost(f"it was closed before it was needed: {gone.code} {gone.reason}"))
        finally:
            is_free.set()

    async def close(self) -> None:
        """The stream has ended, so nobody takes the kept session any more."""
        if self._kept is not None:
            await self._kept.end.close(1000)
