"""Twilio's stream messages: how they are read, and that our own messages have exactly Twilio's fields."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.call.vocabulary import (
    CallSid,
    DigitPressed,
    MarkReturned,
    StreamSid,
)
from relay.twilio import media_protocol
from relay.twilio.media_protocol import Connected, Frame, Started, Stopped, TwilioProtocolError, parse

STREAM = StreamSid("MZ5174584e1127285e2b015e720b3d9e68")
CALL = CallSid("CA45397943c1c7a49f7b7713c230107a39")
ACCOUNT = "AC7e2b7d19e3afe0f5715710b94d26db7e"

# A real captured message, with its own order of keys.
START = (
    b'{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC7e2b7d19e3afe0f5715710b94d26db7e",'
    b'"streamSid":"MZ5174584e1127285e2b015e720b3d9e68","callSid":"CA45397943c1c7a49f7b7713c230107a39",'
    b'"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    b'"customParameters":{"caller":"Jane"}},"streamSid":"MZ5174584e1127285e2b015e720b3d9e68"}'
)


def message(event: str, **parts: object) -> bytes:
    return json.dumps({"event": event, "streamSid": STREAM, "sequenceNumber": "74", **parts}).encode()


def media(mulaw: bytes = b"\xff" * 160, **more: object) -> dict[str, object]:
    return {
        "track": "inbound",
        "chunk": "73",
        "timestamp": "1593",
        "payload": base64.b64encode(mulaw).decode(),
        **more,
    }


@given(st.binary(max_size=2000), st.integers(0, 10**9), st.booleans())
def test_media_as_strings_or_numbers_becomes_the_same_frame(mulaw: bytes, number: int, as_text: bool) -> None:
    write = str if as_text else int
    frame = parse(
        message("media", sequenceNumber=write(number), media=media(mulaw, timestamp=write(number), chunk=write(number)))
    )
    assert isinstance(frame, Frame)
    assert (frame.mulaw, frame.media_ms, frame.chunk, frame.sequence) == (mulaw, number, number, number)


def test_media_with_another_order_of_keys_and_unknown_keys_is_read() -> None:
    frame = parse(
        b'{"media":{"payload":"f38=","new":{"a":[1,null]},"timestamp":"20"},"streamSid":"MZ1","later":7,"event":"media"}'
    )
    assert isinstance(frame, Frame)
    assert (frame.mulaw, frame.media_ms, frame.chunk, frame.sequence) == (b"\x7f\x7f", 20, 0, 0)


def test_media_of_another_track_is_ignored() -> None:
    assert parse(message("media", media=media(track="outbound"))) is None
    assert parse(message("media", media=media(track="inbound_track"))) is not None


def test_the_captured_start_message_is_read_with_all_its_fields() -> None:
    started = parse(START)
    assert started == Started(
        STREAM,
        CALL,
        ACCOUNT,
        ("inbound",),
        "audio/x-mulaw",
        8000,
        1,
        {"caller": "Jane"},
    )
    assert "Jane" not in repr(started)


def test_a_start_message_with_only_the_needed_fields_is_read() -> None:
    started = parse(b'{"streamSid":"MZ1","start":{"callSid":"CA1"},"event":"start"}')
    assert isinstance(started, Started)
    assert (started.stream_sid, started.call_sid, started.parameters) == ("MZ1", "CA1", {})


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (b'{"event":"connected","protocol":"Call","version":"1.0.0"}', Connected("Call", "1.0.0")),
        (b'{"event":"connected"}', Connected("", "")),
        (message("mark", mark={"name": "g3 item 2"}), MarkReturned("g3 item 2")),
        (message("dtmf", dtmf={"track": "inbound_track", "digit": "0"}), DigitPressed("0")),
        (message("dtmf", dtmf={"digit": 5}), DigitPressed("5")),
        (message("stop", stop={"accountSid": ACCOUNT, "callSid": CALL}), Stopped(CALL)),
        (b'{"event":"stop"}', Stopped(CallSid(""))),
        (b'{"event":"transcription","media":"not ours","sequenceNumber":{}}', None),
        (b'{"event":"mark","mark":{"name":"a"},"media":7}', MarkReturned("a")),
    ],
)
def test_each_other_event_is_recognised(raw: bytes, event: object) -> None:
    assert parse(raw) == event


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"RIFF\x00", "not a message"),
        (b"[]", "not a message"),
        (b'{"streamSid":"MZ1"}', "missing required field `event`"),
        (b'{"event":7}', "`$.event`"),
        (b'{"event":"\xff"}', "not UTF-8"),
        (b'{"event":"media"}', "has no media"),
        (message("media", media=media(timestamp="secret")), "`$.media.timestamp`"),
        (message("media", media={"payload": "/w=="}), "`timestamp`"),
        (message("media", media=media(payload="secret!")), "base64"),
        (message("start"), "`start`"),
        (b'{"event":"start","start":{"callSid":"CA1"}}', "streamSid"),
        (message("mark", mark={}), "`name`"),
        (message("dtmf", dtmf={"digit": None}), "`$.dtmf.digit`"),
        (b'{"event":"media","media":{"payload":"","timestamp":1,"x":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_message_is_refused_with_a_sentence_that_does_not_quote_it(raw: bytes, words: str) -> None:
    with pytest.raises(TwilioProtocolError, match=words.replace("$", r"\$")) as refused:
        parse(raw)
    assert "secret" not in str(refused.value)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps({"event": text}).encode()))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    try:
        parse(raw)
    except TwilioProtocolError:
        pass


@given(st.binary(max_size=4000), st.text(max_size=40))
def test_our_messages_have_exactly_twilios_fields(mulaw: bytes, name: str) -> None:
    assert json.loads(media_protocol.media(STREAM, mulaw)) == {
        "event": "media",
        "streamSid": STREAM,
        "media": {"payload": base64.b64encode(mulaw).decode()},
    }
    assert json.loads(media_protocol.mark(STREAM, name)) == {
        "event": "mark",
        "streamSid": STREAM,
        "mark": {"name": name},
    }
    assert json.loads(media_protocol.clear(STREAM)) == {"event": "clear", "streamSid": STREAM}
