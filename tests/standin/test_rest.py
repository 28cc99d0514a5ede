"""The stand-in's REST API: how a relay changes a running call, and the errors with which Twilio answers."""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import trio
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http import HttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from relay.standin.twilio.exchange import Exchange, LiveCall
from relay.standin.twilio.rest import RestApi, asgi_app
from tests.helpers.tiny_relay import ACCOUNT, HUMAN_NUMBER, ORIGIN, OUR_NUMBER, TinyRelay, exchange, ring, twiml

BASE = f"/2010-04-01/Accounts/{ACCOUNT.sid}"
PAUSE = {"/twilio/incoming": twiml("<Pause length='60'/>"), "/new": twiml("<Say>new</Say>")}


def client(rest: RestApi, user: str = ACCOUNT.sid, secret: str = ACCOUNT.auth_token) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=asgi_app(rest))
    return httpx.AsyncClient(transport=transport, base_url="https://api.twilio.com", auth=(user, secret))


async def during(
    act: Callable[[httpx.AsyncClient, LiveCall], Awaitable[None]], answered: bool = True
) -> tuple[LiveCall, RestApi, Exchange]:
    """Run requests during a call."""
    relay = TinyRelay(dict(PAUSE))
    at = exchange(relay)
    rest = RestApi(at)

    async def caller(call: LiveCall) -> None:
        await trio.sleep(1)
        async with client(rest) as http:
            await act(http, call)
        await trio.sleep_forever()

    return await ring(relay, caller, at=at), rest, at


