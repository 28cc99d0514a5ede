"""The stand-in Twilio: an exchange with a number, and the calls to it.

`Exchange.ring` is one call, from the first ring to the last status callback. It asks the relay's webhook and plays the
TwiML verb by verb on the caller's leg. The caller is a coroutine that listens, speaks, presses keys and hangs up.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import trio

from relay.standin.twilio.call_state import CallState, EndedBy, EventKind, OnEvent, Place, Status
from relay.standin.twilio.caller_speech import CallerSpeech, Silence
from relay.standin.twilio.dialling import Dialling, Human
from relay.standin.twilio.phone import Phone
from relay.standin.twilio.recording import Recording, kept, record
from relay.standin.twilio.relay_connections import RelayConnections
from relay.standin.twilio.streaming import Network, Streaming
from relay.standin.twilio.twiml_interpreter import TwimlRefused, interpret
from relay.standin.twilio.twiml_verbs import (
    Connect,
    Dial,
    Document,
    Gather,
    Hangup,
    Pause,
    Play,
    Record,
    Redirect,
    Reject,
    Say,
    Verb,
)
from relay.standin.twilio.webhooks import FetchFailed, Webhooks

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."
"""The words that a caller hears when Twilio cannot get a document (docs/protocol/twilio.md 1.2)."""

NO_PHONES = ("sip:", "sips:", "client:")
"""Callers whose address begins so have no phone number that a `<Dial>` could show."""

MAX_DOCUMENTS = 100
"""The most TwiML documents in one call. More are an endless loop of redirects."""


@dataclass(frozen=True, slots=True)
class Account:
    """The credentials of a Twilio account. The API key is another way to use REST."""

    sid: str
    auth_token: str
    api_key: str = ""
    api_secret: str = ""


@dataclass(slots=True)
class PhoneNumber:
    """A phone number of the account, and the relay's URLs that it leads to."""

    number: str
    voice_url: str
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    sid: str = "PN00000000000000000000000000000001"


LOS_ANGELES = Place("LOS ANGELES", "CA", "91604", "US")
"""The place of the caller in the captured request (docs/protocol/twilio.md 1.1)."""


