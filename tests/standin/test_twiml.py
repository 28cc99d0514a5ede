"""The stand-in Twilio reads TwiML. Whatever the `twilio` package can build is either run or refused by its name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import twilio.twiml.voice_response as package  # type: ignore[import-untyped]

from relay.standin.twilio.twiml_interpreter import NotPlayed, TwimlRefused, interpret
from relay.standin.twilio.twiml_verbs import (
    Connect,
    Dial,
    Document,
    Gather,
    Hangup,
    Number,
    Pause,
    Play,
    Record,
    Redirect,
    Reject,
    Say,
)

URL = "https://voice.example.com/twilio/incoming"


def read(text: str, url: str = URL, inline: bool = False, whisper: bool = False) -> Document:
    return interpret(text.encode(), "text/xml; charset=utf-8", url, inline=inline, whisper=whisper)


def verbs(inner: str, inline: bool = False, whisper: bool = False) -> Document:
    return read(f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>', URL, inline, whisper)


def refusal(inner: str, inline: bool = False, whisper: bool = False) -> TwimlRefused:
    with pytest.raises(TwimlRefused) as caught:
        verbs(inner, inline, whisper)
    return caught.value


def test_the_relays_document_is_read_with_every_url_absolute() -> None:
    (verb, after) = verbs(
        '<Connect action="/after"><Stream url="wss://v.example.com/s" name="agent" statusCallback="https://v/x">'
        '<Parameter name="token" value="t"/></Stream></Connect><Redirect method="POST">/twilio/after</Redirect>'
    ).verbs
    assert verb == Connect(
        url="wss://v.example.com/s",
        name="agent",
        parameters={"token": "t"},
        status_callback="https://v/x",
        status_method="POST",
        action="https://voice.example.com/after",
        method="POST",
        fault=None,
    )
    assert after == Redirect("https://voice.example.com/twilio/after", "POST")


def test_a_dial_is_read_with_its_numbers() -> None:
    (dial,) = verbs(
        '<Dial action="/d" timeout="20" timeLimit="3600" answerOnBridge="true" callerId="+12125550190">'
        '<Number url="/w" statusCallback="https://v/leg" statusCallbackEvent="ringing answered">+12125550102</Number>'
        "<Number>+12125550103</Number></Dial>"
    ).verbs
    assert isinstance(dial, Dial)
    assert dial.numbers[0] == Number(
        "+12125550102", "https://voice.example.com/w", "POST", "", "https://v/leg", "POST", ("ringing", "answered")
    )
    assert (dial.timeout_s, dial.time_limit_s, dial.caller_id) == (20, 3600, "+12125550190")
    assert dial.answer_on_bridge
    assert verbs("<Dial>+12125550102</Dial>").verbs[0].numbers[0].number == "+12125550102"  # type: ignore[union-attr]


def test_the_small_verbs_are_read_with_twilios_defaults() -> None:
    document = verbs(
        "<Say>Hi <emphasis>there</emphasis></Say><Play digits='1w2'/><Pause/><Gather><Say>x</Say></Gather>"
        "<Record/><Reject/><Hangup/>"
    )
    say, play, pause, gather, record, reject, hangup = document.verbs
    assert say == Say("Hi there", 1)
    assert play == Play("", "1w2", 1)
    assert pause == Pause(1)
    assert isinstance(gather, Gather)
    assert (gather.timeout_s, gather.action, gather.num_digits, gather.speech) == (5, URL, None, False)
    assert isinstance(record, Record)
    assert (record.action, record.max_length_s, record.timeout_s) == (URL, 3600, 5)
    assert reject == Reject("rejected")
    assert hangup == Hangup()
    assert not document.warnings


@pytest.mark.parametrize(
    ("inner", "code", "words"),
    [
        ("<Foo/>", 12200, "<Foo>"),
        ("<say>hi</say>", 12200, "<say>"),
        ("<Dial></Dial>", 13223, "numbers"),
        ("<Dial>5550100</Dial>", 13223, "E.164"),
        ('<Dial callerId="Jane">+12125550102</Dial>', 13214, "callerId"),
        ('<Dial timeout="700">+12125550102</Dial>', 12200, "5 to 600"),
        ('<Dial answerOnBridge="yes">+12125550102</Dial>', 12200, "true or false"),
        ("<Dial>" + "<Number>+12125550102</Number>" * 11 + "</Dial>", 13223, "11"),
        ('<Dial><Number statusCallback="/leg">+12125550102</Number></Dial>', 11100, "absolute"),
        ('<Dial><Number statusCallbackEvent="rings">+12125550102</Number></Dial>', 12200, "rings"),
        ("<Gather><Dial>+12125550102</Dial></Gather>", 13321, "<Dial>"),
        ('<Gather input="voice"/>', 12200, "voice"),
        ('<Redirect method="PUT">/x</Redirect>', 12200, "PUT"),
        ("<Redirect>https://my_host.example.com/x</Redirect>", 11210, "underscore"),
        ("<Redirect>ftp://x</Redirect>", 11100, "http"),
        ("<Redirect>http://[bad</Redirect>", 11100, "cannot be read"),
        ("<Redirect>http://v.example.com:99999/</Redirect>", 11100, "cannot be read"),
        ('<Dial><Number url="http://[bad">+12125550102</Number></Dial>', 11100, "cannot be read"),
        ('<Connect><Stream url="wss://v/s" statusCallback="http://[bad"/></Connect>', 11100, "cannot be read"),
        ("<Play/>", 12200, "neither"),
        ('<Pause length="-1"/>', 12200, "1 to 3600"),
        ('<Pause length="auto"/>', 12200, "1 to 3600"),
        (f'<Pause length="{"9" * 5000}"/>', 12200, "1 to 3600"),
        ('<Reject reason="tired"/>', 12200, "tired"),
        ("<Connect/>", 12200, "one noun"),
        ('<Connect><Stream url="wss://v/s" statusCallback="/s"/></Connect>', 11100, "absolute"),
        (
            f'<Connect><Stream url="wss://v/s"><Parameter name="{"n" * 100}" value="{"v" * 400}"/></Stream></Connect>',
            12200,
            "500 characters",
        ),
        ("<Hangup><Say>x</Say></Hangup>", 12200, "<Say>"),
    ],
)
def test_twiml_that_twilio_refuses_is_refused_with_its_code_and_the_rule(inner: str, code: int, words: str) -> None:
    refused = refusal(inner)
    assert refused.code == code
    assert words in refused.rule


def test_499_characters_of_a_parameter_are_allowed() -> None:
    verbs(f'<Connect><Stream url="wss://v/s"><Parameter name="{"n" * 99}" value="{"v" * 400}"/></Stream></Connect>')


@pytest.mark.parametrize(
    ("url", "track", "code"),
    [
        ("", "", 31923),
        ("https://v/s", "", 31923),
        ("wss://[bad", "", 31923),
        ("wss://v.example.com:99999/s", "", 31923),
        ("wss://v.example.com:port/s", "", 31923),
        ("ws://v.example.com/s", "", 31910),
        ("wss://v/s", 'track="both_tracks"', 31941),
    ],
)
def test_a_faulty_stream_is_found_when_the_call_reaches_it(url: str, track: str, code: int) -> None:
    (verb,) = verbs(f'<Connect><Stream url="{url}" {track}/></Connect>').verbs
    assert isinstance(verb, Connect)
    assert verb.fault is not None
    assert verb.fault[0] == code


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_a_socket_without_tls_is_allowed_only_on_this_machine(host: str) -> None:
    (verb,) = read(f'<Response><Connect><Stream url="ws://{host}/s"/></Connect></Response>').verbs
    assert isinstance(verb, Connect)
    assert verb.fault is None


def test_the_query_of_a_stream_url_is_thrown_away_with_a_warning() -> None:
    document = verbs('<Connect><Stream url="wss://v/s?token=1"/></Connect>')
    (verb,) = document.verbs
    assert isinstance(verb, Connect)
    assert verb.url == "wss://v/s"
    assert document.warnings[0][0] == 31920


def test_a_relative_stream_url_follows_the_document() -> None:
    (verb,) = verbs('<Connect><Stream url="/s"/></Connect>').verbs
    assert isinstance(verb, Connect)
    assert verb.url == "wss://voice.example.com/s"


def test_an_attribute_with_a_wrong_capital_letter_causes_a_warning() -> None:
    document = verbs('<Dial callerID="+12125550190">+12125550102</Dial>')
    assert document.warnings == ((12200, "<Dial> has no attribute 'callerID'"),)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"<Response/>", "application/json", 12300),
        (b"RIFF", "audio/wav", 12200),
        (b"<Response/>", "", 12300),
        (b"<Response>", "text/xml", 12100),
        (b"", "text/xml", 12100),
        (b"<Answer/>", "text/xml", 12100),
        (b'<?xml version="1.0" encoding="nobodys"?><Response/>', "text/xml", 12100),
        (b"<Response>" + b" " * 65536 + b"</Response>", "text/xml", 11750),
    ],
)
def test_a_body_that_is_not_twiml_is_refused(body: bytes, kind: str, code: int) -> None:
    with pytest.raises(TwimlRefused) as caught:
        interpret(body, kind, URL)
    assert caught.value.code == code


def test_plain_text_is_run_if_it_is_twiml_and_otherwise_read_aloud() -> None:
    assert interpret(b"<Response><Hangup/></Response>", "text/plain", URL).verbs == (Hangup(),)
    assert interpret(b"Hello you", "text/plain", URL).verbs == (Say("Hello you", 1),)


def test_inline_twiml_needs_absolute_urls_and_4000_characters_at_most() -> None:
    assert refusal('<Dial action="/d">+12125550102</Dial>', inline=True).code == 15004
    assert refusal("<Redirect/>", inline=True).code == 15004
    assert refusal(f"<Say>{'x' * 4000}</Say>", inline=True).code == 32018
    assert verbs('<Dial action="https://v/d">+12125550102</Dial>', inline=True).verbs


@pytest.mark.parametrize("inner", ["<Dial>+12125550102</Dial>", "<Pause/>", "<Record/>", "<Redirect>/x</Redirect>"])
def test_in_a_whisper_all_verbs_except_say_and_play_and_gather_and_hangup_are_refused(inner: str) -> None:
    assert refusal(inner, whisper=True).code == 12200
    verbs("<Gather><Say>x</Say></Gather><Play>/a.wav</Play><Say>x</Say><Hangup/>", whisper=True)


# everything the package can build


PLAYED = {"Say", "Play", "Pause", "Gather", "Dial", "Record", "Hangup", "Reject", "Redirect", "Connect"}
NUMBER = "+12125550102"


def build(method: Any, owner: Any) -> Any:
    """Call one of the package's verb methods with a value for every required parameter."""
    values = {"number": NUMBER, "phone_number": NUMBER, "url": "https://v.example.com/a"}
    needed = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if name not in ("self", "kwargs") and parameter.default is inspect.Parameter.empty
    ]
    return method(owner, **{name: values.get(name, "x") for name in needed})


