"""Where a stream's model sessions come from: kept warm since it rang, dialled, or prepared beside the present one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from relay.call.machine import Machine
from relay.call.vocabulary import Event, MoveFailed, NextModelReady
from relay.realtime.client import ModelSession, ModelUnreachable
from relay.session.bills import count_unheard
from relay.session.call_file import CallFile
from relay.session.context import Desk
from relay.transport.websocket import Gone

log = structlog.get_logger()

# A model that was lost is dialled again after this long, one that cannot be had after twice as long, up to the limit.
REDIAL_PAUSE_S = 0.3
REDIAL_PAUSE_LIMIT_S = 2.0


class ModelSupply:
    """The sessions of one stream."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine) -> None:
        self.wanted: str | None = machine.plan.model  # the model to be dialled; None: none any more
        self._desk = desk
        self._file = file
        self._machine = machine
        self._pause_s = 0.0  # before the next dial
        self._next: ModelSession | None = None
        self._next_waits = trio.CancelScope()  # ends the waiting of the next session, not the session
        self._next_free = trio.Event()  # nobody reads it any more

    @property
    def has_next(self) -> bool:
        """True while a session is ready to take the conversation over."""
        return self._next is not None

    async def obtain(self) -> ModelSession:
        """The session that serves from now on; waits before it dials again. Raises ModelUnreachable."""
        await trio.sleep(0 if self.has_next else self._pause_s)
        try:
            session = await self._find()
        except ModelUnreachable:
            self._pause_s = min(2 * self._pause_s, REDIAL_PAUSE_LIMIT_S) if self._pause_s else REDIAL_PAUSE_S
            raise
        self._pause_s = REDIAL_PAUSE_S
        return session

    async def _find(self) -> ModelSession:
        if self._next is not None:
            session, self._next = self._next, None
            self._next_waits.cancel()
            await self._next_free.wait()
            return session
        wanted, self.wanted = self.wanted or self._machine.plan.model, None
        if self._desk.warm.knows(self._file.call_sid):
            try:
                session = await self._desk.warm.claim(self._file.call_sid)
                if not (session.greeting_asked and self._machine.plan.greeting.is_kept):
                    return session
                count_unheard(self._machine.meter, session)
                await session.end.close()  # kept since it rang: this one would greet a second time
            except ModelUnreachable as error:
                log.warning("model.warm_session_lost", words=str(error), caller_hears="nothing yet: another is dialled")
        return await self._desk.realtime.open(self._desk.wanted(self._file, wanted))

    async def prepare(self, model: str, tell: Callable[[Event], Awaitable[None]]) -> None:
        """Open the session that takes the conversation over, and keep it until the machine switches."""
        try:
            session = await self._desk.realtime.open(self._desk.wanted(self._file, model))
        except ModelUnreachable as error:
            await tell(MoveFailed(str(error)))
            return
        if not self._machine.is_moving or self._next is not None:
            await session.end.close()  # the call has found another way meanwhile
            return
        self._next, self._next_waits, self._next_free = session, trio.CancelScope(), trio.Event()
        await tell(NextModelReady())
        try:
            with self._next_waits:
                while self._next is session:  # pings are answered, and what comes is kept
                    session.backlog += await session.end.receive()
        except Gone as gone:
            if self._next is session:
                self._next = None
                await tell(MoveFailed(f"it was closed before it was needed: {gone.code} {gone.reason}"))
        finally:
            self._next_free.set()

    async def close(self) -> None:
        """The stream is over: nobody takes the prepared session any more."""
        if self._next is not None:
            await self._next.end.close(1000)
