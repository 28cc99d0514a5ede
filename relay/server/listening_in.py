"""Listening in: sends the sound of a running call, which is being recorded, to a browser's socket.

The listener hears exactly what is recorded, in two channels: caller and agent. So while recording is paused, the
listener hears silence. Listening is possible only if the call is recorded and the notice was heard. If the caller
refuses to be recorded, the listening ends. The sound comes about one second later than in the call. The call's recorder
only puts a piece of sound into the queue of each listener, four times a second. A listener that does not read is
dropped, so that it delays nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
import pybase64
import structlog
import trio
from prometheus_client import Gauge

from relay.call.vocabulary import CallSid
from relay.ledger.port import LedgerUnavailable
from relay.server.live_calls import can_listen, session_of
from relay.session.call_file import CallFile
from relay.session.call_files import CallFiles
from relay.session.call_session import CallSession
from relay.transport.websocket import Gone, Request, WebSocketEnd

log = structlog.get_logger()

Audit = Callable[[str, str, str], Awaitable[None]]

# Each listener uses a connection. fly.toml allows only few connections in addition to the MAX_CALLS of the calls.
MOST_LISTENERS = 4
# A listener that leaves more pieces unread is dropped. A piece is 0.25 s of both channels, so 16 pieces are 4 s.
WAITING_PIECES = 16
LOOK_S = 0.5  # `_send` checks at least this often whether the call or the consent has ended.
OVER, POLICY, LATER = 1000, 1008, 1013  # WebSocket close codes.


class ListenerQueue:
    """The audio that waits to be sent to one listener."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[bytes, bytes]] = deque()
        self._came = trio.Event()
        self.is_full = False

    def hear(self, caller: bytes, agent: bytes) -> None:
        """Add a piece of both channels. Called on the audio path, so it does not wait."""
        if len(self._pieces) < WAITING_PIECES:
            self._pieces.append((caller, agent))
        else:
            self.is_full = True
        self._came.set()

    async def pieces(self) -> list[tuple[bytes, bytes]]:
        """The pieces that have come since the last call of this method. Waits up to LOOK_S for the first piece.

        The list is empty if none came.
        """
        with trio.move_on_after(LOOK_S):
            await self._came.wait()
        self._came = trio.Event()
        pieces = [*self._pieces]
        self._pieces.clear()
        return pieces


class ListeningIn:
    """Serves the sockets of /console/socket/listen/CALL_SID."""

    def __init__(
        self, files: CallFiles, audit: Audit, address: Callable[[Request, WebSocketEnd], str], listeners: Gauge
    ) -> None:
        self._files, self._audit, self._address, self._gauge = files, audit, address, listeners
        self.listeners = 0

    async def open(self, request: Request, end: WebSocketEnd, rest: str) -> None:
        """Let one browser hear one call, until the call ends or the browser leaves."""
        file = self._files.get(CallSid(rest))
        session = session_of(file) if file is not None else None
        if file is None or session is None or session.recorder is None:
            await _refuse(request, end, POLICY, "there is no such call here that is recorded")
            return
        if not can_listen(session, file):
            await _refuse(request, end, POLICY, "the caller has not heard the notice, or does not want to be recorded")
            return
        if self.listeners >= MOST_LISTENERS:
            await _refuse(request, end, LATER, f"{MOST_LISTENERS} people are listening already")
            return
        self.listeners += 1
        self._gauge.set(self.listeners)
        try:
            with structlog.contextvars.bound_contextvars(call_sid=file.call_sid):
                await self._serve(request, end, file, session)
        finally:
            self.listeners -= 1
            self._gauge.set(self.listeners)

    async def _serve(self, request: Request, end: WebSocketEnd, file: CallFile, session: CallSession) -> None:
        address = self._address(request, end)
        try:
            await self._audit("began to listen in", file.call_sid, address)
        except LedgerUnavailable as error:
            log.warning(
                "console.not_audited",
                words=str(error),
                do="make Postgres reachable: nobody may listen in without an audit row",
            )
            await _refuse(request, end, LATER, "Postgres cannot write down who listens, so nobody may listen")
            return
        log.info("console.listen_began", caller_hears="no change")
        try:
            await end.accept(request)
            await self._play(end, file, session)
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await self._audit("stopped listening in", file.call_sid, address)
                except LedgerUnavailable as error:
                    log.error("console.not_audited", words=str(error), do="nothing: this line replaces the audit row")
            log.info("console.listen_ended")

    async def _play(self, end: WebSocketEnd, file: CallFile, session: CallSession) -> None:
        assert session.recorder is not None
        queue, code, words = ListenerQueue(), OVER, ""
        session.recorder.hearers.append(queue.hear)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_it_leaves, end, nursery.cancel_scope)
                code, words = await _send(end, queue, file, session)
                nursery.cancel_scope.cancel()
        finally:
            session.recorder.hearers.remove(queue.hear)
        await end.close(code, words)


async def _refuse(request: Request, end: WebSocketEnd, code: int, words: str) -> None:
    """Open the socket, only to close it with a reason: a browser does not show a page the text of an HTTP refusal."""
    await end.accept(request)
    await end.close(code, words)


async def _until_it_leaves(end: WebSocketEnd, scope: trio.CancelScope) -> None:
    """Wait until the listener leaves, then cancel `scope`.

    A listener never needs to send anything. If it sends something, the listening ends too.
    """
    try:
        await end.receive()
    except Gone:
        pass
    scope.cancel()


async def _send(end: WebSocketEnd, queue: ListenerQueue, file: CallFile, session: CallSession) -> tuple[int, str]:
    """Send the pieces of `queue` until the call or the consent ends, or the listener leaves or must be dropped.

    Returns the close code and the reason.
    """
    try:
        while True:
            for caller, agent in await queue.pieces():
                sound = {"caller": pybase64.b64encode(caller).decode(), "agent": pybase64.b64encode(agent).decode()}
                await end.send(msgspec.json.encode(sound))
            if queue.is_full:
                return LATER, "this listener does not read"
            if session.is_decided:
                return OVER, "the call is over"
            if not can_listen(session, file):
                return POLICY, "the caller does not want to be recorded"
    except Gone:
        return OVER, ""