async def test_status_completed_hangs_up_and_the_second_time_causes_error_21220(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Status": "completed"})
        assert (answer.status_code, answer.json()["status"]) == (200, "completed")

    call, rest, _ = await during(act)
    assert call.state.ended_by == "relay"
    assert call.state.leg.ended_s == pytest.approx(1.0)
    async with client(rest) as http:
        answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Status": "completed"})
        assert answer.status_code == 400
        assert answer.json() == {
            "code": 21220,
            "message": "Call is not in-progress. Cannot redirect.",
            "more_info": "https://www.twilio.com/docs/errors/21220",
            "status": 400,
        }
        assert (await http.get(f"{BASE}/Calls/{call.state.sid}.json")).json()["duration"] == "1"


async def test_new_twiml_runs_at_once_and_the_old_document_is_abandoned(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        new = twiml("<Say>transferring</Say>")
        assert (await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Twiml": new})).status_code == 200

    call, _, _ = await during(act)
    assert [words.text for words in call.state.leg.words] == ["transferring"]
    assert call.state.leg.words[0].from_s == pytest.approx(1.0)


async def test_a_new_url_is_fetched(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Url": ORIGIN + "/new"})

    call, _, _ = await during(act)
    assert call.state.leg.words[0].text == "new"


async def test_a_new_url_that_cannot_be_read_is_refused_and_the_call_goes_on(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Url": "http://[bad"})
        assert (answer.status_code, answer.json()["code"]) == (400, 21205)

    call, _, _ = await during(act)
    assert call.state.leg.ended_s == pytest.approx(60.0)


async def test_inline_twiml_with_a_relative_action_causes_error_15004_and_the_call_goes_on(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        new = twiml(f'<Dial action="/dialed">{HUMAN_NUMBER}</Dial>')
        answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Twiml": new})
        assert (answer.status_code, answer.json()["code"]) == (400, 15004)

    call, _, _ = await during(act)
    assert not call.state.humans
    assert trio.current_time() > 59


async def slowly(fields: dict[str, str]) -> str:
    """Answer the webhook after five seconds, so that the phone rings for that long."""
    await trio.sleep(5)
    return twiml("")


async def test_a_call_that_still_rings_cannot_be_redirected(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": slowly})
    at = exchange(relay)

    async def caller(call: LiveCall) -> None:
        async with client(RestApi(at)) as http:
            answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Twiml": twiml("")})
            assert answer.json()["code"] == 21220
        await trio.sleep_forever()

    await ring(relay, caller, at=at)


@pytest.mark.parametrize("status", ["canceled", "completed"])
async def test_a_call_that_still_rings_can_be_ended_with_completed_and_with_canceled(
    status: str, autojump_clock: Any
) -> None:
    relay = TinyRelay({"/twilio/incoming": slowly})
    at = exchange(relay)

    async def caller(call: LiveCall) -> None:
        async with client(RestApi(at)) as http:
            answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Status": status})
            assert answer.json()["status"] == status
        await trio.sleep_forever()

    call = await ring(relay, caller, at=at)
    assert (call.state.ended_by, trio.current_time()) == ("relay", 0.0)


async def test_the_status_canceled_is_accepted_only_for_ringing_calls(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        answer = await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={"Status": "canceled"})
        assert (answer.status_code, answer.json()["status"]) == (200, "in-progress")

    call, _, _ = await during(act)
    assert call.state.leg.ended_s == pytest.approx(60.0)


@pytest.mark.parametrize(
    ("path", "form", "status", "code"),
    [
        (f"{BASE}/Calls/CA00.json", {"Status": "completed"}, 404, 20404),
        ("/2010-04-01/Accounts/AC00/Calls/CA00.json", {"Status": "completed"}, 404, 20404),
        (f"{BASE}/Nonsense.json", {}, 404, 20404),
    ],
)
async def test_a_missing_resource_causes_error_20404(path: str, form: dict[str, str], status: int, code: int) -> None:
    async with client(RestApi(exchange(TinyRelay({})))) as http:
        answer = await http.post(path, data=form)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_update_without_exactly_one_change_is_refused(autojump_clock: Any) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        both = {"Status": "completed", "Url": ORIGIN + "/new"}
        assert (await http.post(f"{BASE}/Calls/{call.state.sid}.json", data=both)).status_code == 400
        assert (await http.post(f"{BASE}/Calls/{call.state.sid}.json", data={})).status_code == 400

    call, _, _ = await during(act)
    assert call.state.leg.ended_s == pytest.approx(60.0)


@pytest.mark.parametrize(
    ("user", "secret", "status"),
    [
        (ACCOUNT.sid, ACCOUNT.auth_token, 200),
        (ACCOUNT.api_key, ACCOUNT.api_secret, 200),
        (ACCOUNT.sid, "wrong", 401),
        (ACCOUNT.sid, "", 401),
        ("AC0", ACCOUNT.auth_token, 401),
        ("", "", 401),
    ],
)
async def test_only_the_accounts_own_credentials_open_the_api(user: str, secret: str, status: int) -> None:
    async with client(RestApi(exchange(TinyRelay({}))), user, secret) as http:
        answer = await http.get(f"{BASE}/IncomingPhoneNumbers.json")
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["code"] == 20003


async def test_429_and_500_come_as_often_as_ordered_and_then_requests_succeed(autojump_clock: Any) -> None:
    rest = RestApi(exchange(TinyRelay({})))
    rest.faults.too_many, rest.faults.broken, rest.faults.slow_s = 1, 1, 2.0
    async with client(rest) as http:
        answers = [await http.get(f"{BASE}/IncomingPhoneNumbers.json") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 500, 200]
    assert answers[0].json()["code"] == 20429
    assert trio.current_time() == pytest.approx(6.0)


async def test_a_number_is_found_by_its_digits_and_its_urls_can_be_set() -> None:
    at = exchange(TinyRelay({}))
    async with client(RestApi(at)) as http:
        (found,) = (await http.get(f"{BASE}/IncomingPhoneNumbers.json", params={"PhoneNumber": OUR_NUMBER})).json()[
            "incoming_phone_numbers"
        ]
        assert found["voice_url"] == ORIGIN + "/twilio/incoming"
        nobody = await http.get(f"{BASE}/IncomingPhoneNumbers.json", params={"PhoneNumber": "+19"})
        assert nobody.json()["incoming_phone_numbers"] == []
        new = {"VoiceUrl": "https://b.example.com/x", "VoiceFallbackUrl": "https://c.example.com/y"}
        changed = await http.post(f"{BASE}/IncomingPhoneNumbers/{found['sid']}.json", data=new)
        assert changed.json()["voice_fallback_url"] == "https://c.example.com/y"
    assert at.number.voice_url == "https://b.example.com/x"


async def test_a_recording_of_a_running_call_can_be_started_and_paused_and_a_missing_recording_is_not_found(
    autojump_clock: Any,
) -> None:
    async def act(http: httpx.AsyncClient, call: LiveCall) -> None:
        path = f"{BASE}/Calls/{call.state.sid}/Recordings"
        pause = {"Status": "paused", "PauseBehavior": "skip"}
        assert (await http.post(f"{path}/Twilio.CURRENT.json", data=pause)).json()["code"] == 20404
        started = await http.post(f"{path}.json", data={"RecordingChannels": "dual"})
        assert (started.status_code, started.json()["channels"]) == (201, 2)
        assert (await http.post(f"{path}/Twilio.CURRENT.json", data=pause)).json()["status"] == "paused"

    await during(act)


async def test_the_official_client_understands_the_answers(autojump_clock: Any) -> None:
    """The client is twilio-python. Its transport calls `handle` directly, without a network."""
    at = exchange(TinyRelay(dict(PAUSE)))
    rest = RestApi(at)

    class Direct(HttpClient):  # type: ignore[misc]
        def request(self, method: str, url: str, **options: Any) -> Any:
            user, secret = options["auth"]
            basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
            parts = urlsplit(url)
            query = urlencode(options.get("params") or {})
            status, headers, body = rest.handle(
                method,
                parts.path + ("?" + query if query else ""),
                {"authorization": f"Basic {basic}"},
                urlencode(options.get("data") or {}).encode(),
            )
            return Response(status, body.decode(), headers)

    theirs = Client(ACCOUNT.sid, ACCOUNT.auth_token, http_client=Direct(logging.getLogger(__name__), is_async=False))

    async def caller(call: LiveCall) -> None:
        await trio.sleep(1)
        assert theirs.calls(call.state.sid).fetch().status == "in-progress"
        assert theirs.incoming_phone_numbers.list(phone_number=OUR_NUMBER)[0].phone_number == OUR_NUMBER
        theirs.calls(call.state.sid).update(status="completed")
        await trio.sleep_forever()

    call = await ring(TinyRelay({}), caller, at=at)
    assert call.state.ended_by == "relay"
    with pytest.raises(TwilioRestException) as caught:
        theirs.calls(call.state.sid).update(twiml=twiml(""))
    assert caught.value.code == 21220
