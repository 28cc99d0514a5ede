"""Opens and configures sessions with the model. Opens warm sessions for calls whose phone rings.

If the key or the model is wrong, OpenAI still opens the WebSocket, and then sends an error event
(docs/protocol/openai.md 1.2). So a session counts as connected when `session.created` has come. It counts as configured
when `session.updated` has come with the right audio formats. A warm session that no call claims in time is closed.
"""

from __future__ import annotations

import math
import re
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import structlog
import trio

from relay.call.actions import AskForResponse
from relay.call.vocabulary import CallSid
from relay.realtime import protocol
from relay.realtime.refusals import remedy, remedy_of_status
from relay.realtime.session_config import SILENCE_MS, session_config
from relay.transport.handshake import Refused, dial
from relay.transport.websocket import Gone, WebSocketEnd

log = structlog.get_logger()

# The limit for the dial (TCP, TLS, upgrade), and then the limit until `session.updated` has come. From India, TLS,
# upgrade and `session.created` took 0.84 to 2.1 s together. We have no captures from farther away.
CONNECT_LIMIT_S = 5.0
CONFIGURE_LIMIT_S = 5.0
# A warm session costs nothing but its socket, and its greeting if one was asked for. It is closed after this time, in
# case the caller's stream never starts (gptme #792).
WARM_LIFE_S = 30.0
# At most this many warm sessions are opened in a minute, so that robocalls do not use up the account's sessions. Any
# other call opens its session when its stream starts.
WARM_PER_MINUTE = 60
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ModelUnreachable(Exception):
    """There is no usable session. The message says why, with the server's error code if there is one.

    The message never contains the whole key. `do`: what the operator must do, or "". `retry_after_s`: how many seconds
    the server asks us to wait before the next attempt.
    """

    def __init__(self, words: str, do: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(words)
        self.do, self.retry_after_s = do, retry_after_s


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """Where the model is, and with which key, voice and transcription model it is used."""

    url: str
    key: str = field(repr=False)
    voice: str
    transcribe_model: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def service(self) -> str:
        """The name of the service: its URL without the scheme.

        For a service on this machine, the port is left out, because it changes.
        """
        parts = urlsplit(self.url)
        host = parts.hostname if parts.hostname in LOOPBACK else parts.netloc.rpartition("@")[2].lower()
        return f"{host}{parts.path}" + (f"?{parts.query}" if parts.query else "")


class Dial(Protocol):
    """Opens a WebSocket. The process uses relay.transport.handshake.dial, tests use memory streams."""

    async def __call__(
        self, url: str, headers: dict[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
    ) -> WebSocketEnd: ...


@dataclass(slots=True)
class ModelSession:
    """A session that is configured. `backlog` holds the events that came before the call used it."""

    end: WebSocketEnd
    id: str
    model: str
    backlog: list[bytes] = field(default_factory=list)
    greeting_asked: bool = False
    writes: bool = False  # True if the model answers in text, which another voice speaks.


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings with which a session must be opened."""

    model: str
    instructions: str
    tools: tuple[dict[str, object], ...] = ()
    greeting: str | None = None  # The greeting that the model must generate at once, if any.
    writes: bool = False  # True if the model must answer in text, which another voice speaks.
    silence_ms: int = SILENCE_MS  # After this much silence, the server's VAD ends the caller's speech.


class Realtime:
    """Opens model sessions."""

    def __init__(self, access: ModelAccess, dial_end: Dial = dial) -> None:
        self.access = access
        self._dial = dial_end
        self.trouble = ""

    async def open(self, wanted: Wanted) -> ModelSession:
        """Open and configure a session. If this fails, no socket stays open. Raises ModelUnreachable.

        Afterwards `trouble` is the reason of the failure, or "".
        """
        try:
            session = await self._open(wanted)
        except ModelUnreachable as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        return session

    async def _open(self, wanted: Wanted) -> ModelSession:
        query = urlencode({"model": wanted.model})
        url = f"{self.access.url}{'&' if urlsplit(self.access.url).query else '?'}{query}"
        headers = {"Authorization": f"Bearer {self.access.key}"}
        try:
            end = await self._dial(url, headers, self.access.tls, CONNECT_LIMIT_S)
        except trio.TooSlowError:
            raise ModelUnreachable(f"no connection within {CONNECT_LIMIT_S:.0f} s") from None
        except Refused as error:
            raise _refused(error) from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ModelUnreachable(f"no connection: {error}") from None
        try:
            return await self._configure(end, wanted)
        except BaseException:
            await end.close()
            raise

    async def _configure(self, end: WebSocketEnd, wanted: Wanted) -> ModelSession:
        a = self.access
        try:
            with trio.fail_after(CONFIGURE_LIMIT_S):
                reader = _Reader(end, wanted.model)
                await reader.until("session.created")
                config = session_config(
                    wanted.model,
                    a.voice,
                    a.transcribe_model,
                    wanted.instructions,
                    wanted.tools,
                    writes=wanted.writes,
                    silence_ms=wanted.silence_ms,
                )
                await end.send(protocol.update_session(config))
                updated = protocol.session_of(await reader.until("session.updated"))
                protocol.check_formats(updated)
                session = ModelSession(end, updated.id, wanted.model, reader.rest, writes=wanted.writes)
                if wanted.greeting is not None:
                    await end.send(protocol.ask_for_response(AskForResponse("greeting", wanted.greeting)))
                    session.greeting_asked = True
                return session
        except trio.TooSlowError:
            raise ModelUnreachable(f"connected, but not configured within {CONFIGURE_LIMIT_S:.0f} s") from None
        except Gone as error:
            words = f"the model closed the session: {error.code} {_without_key(error.reason)}"
            raise ModelUnreachable(words, remedy(error.reason, model=wanted.model)) from None
        except protocol.ModelProtocolError as error:
            raise ModelUnreachable(str(error)) from None


# A refusal may quote a part of the key. This pattern finds it.
_KEY = re.compile(r"\bsk-[\w*-]+")


def _without_key(text: str) -> str:
    return _KEY.sub("sk-...", " ".join(text.split()))


def _refused(error: Refused) -> ModelUnreachable:
    """The error for an upgrade that was refused. It has the status, the server's reason, and how long to wait."""
    body = _without_key(error.body)[:300]
    words = f"the upgrade was refused with HTTP {error.status}"
    if body:
        words += f": {body}"
    if error.retry_after:
        words += f" (Retry-After: {error.retry_after[:40]})"
    try:
        retry_after_s = float(error.retry_after or "")
    except ValueError:
        retry_after_s = -1.0  # There is no such header, or it is a date.
    told = retry_after_s if 0 <= retry_after_s < math.inf else None
    return ModelUnreachable(words, remedy_of_status(error.status), told)


class _Reader:
    """Reads the first events of a new session, up to an awaited one.

    The events before the awaited one are dropped. Those that have come after it stay in `rest`.
    """

    def __init__(self, end: WebSocketEnd, model: str) -> None:
        self._end, self._model = end, model
        self.rest: list[bytes] = []

    async def until(self, kind: str) -> protocol.Message:
        while True:
            waiting, self.rest = self.rest or await self._end.receive(), []
            for number, raw in enumerate(waiting):
                message = protocol.decode(raw)
                if message.type == kind:
                    self.rest = waiting[number + 1 :]
                    return message
                if message.type == "error" and message.error is not None:
                    code = message.error.code or message.error.type or "error"
                    words = f"the model refused: {code}: {_without_key(message.error.message or '')[:160]}"
                    raise ModelUnreachable(words, remedy(code, message.error.param or "", self._model))


@dataclass(slots=True)
class _Warm:
    """A warm session that is being opened for one call, or that waits to be claimed."""

    wanted: Callable[[], Wanted]
    # Cancelling this closes a session that nobody claimed.
    life: trio.CancelScope = field(default_factory=trio.CancelScope)
    # Cancelling this ends the wait and hands the session over.
    idle: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    session: ModelSession | None = None
    error: str = "the opening of the session was stopped before it was done"
    do: str = ""
    claimed: bool = False


class WarmSessions:
    """The warm sessions of a process: at most one for each call. Each can be claimed once."""

    def __init__(self, realtime: Realtime) -> None:
        self._realtime = realtime
        self._warm: dict[CallSid, _Warm] = {}
        self._nursery: trio.Nursery | None = None
        self._recent: deque[float] = deque()
        # Called for a session that no call will use. If it has generated a greeting, the greeting must be paid for.
        self.unheard: Callable[[CallSid, ModelSession], None] = lambda *_: None

    def __len__(self) -> int:
        return len(self._warm)

    def ring(self, call_sid: CallSid, wanted: Callable[[], Wanted], now: float) -> bool:
        """Begin to open a session for a call that rings.

        Returns False if too many were opened in the last minute, or if `run` does not run. The call then opens its
        session itself.
        """
        if call_sid in self._warm:
            return True  # Twilio may send the webhook twice.
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        if self._nursery is None or len(self._recent) >= WARM_PER_MINUTE:
            log.warning(
                "model.not_warmed",
                rings_in_a_minute=len(self._recent),
                caller_hears="a recording of the greeting, if there is one",
            )
            return False
        self._recent.append(now)
        warm = self._warm[call_sid] = _Warm(wanted)
        warm.life.deadline = now + WARM_LIFE_S
        self._nursery.start_soon(self._hold, call_sid, warm)
        return True

    def knows(self, call_sid: CallSid) -> bool:
        """True if a warm session of this call is open or is being opened, and was not claimed."""
        return call_sid in self._warm

    async def claim(self, call_sid: CallSid) -> ModelSession:
        """The warm session of this call. Waits while it is being opened.

        Whoever gets the session must close it. Raises ModelUnreachable if there is none, or if it failed.
        """
        warm = self._warm.pop(call_sid, None)
        if warm is None:
            raise ModelUnreachable("there is no warm session for this call")
        warm.claimed = True
        warm.idle.cancel()
        try:
            await warm.done.wait()
        except trio.Cancelled:  # The call ended during this wait, so the session is closed here.
            warm.claimed = False
            warm.life.cancel()
            if warm.session is not None:
                self.unheard(call_sid, warm.session)
                await warm.session.end.close()
            raise
        if warm.session is None:
            raise ModelUnreachable(warm.error, warm.do)
        return warm.session

    def release(self, call_sid: CallSid) -> None:
        """The call ended before its stream began. Close its warm session, if there is one."""
        warm = self._warm.get(call_sid)
        if warm is not None:
            warm.life.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open and hold sessions until cancelled. Runs in the process's nursery."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def _hold(self, call_sid: CallSid, warm: _Warm) -> None:
        session: ModelSession | None = None
        try:
            with warm.life:
                session = await self._realtime.open(warm.wanted())
                with warm.idle:
                    while True:  # Reading also answers pings. The call handles the events later.
                        session.backlog += await session.end.receive()
            if warm.claimed:
                warm.session, session = session, None
            else:
                log.info("model.warm_session_unclaimed", call_sid=call_sid)
        except ModelUnreachable as error:
            warm.error, warm.do = str(error), error.do
        except Gone as error:
            reason = _without_key(error.reason)
            warm.error = f"the model closed the session before the call began: {error.code} {reason}"
        except Exception as error:
            log.exception("model.warm_session_broke", words="a bug of the relay: the call opens a session of its own")
            warm.error = f"a bug of the relay: {error}"
        finally:
            if self._warm.get(call_sid) is warm:
                del self._warm[call_sid]
            warm.done.set()
            if session is not None:
                self.unheard(call_sid, session)
                await session.end.close()
