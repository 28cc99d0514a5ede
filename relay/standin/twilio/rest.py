"""The part of Twilio's REST API that a relay uses: calls, recordings, numbers (docs/protocol/twilio.md 4).

`RestApi.handle` knows no transport. `asgi_app` serves it over HTTP, for hypercorn or for httpx.ASGITransport.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import trio

from relay.standin.twilio.call_state import API_VERSION, Leg
from relay.standin.twilio.exchange import Exchange, LiveCall
from relay.standin.twilio.recording import Recording
from relay.standin.twilio.twiml_interpreter import TwimlRefused, interpret
from relay.standin.twilio.webhooks import is_url

BODY_LIMIT = 64 * 1024

Answer = tuple[int, dict[str, str], bytes]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RestError(Exception):
    """An answer that is an error: HTTP status, Twilio's code and text."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(slots=True)
class RestFaults:
    """Ordered faults: how many of the next requests get 429 or 500, and by how many seconds each answer is late."""

    too_many: int = 0
    broken: int = 0
    slow_s: float = 0.0

    def make(self, trouble: str) -> bool:
        """Order a trouble by its name in a scenario. Returns False if this API cannot make it."""
        match trouble:
            case "rest_fails":
                self.broken = 1_000_000
            case "rest_is_busy":
                self.too_many = 1_000_000
            case "rest_hangs":
                self.slow_s = math.inf
            case _:
                return False
        return True