@dataclass(frozen=True, slots=True)
class CallerLine:
    """The caller's number, the kind of line, and the humans whom the relay can dial in this call."""

    number: str = "+12125550101"
    place: Place = LOS_ANGELES
    silence: Silence = "ff"
    network: Network = field(default_factory=Network)
    humans: Sequence[Human] = (Human(),)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a REST request wants to do with a running call: new TwiML, the URL of new TwiML, or the end."""

    twiml: Document | None = None
    url: str = ""
    method: str = "POST"


@dataclass(slots=True)
class Exchange:
    """The Twilio of one account. `bins` are documents that Twilio hosts itself (TwiML Bins), by URL."""

    connections: RelayConnections
    account: Account
    number: PhoneNumber
    on_event: OnEvent = lambda kind, fields: None
    bins: dict[str, str] = field(default_factory=dict)
    seed: int = 1
    epoch: datetime = field(default_factory=lambda: datetime.now(UTC))
    calls: dict[str, LiveCall] = field(default_factory=dict)
    recordings: dict[str, Recording] = field(default_factory=dict)
    _rung: int = 0

    async def ring(self, line: CallerLine, act: Callable[[LiveCall], Awaitable[None]]) -> LiveCall:
        """Make one call. Returns when the call has ended and all callbacks were sent. `act` does what the caller
        does."""
        self._rung += 1
        call = LiveCall(self, line, random.Random(f"{self.seed} {self._rung}"))
        self.calls[call.state.sid] = call
        await call.run(act)
        return call


class LiveCall:
    """A running call. It does the I/O for its `CallState`."""

    def __init__(self, exchange: Exchange, line: CallerLine, rng: random.Random) -> None:
        self._exchange, self._line = exchange, line
        named = line.number.startswith("+")
        self.state = CallState(
            account_sid=exchange.account.sid,
            caller_number=line.number,
            called_number=exchange.number.number,
            place=line.place if named else Place(),
            speech=CallerSpeech(line.silence, rng.getrandbits(32)),
            now=trio.current_time(),
            epoch=exchange.epoch,
            rng=rng,
            on_event=self._event_logged,
        )
        self._happened = trio.Event()
        self.webhooks = Webhooks(exchange.connections, exchange.account.auth_token, self._log, exchange.bins)
        self.phone = Phone(self.state, self.state.leg, self.webhooks)
        self.over = trio.Event()
        self._streaming: Streaming | None = None
        self._verb: trio.CancelScope | None = None
        self._order: _Order | None = None
        self._background: trio.Nursery | None = None
        self._documents = 0
        self._in_fallback = False
        self._human_left = False

    # what the caller does

    def hang_up(self, by: EndedBy = "caller", status: Status = "canceled") -> None:
        """The caller hangs up, or REST ends the call. If nobody has answered the call, its final status is `status`."""
        self._end(by, status)
        if self._verb is not None:
            self._verb.cancel()

    async def press(self, key: str) -> None:
        """The caller presses a key. If a stream runs, it gets the key. If not, the verb that waits for keys gets it."""
        self._log("caller_pressed", key=key)
        if self._streaming is not None:
            self.state.leg.keys += key
            await self._streaming.dtmf(key)
        else:
            self.phone.press(key)

    async def cut_stream(self) -> None:
        """The media connection between Twilio and the relay breaks."""
        if self._streaming is not None:
            self._log("stream_cut")
            await self._streaming.cut()

    async def next_event(self) -> None:
        """Wait until one more event is logged."""
        await self._happened.wait()

    # what REST does

    @property
    def live(self) -> bool:
        """True while REST can still change the call."""
        return self.state.ended_by is None

    def redirect(self, *, twiml: Document | None = None, url: str = "", method: str = "POST") -> None:
        """REST brings new TwiML. The present verb stops. A stream sends `stop`, and the audio in its buffer is lost."""
        self._order = _Order(twiml, url, method)
        self._log("redirected_by_rest")
        if self._verb is not None:
            self._verb.cancel()

    # the call itself

    async def run(self, act: Callable[[LiveCall], Awaitable[None]]) -> None:
        """Run the call from the first ring to the last callback."""
        self._log("ringing", caller=self.state.leg.caller_id, number=self.state.leg.number)
        async with trio.open_nursery() as background:
            self._background = background
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._act, act)
                await self._play_documents()
                nursery.cancel_scope.cancel()
            self.over.set()
            number = self._exchange.number
            if number.status_callback:
                fields = self.state.caller_fields()
                fields["CallDuration"] = str(self.state.leg.duration_s(trio.current_time()))
                self.notify(number.status_callback, number.status_callback_method, fields)

    async def _act(self, act: Callable[[LiveCall], Awaitable[None]]) -> None:
        await act(self)

    async def _play_documents(self) -> None:
        number = self._exchange.number
        order: _Order | None = _Order(url=number.voice_url, method=number.voice_method)
        extra: dict[str, str] = {}
        while order is not None and self.live:
            with trio.CancelScope() as self._verb:
                order, extra = await self._play_document(order, extra)
            if self._order is not None:
                order, extra, self._order = self._order, {}, None
            elif self._verb.cancelled_caught:
                break
        if self.live:
            self._end_of_document()

    def _end(self, by: EndedBy, unanswered: Status) -> None:
        answered = self.state.leg.answered_s is not None
        self.state.end(trio.current_time(), by, "completed" if answered else unanswered)

    def _end_of_document(self, unanswered: Status = "completed") -> None:
        """End the call, because its TwiML has ended. If the caller has just talked with a human, the human ended it."""
        self._end("human" if self._human_left else "relay", unanswered)

    async def _play_document(self, order: _Order, extra: dict[str, str]) -> tuple[_Order | None, dict[str, str]]:
        """Run one TwiML document. Returns the order for the next document, and further fields for its request."""
        try:
            if order.twiml is not None:
                document = order.twiml
            else:
                document = await self.fetch_document(order.url, order.method, self.state.caller_fields() | extra)
        except (FetchFailed, TwimlRefused) as failed:
            return await self._failed(failed, order.url)
        for verb in document.verbs:
            if not isinstance(verb, Reject):
                self.state.answer(trio.current_time())
            if (following := await self._play(verb)) is not None:
                return following
        return None, {}

    async def fetch_document(self, url: str, method: str, fields: dict[str, str], whisper: bool = False) -> Document:
        """Request a TwiML document and read it. Raises FetchFailed, TwimlRefused."""
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            raise FetchFailed(12100, f"{MAX_DOCUMENTS} documents in one call: a loop", url)
        begun = trio.current_time()
        reply, final_url = await self.webhooks.fetch(url, method, fields)
        took_ms = round((trio.current_time() - begun) * 1000)
        self._log("twiml", url=url, took_ms=took_ms, body=reply.body.decode("utf-8", "replace"))
        document = interpret(reply.body, reply.headers.get("content-type", ""), final_url, whisper=whisper)
        self.warn(document)
        return document

    def warn(self, document: Document) -> None:
        """Put a document's warnings into the debugger."""
        for code, rule in document.warnings:
            self.state.complain(trio.current_time(), code, rule, document.url, "warning")

    async def _failed(self, failed: FetchFailed | TwimlRefused, url: str) -> tuple[_Order | None, dict[str, str]]:
        """A TwiML document could not be fetched or run. Twilio then asks the number's fallback URL, once in a call.

        If there is no fallback URL, or if it fails too, Twilio says APPLICATION_ERROR to the caller and hangs up.
        """
        self.state.complain(trio.current_time(), failed.code, failed.rule, url)
        number = self._exchange.number
        if number.voice_fallback_url and not self._in_fallback:
            self._in_fallback = True
            self._log("fallback", url=number.voice_fallback_url, code=failed.code)
            order = _Order(url=number.voice_fallback_url, method=number.voice_fallback_method)
            return order, {"ErrorCode": str(failed.code), "ErrorUrl": url}
        self.state.answer(trio.current_time())
        await self.phone.prompt(Say(APPLICATION_ERROR, 1))
        self.state.end(trio.current_time(), "twilio")
        return None, {}

    async def _play(self, verb: Verb) -> tuple[_Order | None, dict[str, str]] | None:
        """Run one verb. Returns None if the next verb of this document follows.

        If another document follows, returns its order, and further fields for its request. At the end of the call, the
        order is None.
        """
        match verb:
            case Say() | Play() | Pause():
                await self.phone.prompt(verb)
                return None
            case Gather():
                found = await self.phone.gather(verb)
                if found.empty and not verb.action_on_empty:
                    return None
                return _Order(url=verb.action, method=verb.method), found.fields()
            case Redirect(url, method):
                return _Order(url=url, method=method), {}
            case Hangup():
                self._end_of_document()
                return None, {}
            case Reject(reason):
                self._end_of_document("busy" if reason == "busy" else "no-answer")
                return None, {}
            case Connect():
                await self._stream(verb)
                return (_Order(url=verb.action, method=verb.method), {}) if verb.action else None
            case Dial():
                return await self._dial(verb)
            case Record():
                return await self._record(verb)

    async def _stream(self, verb: Connect) -> None:
        exchange = self._exchange
        streaming = Streaming(
            self.state, verb, exchange.connections, exchange.account.auth_token, self._line.network, self.notify
        )
        self._streaming, self._human_left = streaming, False
        try:
            await streaming.run()
        finally:
            self._streaming = None

    async def _dial(self, verb: Dial) -> tuple[_Order | None, dict[str, str]] | None:
        if not verb.caller_id and self.state.leg.caller_id.startswith(NO_PHONES):
            rule = "<Dial> of a caller by SIP or Client needs a callerId: there is no number to show"
            self.state.complain(trio.current_time(), 13214, rule, self.state.leg.caller_id)
            return await self._failed(TwimlRefused(13214, rule), "")
        if verb.caller_id and verb.caller_id not in (self._exchange.number.number, self.state.leg.caller_id):
            self.state.complain(
                trio.current_time(), 13214, "callerId is the caller, or a number of the account", verb.caller_id
            )
            return await self._failed(TwimlRefused(13214, "<Dial callerId> is not ours"), "")
        fields = await Dialling(self, verb).run()
        self._human_left = fields["DialBridged"] == "true"
        if verb.action:
            return _Order(url=verb.action, method=verb.method), fields
        return None

    async def _record(self, verb: Record) -> tuple[_Order | None, dict[str, str]] | None:
        begun = trio.current_time()
        try:
            recording = await record(verb, self.state, self.phone)
        finally:  # If the caller hangs up, Twilio keeps what was recorded.
            if not self.live and (cut := kept(self.state, begun, trio.current_time(), "hangup")) is not None:
                self._keep(verb, cut)
                self.notify(verb.action, verb.method, self.state.caller_fields() | self._recording_fields(cut))
        if recording is None:
            return None
        self._keep(verb, recording)
        return _Order(url=verb.action, method=verb.method), self._recording_fields(recording)

    def _keep(self, verb: Record, recording: Recording) -> None:
        self._exchange.recordings[recording.sid] = recording
        if verb.status_callback:
            fields = {
                "AccountSid": self._exchange.account.sid,
                "CallSid": self.state.sid,
                "RecordingSid": recording.sid,
                "RecordingUrl": self._recording_url(recording),
                "RecordingStatus": "completed",
                "RecordingDuration": str(recording.seconds),
                "RecordingChannels": "1",
                "RecordingSource": "RecordVerb",
            }
            self.notify(verb.status_callback, verb.status_method, fields)

    def _recording_fields(self, recording: Recording) -> dict[str, str]:
        return {
            "RecordingSid": recording.sid,
            "RecordingUrl": self._recording_url(recording),
            "RecordingDuration": str(recording.seconds),
            "Digits": recording.ended_by if recording.ended_by not in ("timeout", "limit") else "",
        }

    def _recording_url(self, recording: Recording) -> str:
        return f"https://api.twilio.com/2010-04-01/Accounts/{self._exchange.account.sid}/Recordings/{recording.sid}"

    # for dialling.py and streaming.py

    def next_human(self) -> Human:
        """The next dialled human, in the scenario's order. After the last human, the last one is dialled again."""
        humans = self._line.humans
        return humans[min(len(self.state.humans), len(humans) - 1)]

    def notify(self, url: str, method: str, fields: Mapping[str, str]) -> None:
        """Send a callback in the background, as Twilio does. The answer is ignored."""
        if self._background is not None:
            self._background.start_soon(self._notify, url, method, dict(fields))

    async def _notify(self, url: str, method: str, fields: dict[str, str]) -> None:
        try:
            await self.webhooks.fetch(url, method, fields)
        except FetchFailed as failed:
            self.state.complain(trio.current_time(), failed.code, failed.rule, url, "warning")

    def _event_logged(self, kind: str, fields: dict[str, Any]) -> None:
        self._happened.set()
        self._happened = trio.Event()
        self._exchange.on_event(kind, fields)

    def _log(self, kind: EventKind, **fields: Any) -> None:
        self.state.log(trio.current_time(), kind, **fields)
