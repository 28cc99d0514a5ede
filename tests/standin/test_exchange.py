"""The stand-in exchange makes whole calls to a tiny relay, on a fake clock: its requests, and what each side hears."""

from __future__ import annotations

import base64
import json
import re
import ssl
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trio

from relay.standin.twilio.dialling import Human
from relay.standin.twilio.exchange import APPLICATION_ERROR, LiveCall
from relay.standin.twilio.relay_connections import Reply
from relay.standin.twilio.ringing import with_ringing
from relay.standin.twilio.signing import signature
from relay.standin.twilio.streaming import Network
from tests.helpers.tiny_relay import (
    HUMAN_NUMBER,
    LINE,
    ORIGIN,
    OUR_NUMBER,
    REFUSED,
    VALIDATOR,
    Media,
    TinyRelay,
    exchange,
    ring,
    twiml,
)

SOUND = b"\x10\x90" * 80
STREAM = '<Connect{}><Stream url="wss://voice.example.com/twilio/stream/t" statusCallback="{}/ss"/></Connect>'


def payload(seconds: float) -> str:
    return base64.b64encode(SOUND * round(seconds * 50)).decode()


def codes(call: LiveCall, *levels: str) -> list[int]:
    return [each.code for each in call.state.complaints if not levels or each.level in levels]


def connect(action: str = "") -> str:
    return STREAM.format(f' action="{action}"' if action else "", ORIGIN)


CAPTURED = """Called ToState CallerCountry Direction CallerState ToZip CallSid To CallerZip ToCountry StirVerstat
    CallToken CalledZip ApiVersion CalledCity CallStatus From AccountSid CalledCountry CallerCity ToCity FromCountry
    Caller FromCity CalledState FromZip FromState""".split()
"""The fields of the captured request, in its order (docs/protocol/twilio.md 1.1)."""


