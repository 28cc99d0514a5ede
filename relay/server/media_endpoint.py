"""Decides who may open a media socket, and finds the call that it belongs to.

If the path names another Fly Machine, the answer is a `fly-replay` header, or 403 if that Machine cannot be reached.
If the path names this Machine, Twilio's signature and the one-use token are checked before the upgrade. If one of them
is wrong, or if the call has a stream already, the answer is 403. After the upgrade, a start message for the token's
call must come within five seconds. Otherwise the socket is closed with 1008.
"""

from __future__ import annotations

import structlog
import trio

from relay.call.vocabulary import CallSid, EndReason
from relay.server.fly_replay import replay
from relay.session.call_file import CallFile
from relay.session.call_session import CallSession
from relay.session.context import Desk
from relay.transport.websocket import Request, WebSocketEnd
from relay.twilio import media_protocol, signature

log = structlog.get_logger()

PREFIX = "/twilio/stream/"
# Twilio sends `start` directly after the upgrade. Five seconds are enough for a slow network.
START_LIMIT_S = 5.0
POLICY = 1008


class StreamRefused(Exception):
    """An accepted socket sent something that we did not ask for. The socket is closed with 1008 and this text."""


class _Arriving:
    """A stream whose socket is open and whose `start` has not come yet (see call_file.Stream)."""

    def __init__(self) -> None:
        self.stream_sid = ""
        self.is_decided = False
        self.scope = trio.CancelScope()

    def end(self, reason: EndReason) -> None:
        """A webhook says that the stream has ended, although `start` has not come."""
        log.info("stream.over_before_start", reason=str(reason))
        self.close_rows()

    def end_unless_told(self, reason: EndReason) -> None:
        """End this stream at once. (CallSession, in contrast, first waits for the end of the caller's socket.)"""
        self.end(reason)

    def close_rows(self) -> None:
        """Stop waiting for `start`. This stream has no rows to close."""
        self.is_decided = True
        self.scope.cancel()


class StreamDoor:
    """Opens the media sockets of this process."""

    def __init__(self, desk: Desk, tokens: tuple[str, ...]) -> None:
        self._desk = desk
        self._auth_tokens = tokens

    async def open(self, request: Request, end: WebSocketEnd) -> None:
        """Check one media socket before its upgrade, and serve it until its end."""
        machine, _, token = request.path.removeprefix(PREFIX).partition("/")
        if machine != self._desk.settings.machine:
            await self._send_elsewhere(request, end, machine)
            return
        file = await self._admit(request, end, token.rstrip("/"))
        if file is None:
            return
        stream = _Arriving()
        file.stream_opens(stream)
        with structlog.contextvars.bound_contextvars(call_sid=file.call_sid):
            started = None
            try:
                with stream.scope:
                    started = await self._start(request, end, file)
                    if started is not None:
                        await file.settle_before(stream)
                if started is None or stream.is_decided:
                    return
                await self._serve(file, stream, started, end)
            finally:
                file.stream_closes(stream)  # Otherwise a socket that broke early would count as a call.

    async def _start(self, request: Request, end: WebSocketEnd, file: CallFile) -> media_protocol.Started | None:
        """Accept the socket, and read Twilio's first messages.

        If they do not come, or are not what we asked for, the socket is closed and None is returned.
        """
        await end.accept(request)
        try:
            with trio.fail_after(START_LIMIT_S):
                return await self._wait_for_start(end, file)
        except (trio.TooSlowError, StreamRefused, media_protocol.TwilioProtocolError) as error:
            words = str(error) or f"no start message within {START_LIMIT_S:.0f} s"
            self._desk.metrics.refused_sockets.labels("start").inc()
            log.warning(
                "stream.refused",
                words=words,
                caller_hears="a sentence that the call was cut off, then a human or the agent again",
            )
            await end.close(POLICY, words)
            return None

    async def _serve(
        self, file: CallFile, stream: _Arriving, started: media_protocol.Started, end: WebSocketEnd
    ) -> None:
        file.streams += 1
        session = CallSession(self._desk, file, started.stream_sid, end)
        file.stream_becomes(stream, session)
        log.info("call.started", stream_sid=started.stream_sid, stream=file.streams)
        try:
            await session.run()
        finally:
            file.stream_closes(session)

    async def _send_elsewhere(self, request: Request, end: WebSocketEnd, machine: str) -> None:
        header = replay(self._desk.settings, machine, request.headers.get("fly-replay-failed"))
        if header is None:
            self._desk.metrics.refused_sockets.labels("machine").inc()
            log.warning("stream.refused", words="the path names another machine, and it cannot be asked")
            await end.reject(403, "unknown machine\n")
            return
        await end.reject(307, "", header)

    async def _admit(self, request: Request, end: WebSocketEnd, token: str) -> CallFile | None:
        """The call's file. None if the request is not signed, its token is wrong, or the call has a stream already.

        The request then got a 403.
        """
        desk = self._desk
        try:
            signature.check_handshake(
                tokens=self._auth_tokens,
                public_url=desk.settings.public_url,
                target=request.path,
                signature=_one(request, signature.SIGNATURE_HEADER),
                settings=_one(request, signature.SETTINGS_HEADER),
                host=_one(request, "Host"),
            )
        except signature.SignatureRefused as error:
            desk.metrics.refused_sockets.labels("signature").inc()
            log.warning("stream.refused", words=str(error), do="compare PUBLIC_URL with the URL in the TwiML")
            await end.reject(403, "not signed by Twilio\n")
            return None
        call_sid = desk.tokens.claim(token, None, trio.current_time())
        file = desk.files.get(call_sid) if call_sid is not None else None
        if file is None or file.is_served:
            desk.metrics.refused_sockets.labels("token").inc()
            log.warning(
                "stream.refused",
                words="the token in its path is unknown, was used, or is too old, or the call has a stream already",
            )
            await end.reject(403, "no such stream\n")
            return None
        return file

    async def _wait_for_start(self, end: WebSocketEnd, file: CallFile) -> media_protocol.Started:
        while True:
            messages = await end.receive()
            for at, message in enumerate(messages):
                what = media_protocol.parse(message)
                if isinstance(what, media_protocol.Connected) or what is None:
                    continue
                if not isinstance(what, media_protocol.Started):
                    raise StreamRefused("the first message was not start")
                _check(what, file.call_sid, file.account_sid or self._desk.settings.twilio_account_sid)
                end.unread(messages[at + 1 :])  # These messages may have the caller's first audio.
                return what


def _check(started: media_protocol.Started, call_sid: CallSid, account_sid: str) -> None:
    if started.call_sid != call_sid:
        raise StreamRefused("the start message is of another call than the token")
    if account_sid and started.account_sid != account_sid:
        raise StreamRefused("the start message is of another account")
    found = (started.encoding, started.rate_hz, started.channels)
    if found != ("audio/x-mulaw", 8000, 1):
        raise StreamRefused(f"the stream carries {found[0]} at {found[1]} Hz with {found[2]} channels, not mu-law 8000")


def _one(request: Request, name: str) -> str | None:
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else None
