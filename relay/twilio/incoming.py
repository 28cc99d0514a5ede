"""Twilio's webhooks: a phone rings, a stream is over, a human is asked. No answer leaves a caller in silence.

Each request is checked against PUBLIC_URL, never against what it claims of itself. Answers never wait for the model.
Upstream: daemon.py (HTTP).  Downstream: desk.py, twilio/twiml.py.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import structlog
import trio
from quart import Response, request
from quart_trio import QuartTrio

from relay.call import wording
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.desk import CallFile, Desk
from relay.ledger.port import LedgerUnavailable
from relay.ledger.rows import OutcomeRow
from relay.twilio import signature, twiml

log = structlog.get_logger()

# A stream that was lost is resumed this often, then the human comes.
RESUMES = 3
# A human's phone rings this long (Twilio adds about five seconds); longer is voicemail.
RING_S = 20
# Nobody talks to a human for longer at our cost.
HUMAN_LIMIT_S = 3_600
# Who rings this often within the window is sent to the human without a model.
CALLS_PER_WINDOW = 10
WINDOW_S = 600.0
# Twilio asks what comes next the moment the socket closes; our own end may need that long to write its books.
SETTLE_LIMIT_S = 1.5
LEDGER_LIMIT_S = 0.5

CUT_OFF = "Sorry, we were cut off. I am connecting you with a person."
BUSY = "Thank you for calling. I am connecting you with a person."
SORRY = "We are sorry, nobody can take your call right now. Please call again a little later. Goodbye."

_SID = re.compile(r"CA[0-9a-fA-F]{32}")
Answer = Callable[[dict[str, str]], Awaitable[str]]


def _xml(document: str) -> Response:
    return Response(document, content_type="text/xml; charset=utf-8")


class Webhooks:
    """The webhooks of a process."""

    def __init__(self, desk: Desk, tokens: tuple[str, ...]) -> None:
        self._desk = desk
        self._auth_tokens = tokens

    def add_to(self, app: QuartTrio) -> None:
        """Put the routes on the app."""
        for path, answer in (
            ("/twilio/incoming", self._incoming),
            ("/twilio/after", self._after),
            ("/twilio/status", self._status),
            ("/twilio/stream-status", self._stream_status),
            ("/twilio/whisper", self._whisper),
            ("/twilio/accept", self._accept),
            ("/twilio/dialed", self._dialed),
        ):
            app.add_url_rule(path, path, self._route(answer), methods=["GET", "POST"])

    def _route(self, answer: Answer) -> Callable[[], Awaitable[Response]]:
        async def view() -> Response:
            body = await request.get_data(as_text=False)
            scope = request.scope
            target = scope["raw_path"].decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            try:
                fields = signature.check_webhook(
                    tokens=self._auth_tokens,
                    public_url=self._desk.settings.public_url,
                    target=target,
                    signature=request.headers.get(signature.SIGNATURE_HEADER),
                    settings=request.headers.get(signature.SETTINGS_HEADER),
                    content_type=request.headers.get("Content-Type"),
                    body=bytes(body),
                )
            except signature.SignatureRefused as error:
                log.warning(
                    "webhook.refused", path=request.path, words=str(error), do="compare PUBLIC_URL with Twilio's"
                )
                return Response("not signed by Twilio\n", 403, content_type="text/plain")
            fields |= {name: value for name, value in request.args.items() if name not in fields}
            call_sid = fields.get("call") or fields.get("CallSid", "")
            if not _SID.fullmatch(call_sid):
                return Response("CallSid is missing or is none\n", 400, content_type="text/plain")
            with structlog.contextvars.bound_contextvars(call_sid=call_sid):
                return _xml(await answer(fields))

        return view

    # A phone rings

    async def _incoming(self, fields: dict[str, str]) -> str:
        desk, now = self._desk, trio.current_time()
        call_sid = CallSid(fields["CallSid"])
        known = call_sid in desk.files
        file = desk.open_file(
            call_sid,
            _number(fields.get("From", "")),
            _number(fields.get("To", "")),
            fields.get("FromState", "")[:2],
            fields.get("FromCountry", "")[:2],
            now,
        )
        refused = None if known else self._refusal(file, now)
        if refused is not None:
            desk.metrics.rings.labels(refused).inc()
            log.warning("call.not_admitted", why=refused, caller_hears="a sentence, then the human's phone")
            file.then, file.why, file.ended = Next.HUMAN, refused, EndReason.TRANSFERRED
            return self._straight_to_human(file, BUSY)
        desk.metrics.rings.labels("stream").inc()
        self._warm(file, now)
        log.info("call.rang", repeated=known, resumes=file.resumes)
        return self._stream(file, now)

    def _refusal(self, file: CallFile, now: float) -> str | None:
        """Why this call is not for the model, in one word; None if it is."""
        desk = self._desk
        if desk.draining:
            return "draining"
        if desk.live_calls >= desk.settings.max_calls:
            return "capacity"
        if desk.spent_today_usd >= desk.settings.max_day_usd:
            return "day_spend"
        rang = [f for f in desk.files.values() if f.caller_number == file.caller_number and now - f.rang_at < WINDOW_S]
        if file.caller_number and len(rang) > CALLS_PER_WINDOW:
            return "too_often"
        return None

    def _warm(self, file: CallFile, now: float) -> None:
        desk = self._desk
        greeting = desk.phrases.greeting(file.announces)
        live = file.resumed_as is None and not greeting.is_kept
        ask = wording.say_exactly(greeting.text) if live else None
        desk.warm.ring(file.call_sid, lambda: desk.wanted(file, desk.settings.openai_model, greeting=ask), now)

    def _stream(self, file: CallFile, now: float) -> str:
        file.token = self._desk.tokens.issue(file.call_sid, now)
        origin = self._desk.settings.public_url.replace("http", "ws", 1)
        return twiml.connect_stream(
            f"{origin}/twilio/stream/{self._desk.settings.machine}/{file.token}",
            self._url("stream-status"),
            self._url("after"),
            {"call": file.call_sid},
        )

    def _url(self, name: str, **query: str) -> str:
        return f"{self._desk.settings.public_url}/twilio/{name}" + (f"?{urlencode(query)}" if query else "")

    # A stream is over

    async def _after(self, fields: dict[str, str]) -> str:
        call_sid = CallSid(fields["CallSid"])
        file = self._desk.files.get(call_sid)
        if file is None:
            return await self._after_unknown(call_sid, fields)
        with trio.move_on_after(SETTLE_LIMIT_S):
            await file.idle.wait()
        if fields.get("CallStatus") in ("completed", "canceled", "failed", "busy", "no-answer"):
            return twiml.hang_up()
        if file.streams == 0:
            log.error("call.stream_never_opened", caller_hears=CUT_OFF, do="see Twilio's debugger for 31901-31920")
            return self._straight_to_human(file, CUT_OFF)
        if file.then is Next.HUMAN:
            return self._dial(file)
        if file.then is Next.RESUME:
            return self._resume(file)
        return twiml.hang_up()

    async def _after_unknown(self, call_sid: CallSid, fields: dict[str, str]) -> str:
        """A call of another machine, or of this one before it died: the ledger may know how it ended."""
        try:
            seen = await self._desk.ledger.fetch_call(call_sid, limit_s=LEDGER_LIMIT_S)
        except LedgerUnavailable:
            seen = None
        by_us = seen is not None and seen.ended_at is not None and seen.transfer_result is None
        if by_us and seen is not None and seen.end_reason not in (str(EndReason.DRAINED), None):
            return twiml.hang_up()
        log.error("call.lost_by_a_relay", caller_hears=CUT_OFF, do="look why a relay stopped in the middle of a call")
        file = self._desk.open_file(
            call_sid, _number(fields.get("From", "")), _number(fields.get("To", "")), "", "", trio.current_time()
        )
        file.then, file.why = Next.HUMAN, "the relay was lost"
        return self._straight_to_human(file, CUT_OFF)

    def _resume(self, file: CallFile) -> str:
        if file.resumes >= RESUMES or self._desk.draining:
            return self._straight_to_human(file, CUT_OFF)
        file.resumes += 1
        file.resumed_as = "lost"
        now = trio.current_time()
        self._warm(file, now)
        log.warning("call.resumed", resumes=file.resumes)
        return self._stream(file, now)

    # A human is asked

    def _straight_to_human(self, file: CallFile, text: str) -> str:
        s = self._desk.settings
        file.dialled_at = trio.current_time()
        if not s.human_transfer_number:
            return twiml.say_and_hang_up(SORRY)
        file.accepted = True  # no whisper: whoever answers is taken for the human
        return twiml.say_and_dial(
            text,
            s.human_transfer_number,
            s.twilio_phone_number,
            self._url("dialed", call=file.call_sid),
            RING_S,
            HUMAN_LIMIT_S,
        )

    def _dial(self, file: CallFile) -> str:
        s = self._desk.settings
        file.accepted = False
        file.dialled_at = trio.current_time()
        log.info("human.dialled", why=file.why)
        return twiml.dial_human(
            s.human_transfer_number,
            s.twilio_phone_number,
            self._url("whisper", call=file.call_sid),
            self._url("dialed", call=file.call_sid),
            self._url("status", call=file.call_sid),
            RING_S,
            HUMAN_LIMIT_S,
        )

    async def _whisper(self, fields: dict[str, str]) -> str:
        file = self._desk.files.get(CallSid(fields.get("call", "")))
        text = "A call from the virtual assistant."
        if file is not None:
            who = " ".join(file.caller_number.lstrip("+")) or "an unknown number"
            about = f" {file.summary[:200].rstrip('. ')}." if file.summary else ""
            why = f" Reason: {file.why[:80].rstrip('. ')}." if file.why else ""
            text = f"A call from the virtual assistant, from {who}.{why}{about}"
        return twiml.whisper(f"{text} Press 1 to accept it.", self._url("accept", call=fields.get("call", "")))

    async def _accept(self, fields: dict[str, str]) -> str:
        file = self._desk.files.get(CallSid(fields.get("call", "")))
        if file is not None and fields.get("Digits") == "1":
            file.accepted = True
            log.info("human.accepted")
            return twiml.empty()
        log.info("human.declined")
        return twiml.hang_up()

    async def _dialed(self, fields: dict[str, str]) -> str:
        file = self._desk.files.get(CallSid(fields.get("call", "") or fields["CallSid"]))
        status = fields.get("DialCallStatus", "")
        bridged = fields.get("DialBridged", "").casefold() != "false"
        taken = file is not None and file.accepted and status in ("completed", "answered") and bridged
        log.info("human.done", status=status, accepted=bool(file and file.accepted), taken=taken)
        if file is None:
            return twiml.say_and_hang_up(SORRY)
        self._record_transfer(file, "accepted" if taken else (status or "unknown"))
        if taken or fields.get("CallStatus") == "completed":
            return twiml.hang_up()
        if file.streams == 0 or file.resumes >= RESUMES or self._desk.draining:
            return twiml.say_and_hang_up(SORRY)
        file.resumes += 1
        file.resumed_as = "no_answer"
        now = trio.current_time()
        self._warm(file, now)
        return self._stream(file, now)

    def _record_transfer(self, file: CallFile, result: str) -> None:
        desk = self._desk
        row = OutcomeRow(call_sid=file.call_sid, ended_at=desk.utc_now(), transfer_result=result, dialled="human")
        desk.ledger.record(row)

    # What Twilio tells us besides

    async def _status(self, fields: dict[str, str]) -> str:
        call_sid = CallSid(fields["CallSid"])
        if fields.get("CallStatus") in ("completed", "canceled", "failed", "busy", "no-answer"):
            self._desk.warm.release(call_sid)
            log.info("call.status", status=fields.get("CallStatus"))
        return twiml.empty()

    async def _stream_status(self, fields: dict[str, str]) -> str:
        event = fields.get("StreamEvent", "")
        if event == "stream-error":
            log.error("stream.error", words=fields.get("StreamError", "")[:200], do="see Twilio's debugger")
        else:
            log.info("stream.status", event_name=event[:32])
        return twiml.empty()


def _number(text: str) -> str:
    """A phone number in E.164, or "" for anonymous callers, SIP addresses and the like."""
    return text if re.fullmatch(r"\+[1-9]\d{6,14}", text) else ""