@dataclass(slots=True)
class RestApi:
    """The REST API of one exchange. `requests` has all requests so far, as (method, path, form)."""

    exchange: Exchange
    faults: RestFaults = field(default_factory=RestFaults)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    _live_recordings: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def make_trouble(self, trouble: str) -> None:
        """Make a trouble of the REST API. This is the `stagehand` of `relay call` (scenario/run.py)."""
        assert self.faults.make(trouble), f"nobody here can make {trouble}"

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request. The names in `headers` are in lower case. `target` is the path and query as received."""
        parts = urlsplit(target)
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        form |= dict(parse_qsl(parts.query, keep_blank_values=True))
        self.requests.append((method, parts.path, form))
        try:
            self._fail_on_order()
            self._authenticate(headers.get("authorization", ""))
            status, value = self._route(method, unquote(parts.path), form)
        except RestError as error:
            status, value = error.status, {
                "code": error.code,
                "message": error.message,
                "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
                "status": error.status,
            }  # fmt: skip
        request_id = f"RQ{len(self.requests):032x}"
        answer = {"content-type": "application/json", "twilio-request-id": request_id,
                  "twilio-concurrent-requests": "1"}  # fmt: skip
        if status == 401:
            answer["www-authenticate"] = 'Basic realm="Twilio API"'
        if isinstance(value, bytes):
            return status, answer | {"content-type": "audio/basic"}, value
        return status, answer, b"" if value is None else json.dumps(value).encode()

    def _fail_on_order(self) -> None:
        if self.faults.too_many:
            self.faults.too_many -= 1
            raise RestError(429, 20429, "Too Many Requests")
        if self.faults.broken:
            self.faults.broken -= 1
            raise RestError(500, 20500, "An internal server error has occurred")

    def _authenticate(self, header: str) -> None:
        scheme, _, encoded = header.partition(" ")
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            scheme, user, secret = "", "", ""
        account = self.exchange.account
        keys = {account.sid: account.auth_token}
        if account.api_key:
            keys[account.api_key] = account.api_secret
        wanted = keys.get(user, "")
        if scheme.lower() != "basic" or not wanted or not hmac.compare_digest(secret.encode(), wanted.encode()):
            raise RestError(401, 20003, "Authenticate")

    def _route(self, method: str, path: str, form: dict[str, str]) -> tuple[int, Any]:
        head = f"/{API_VERSION}/Accounts/"
        account, _, rest = path.removeprefix(head).partition("/")
        if not path.startswith(head) or account != self.exchange.account.sid:
            raise _not_found(path)
        steps = rest.removesuffix(".json").split("/")
        match method, steps:
            case "GET", ["Calls", sid]:
                return 200, self._call_json(sid)
            case "POST", ["Calls", sid]:
                return 200, self._update_call(sid, form, path)
            case "POST", ["Calls", sid, "Recordings"]:
                return 201, self._start_recording(sid, form, path)
            case "POST", ["Calls", sid, "Recordings", recording]:
                return 200, self._update_recording(sid, recording, form, path)
            case "GET", ["Recordings", name]:
                return 200, self._recording(name, path, media=rest.endswith((".wav", ".mp3")))
            case "DELETE", ["Recordings", name]:
                if self.exchange.recordings.pop(name, None) is None:
                    raise _not_found(path)
                return 204, None
            case "GET", ["IncomingPhoneNumbers"]:
                return 200, self._numbers(form)
            case "GET" | "POST", ["IncomingPhoneNumbers", sid]:
                return 200, self._number(sid, form if method == "POST" else {}, path)
            case _:
                raise _not_found(path)

    # calls

    def _find(self, sid: str, path: str) -> tuple[LiveCall, Leg]:
        if (call := self.exchange.calls.get(sid)) is not None:
            return call, call.state.leg
        for call in self.exchange.calls.values():
            for leg in call.state.humans:
                if leg.sid == sid:
                    return call, leg
        raise _not_found(path)

    def _update_call(self, sid: str, form: dict[str, str], path: str) -> dict[str, Any]:
        call, leg = self._find(sid, path)
        status, twiml, url = form.get("Status", ""), form.get("Twiml", ""), form.get("Url", "")
        if sum(map(bool, (status, twiml, url))) != 1:
            raise RestError(400, 20001, "Exactly one of Twiml, Url and Status must be given")
        if leg.ended_s is not None:
            raise RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
        if leg is not call.state.leg:
            raise RestError(400, 21220, "The stand-in Twilio does not redirect dialled legs")
        if status:
            self._end(call, status)
        elif leg.answered_s is None:
            raise RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
        elif url:
            if not is_url(url) or urlsplit(url).scheme not in ("http", "https"):
                raise RestError(400, 21205, f"Url is not a valid URL: {url}")
            call.redirect(url=url, method=form.get("Method", "POST").upper())
        else:
            try:
                document = interpret(twiml.encode(), "text/xml", "inline:", inline=True)
            except TwimlRefused as refused:
                call.state.complain(trio.current_time(), refused.code, refused.rule, "inline TwiML")
                raise RestError(400, refused.code, refused.rule) from refused
            call.warn(document)
            call.redirect(twiml=document)
        return self._call_json(sid)

    def _end(self, call: LiveCall, status: str) -> None:
        if status == "canceled":
            # `canceled` ends only a call that was not answered (docs/protocol/twilio.md 4).
            if call.state.leg.answered_s is None:
                call.hang_up("relay", "canceled")
        elif status == "completed":
            call.hang_up("relay", "completed")
        else:
            raise RestError(400, 21218, f"Invalid status: {status}")

    def _call_json(self, sid: str) -> dict[str, Any]:
        call, leg = self._find(sid, f"/{API_VERSION}/Accounts/{self.exchange.account.sid}/Calls/{sid}.json")
        now = trio.current_time()
        return {
            "sid": leg.sid,
            "account_sid": call.state.account_sid,
            "parent_call_sid": leg.parent_sid or None,
            "from": leg.caller_id,
            "to": leg.number,
            "direction": leg.direction,
            "status": leg.status,
            "duration": str(leg.duration_s(now)) if leg.ended_s is not None else None,
            "api_version": API_VERSION,
            "uri": f"/{API_VERSION}/Accounts/{call.state.account_sid}/Calls/{leg.sid}.json",
        }

    # recordings

    def _start_recording(self, sid: str, form: dict[str, str], path: str) -> dict[str, Any]:
        call, leg = self._find(sid, path)
        if leg.answered_s is None or leg.ended_s is not None:
            raise RestError(400, 21220, "Requested resource is not eligible for recording")
        recording = {
            "sid": call.state.new_sid("RE"),
            "call_sid": sid,
            "account_sid": call.state.account_sid,
            "status": "in-progress",
            "channels": 2 if form.get("RecordingChannels") == "dual" else 1,
            "source": "StartCallRecordingAPI",
        }
        self._live_recordings[sid] = recording
        call.state.log(trio.current_time(), "recording_by_rest", status="in-progress")
        return recording

    def _update_recording(self, sid: str, name: str, form: dict[str, str], path: str) -> dict[str, Any]:
        call, _ = self._find(sid, path)
        recording = self._live_recordings.get(sid)
        if recording is None or name not in ("Twilio.CURRENT", recording["sid"]):
            raise _not_found(path)
        status = form.get("Status", "")
        if status not in ("paused", "in-progress", "stopped"):
            raise RestError(400, 21218, f"Invalid recording status: {status!r}")
        recording["status"] = status
        call.state.log(trio.current_time(), "recording_by_rest", status=status)
        return recording

    def _recording(self, name: str, path: str, media: bool) -> dict[str, Any] | bytes:
        recording: Recording | None = self.exchange.recordings.get(name.partition(".")[0])
        if recording is None:
            raise _not_found(path)
        if media:
            return recording.mulaw
        return {"sid": recording.sid, "call_sid": recording.call_sid, "duration": str(recording.seconds),
                "channels": 1, "status": "completed", "source": "RecordVerb"}  # fmt: skip

    # numbers

    def _numbers(self, form: dict[str, str]) -> dict[str, Any]:
        number, wanted = self.exchange.number, form.get("PhoneNumber", "")
        found = [self._number(number.sid, {}, "")] if wanted in ("", number.number) else []
        return {"incoming_phone_numbers": found, "page": 0, "page_size": 50}

    def _number(self, sid: str, form: dict[str, str], path: str) -> dict[str, Any]:
        number = self.exchange.number
        if sid != number.sid:
            raise _not_found(path)
        known = {
            "VoiceUrl": "voice_url",
            "VoiceMethod": "voice_method",
            "VoiceFallbackUrl": "voice_fallback_url",
            "VoiceFallbackMethod": "voice_fallback_method",
            "StatusCallback": "status_callback",
            "StatusCallbackMethod": "status_callback_method",
        }
        for name, value in form.items():
            if name in known:
                setattr(number, known[name], value)
        return {
            "sid": number.sid,
            "account_sid": self.exchange.account.sid,
            "phone_number": number.number,
            "voice_application_sid": "",
            "trunk_sid": None,
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
            **{attribute: getattr(number, attribute) for attribute in known.values()},
        }


def _not_found(path: str) -> RestError:
    return RestError(404, 20404, f"The requested resource {path} was not found")


def asgi_app(rest: RestApi) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The API as an ASGI application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > BODY_LIMIT:
                break
        if rest.faults.slow_s:
            await trio.sleep(rest.faults.slow_s)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        target = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
        status, answer_headers, answer = rest.handle(scope["method"], target, headers, body)
        raw = [(name.encode(), value.encode()) for name, value in answer_headers.items()]
        raw.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": answer})

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
