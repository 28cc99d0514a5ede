"""Runs test calls from the console's page "Talk to it": how they ring, their socket, and how they end.

An HTTP request of the page replaces the ring, and a WebSocket of the page replaces Twilio's stream. The warm session,
the one-use token and CallSession are the same as for a phone call. Admission is the same too, but the rings of one
number are not counted. The protocol on the caller's socket is different (relay/browser/). The owner gets no
notification of a test call. The call books in a test diary, unless the owner chose the real diary. A transfer calls
nobody: the page only shows who would be called.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import structlog
import trio

from relay.browser import browser_protocol
from relay.business.diary import MemoryDiary
from relay.business.embedded import Embedded
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason, StreamSid
from relay.console.talk import Ended, Rung, TurnedAway
from relay.functions.backend.dry_diary import DryBookings, DryDiary
from relay.functions.backend.port import BackendPort
from relay.server.admission import Admission, Refusal
from relay.server.console_door import PREFIX
from relay.server.fly_replay import replay
from relay.server.human_transfer import whisper_words
from relay.session.call_file import ASKS_WITHIN_S, Caller, CallFile
from relay.session.call_session import CallSession
from relay.session.context import Desk
from relay.session.model_connector import warm_up
from relay.transport.websocket import Request, WebSocketEnd
from relay.twilio.caller_id import caller_id

log = structlog.get_logger()

SOCKET = "talk"
# At Twilio a call's SID is "CA" and 32 hex digits. A test call's SID begins with "TC" instead.
SID_BEGINS = "TC"
SHOWN = "shown"  # The transfer's result: the page showed who would be rung.
_TURNED_AWAY = {
    Refusal.DRAINING: "The relay is about to restart and takes no more calls. Try again in a minute.",
    Refusal.CAPACITY: "All lines are taken (MAX_CALLS). A caller would be put through to a person now.",
    Refusal.DAY_SPEND: "The day's money is spent (MAX_DAY_USD). A caller would be put through to a person now.",
}
# The StirVerstat value with which a US network confirms the caller's number. In a test call the owner chooses the
# number, so it counts as confirmed.
_SIGNED = "TN-Validation-Passed-A"


@dataclass
class _Diaries:
    """The diaries that test calls write into. They last until the process ends."""

    embedded: MemoryDiary
    bookings: DryBookings

    def over(self, real: BackendPort) -> BackendPort:
        """The backend for a test call: like `real`, but it books only in the test diary."""
        if isinstance(real, Embedded):
            return replace(real, diary=self.embedded)
        return DryDiary(real, self.bookings)


class BrowserCalls:
    """The test calls of this process. Implements console.talk.Calls. `serve` handles their sockets."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._admission = Admission(desk)
        self._diaries = _Diaries(MemoryDiary(), DryBookings())

    # The ring of a call

    def ring(self, number: str, *, is_real: bool) -> Rung | TurnedAway:
        """Begin a test call.

        Returns the path of the socket that the page must open, or the reason why there is no call.
        """
        desk, now = self._desk, trio.current_time()
        if refusal := self._admission.refusal_for_anyone():
            log.info("test_call.not_admitted", why=str(refusal))
            return TurnedAway(_TURNED_AWAY[refusal])
        call_sid = CallSid(SID_BEGINS + secrets.token_hex(16))
        who = caller_id({"From": number, "StirVerstat": _SIGNED}, country=desk.settings.business_country)
        if number.strip() and not who.number:
            words = f"{number.strip()[:20]} is not a phone number."
            return TurnedAway(f"{words} Write the number with its country code, or leave the field empty.")
        file = desk.open_file(call_sid, Caller(who), "", now, rings=True, is_test=True)
        if not is_real:
            file.is_dry = True
            file.briefing = replace(file.briefing, backend=self._diaries.over(file.briefing.backend))
        warm_up(desk, file, now)
        file.expects(ASKS_WITHIN_S, stream=True)
        log.info("call.rang", call_sid=call_sid, test=True, real=is_real)
        machine = desk.settings.machine
        return Rung(call_sid, f"{PREFIX}{SOCKET}/{machine}/{desk.tokens.issue(call_sid, now)}", machine)

    # The socket

    async def serve(self, request: Request, end: WebSocketEnd, rest: str) -> None:
        """Serve the socket of one call until its end (console_door.SocketHandler). `rest` is MACHINE/TOKEN."""
        desk = self._desk
        machine, _, token = rest.partition("/")
        if there := self.elsewhere(machine, request.headers.get("fly-replay-failed")):
            await end.reject(307, "", there)
            return
        call_sid = desk.tokens.claim(token, None, trio.current_time())
        file = desk.files.get(call_sid) if call_sid is not None else None
        if file is None or not file.is_test:
            desk.metrics.refused_sockets.labels("token").inc()
            log.warning("test_call.refused", words="the token in its path is unknown, was used, or is too old")
            await end.reject(403, "This call has begun already, or waited for more than a minute. Press Call again.\n")
            return
        with structlog.contextvars.bound_contextvars(call_sid=file.call_sid, test=True):
            try:
                await self._serve(request, end, file)
            finally:
                desk.rings_no_more(file.call_sid)
                file.expects(0)

    async def _serve(self, request: Request, end: WebSocketEnd, file: CallFile) -> None:
        await end.accept(request)
        file.streams += 1
        stream_sid = StreamSid(file.call_sid)  # A test call has one stream.
        session = CallSession(self._desk, file, stream_sid, end, dialect=browser_protocol)
        file.stream_opens(session)
        log.info("call.started", stream_sid=stream_sid, stream=file.streams)
        try:
            await session.run()
        finally:
            file.stream_closes(session)
            if file.decision.then is Next.HUMAN:
                self._desk.ledger.record(replace(self._desk.outcome_row(file), transfer_result=SHOWN))

    # The end of a call

    def ended(self, call_sid: str) -> Ended | None:
        """How a test call ended. None if this process does not know the call, or if it is a phone call."""
        file = self._desk.files.get(CallSid(call_sid))
        if file is None or not file.is_test:
            return None
        decision = file.decision
        if not file.streams:
            return Ended(None)
        if decision.then is not Next.HUMAN:
            return Ended(decision.reason or EndReason.RELAY_FAULT, is_lost=decision.then is Next.RESUME)
        return Ended(
            decision.reason or EndReason.RELAY_FAULT, self._desk.settings.human_transfer_number, whisper_words(file)
        )

    def elsewhere(self, machine: str, failed: str | None) -> dict[str, str] | None:
        """The header that makes Fly's proxy send a request to the machine that has the call.

        None if this machine must answer (see fly_replay.replay).
        """
        return replay(self._desk.settings, machine, failed)