async def test_the_first_request_has_the_fields_of_a_real_capture_and_a_true_signature(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Hangup/>")})
    await ring(relay)
    asked = relay.asked[0]
    assert list(asked.fields) == CAPTURED
    assert asked.fields["CallToken"].startswith("%7B%22parentCallInfoToken%22%3A%22eyJ")  # decoded once, as captured
    assert asked.fields["ToZip"] == asked.fields["CalledCity"] == ""
    assert (asked.fields["CallStatus"], asked.fields["Direction"]) == ("ringing", "inbound")
    assert asked.headers["user-agent"] == "TwilioProxy/1.1"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded; charset=UTF-8"
    assert VALIDATOR.validate(asked.url, asked.fields, asked.headers["x-twilio-signature"])
    for name in asked.fields:
        changed = asked.fields | {name: asked.fields[name] + "x"}
        assert not VALIDATOR.validate(asked.url, changed, asked.headers["x-twilio-signature"])
        less = {key: value for key, value in asked.fields.items() if key != name}
        assert not VALIDATOR.validate(asked.url, less, asked.headers["x-twilio-signature"])
    assert not VALIDATOR.validate(asked.url + "/", asked.fields, asked.headers["x-twilio-signature"])
    assert not VALIDATOR.validate(asked.url, asked.fields | {"New": ""}, asked.headers["x-twilio-signature"])


@pytest.mark.parametrize(
    ("url", "fields", "wanted"),
    [
        (
            "https://mycompany.com/voice",
            {
                "Called": "+13231234567",
                "ToZip": "",
                "CalledCity": "",
                "CallSid": "CA450188bc524230c5086da78b80861648",
                "CallStatus": "ringing",
                "From": "+18181234567",
            },
            "q+x4zlZSQbg7sZ7in/0z5dtKCcQ=",
        ),
        ("wss://mycompany.com/media-stream", {}, "N2Y//FHA042H22oVtTOPT1X3yoU="),
        ("wss://user:pw@mycompany.com:443/media-stream#x", {}, "N2Y//FHA042H22oVtTOPT1X3yoU="),
        ("wss://mycompany.com/media-stream/", {}, "B+WT+LSnUu+RWlK9v/62zQuXpec="),
    ],
)
def test_the_signature_equals_the_published_examples(url: str, fields: dict[str, str], wanted: str) -> None:
    assert signature("12345", url, fields) == wanted


async def test_verbs_have_a_duration_and_the_call_ends_with_a_status_callback(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Say>ten chars.</Say><Pause length='3'/>"), "/status": "x"})
    at = exchange(relay, status_callback=ORIGIN + "/status")
    call = await ring(relay, at=at)
    assert trio.current_time() == pytest.approx(3.6)
    assert call.state.ended_by == "relay"
    assert relay.fields("/status")["CallStatus"] == "completed"
    assert relay.fields("/status")["CallDuration"] == "4"


async def test_a_redirect_fetches_the_next_document_and_the_verbs_after_it_do_not_run(autojump_clock: Any) -> None:
    pages = {"/twilio/incoming": twiml("<Redirect>after?x=1</Redirect><Say>never</Say>"), "/twilio/after": twiml("")}
    relay = TinyRelay(dict(pages))
    call = await ring(relay)
    assert relay.asked[1].url == ORIGIN + "/twilio/after?x=1"
    assert relay.asked[1].fields["CallStatus"] == "in-progress"
    assert not call.state.leg.words


async def test_a_loop_of_redirects_is_ended(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Redirect/>")})
    call = await ring(relay)
    assert call.state.ended_by == "twilio"
    assert len(relay.asked) == 100


async def test_a_number_that_is_set_to_get_sends_all_fields_in_a_signed_url(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Hangup/>")})
    await ring(relay, at=exchange(relay, voice_method="GET"))
    asked = relay.asked[0]
    assert (asked.method, asked.fields) == ("GET", {})
    assert list(dict(parse_qsl(urlsplit(asked.url).query, keep_blank_values=True))) == CAPTURED
    assert VALIDATOR.validate(asked.url, {}, asked.headers["x-twilio-signature"])


async def test_a_reject_after_other_verbs_only_hangs_up(autojump_clock: Any) -> None:
    call = await ring(TinyRelay({"/twilio/incoming": twiml('<Say>Hi</Say><Reject reason="busy"/>')}))
    assert call.state.leg.status == "completed"


async def test_a_rejected_call_is_never_answered(autojump_clock: Any) -> None:
    call = await ring(TinyRelay({"/twilio/incoming": twiml('<Reject reason="busy"/>')}))
    assert (call.state.leg.status, call.state.leg.answered_s) == ("busy", None)


# faults of webhooks


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Reply(500, {}, b""), 11200),
        (Reply(404, {}, b""), 11200),
        (Reply(302, {"location": "http://[bad"}, b""), 11100),
        (REFUSED, 11205),
        (ssl.SSLError("bad certificate"), 11220),
        (Reply(200, {"content-type": "application/json"}, b"{}"), 12300),
        (Reply(200, {"content-type": "text/xml"}, b"<Response>"), 12100),
        (Reply(200, {"content-type": "text/xml"}, b"<Response>" + b" " * 70_000 + b"</Response>"), 11750),
    ],
)
async def test_a_document_that_cannot_be_fetched_is_an_application_error(
    page: Reply | Exception, code: int, autojump_clock: Any
) -> None:
    call = await ring(TinyRelay({"/twilio/incoming": page}))
    assert codes(call) == [code]
    assert [words.text for words in call.state.leg.words] == [APPLICATION_ERROR]
    assert call.state.ended_by == "twilio"


async def test_the_fallback_url_gets_the_error_and_its_document_continues_the_call(
    autojump_clock: Any,
) -> None:
    relay = TinyRelay({"/twilio/incoming": REFUSED, "/fb": twiml("<Say>hello</Say>")})
    call = await ring(relay, at=exchange(relay, voice_fallback_url=ORIGIN + "/fb"))
    assert relay.fields("/fb")["ErrorCode"] == "11205"
    assert relay.fields("/fb")["ErrorUrl"] == ORIGIN + "/twilio/incoming"
    assert call.state.leg.words[0].text == "hello"


async def test_a_request_is_tried_again_after_a_refused_connection_but_not_after_a_500(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": REFUSED})
    await ring(relay)
    assert len(relay.asked) == 2
    assert "i-twilio-idempotency-token" not in relay.asked[0].headers
    assert "i-twilio-idempotency-token" in relay.asked[1].headers
    relay = TinyRelay({"/twilio/incoming": Reply(500, {}, b"")})
    await ring(relay)
    assert len(relay.asked) == 1


async def test_the_fragment_of_the_url_changes_the_retries_but_is_not_sent(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": Reply(503, {}, b"")})
    at = exchange(relay)
    at.number.voice_url += "#rc=3&rp=5xx"
    await ring(relay, at=at)
    assert len(relay.asked) == 4
    assert relay.asked[0].url == ORIGIN + "/twilio/incoming"
    asked = relay.asked[0]
    assert VALIDATOR.validate(asked.url, asked.fields, asked.headers["x-twilio-signature"])


@pytest.mark.parametrize("fragment", ["rc=\u00b2&ct=\u00b2", "rc=x", "ct=" + "9" * 5000])
async def test_a_fragment_that_makes_no_sense_changes_nothing(fragment: str, autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": REFUSED})
    at = exchange(relay)
    at.number.voice_url += f"#{fragment}"
    await ring(relay, at=at)
    assert len(relay.asked) == 2


async def test_a_number_with_an_unreadable_url_causes_error_11100(autojump_clock: Any) -> None:
    relay = TinyRelay({})
    at = exchange(relay)
    at.number.voice_url = "http://[bad"
    call = await ring(relay, at=at)
    assert codes(call) == [11100]


async def test_an_answer_after_15_seconds_is_too_late(autojump_clock: Any) -> None:
    async def slow(fields: dict[str, str]) -> str:
        await trio.sleep(60)
        return twiml("")

    call = await ring(TinyRelay({"/twilio/incoming": slow}))
    assert codes(call) == [11200]
    assert call.state.events[-1].at_s < 20


async def test_a_302_is_followed_with_a_get_without_the_fields(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": Reply(302, {"location": "/b"}, b""), "/b": twiml("<Hangup/>")})
    await ring(relay)
    assert (relay.asked[1].method, relay.asked[1].url, relay.asked[1].fields) == ("GET", ORIGIN + "/b", {})
    assert VALIDATOR.validate(ORIGIN + "/b", {}, relay.asked[1].headers["x-twilio-signature"])


async def test_all_cookies_of_a_call_are_sent_back(autojump_clock: Any) -> None:
    set_cookies = "a=1; Path=/; Expires=Wed, 21 Oct 2037 07:28:00 GMT, b=2; Secure"
    relay = TinyRelay(
        {"/twilio/incoming": Reply(302, {"location": "/b", "set-cookie": set_cookies}, b""), "/b": twiml("<Hangup/>")}
    )
    await ring(relay)
    assert relay.asked[1].headers["cookie"] == "a=1; b=2"


# the stream


async def test_the_handshake_is_signed_and_has_only_the_captured_headers(autojump_clock: Any) -> None:
    seen: list[tuple[str, str]] = []

    async def stream(media: Media) -> None:
        seen.extend(media.request.headers.raw_items())

    await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream))
    assert sorted(name for name, _ in seen) == [
        "accept-encoding",
        "connection",
        "host",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
        "x-twilio-signature",
    ]
    headers = dict(seen)
    assert VALIDATOR.validate("wss://voice.example.com/twilio/stream/t", {}, headers["x-twilio-signature"])
    assert not VALIDATOR.validate("https://voice.example.com/twilio/stream/t", {}, headers["x-twilio-signature"])


async def test_audio_is_heard_and_its_mark_comes_back_when_it_has_been_played(autojump_clock: Any) -> None:
    times: list[float] = []

    async def stream(media: Media) -> None:
        start = await media.next("start")
        assert start["sequenceNumber"] == "1"
        await media.send(event="media", media={"payload": payload(1.0)})
        await media.send(event="mark", mark={"name": "m1"})
        await media.next("mark")
        times.append(trio.current_time())

    call = await ring(TinyRelay({"/twilio/incoming": twiml(connect() + "<Hangup/>")}, stream))
    assert times == [pytest.approx(1.0, abs=0.001)]
    assert call.state.playback.runs(5.0) == [(0.0, 1.0)]
    assert codes(call, "warning", "error") == []
    assert codes(call, "note") == [31921]


async def test_clear_returns_all_marks_at_once_and_the_heard_audio_is_known_to_the_millisecond(
    autojump_clock: Any,
) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")
        for name in "ab":
            await media.send(event="media", media={"payload": payload(1.0)})
            await media.send(event="mark", mark={"name": name})
        await trio.sleep(0.4)
        await media.send(event="clear")
        while [m["mark"]["name"] for m in media.got if m["event"] == "mark"] != ["a", "b"]:
            await media.next("mark")
        assert trio.current_time() == pytest.approx(0.4)

    call = await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream))
    assert call.state.playback.cuts[0].heard_ms == 400
    assert call.state.playback.cuts[0].lost_ms == 1600


async def test_the_callers_words_are_sent_in_frames_of_20_ms(autojump_clock: Any) -> None:
    audio = bytearray()

    async def stream(media: Media) -> None:
        await media.drain()
        for message in media.got:
            if message["event"] == "media":
                audio.extend(base64.b64decode(message["media"]["payload"]))
        assert media.got[0]["event"] == "connected"
        assert media.got[-1]["event"] == "stop"
        numbers = [int(message["sequenceNumber"]) for message in media.got[1:]]
        assert numbers == list(range(1, len(numbers) + 1))

    async def act(call: LiveCall) -> None:
        await trio.sleep_until(call.state.speech.say(SOUND * 100, trio.current_time() + 0.5, "hello"))
        await call.press("5")
        await trio.sleep(0.5)
        call.hang_up()

    relay = TinyRelay({"/twilio/incoming": twiml(connect()), "/ss": "x"}, stream)
    call = await ring(relay, act)
    assert call.state.ended_by == "caller"
    assert bytes(audio).count(SOUND * 100) == 1
    assert set(bytes(audio).replace(SOUND * 100, b"")) == {0xFF}
    events = [asked.fields["StreamEvent"] for asked in relay.asked if "StreamEvent" in asked.fields]
    assert events == ["stream-started", "stream-stopped"]
    assert all(
        VALIDATOR.validate(asked.url, asked.fields, asked.headers["x-twilio-signature"]) for asked in relay.asked
    )


async def test_a_muted_line_sends_no_frames_and_the_timestamp_jumps(autojump_clock: Any) -> None:
    stamps: list[int] = []
    chunks: list[int] = []

    async def stream(media: Media) -> None:
        await media.drain()
        frames = [message["media"] for message in media.got if message["event"] == "media"]
        stamps.extend(int(frame["timestamp"]) for frame in frames)
        chunks.extend(int(frame["chunk"]) for frame in frames)

    async def act(call: LiveCall) -> None:
        await trio.sleep(1)
        call.state.speech.mute(trio.current_time(), 2.0)
        await trio.sleep(3)
        call.hang_up()

    await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream), act)
    steps = [b - a for a, b in zip(stamps, stamps[1:], strict=False)]  # noqa: RUF007 -- pairs, named
    assert 1990 <= max(steps) <= 2030
    assert chunks == list(range(1, len(chunks) + 1))


