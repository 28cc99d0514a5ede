"""Connects a caller with a human: who is rung, what the human hears, and what the caller gets if nobody takes the call.

The relay answers Twilio's webhook with `<Dial>` for the caller's leg. The model's session is closed before that. The
human hears who calls and why, and must press 1. A voicemail cannot press 1, so it cannot take the call. Only
HUMAN_TRANSFER_NUMBER and then HUMAN_NUMBERS_ALSO are ever dialled, one after the other. If nobody takes the call, the
caller goes back to the agent. If the agent cannot take the call, the caller leaves a recorded message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

import structlog
import trio

from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.functions.backend.contract import BackendFault, Taken
from relay.functions.outcome import at_a_word
from relay.ledger.rows import MessageRow
from relay.session.call_file import ASKS_WITHIN_S, Caller, CallFile, Decision
from relay.session.call_rows import call_row, record_without_stream
from relay.session.context import Desk
from relay.twilio import twiml
from relay.twilio.caller_id import as_presented, caller_id

log = structlog.get_logger()

# The caller goes back to the agent at most this many times in a call, after a lost stream or when nobody took a
# transfer. After that, a lost stream leads to the human, and a transfer that nobody took leads to a recorded message.
RESUMES = 3
# A human's phone rings this long, and Twilio adds about five seconds. After a longer time, a voicemail would often
# answer.
RING_S = 20
# How long the relay waits for Twilio after RING_S: Twilio's extra seconds, the whisper (at most 25 s of speech), and
# the time to press a key.
WHISPER_LIMIT_S = 40
# A conversation with a human lasts no longer than this, because we pay for it.
HUMAN_LIMIT_S = 3_600
# A recorded message is cut after two minutes.
MESSAGE_LIMIT_S = 120
# The `seq` of the message row that asks for a call back. A message that the caller records replaces that row. The
# messages that the agent takes are counted from 1.
CALLBACK_SEQ = 0
# The DialCallStatus after a human's leg was answered.
TAKEN = ("completed", "answered")

LEAVE_MESSAGE = (
    "Nobody can take your call right now. After the tone, please leave your name, your number and a message. "
    "It will be recorded."
)
THANKS = "Thank you. We will call you back. Goodbye."

_WHISPER_WORDS = 200  # Characters of the summary: about 15 s of speech.
_WHISPER_NAME, _WHISPER_REASON = 60, 80  # Characters of the caller's name, and of the reason.


class Transfers:
    """Rings humans for the callers of this process.

    `resume(file, why)` makes the TwiML that connects the caller with the agent again.
    """

    def __init__(self, desk: Desk, resume: Callable[[CallFile, str], str]) -> None:
        self._desk = desk
        self._resume = resume

    def url(self, name: str, **query: str) -> str:
        """The absolute URL of the webhook `name`. On Fly it names the Machine that has the call."""
        if machine := self._desk.settings.fly_machine_id:
            query["machine"] = machine
        return f"{self._desk.settings.public_url}/twilio/{name}" + (f"?{urlencode(query)}" if query else "")

    def file(self, call_sid: CallSid, fields: dict[str, str], *, rings: bool = False) -> CallFile:
        """The file of a call. If this process does not know the call, a new file is made.

        `rings` is true if the phone rings now.
        """
        desk = self._desk
        country = desk.settings.business_country
        who = caller_id(fields, country=country, own=desk.own_numbers, humans=self._numbers)
        by_us = fields.get("Direction", "inbound").startswith("outbound")
        called = as_presented(fields.get("From" if by_us else "To", ""), country)
        file = desk.open_file(
            call_sid,
            Caller(who, called, fields.get("FromState", "")[:2]),
            fields.get("FromCountry", "")[:2],
            trio.current_time(),
            rings=rings,
        )
        file.account_sid = file.account_sid or fields.get("AccountSid", "")
        return file

    # Dialling

    @property
    def _numbers(self) -> tuple[str, ...]:
        return (self._desk.settings.human_transfer_number, *self._desk.settings.human_numbers_also)

    def dial(self, file: CallFile, say: str | None = None) -> str:
        """Ring the human. The caller first hears `say`.

        Outside HUMAN_HOURS nobody is rung, except in an emergency or if the owner ordered it.
        """
        by_rule = file.decision.reason is not EndReason.EMERGENCY and not file.decision.by_owner
        if by_rule and not file.briefing.human_is_there(self._desk.utc_now()):
            log.info("human.not_there", why="outside HUMAN_HOURS")
            self._settle(file, "closed")
            return self._nobody(file, "closed")
        return self._ring(file, 0, say)

    def _ring(self, file: CallFile, which: int, say: str | None = None) -> str:
        """Ring one of the numbers.

        `which` is the number's index. It is in the URL of the webhook `dialed`. So another relay process that gets this
        webhook knows which number comes next.
        """
        self._begin(file, which)
        return self.dial_document(file.call_sid, which, say)

    def _begin(self, file: CallFile, which: int) -> None:
        """Write down that a human's phone begins to ring."""
        file.human.accepted, file.human.result = False, "asked"
        file.expects(RING_S + WHISPER_LIMIT_S)
        log.info("human.dialled", why=file.decision.own_why, which=which + 1)
        self._record(file, "asked", self._numbers[which])

    def dial_document(self, call_sid: str, which: int, say: str | None = None) -> str:
        """The TwiML that rings number `which`. The caller first hears `say`."""
        return twiml.dial_human(
            self._numbers[which],
            self._desk.settings.twilio_phone_number,
            self.url("whisper", call=call_sid),
            self.url("dialed", call=call_sid, which=str(which)),
            self.url("status", call=call_sid),
            RING_S,
            HUMAN_LIMIT_S,
            say,
        )

    def was_bridged(self, fields: dict[str, str]) -> bool:
        """True if human and caller have talked, as far as a webhook `dialed` with a bug can know.

        If Twilio does not say it, the key that the human has pressed counts.
        """
        said = fields.get("DialBridged", "").casefold()
        if said in ("true", "false"):
            return said == "true"
        file = self._desk.files.get(CallSid(fields.get("call") or fields.get("CallSid", "")))
        return fields.get("DialCallStatus") in TAKEN and file is not None and file.human.accepted

    def following(self, fields: dict[str, str]) -> int | None:
        """The number to ring after the number that the webhook `dialed` names. None if that was the last number."""
        which = fields.get("which", "")
        following = int(which) + 1 if which.isdecimal() and len(which) < 4 else 1
        return following if following < len(self._numbers) else None

    def message_document(self, call_sid: str) -> str:
        """The TwiML that lets the caller record a message."""
        action = self.url("message", call=call_sid)
        return twiml.record_message(LEAVE_MESSAGE, action, action, MESSAGE_LIMIT_S)

    async def whisper(self, fields: dict[str, str]) -> str:
        """What the human hears before they take the call: who calls and why, in one sentence."""
        call_sid = fields.get("call", "")
        file = self._desk.files.get(CallSid(call_sid))
        return twiml.whisper(f"{whisper_words(file)} Press 1 to accept it.", self.url("accept", call=call_sid))

    async def accept(self, fields: dict[str, str]) -> str:
        """The human has pressed a key. Key 1 connects the human with the caller. Any other key ends the human's leg."""
        accepted = fields.get("Digits") == "1"
        log.info("human.accepted" if accepted else "human.declined")
        file = self._desk.files.get(CallSid(fields.get("call", "")))
        if file is not None:
            self._answered(file, accepted)
        return twiml.empty() if accepted else twiml.hang_up()

    def _answered(self, file: CallFile, accepted: bool) -> None:
        """Write down whether the human takes the call."""
        file.human.accepted = accepted
        if accepted:
            file.untold_fault = None
        file.expects(HUMAN_LIMIT_S if accepted else ASKS_WITHIN_S)  # Twilio's next webhook comes within this time.

    async def dialed(self, fields: dict[str, str]) -> str:
        """The `<Dial>` has ended: the human and the caller have talked, or nobody took the call."""
        call_sid = CallSid(fields.get("call") or fields.get("CallSid", ""))
        here = call_sid in self._desk.files
        file = self.file(call_sid, fields)
        status = fields.get("DialCallStatus", "") or "unknown"
        bridged = fields.get("DialBridged", "").casefold() != "false"
        # If this process was started after the human's phone rang, it does not know whether key 1 was pressed. Then it
        # relies only on Twilio's fields.
        taken = status in TAKEN and bridged and (file.human.accepted or not here)
        result = "accepted" if taken else "declined" if status in TAKEN else status
        log.info("human.done", status=status[:16], accepted=file.human.accepted, taken=taken)
        if taken:
            self._settle(file, "accepted")
            return twiml.hang_up()
        if fields.get("CallStatus") == "completed":
            self._settle(file, "caller_hung_up")
            self._desk.tell_of_fault(file)
            return twiml.hang_up()
        following = self.following(fields)
        if following is not None:
            return self._ring(file, following)
        self._settle(file, result)
        return self._nobody(file, result)

    def caller_left(self, file: CallFile) -> None:
        """The caller has hung up. If the transfer has no result yet, write the result down.

        The result is "accepted" if the human has pressed key 1.
        """
        if file.human.result == "asked":
            self._settle(file, "accepted" if file.human.accepted else "caller_hung_up")

    def note_bug(self, name: str, file: CallFile, fields: dict[str, str]) -> None:
        """Write down what the caller got after a bug in the webhook `name` (after_bug.py)."""
        match name:
            case "after" if fields.get("CallStatus") == "completed":
                file.end_streams(EndReason.CALLER_HUNG_UP)
            case "incoming" | "after":
                # Twilio gets our `<Dial>`, so the stream is over. If its socket closed later, that would be decided
                # over the transfer.
                file.end_streams(EndReason.CALLER_SOCKET_LOST)
                if file.decision.then is not Next.HUMAN:
                    file.decide(Decision(Next.HUMAN, EndReason.RELAY_FAULT, "the relay had an internal error"))
                if file.streams == 0:
                    self._desk.rings_no_more(file.call_sid)
                    file.refused = "relay_broke"
                    self._desk.ledger.record(call_row(file))
                    record_without_stream(self._desk, file, EndReason.RELAY_FAULT)
                self._begin(file, 0)
            case "accept":
                self._answered(file, fields.get("Digits") == "1")
            case "dialed" if self.was_bridged(fields):
                self._settle(file, "accepted")
            case "dialed":
                following = self.following(fields)
                if following is not None:
                    self._begin(file, following)
                else:
                    self._settle(file, fields.get("DialCallStatus", "") or "unknown")
                    self._keep_callback(file)
                    file.expects(MESSAGE_LIMIT_S + WHISPER_LIMIT_S)

    # If nobody takes the call

    def _nobody(self, file: CallFile, result: str) -> str:
        """Nobody took the call. The caller goes back to the agent, or leaves a message if the agent cannot take it."""
        self._keep_callback(file)
        no_model = file.decision.reason in (EndReason.MODEL_LOST, EndReason.MODEL_UNREACHABLE)
        if file.streams and not file.refused and not no_model and file.resumes < RESUMES and not self._desk.draining:
            return self._resume(file, "no_answer")
        log.warning("human.nobody", result=result, caller_hears=LEAVE_MESSAGE)
        file.expects(MESSAGE_LIMIT_S + WHISPER_LIMIT_S)
        return self.message_document(file.call_sid)

    async def message(self, fields: dict[str, str]) -> str:
        """The caller has recorded a message.

        Twilio calls this webhook twice: first to ask what comes next, and again with RecordingStatus when the recording
        can be fetched.
        """
        file = self.file(CallSid(fields.get("call") or fields.get("CallSid", "")), fields)
        where = fields.get("RecordingUrl", "")
        if not re.fullmatch(r"https://[\w.-]+/[\w./-]{1,300}", where):
            return twiml.say_and_hang_up(THANKS)
        if fields.get("RecordingStatus", "completed") == "completed":
            seconds = fields.get("RecordingDuration", "")[:5]
            words = f"A recorded message of {seconds if seconds.isdecimal() else '?'} s: {where}"
            delivered = await self._deliver(file, words) if "RecordingStatus" in fields else None
            self._desk.record(
                MessageRow(call_sid=file.call_sid, seq=CALLBACK_SEQ, text=words, delivered=delivered), file
            )
            log.info("message.recorded", seconds=seconds, delivered=delivered)
            file.expects(0 if "RecordingStatus" in fields else ASKS_WITHIN_S)  # The second webhook comes soon.
        return twiml.empty() if "RecordingStatus" in fields else twiml.say_and_hang_up(THANKS)

    async def _deliver(self, file: CallFile, words: str) -> bool:
        try:
            await file.briefing.backend.message(
                f"{file.call_sid}-recorded", name="a caller", phone=file.caller.number, message=words
            )
        except (BackendFault, Taken):
            return False
        return True

    def _keep_callback(self, file: CallFile) -> None:
        """Write down that somebody must call back. The row stays, even if the caller talks to the agent again."""
        why = file.decision.why if file.consent.may_keep else file.decision.own_why
        why = (why or "no reason is known")[:120]
        log.info("human.missed")
        file.untold_fault = None  # The owner gets the call back instead.
        self._desk.record(
            MessageRow(
                call_sid=file.call_sid,
                seq=CALLBACK_SEQ,
                phone=file.caller.number or None,
                text=f"Call back: a person was wanted and nobody took the call ({why}).",
                created_at=self._desk.utc_now(),
                delivered=False,
            ),
            file,
        )

    def _settle(self, file: CallFile, result: str) -> None:
        file.human.result = result
        if result == "accepted":
            file.untold_fault = None
        file.expects(0)
        self._record(file, result)

    def _record(self, file: CallFile, result: str, dialled: str | None = None) -> None:
        row = replace(self._desk.outcome_row(file), transfer_result=result[:32], dialled=dialled)
        self._desk.ledger.record(row)


def whisper_words(file: CallFile | None) -> str:
    """Who calls, why, and what was done so far, in one sentence.

    The number is spelled digit by digit, because it is read aloud.
    """
    if file is None:
        return "A call from the virtual assistant."
    digits = " ".join(file.caller.id.presented.lstrip("+")) or "a hidden number"
    who = f"{_plain(at_a_word(file.caller_name, _WHISPER_NAME))}, {digits}" if file.caller_name else digits
    why = _plain(at_a_word(file.decision.why, _WHISPER_REASON))
    parts = [f"A call from the virtual assistant, from {who}", why, file.deeds.in_words()]
    about = f": {_plain(at_a_word(file.decision.summary, _WHISPER_WORDS))}" if file.decision.summary else ""
    return f"{', '.join(filter(None, parts))}{about}."


def _plain(text: str) -> str:
    """The text without signs that end a sentence, because it becomes part of one sentence."""
    return re.sub(r"[.!?\u2026]+(?=\s|$)", ",", " ".join(text.split())).rstrip(", ")