VERBS = [name for name, function in inspect.getmembers(package.VoiceResponse, inspect.isfunction)
         if function.__qualname__.startswith("VoiceResponse.") and name != "__init__"]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_package_is_played_or_refused_by_its_name(verb: str) -> None:
    response = package.VoiceResponse()
    built = build(getattr(package.VoiceResponse, verb), response)
    if built.name == "Play":
        built.value = "https://v.example.com/a.wav"
    if built.name == "Dial":
        built.number(NUMBER)
        built.value = None
    if built.name == "Connect":
        built.stream(url="wss://v.example.com/s")
    if built.name in PLAYED:
        assert type(read(str(response)).verbs[0]).__name__ == built.name
    else:
        with pytest.raises(NotPlayed) as caught:
            read(str(response))
        assert caught.value.name == built.name


NOUNS = [(owner, name) for owner in ("Dial", "Connect", "Gather")
         for name, function in inspect.getmembers(getattr(package, owner), inspect.isfunction)
         if function.__qualname__.startswith(owner + ".") and name != "__init__"]  # fmt: skip


@pytest.mark.parametrize(("owner", "noun"), NOUNS)
def test_every_noun_of_the_package_is_played_or_refused_by_its_name(owner: str, noun: str) -> None:
    response = package.VoiceResponse()
    parent = getattr(package, owner)()
    built = build(getattr(getattr(package, owner), noun), parent)
    if built.name == "Play":
        built.value = "https://v.example.com/a.wav"
    response.append(parent)
    if built.name in ("Number", "Stream", "Say", "Play", "Pause"):
        assert type(read(str(response)).verbs[0]).__name__ == owner
    else:
        with pytest.raises(NotPlayed) as caught:
            read(str(response))
        assert caught.value.name == built.name


