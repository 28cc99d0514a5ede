"""The client of Twilio's REST API, with a fake Twilio that answers with the real bodies."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs

import httpx
import pytest
import structlog
import trio
import trio.testing

from relay.call.vocabulary import CallSid
from relay.twilio.rest import LIMIT_S, MAX_TRIES, TwilioRefused, TwilioRest, TwilioUnreachable

ACCOUNT = "AC7e2b7d19e3afe0f5715710b94d26db7e"
CALL = CallSid("CA45397943c1c7a49f7b7713c230107a39")
NUMBER = {
    "sid": "PN1",
    "phone_number": "+14155550100",
    "voice_url": "https://old.example.com/",
    "voice_method": "GET",
    "voice_fallback_url": "",
    "status_callback": None,
    "trunk_sid": None,
    "capabilities": {"voice": True},
}
Fault = Callable[[httpx.Request], httpx.Response]


def error(status: int, code: int, message: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={
            "code": code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
    )


class Twilio(httpx.AsyncBaseTransport):
    """An account with one number and some calls. The first requests get `faults` instead of answers, one each."""

    def __init__(self, status: str = "in-progress") -> None:
        self.calls = {CALL: status}
        self.number = dict(NUMBER)
        self.asked: list[tuple[str, str]] = []
        self.twiml: list[str] = []
        self.faults: list[Fault | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked.append((request.method, request.url.path))
        if self.faults and (fault := self.faults.pop(0)):
            return fault(request)
        return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] != "Basic " + base64.b64encode(b"SK1:secret").decode():
            return error(401, 20003, "Authenticate")
        path = request.url.path.removeprefix(f"/2010-04-01/Accounts/{ACCOUNT}/")
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if path == "IncomingPhoneNumbers.json":
            wanted = request.url.params.get("PhoneNumber", self.number["phone_number"])
            return self._json(
                {"incoming_phone_numbers": [self.number] if self.number["phone_number"] == wanted else []}
            )
        if path == "IncomingPhoneNumbers/PN1.json":
            known = {"VoiceUrl", "VoiceMethod", "VoiceFallbackUrl", "VoiceFallbackMethod", "StatusCallback"}
            assert set(form) <= known | {"StatusCallbackMethod"}
            snake = {"".join(f"_{c.lower()}" if c.isupper() else c for c in n).lstrip("_"): v for n, v in form.items()}
            self.number.update(snake)
            return self._json(self.number)
        sid = CallSid(path.removeprefix("Calls/").removesuffix(".json"))
        return self._call(request.method, sid, form)

    def _call(self, method: str, sid: CallSid, form: dict[str, str]) -> httpx.Response:
        if sid not in self.calls:
            return error(404, 20404, f"The requested resource /Calls/{sid}.json was not found")
        if method == "POST":
            if self.calls[sid] == "completed":
                return error(400, 21220, "Call is not in-progress. Cannot redirect.")
            if "Twiml" in form:
                self.twiml.append(form["Twiml"])
            self.calls[sid] = form.get("Status", self.calls[sid])
        return self._json({"sid": sid, "status": self.calls[sid], "direction": "inbound", "duration": None})

    def _json(self, body: object) -> httpx.Response:
        return httpx.Response(200, content=json.dumps(body))


def client(twilio: Twilio, auth: tuple[str, str] = ("SK1", "secret")) -> TwilioRest:
    return TwilioRest(ACCOUNT, auth, "https://api.example.com/", transport=twilio)


def fails_with(status: int, code: int = 0, headers: dict[str, str] | None = None) -> Fault:
    def fault(request: httpx.Request) -> httpx.Response:
        response = error(status, code, "Service says +14155550100 no")
        response.headers.update(headers or {})
        return response

    return fault


def breaks(kind: type[httpx.TransportError]) -> Fault:
    def fault(request: httpx.Request) -> httpx.Response:
        raise kind("it broke", request=request)

    return fault


async def test_hanging_up_ends_the_call() -> None:
    twilio = Twilio()
    async with client(twilio) as rest:
        assert await rest.hang_up(CALL)
    assert twilio.calls[CALL] == "completed"
    assert twilio.asked[0] == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json")


async def test_hanging_up_a_call_that_is_over_or_unknown_counts_as_success() -> None:
    async with client(Twilio("completed")) as rest:
        assert not await rest.hang_up(CALL)
        assert not await rest.hang_up(CallSid("CA404"))


async def test_the_numbers_of_the_account_are_returned() -> None:
    async with client(Twilio()) as rest:
        assert await rest.own_numbers() == ["+14155550100"]


def not_found(body: bytes) -> Fault:
    return lambda request: httpx.Response(404, content=body, request=request)


@pytest.mark.parametrize("body", [b"<html>404 page not found</html>", b"", b"[]", b'{"code":20001}', b'{"detail":"x"}'])
async def test_a_404_that_is_not_twilios_error_for_the_call_does_not_mean_that_the_call_is_over(body: bytes) -> None:
    twilio = Twilio()
    twilio.faults.append(not_found(body))
    async with client(twilio) as rest:
        with pytest.raises(TwilioRefused, match="TWILIO_API_BASE"):
            await rest.hang_up(CALL)


async def test_with_a_path_in_the_base_url_a_404_never_means_that_the_call_is_over() -> None:
    twilio = Twilio()
    twilio.faults.append(fails_with(404, 20404))
    async with TwilioRest(ACCOUNT, ("SK1", "secret"), "https://api.example.com/v1", transport=twilio) as rest:
        with pytest.raises(TwilioRefused, match="origin alone"):
            await rest.hang_up(CALL)


async def test_an_unknown_call_counts_as_over_and_the_log_says_that_the_region_may_be_wrong() -> None:
    async with client(Twilio()) as rest:
        with structlog.testing.capture_logs() as lines:
            assert not await rest.hang_up(CallSid("CA404"))
            assert await rest.hang_up(CALL)
    assert [(line["event"], "region" in line["do"]) for line in lines] == [("twilio.call_unknown", True)]


@pytest.mark.parametrize("auths", [[("AC", "old"), ("SK1", "secret")], [("SK1", "secret"), ("AC", "old")]])
async def test_from_two_tokens_the_client_goes_on_with_the_one_that_twilio_accepts(
    auths: list[tuple[str, str]],
) -> None:
    twilio = Twilio()
    async with TwilioRest(ACCOUNT, auths, "https://api.example.com/", transport=twilio) as rest:
        assert await rest.hang_up(CALL)
        before = len(twilio.asked)
        assert not await rest.hang_up(CALL)
    assert len(twilio.asked) == before + 1


async def test_when_twilio_refuses_both_tokens_the_error_has_a_sentence() -> None:
    async with TwilioRest(ACCOUNT, [("AC", "old"), ("AC", "new")], "https://x.example", transport=Twilio()) as rest:
        with pytest.raises(TwilioRefused, match="subaccount"):
            await rest.hang_up(CALL)


@pytest.mark.parametrize(
    "fault",
    [
        fails_with(429, 20429),
        fails_with(500),
        fails_with(503, headers={"Retry-After": "2"}),
        breaks(httpx.ReadTimeout),
        breaks(httpx.RemoteProtocolError),
        breaks(httpx.ConnectError),
    ],
)
async def test_hanging_up_is_tried_again_while_twilio_is_busy(
    fault: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    twilio = Twilio()
    twilio.faults = [fault, fault]
    async with client(twilio) as rest:
        assert await rest.hang_up(CALL)
    assert len(twilio.asked) == 3


async def test_a_request_is_repeated_after_the_wait_that_twilio_asks_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    twilio = Twilio()
    twilio.faults = [fails_with(429, headers={"Retry-After": "3"})]
    async with client(twilio) as rest:
        began = trio.current_time()
        await rest.hang_up(CALL)
    assert trio.current_time() - began >= 3


async def test_if_twilio_cannot_be_reached_the_client_gives_up_with_a_sentence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    twilio = Twilio()
    twilio.faults = [breaks(httpx.ConnectError)] * 9
    async with client(twilio) as rest:
        with pytest.raises(TwilioUnreachable, match="cannot be reached"):
            await rest.hang_up(CALL)
    assert len(twilio.asked) == MAX_TRIES


async def test_if_twilio_never_answers_the_client_gives_up_after_three_attempts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Mute(Twilio):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.asked.append((request.method, request.url.path))
            await trio.sleep_forever()
            raise AssertionError

    twilio = Mute()
    async with client(twilio) as rest:
        began = trio.current_time()
        with pytest.raises(TwilioUnreachable, match="no answer within 10 s"):
            await rest.hang_up(CALL)
    assert trio.current_time() - began == pytest.approx(LIMIT_S)
    assert len(twilio.asked) == 3  # three attempts of 4 s each


async def test_after_wrong_credentials_the_error_names_the_settings_and_there_is_no_other_try() -> None:
    twilio = Twilio()
    async with client(twilio, ("SK1", "wrong")) as rest:
        with pytest.raises(TwilioRefused, match=r"TWILIO_AUTH_TOKEN.*TWILIO_API_KEY") as refused:
            await rest.hang_up(CALL)
    assert "wrong" not in str(refused.value)
    assert len(twilio.asked) == 1


async def test_another_refusal_quotes_twilios_sentence_without_numbers() -> None:
    twilio = Twilio()
    twilio.faults = [fails_with(400, 21421)]
    async with client(twilio) as rest:
        with pytest.raises(TwilioRefused, match=r"21421.*Service says <number> no"):
            await rest.hang_up(CALL)


async def test_the_number_is_found_and_its_urls_are_set() -> None:
    twilio = Twilio()
    async with client(twilio) as rest:
        number = await rest.find_number("+14155550100")
        assert number is not None
        assert (number.sid, number.voice_method, number.status_callback) == ("PN1", "GET", None)
        assert await rest.find_number("+14155550101") is None
        after = await rest.set_number_urls(
            "PN1", "https://v.example.com/in", "https://v.example.com/st", "https://f.example.com/"
        )
        assert after == await rest.find_number("+14155550100")
    assert (after.voice_url, after.voice_method) == ("https://v.example.com/in", "POST")
    assert (after.voice_fallback_url, after.voice_fallback_method) == ("https://f.example.com/", "POST")
    assert after.status_callback == "https://v.example.com/st"


async def test_a_number_of_another_account_is_refused_with_a_sentence() -> None:
    async with client(Twilio()) as rest:
        with pytest.raises(TwilioRefused, match="no phone number PN2"):
            await rest.set_number_urls("PN2", "https://a.example.com/", "https://a.example.com/")


async def test_if_the_answer_is_not_twilios_the_error_names_the_setting() -> None:
    twilio = Twilio()
    twilio.faults = [lambda request: httpx.Response(200, text="<html>It works!</html>")]
    async with client(twilio) as rest:
        with pytest.raises(TwilioRefused, match="TWILIO_API_BASE"):
            await rest.find_number("+12125550100")
