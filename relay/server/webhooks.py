"""Answers Twilio's webhooks: a phone rings, a stream has ended, a call has ended.

If our own code fails, after_bug.py answers: the caller is still connected with the human. The signature is checked with
PUBLIC_URL, never with the host that the request names. No answer waits for the model.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
import trio
from quart import Request, Response, request
from quart_trio import QuartTrio

from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.ledger.port import LedgerUnavailable
from relay.server.admission import FOR_NOBODY, Admission
from relay.server.after_bug import CUT_OFF, answer_after_bug
from relay.server.fly_replay import elsewhere, replay
from relay.server.human_transfer import RESUMES, Transfers
from relay.session.call_file import ASKS_WITHIN_S, CallFile, Decision
from relay.session.call_rows import call_row, record_without_stream
from relay.session.context import Desk
from relay.session.model_connector import warm_up
from relay.twilio import signature, twiml

log = structlog.get_logger()

LEDGER_LIMIT_S = 0.5
# A webhook has 1 to 2 kB and comes in one piece. Without this limit anybody could send 15 MB. Reading such a body would
# delay the audio of every call by 1.7 s, because it is read before the signature is checked.
MAX_BODY_BYTES = 65_536
BODY_LIMIT_S = 5

# Twilio waits at most 15 s for an answer (docs/protocol/twilio.md 1.2). Our slowest answer waits 2.5 s for the backend.
# An answer that takes longer than this limit is a bug of ours.
ANSWER_LIMIT_S = 8.0

BUSY = "Thank you for calling. I am connecting you with a person."

# End reasons that mean that the relay ended the call on purpose. After any other reason the caller may still be on the
# line, and gets the agent or the human.
_ENDED_BY_US = frozenset(
    str(reason)
    for reason in (
        EndReason.AGENT_SAID_GOODBYE,
        EndReason.HUNG_UP_BY_OWNER,
        EndReason.DURATION_CAP,
        EndReason.SILENCE_CAP,
        EndReason.COST_CAP,
    )
)
_OVER = frozenset({"completed", "canceled", "failed", "busy", "no-answer"})  # The CallStatus of a call that has ended.
_SID = re.compile(r"CA[0-9a-fA-F]{32}")
Answer = Callable[[dict[str, str]], Awaitable[str]]


def _xml(document: str) -> Response:
    return Response(document, content_type="text/xml; charset=utf-8")


def _one(asked: Request, name: str) -> str | None:
    """The value of this header. None if the header is missing or comes twice.

    If it comes twice, a proxy may have checked the other value.
    """
    values = asked.headers.getlist(name)
    return values[0] if len(values) == 1 else None


class Webhooks:
    """The webhooks of a process."""

    def __init__(self, desk: Desk, tokens: tuple[str, ...]) -> None:
        self._desk = desk
        self._auth_tokens = tokens
        self._transfers = Transfers(desk, self._resume)
        self._admission = Admission(desk)
        self._other_accounts: set[str] = set()

    def add_to(self, app: QuartTrio) -> None:
        """Put the routes on the app."""
        app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, BODY_TIMEOUT=BODY_LIMIT_S)
        for path, answer in (
            ("/twilio/incoming", self._incoming),
            ("/twilio/after", self._after),
            ("/twilio/status", self._status),
            ("/twilio/stream-status", self._stream_status),
            ("/twilio/whisper", self._transfers.whisper),
            ("/twilio/accept", self._transfers.accept),
            ("/twilio/dialed", self._transfers.dialed),
            ("/twilio/message", self._transfers.message),
        ):
            view = self._route(answer)
            app.add_url_rule(path, path, view, methods=["GET", "POST"])
            # Somebody may type the URL at Twilio with a slash at its end.
            app.add_url_rule(f"{path}/", f"{path}/", view, methods=["GET", "POST"])
        app.register_error_handler(404, self._not_found)

    def _route(self, answer: Answer) -> Callable[[], Awaitable[Response]]:
        async def view() -> Response:
            try:
                fields = await self._signed_fields()
            except signature.SignatureRefused as error:
                self._desk.metrics.refused_webhooks.inc()
                log.warning(
                    "webhook.refused",
                    path=request.path,
                    words=str(error),
                    do="compare PUBLIC_URL with the URL at Twilio",
                )
                return Response("not signed by Twilio\n", 403, content_type="text/plain")
            call_sid = fields.get("call") or fields.get("CallSid", "")
            if not _SID.fullmatch(call_sid):
                return Response(
                    "the field CallSid is missing, or its value is not the SID of a call\n",
                    400,
                    content_type="text/plain",
                )
            there = self._other_machine(CallSid(call_sid), fields)
            if there is not None:
                return Response("", 307, there)
            with structlog.contextvars.bound_contextvars(call_sid=call_sid):
                try:
                    with trio.fail_after(ANSWER_LIMIT_S):
                        return _xml(await answer(fields))
                # A bug of ours. After a 500 the caller would hear what the number's fallback URL says, or Twilio's
                # error message. Then the call would end.
                except Exception:
                    name = request.path.strip("/").rpartition("/")[2]
                    document, hears = answer_after_bug(name, fields, self._transfers)
                    log.exception("webhook.broke", path=request.path, caller_hears=hears, do="report it: a bug")
                    self._note_bug(name, CallSid(call_sid), fields)
                    return _xml(document)

        return view

    def _other_machine(self, call_sid: CallSid, fields: dict[str, str]) -> dict[str, str] | None:
        """The header that sends this request to another Machine on Fly. None if this process must answer."""
        desk, failed = self._desk, request.headers.get("fly-replay-failed")
        is_new = request.path.rstrip("/") == "/twilio/incoming" and call_sid not in desk.files
        if desk.draining and is_new:
            return elsewhere(desk.settings, request.headers.get("fly-replay-src"), failed)
        return replay(desk.settings, fields.get("machine", ""), failed)

    async def _signed_fields(self) -> dict[str, str]:
        """The fields of this request. Raises SignatureRefused if Twilio has not signed it."""
        body = await request.get_data(as_text=False)
        scope = request.scope
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        fields = signature.check_webhook(
            tokens=self._auth_tokens,
            public_url=self._desk.settings.public_url,
            target=target,
            signature=_one(request, signature.SIGNATURE_HEADER),
            settings=_one(request, signature.SETTINGS_HEADER),
            content_type=request.headers.get("Content-Type"),
            body=body if isinstance(body, bytes) else body.encode(),
            host=_one(request, "Host"),
        )
        return fields | {name: value for name, value in request.args.items() if name not in fields}

    async def _not_found(self, _: Exception) -> Response:
        """Answer a request for an unknown path.

        If Twilio has signed it, a URL in Twilio's console is wrong, so an error is logged.
        """
        answer = Response("not found\n", 404, content_type="text/plain")
        if signature.SIGNATURE_HEADER not in request.headers:
            return answer
        try:
            fields = await self._signed_fields()
        except signature.SignatureRefused:
            return answer
        right = "stream-status" if "StreamEvent" in fields else "incoming"
        right = "status" if fields.get("CallStatus") in _OVER else right
        url = f"{self._desk.settings.public_url}/twilio/{right}"
        hears = "what the number's fallback URL says, or that an application error has occurred"
        log.error(
            "webhook.wrong_path", path=request.path[:80], caller_hears=hears, do=f"set the URL at Twilio to {url}"
        )
        return Response(f"There is no such page here. The URL is {url}\n", 404, content_type="text/plain")

    def _look_at_account(self, account_sid: str) -> None:
        """Log once that calls come from another account than TWILIO_ACCOUNT_SID.

        The calls are served, because they are signed with our token.
        """
        if account_sid in ("", self._desk.settings.twilio_account_sid) or account_sid in self._other_accounts:
            return
        self._other_accounts.add(account_sid)
        log.error(
            "account.another",
            words=f"calls come from the account {account_sid}, and TWILIO_AUTH_TOKEN is the token of that account",
            caller_hears="no change, but a call that has ended may stay open for a moment: REST cannot hang it up",
            do=f"set TWILIO_ACCOUNT_SID={account_sid}",
        )

    def _note_bug(self, name: str, call_sid: CallSid, fields: dict[str, str]) -> None:
        """Write down what the caller got after a bug in this webhook, as far as the call's file and the ledger work."""
        file = self._desk.files.get(call_sid)
        try:
            if file is not None:
                self._transfers.note_bug(name, file, fields)
        except Exception:
            log.exception(
                "webhook.bug_not_noted",
                path=request.path,
                caller_hears="no change",
                do="report it: a bug. The call's rows may be incomplete",
            )

    # A phone rings

    async def _incoming(self, fields: dict[str, str]) -> str:
        desk, now = self._desk, trio.current_time()
        call_sid = CallSid(fields.get("CallSid", ""))
        known = call_sid in desk.files
        file = self._transfers.file(call_sid, fields, rings=True)
        if not known:
            self._look_at_account(file.account_sid)
            file.refused = await self._admission.judge(file) or ""
            desk.ledger.record(call_row(file))  # With this row the other machines count this ring.
            if not file.caller.id.is_own:
                desk.learn_own(file.caller.called)
        if file.refused:
            return self._refuse(file)
        desk.metrics.rings.labels("stream").inc()
        warm_up(desk, file, now)
        log.info("call.rang", repeated=known, resumes=file.resumes)
        return self._stream(file, now)

    def _refuse(self, file: CallFile) -> str:
        """The TwiML for a call that does not get the agent: it rings the human, or gives a busy line."""
        self._desk.metrics.rings.labels(file.refused).inc()
        do = FOR_NOBODY.get(file.refused)
        if do is None:
            log.warning(
                "call.not_admitted",
                why=file.refused,
                caller_hears="a sentence, then the human's phone, if HUMAN_HOURS allow",
            )
            return self._without_stream(file, BUSY)
        log.warning("call.rejected", why=file.refused, caller_hears="a busy line", do=do)
        record_without_stream(self._desk, file, EndReason.REJECTED)
        return twiml.reject("busy")

    def _stream(self, file: CallFile, now: float) -> str:
        token = self._desk.tokens.issue(file.call_sid, now)
        file.expects(ASKS_WITHIN_S, stream=True)
        origin = self._desk.settings.public_url.replace("http", "ws", 1)
        return twiml.connect_stream(
            f"{origin}/twilio/stream/{self._desk.settings.machine}/{token}",
            self._transfers.url("stream-status"),
            self._transfers.url("after"),
            {"call": file.call_sid},
        )

    def _without_stream(self, file: CallFile, say: str) -> str:
        """Ring the human for a call that never had a stream. Its rows are written here, because it has no session."""
        record_without_stream(self._desk, file, EndReason.TRANSFERRED)
        file.decide(Decision(Next.HUMAN, EndReason.TRANSFERRED, file.refused.replace("_", " ")))
        return self._transfers.dial(file, say)

    # A stream has ended

    async def _after(self, fields: dict[str, str]) -> str:
        """Twilio asks what comes next, because the stream has ended.

        If the stream's session in this process has not noticed that, the session is ended here.
        """
        call_sid = CallSid(fields.get("CallSid", ""))
        file = self._desk.files.get(call_sid)
        if fields.get("CallStatus") in _OVER:
            if file is not None:
                file.end_streams(EndReason.CALLER_HUNG_UP)
                self._desk.tell_of_fault(file)
            return twiml.hang_up()
        if file is None:
            return await self._after_unknown(call_sid, fields)
        file.end_streams(EndReason.CALLER_SOCKET_LOST)
        decided = file.decision
        if file.streams == 0:
            log.error("call.stream_never_opened", caller_hears=CUT_OFF, do="look for errors 31901-31920 at Twilio")
            file.refused = "no_stream"
            self._desk.rings_no_more(call_sid)
            return self._without_stream(file, CUT_OFF)
        if decided.then is Next.HUMAN:
            return self._transfers.dial(file)
        if decided.then is Next.HANG_UP or (decided.reason is not None and decided.reason in _ENDED_BY_US):
            return twiml.hang_up()
        # CallStatus says that the caller is still on the line. So go on, even if the end of the socket looked like a
        # hang-up.
        return self._after_loss(file)

    async def _after_unknown(self, call_sid: CallSid, fields: dict[str, str]) -> str:
        """`_after` for a call that this process does not know. The ledger may know how the call ended."""
        try:
            seen = await self._desk.ledger.fetch_call(call_sid, limit_s=LEDGER_LIMIT_S)
        except LedgerUnavailable:
            seen = None
        if seen is not None and seen.end_reason in _ENDED_BY_US:
            return twiml.hang_up()
        log.error(
            "call.lost_by_a_relay",
            caller_hears=CUT_OFF,
            do="find out why a relay stopped during this call: look at its log",
        )
        file = self._transfers.file(call_sid, fields)
        file.refused = "relay_lost"
        file.decide(Decision(Next.HUMAN, EndReason.RELAY_FAULT, "the call was cut off"))
        record_without_stream(self._desk, file, EndReason.RELAY_FAULT)
        return self._transfers.dial(file, CUT_OFF)

    def _after_loss(self, file: CallFile) -> str:
        if file.resumes >= RESUMES or self._desk.draining:
            file.decide(replace(file.decision, then=Next.HUMAN, why="the line was cut off", by_agent=False))
            return self._transfers.dial(file, CUT_OFF)
        return self._resume(file, "lost")

    def _resume(self, file: CallFile, resumed_as: str) -> str:
        """Connect the caller with the agent again, on a new stream. The conversation so far is kept."""
        file.resumes += 1
        file.resumed_as = resumed_as
        now = trio.current_time()
        warm_up(self._desk, file, now)
        log.warning("call.resumed", resumes=file.resumes, because=resumed_as)
        return self._stream(file, now)

    # Other reports of Twilio

    async def _status(self, fields: dict[str, str]) -> str:
        """Answer Twilio's status callback. For the caller's call, the callback comes once, at the end.

        A callback for a human's leg has the field `call`, with the SID of the caller's call. It is only logged.
        """
        if "call" in fields:
            log.info("human.status", status=fields.get("CallStatus", "")[:16])
        elif fields.get("CallStatus") in _OVER:
            call_sid = CallSid(fields.get("CallSid", ""))
            self._desk.rings_no_more(call_sid)
            log.info("call.status", status=fields.get("CallStatus"))
            file = self._desk.files.get(call_sid)
            if file is not None:
                self._call_is_over(file)
        return twiml.empty()

    def _call_is_over(self, file: CallFile) -> None:
        """End everything of this call that still runs here: Twilio says that the call has ended."""
        file.end_streams(EndReason.CALLER_HUNG_UP)
        # A call without a stream and without a transfer gets its rows here. If this relay took over from another while
        # a human's phone rang, it never saw the stream, but the other relay has written the rows.
        if file.streams == 0 and not file.refused and not file.human.result:
            record_without_stream(self._desk, file, EndReason.CALLER_HUNG_UP)
            file.expects(0)
        self._transfers.caller_left(file)
        self._desk.tell_of_fault(file)
        # Keep the file a little longer: if the caller recorded a message, Twilio reports it after this callback.
        file.asks_until = min(file.asks_until, trio.current_time() + ASKS_WITHIN_S)

    async def _stream_status(self, fields: dict[str, str]) -> str:
        event = fields.get("StreamEvent", "")
        if event in ("stream-stopped", "stream-error"):
            file = self._desk.files.get(CallSid(fields.get("CallSid", "")))
            for stream in file.open_streams if file is not None else ():
                if stream.stream_sid == fields.get("StreamSid") and not stream.is_decided:
                    stream.end_unless_told(EndReason.CALLER_SOCKET_LOST)
        if event == "stream-error":
            log.error("stream.error", words=fields.get("StreamError", "")[:200], do="see Twilio's debugger")
        else:
            log.info("stream.status", event_name=event[:32])
        return twiml.empty()