async def test_bursts_delay_frames_and_lose_none(autojump_clock: Any) -> None:
    arrivals: list[float] = []

    async def stream(media: Media) -> None:
        while True:
            for _ in await media.end.receive():
                arrivals.append(trio.current_time())

    async def act(call: LiveCall) -> None:
        await trio.sleep(20)
        call.hang_up()

    line = replace(LINE, network=Network(connect_ms=0, bursts_per_minute=20))
    await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream), act, line)
    gaps = [b - a for a, b in zip(arrivals, arrivals[1:], strict=False)]  # noqa: RUF007
    assert 0.15 < max(gaps[2:]) <= 0.260
    assert len(arrivals) > 950


async def test_the_network_delay_applies_in_both_directions(autojump_clock: Any) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")
        assert trio.current_time() == pytest.approx(0.04)
        await media.send(event="media", media={"payload": payload(0.5)})
        await media.send(event="mark", mark={"name": "a"})
        await media.next("mark")
        assert trio.current_time() == pytest.approx(0.04 + 0.04 + 0.5 + 0.04, abs=0.001)

    line = replace(LINE, network=Network(connect_ms=0, delay_ms=40))
    call = await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream), line=line)
    assert call.state.playback.runs(5)[0] == pytest.approx((0.08, 0.58))


