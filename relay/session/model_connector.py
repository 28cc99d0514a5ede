"""Opens a stream's model sessions, and carries out the machine's orders about them (call/sessions.py).

A session can be one that was opened when the phone rang, a new one, or the kept session. The kept session is opened
beside the present one, and waits until the machine switches to it. The result of an order is what `next_session`
returns or raises, or what `keep_one_ready` reports.
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

# The pause before a lost model session is opened again. After each failure the pause doubles, up to
# REDIAL_PAUSE_LIMIT_S. If the server says when to come back (Retry-After), the pause is at least that long, but at most
# RETRY_AFTER_LIMIT_S.
REDIAL_PAUSE_S = 0.3
REDIAL_PAUSE_LIMIT_S = 2.0
RETRY_AFTER_LIMIT_S = 5.0


def warm_up(desk: Desk, file: CallFile, now: float) -> None:
    """Begin to open a session for a call that rings.

    If the call is new and no sound of its greeting is stored, the model generates the greeting now.
    """
    greeting = file.briefing.phrases.greeting(file.announces, file.closed)
    live = file.resumed_as is None and not greeting.is_kept
    ask = wording.say_exactly(greeting.text) if live else None
    desk.ring(file, ask, now)


class ModelConnector:
    """Opens and provides the model sessions of one stream."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine) -> None:
        self._desk = desk
        self._file = file
        self._machine = machine
        # The model whose session was ordered and is not being opened yet.
        self._to_dial: str | None = machine.plan.model
        self._to_switch = False
        self._is_released = False
        self._ordered = trio.Event()  # Set by `dial`, `switch` and `release`.
        self._pause_s = 0.0  # The pause before the next attempt.
        self._kept: ModelSession | None = None
        # Cancelling this ends the reading of the kept session, but does not close the session.
        self._kept_waits = trio.CancelScope()
        self._kept_is_free = trio.Event()  # Set when the kept session is not being read any more.

    # The machine's orders

    def dial(self, model: str) -> None:
        """Open a session of this model. The call uses it at once."""
        self._to_dial = model
        self._ordered.set()

    def switch(self) -> None:
        """The call uses the kept session from now on."""
        self._to_switch = True
        self._ordered.set()

    def release(self) -> None:
        """No session is wanted any more."""
        self._is_released = True
        self._ordered.set()

    def forget(self) -> ModelSession | None:
        """The kept session is not wanted any more. Returns it: the caller of this method closes it."""
        session, self._kept = self._kept, None
        if session is not None:
            self._kept_waits.cancel()
        return session

    # The results of the orders

    async def next_session(self) -> ModelSession | None:
        """Wait until a session is ordered, and return it. None if no session is wanted any more.

        Raises ModelUnreachable if the session that was ordered could not be opened, or if the kept one was lost.
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
            raise ModelUnreachable("the session that was kept ready was closed before it could be used")
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
        """The session that was opened when the phone rang, or a new session if the call cannot use that one."""
        if self._desk.warm.knows(self._file.call_sid):
            try:
                session = await self._desk.warm.claim(self._file.call_sid)
                if not (session.greeting_asked and self._machine.plan.greeting.is_kept):
                    return session
                count_unheard(self._machine.meter, session)
                # This session was asked for a greeting, but the caller hears the stored one. From this session they
                # would hear a second greeting.
                await session.end.close()
            except ModelUnreachable as error:
                log.warning(
                    "model.warm_session_lost", words=str(error), caller_hears="nothing yet: another session is opened"
                )
        return await self._dial(model)

    async def _dial(self, model: str) -> ModelSession:
        return await self._desk.realtime.open(self._desk.wanted(self._file, model))

    async def keep_one_ready(self, model: str, tell: Callable[[Event], None]) -> None:
        """Open the session that will continue the conversation, and keep it until the machine switches to it."""
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
                while self._kept is session:  # Reading also answers pings. The messages are handled after the switch.
                    session.backlog += await session.end.receive()
        except Gone as gone:
            if self._kept is session:
                self._kept = None
                tell(NextModelLost(f"the session was closed before it was used: {gone.code} {gone.reason}"))
        finally:
            is_free.set()

    async def close(self) -> None:
        """The stream has ended. Close the kept session, if there is one."""
        if self._kept is not None:
            await self._kept.end.close(1000)
