"""Our TwiML equals that of the twilio package. Both are compared as canonical XML."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import (  # type: ignore[import-untyped] # ships no types
    Connect,
    Dial,
    Gather,
    VoiceResponse,
)

from relay.twilio import twiml
from relay.twilio.twiml import TooLong, TwimlError, UrlNotAbsolute

WEB = "https://voice.example.com/twilio"
SAY = 'One moment, <please> & "stay" ünder ☎.'
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), max_size=60)


def same(ours: str, theirs: VoiceResponse) -> bool:
    assert ours.startswith('<?xml version="1.0" encoding="UTF-8"?><Response')
    return ET.canonicalize(ours) == ET.canonicalize(str(theirs))


@given(st.dictionaries(words.filter(bool), words, max_size=4))
def test_the_document_with_connect_and_stream_equals_that_of_the_package(parameters: dict[str, str]) -> None:
    ours = twiml.connect_stream("wss://voice.example.com/s/m1/tok", f"{WEB}/stream-status", f"{WEB}/after", parameters)
    theirs, connect = VoiceResponse(), Connect()
    stream = connect.stream(
        url="wss://voice.example.com/s/m1/tok",
        status_callback=f"{WEB}/stream-status",
        status_callback_method="POST",
    )
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    theirs.append(connect)
    theirs.redirect(f"{WEB}/after", method="POST")
    assert same(ours, theirs)


def dial() -> Dial:
    return Dial(
        action=f"{WEB}/dialed",
        method="POST",
        timeout=20,
        time_limit=3600,
        caller_id="+12125550100",
        answer_on_bridge=True,
    )


@pytest.mark.parametrize("say", [None, SAY])
def test_the_document_that_dials_a_human_equals_that_of_the_package(say: str | None) -> None:
    ours = twiml.dial_human(
        "+14155550100", "+12125550100", f"{WEB}/whisper?t=1&u=2", f"{WEB}/dialed", f"{WEB}/leg", 20, 3600, say
    )
    theirs, leg = VoiceResponse(), dial()
    if say:
        theirs.say(say)
    leg.number(
        "+14155550100",
        url=f"{WEB}/whisper?t=1&u=2",
        method="POST",
        status_callback=f"{WEB}/leg",
        status_callback_method="POST",
        status_callback_event="initiated ringing answered completed",
    )
    theirs.append(leg)
    assert same(ours, theirs)


@given(words)
def test_the_whisper_equals_that_of_the_package(text: str) -> None:
    theirs, gather = VoiceResponse(), Gather(num_digits=1, timeout=8, action=f"{WEB}/accept", method="POST")
    gather.say(text)
    theirs.append(gather)
    theirs.hangup()
    assert same(twiml.whisper(text, f"{WEB}/accept"), theirs)


def test_the_document_that_records_a_message_equals_that_of_the_package() -> None:
    theirs = VoiceResponse()
    theirs.say(SAY)
    theirs.record(
        action=f"{WEB}/recorded",
        method="POST",
        max_length=120,
        play_beep=True,
        recording_status_callback=f"{WEB}/recording",
        recording_status_callback_method="POST",
    )
    theirs.hangup()
    assert same(twiml.record_message(SAY, f"{WEB}/recorded", f"{WEB}/recording", 120), theirs)


def test_the_fallback_document_equals_that_of_the_package_and_needs_no_relay() -> None:
    theirs = VoiceResponse()
    theirs.say(SAY)
    theirs.dial("+14155550100")
    theirs.hangup()
    ours = twiml.fallback("+14155550100", SAY)
    assert same(ours, theirs)
    assert "http" not in ours


def test_the_short_documents_equal_those_of_the_package() -> None:
    theirs = VoiceResponse()
    assert same(twiml.empty(), theirs)
    theirs.hangup()
    assert same(twiml.hang_up(), theirs)
    theirs = VoiceResponse()
    theirs.reject()
    assert same(twiml.reject(), theirs)


@given(st.text(max_size=60))
def test_a_document_with_any_text_of_a_model_is_valid_xml(text: str) -> None:
    said = ET.fromstring(twiml.whisper(text, f"{WEB}/accept")).findtext("Gather/Say") or ""
    assert said == twiml._clean(text).replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("url", ["/twilio/after", "voice.example.com/x", "ftp://e.com/", "https:///x", ""])
def test_the_error_for_a_url_that_is_not_absolute_names_it(url: str) -> None:
    builds: list[Callable[[], str]] = [
        lambda: twiml.connect_stream("wss://e.com/s", f"{WEB}/s", url, {}),
        lambda: twiml.connect_stream("wss://e.com/s", url, f"{WEB}/a", {}),
        lambda: twiml.dial_human("+1", "+1", url, f"{WEB}/d", f"{WEB}/l", 20, 60),
        lambda: twiml.dial_human("+1", "+1", f"{WEB}/w", url, f"{WEB}/l", 20, 60),
        lambda: twiml.dial_human("+1", "+1", f"{WEB}/w", f"{WEB}/d", url, 20, 60),
        lambda: twiml.whisper("x", url),
        lambda: twiml.record_message("x", url, f"{WEB}/r", 60),
    ]
    for build in builds:
        with pytest.raises(UrlNotAbsolute, match="absolute"):
            build()


def test_a_stream_url_must_begin_with_wss_and_have_no_query() -> None:
    with pytest.raises(UrlNotAbsolute):
        twiml.connect_stream("https://e.com/s", f"{WEB}/s", f"{WEB}/a", {})
    for tail in ("?token=1", "#x"):
        with pytest.raises(TwimlError, match="query"):
            twiml.connect_stream(f"wss://e.com/s{tail}", f"{WEB}/s", f"{WEB}/a", {})


def test_a_parameter_has_under_500_characters_with_its_name() -> None:
    twiml.connect_stream("wss://e.com/s", f"{WEB}/s", f"{WEB}/a", {"name": "x" * 495})
    with pytest.raises(TooLong, match="name"):
        twiml.connect_stream("wss://e.com/s", f"{WEB}/s", f"{WEB}/a", {"name": "x" * 496})


def test_a_document_has_at_most_64_kilobytes_and_these_are_counted_in_bytes() -> None:
    twiml.fallback("+1", "x" * 65_000)
    with pytest.raises(TooLong, match="65536"):
        twiml.fallback("+1", "ü" * 33_000)