async def test_after_the_relay_closes_the_stream_twilio_asks_the_action_url_or_runs_the_next_verb(
    autojump_clock: Any,
) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")

    relay = TinyRelay({"/twilio/incoming": twiml(connect("/done") + "<Say>no</Say>"), "/done": twiml("")}, stream)
    call = await ring(relay)
    assert "/done" in relay.paths()
    assert not call.state.leg.words
    relay = TinyRelay({"/twilio/incoming": twiml(connect() + "<Say>yes</Say>")}, stream)
    assert (await ring(relay)).state.leg.words[0].text == "yes"


async def test_a_new_document_over_rest_stops_the_stream_and_its_buffer_is_lost(autojump_clock: Any) -> None:
    last: list[str] = []

    async def stream(media: Media) -> None:
        await media.next("start")
        await media.send(event="media", media={"payload": payload(5.0)})
        gone = await media.drain()
        last.extend([media.got[-1]["event"], str(gone.code)])

    async def act(call: LiveCall) -> None:
        await trio.sleep(2)
        call.redirect(url=ORIGIN + "/new")
        await trio.sleep_forever()

    relay = TinyRelay({"/twilio/incoming": twiml(connect("/done")), "/new": twiml("<Say>hello</Say>")}, stream)
    call = await ring(relay, act)
    assert last == ["stop", "1000"]
    assert "/done" not in relay.paths()
    assert call.state.playback.cuts[0].lost_ms == pytest.approx(3000, abs=1)
    assert call.state.leg.words[0].text == "hello"