GOOD = {
    "loop": "2", "length": "3", "timeout": "20", "timeLimit": "60", "numDigits": "1", "maxLength": "30",
    "method": "GET", "input": "dtmf speech", "callerId": NUMBER, "reason": "busy", "track": "inbound_track",
    "statusCallbackEvent": "answered completed", "url": "wss://v.example.com/s", "digits": "1", "name": "agent",
}  # fmt: skip


@pytest.mark.parametrize("verb", ["say", "pause", "gather", "dial", "record", "reject", "redirect", "connect"])
def test_every_attribute_the_package_can_write_is_known(verb: str) -> None:
    response = package.VoiceResponse()
    method = getattr(package.VoiceResponse, verb)
    optional = [name for name in inspect.signature(method).parameters if name not in ("self", "kwargs")]
    values = {}
    for name in optional:
        attribute = camel(name)
        if attribute.endswith("Method"):
            values[name] = "POST"
        elif attribute in ("answerOnBridge", "sequential", "playBeep", "actionOnEmptyResult", "hangupOnStar"):
            values[name] = "true"
        elif "allback" in attribute or attribute in ("action", "referUrl", "url"):
            values[name] = "https://v.example.com/x"
        elif attribute == "number":
            values[name] = NUMBER
        else:
            values[name] = GOOD.get(attribute, "x")
    built = method(response, **values)
    if built.name == "Connect":
        stream = [n for n in inspect.signature(package.Connect.stream).parameters if n not in ("self", "kwargs")]
        built.stream(**{n: "https://v.example.com/x" if n == "status_callback" else
                        "POST" if n.endswith("method") else GOOD.get(camel(n), "x") for n in stream})  # fmt: skip
    document = read(str(response))
    assert not document.warnings, document.warnings


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