@pytest.mark.parametrize(
    ("error", "code"), [(OSError("refused"), 31902), (ssl.SSLError("cert"), 31910), (trio.TooSlowError(), 31901)]
)
async def test_a_socket_that_cannot_be_opened_is_a_stream_error_and_the_next_verb_runs(
    error: Exception, code: int, autojump_clock: Any
) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml(connect() + "<Say>sorry</Say>"), "/ss": "x"}, no_socket=error)
    call = await ring(relay)
    assert codes(call, "error") == [code]
    assert relay.fields("/ss")["StreamEvent"] == "stream-error"
    assert call.state.leg.words[0].text == "sorry"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", 31920),
        (b"", 31920),
        (b"SSH-2.0-OpenSSH\r\n", 31920),
    ],
)
async def test_a_refused_handshake_causes_error_31920(raw: bytes, code: int, autojump_clock: Any) -> None:
    class Rude(TinyRelay):
        async def _serve(self, stream: trio.abc.Stream) -> None:
            await stream.receive_some()
            if raw:
                await stream.send_all(raw)
            await stream.aclose()

    call = await ring(Rude({"/twilio/incoming": twiml(connect()), "/ss": "x"}))
    assert codes(call, "error") == [code]


@pytest.mark.parametrize(("way", "code"), [("abort", 31903), ("broken", 31924), ("1011", 31921)])
async def test_the_error_code_of_a_broken_stream_says_how_it_broke(way: str, code: int, autojump_clock: Any) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")
        if way == "abort":
            media.end.abort()
        elif way == "broken":
            await media.end._wire.write(b"\xf3\x00")  # a reserved opcode with reserved bits
            await media.drain()
        else:
            await media.end.close(1011, "broken")

    call = await ring(TinyRelay({"/twilio/incoming": twiml(connect()), "/ss": "x"}, stream))
    assert codes(call, "error") == [code]


async def test_a_binary_frame_on_the_socket_causes_error_31950_and_is_not_played(autojump_clock: Any) -> None:
    async def stream(media: Media) -> None:
        await media.next("start")
        message = {"event": "media", "streamSid": media.stream_sid, "media": {"payload": payload(1)}}
        media.end._protocol.send_binary(json.dumps(message).encode())
        await media.end._flush()
        await trio.sleep(1)

    call = await ring(TinyRelay({"/twilio/incoming": twiml(connect())}, stream))
    assert codes(call, "warning") == [31950]
    assert call.state.playback.runs(5) == []


async def test_a_stream_with_a_faulty_url_is_never_dialled(autojump_clock: Any) -> None:
    page = twiml('<Connect><Stream url="ws://voice.example.com/s"/></Connect><Say>sorry</Say>')
    call = await ring(TinyRelay({"/twilio/incoming": page}))
    assert codes(call) == [31910]
    assert call.state.leg.words[0].text == "sorry"


# people


DIAL = (
    f'<Dial action="/dialed" callerId="{OUR_NUMBER}" answerOnBridge="true" timeout="20">'
    f'<Number url="/whisper" statusCallback="{ORIGIN}/leg" statusCallbackEvent="initiated ringing answered completed">'
    f"{HUMAN_NUMBER}</Number></Dial>"
)
WHISPER = '<Gather numDigits="1" timeout="8" action="/accept"><Say>Jane calls. Press 1.</Say></Gather><Hangup/>'


def dial_relay() -> TinyRelay:
    async def accept(fields: dict[str, str]) -> str:
        return twiml("" if fields["Digits"] == "1" else "<Hangup/>")

    return TinyRelay(
        {
            "/twilio/incoming": twiml(DIAL),
            "/whisper": twiml(WHISPER),
            "/accept": accept,
            "/dialed": twiml("<Hangup/>"),
            "/leg": twiml(""),
        }
    )


@pytest.mark.parametrize(
    ("human", "status", "bridged"),
    [
        (Human("accepts", talk_s=7), "completed", "true"),
        (Human("declines"), "completed", "false"),
        (Human("hangs_up"), "completed", "false"),
        (Human("voicemail"), "completed", "false"),
        (Human("no_answer"), "no-answer", "false"),
        (Human("busy"), "busy", "false"),
        (Human("failed"), "failed", "false"),
        (Human("accepts", ring_s=40), "no-answer", "false"),
    ],
)
async def test_each_behaviour_of_a_human_leads_to_its_own_dial_status(
    human: Human, status: str, bridged: str, autojump_clock: Any
) -> None:
    relay = dial_relay()
    call = await ring(relay, line=replace(LINE, humans=[human]))
    fields = relay.fields("/dialed")
    assert (fields["DialCallStatus"], fields["DialBridged"]) == (status, bridged)
    assert fields["CallSid"] == call.state.sid
    leg = call.state.humans[0]
    assert (leg.caller_id, leg.number) == (OUR_NUMBER, HUMAN_NUMBER)
    assert call.state.ended_by == ("human" if bridged == "true" else "relay")
    if bridged == "true":
        assert fields["DialCallDuration"] == "7"
    if leg.answered_s is not None:
        assert leg.words[0].text == "Jane calls. Press 1."
        whisper = relay.fields("/whisper")
        assert (whisper["CallSid"], whisper["ParentCallSid"]) == (leg.sid, call.state.sid)
        assert (whisper["Direction"], whisper["CallStatus"]) == ("outbound-dial", "in-progress")
        assert {asked.fields["SequenceNumber"] for asked in relay.asked if asked.url.endswith("/leg")} == set("0123")


async def test_a_caller_who_hangs_up_stops_the_humans_phone(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        await trio.sleep(2)
        call.hang_up()

    relay = dial_relay()
    call = await ring(relay, act, replace(LINE, humans=[Human(ring_s=10)]))
    assert call.state.humans[0].status == "canceled"
    assert call.state.humans[0].ended_s == pytest.approx(2.0)
    assert "/dialed" not in relay.paths()
    assert relay.fields("/leg")["CallStatus"] == "canceled"


async def test_two_numbers_ring_at_once_and_the_first_to_answer_gets_the_call(autojump_clock: Any) -> None:
    page = '<Dial action="/dialed"><Number>+12125550102</Number><Number>+12125550103</Number></Dial>'
    relay = TinyRelay({"/twilio/incoming": twiml(page), "/dialed": twiml("")})
    call = await ring(relay, line=replace(LINE, humans=[Human(ring_s=6), Human(ring_s=3)]))
    assert [leg.status for leg in call.state.humans] == ["canceled", "completed"]
    assert call.state.humans[0].ended_s == pytest.approx(3.0)
    assert relay.fields("/dialed")["DialCallSid"] == call.state.humans[1].sid


async def test_numbers_in_sequence_ring_one_after_the_other(autojump_clock: Any) -> None:
    page = '<Dial sequential="true"><Number>+12125550102</Number><Number>+12125550103</Number></Dial>'
    relay = TinyRelay({"/twilio/incoming": twiml(page)})
    call = await ring(relay, line=replace(LINE, humans=[Human("busy"), Human()]))
    assert [leg.status for leg in call.state.humans] == ["busy", "completed"]
    assert call.state.humans[1].started_s >= 4


async def test_a_caller_id_that_the_account_does_not_own_is_refused(autojump_clock: Any) -> None:
    page = '<Dial callerId="+12125550189">+12125550102</Dial>'
    call = await ring(TinyRelay({"/twilio/incoming": twiml(page)}))
    assert 13214 in codes(call)
    assert not call.state.humans


@pytest.mark.parametrize("caller", ["sip:jane@sip.example.com", "sips:jane@example.com", "client:jane"])
async def test_for_a_caller_without_a_number_a_dial_needs_a_caller_id(caller: str, autojump_clock: Any) -> None:
    line = replace(LINE, number=caller)
    call = await ring(TinyRelay({"/twilio/incoming": twiml("<Dial>+12125550102</Dial>")}), line=line)
    assert 13214 in codes(call)
    assert not call.state.humans
    call = await ring(dial_relay(), line=line)
    assert call.state.humans[0].caller_id == OUR_NUMBER


@pytest.mark.parametrize("caller", ["+12125550101", "anonymous"])
async def test_without_a_caller_id_the_human_sees_the_callers_number(caller: str, autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Dial>+12125550102</Dial>")})
    call = await ring(relay, line=replace(LINE, number=caller))
    assert [leg.caller_id for leg in call.state.humans] == [caller]
    assert codes(call) == []


async def test_the_caller_hears_ringing_until_the_human_is_there(autojump_clock: Any) -> None:
    call = await ring(dial_relay(), line=replace(LINE, humans=[Human("accepts", ring_s=9)]))
    (human,) = call.state.humans
    assert human.bridged_s is not None
    assert [ends for _, ends in call.state.ringing] == [human.bridged_s]
    assert call.state.ringing[0][0] == pytest.approx(human.started_s)
    silence = b"\xff" * 8_000 * 20
    mixed = with_ringing(silence, call.state.started_s, call.state.ringing)
    quiet = [len(part) / 8_000 for part in re.findall(b"\xff+", mixed[: int(8_000 * human.bridged_s)])]
    assert max(quiet) == pytest.approx(4.0, abs=0.01)
    assert mixed[int(8_000 * human.bridged_s) + 1 :].strip(b"\xff") == b""
    assert with_ringing(b"\x12" * 160, call.state.started_s, call.state.ringing) == b"\x12" * 160


async def test_without_answer_on_bridge_the_caller_hears_silence_during_the_whisper(autojump_clock: Any) -> None:
    relay = dial_relay()
    relay.pages["/twilio/incoming"] = twiml(DIAL.replace('answerOnBridge="true" ', ""))
    call = await ring(relay, line=replace(LINE, humans=[Human("accepts", ring_s=3)]))
    (human,) = call.state.humans
    assert [ends for _, ends in call.state.ringing] == [human.answered_s]
    assert human.answered_s != human.bridged_s


@pytest.mark.parametrize("human", [Human("busy"), Human("no_answer"), Human("declines"), Human("failed")])
async def test_the_ringing_stops_when_the_dial_is_over(human: Human, autojump_clock: Any) -> None:
    call = await ring(dial_relay(), line=replace(LINE, humans=[human]))
    assert [ends for _, ends in call.state.ringing] == (
        [] if human.does == "failed" else [call.state.humans[0].ended_s]
    )


async def test_gather_takes_digits_and_without_digits_the_next_verb_runs(autojump_clock: Any) -> None:
    page = twiml('<Gather numDigits="2" action="/got"><Say>Press two keys now please.</Say></Gather><Say>none</Say>')

    async def act(call: LiveCall) -> None:
        await trio.sleep(0.5)
        await call.press("4")
        await trio.sleep(1)
        await call.press("2")
        await trio.sleep_forever()

    relay = TinyRelay({"/twilio/incoming": page, "/got": twiml("")})
    await ring(relay, act)
    assert relay.fields("/got")["Digits"] == "42"
    assert trio.current_time() < 2
    call = await ring(TinyRelay({"/twilio/incoming": page}))
    assert [words.text for words in call.state.leg.words] == ["Press two keys now please.", "none"]


async def test_gathers_timeout_begins_again_after_each_key(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        for key in "42":
            await trio.sleep(4)
            await call.press(key)
        await trio.sleep_forever()

    relay = TinyRelay({"/twilio/incoming": twiml('<Gather numDigits="2" action="/got"/>'), "/got": twiml("")})
    await ring(relay, act)
    assert relay.fields("/got")["Digits"] == "42"


async def test_gather_takes_spoken_words(autojump_clock: Any) -> None:
    page = twiml('<Gather input="speech" action="/got" timeout="3"><Say>Yes or no?</Say></Gather>')

    async def act(call: LiveCall) -> None:
        await trio.sleep(2)
        call.state.speech.say(SOUND * 200, trio.current_time(), "Yes please")
        await trio.sleep_forever()

    relay = TinyRelay({"/twilio/incoming": page, "/got": twiml("")})
    await ring(relay, act)
    assert relay.fields("/got")["SpeechResult"] == "Yes please"


async def test_record_keeps_what_was_said_after_the_beep(autojump_clock: Any) -> None:
    page = f'<Record action="/done" maxLength="60" recordingStatusCallback="{ORIGIN}/rec"/><Say>nothing</Say>'

    async def act(call: LiveCall) -> None:
        await trio.sleep(1)
        call.state.speech.say(SOUND * 150, trio.current_time(), "Two boxes short")
        await trio.sleep_forever()

    relay = TinyRelay({"/twilio/incoming": twiml(page), "/done": twiml(""), "/rec": "x"})
    at = exchange(relay)
    await ring(relay, act, at=at)
    (recording,) = at.recordings.values()
    assert recording.words == "Two boxes short"
    assert relay.fields("/done")["RecordingDuration"] == str(recording.seconds)
    assert relay.fields("/rec")["RecordingSid"] == recording.sid


async def test_after_an_empty_recording_the_next_verb_runs(autojump_clock: Any) -> None:
    call = await ring(TinyRelay({"/twilio/incoming": twiml('<Record action="/done"/><Say>nothing</Say>')}))
    assert call.state.leg.words[0].text == "nothing"


async def test_a_caller_who_hangs_up_while_recording_leaves_what_was_said(autojump_clock: Any) -> None:
    async def act(call: LiveCall) -> None:
        await trio.sleep(1)
        await trio.sleep_until(call.state.speech.say(SOUND * 100, trio.current_time(), "Hello"))
        call.hang_up()

    relay = TinyRelay({"/twilio/incoming": twiml('<Record action="/done"/>'), "/done": twiml("")})
    await ring(relay, act)
    assert relay.fields("/done")["Digits"] == "hangup"


async def test_the_request_for_an_anonymous_caller_names_no_state_and_no_city(autojump_clock: Any) -> None:
    relay = TinyRelay({"/twilio/incoming": twiml("<Hangup/>")})
    await ring(relay, line=replace(LINE, number="anonymous"))
    assert relay.asked[0].fields["From"] == "anonymous"
    assert relay.asked[0].fields["FromState"] == relay.asked[0].fields["CallerCity"] == ""
