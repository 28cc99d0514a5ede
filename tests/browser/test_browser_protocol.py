"""A browser's messages: how they are read or refused, and the messages that the page gets."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.browser import browser_protocol
from relay.browser.browser_protocol import LONGEST_AUDIO_BYTES, BrowserProtocolError, parse
from relay.call.vocabulary import CallerProtocolError, DigitPressed, MarkReturned
from relay.session.caller_protocol import CallerProtocol
from relay.twilio import media_protocol
from relay.twilio.media_protocol import Frame, Stopped


def audio(mulaw: bytes, ms: int, **more: object) -> bytes:
    return json.dumps({"kind": "audio", "ms": ms, "mulaw": base64.b64encode(mulaw).decode(), **more}).encode()


@given(st.binary(min_size=1, max_size=LONGEST_AUDIO_BYTES), st.integers(0, 10**9))
def test_audio_from_a_browser_becomes_the_same_frame_as_audio_from_a_phone(mulaw: bytes, ms: int) -> None:
    phones = {"event": "media", "media": {"payload": base64.b64encode(mulaw).decode(), "timestamp": str(ms)}}
    assert parse(audio(mulaw, ms, later=[1])) == media_protocol.parse(json.dumps(phones).encode())


def test_marks_and_keys_and_the_end_become_the_same_events_as_in_a_phone_call() -> None:
    assert parse(b'{"kind":"mark","name":"m7"}') == MarkReturned("m7")
    assert parse(b'{"digit":"#","kind":"key"}') == DigitPressed("#")
    assert isinstance(parse(b'{"kind":"hang_up"}'), Stopped)


def test_a_message_of_an_unknown_kind_is_ignored() -> None:
    assert parse(b'{"kind":"wave","ms":[1],"mulaw":7}') is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "not a message"),
        (b"\x00\x01\x02", "not a message"),
        (b'{"kind":"\xff"}', "not a message: not UTF-8 text"),
        (b"[1]", "not a message"),
        (b'{"event":"media"}', "missing required field `kind`"),
        (b'{"kind":"audio","x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"kind":"audio","ms":20,"mulaw":"hello, is anybody there?"}', "the page's audio message is malformed"),
        (b'{"kind":"audio","ms":"20","mulaw":"/w=="}', "the page's audio message is malformed"),
        (b'{"kind":"audio","mulaw":"/w=="}', "needs `ms`"),
        (b'{"kind":"audio","ms":-20,"mulaw":"/w=="}', "needs `ms`"),
        (b'{"kind":"audio","ms":20}', "needs `ms` (0 or more) and `mulaw`"),
        (b'{"kind":"audio","ms":20,"mulaw":""}', "holds 0 bytes"),
        (audio(b"\xff" * (LONGEST_AUDIO_BYTES + 1), 20), "holds 8001 bytes, and may hold 1 to 8000"),
        (b'{"kind":"key","digit":"12"}', "names no key"),
        (b'{"kind":"key"}', "names no key"),
        (b'{"kind":"mark","name":7}', "the page's mark message is malformed"),
        (b'{"kind":"mark"}', "the page's mark message needs `name`"),
    ],
)
def test_a_message_that_breaks_the_protocol_is_refused_with_a_sentence_that_does_not_quote_it(
    message: bytes, words: str
) -> None:
    with pytest.raises(BrowserProtocolError) as refused:
        parse(message)
    assert words in str(refused.value)
    assert "anybody" not in str(refused.value)
    assert isinstance(refused.value, CallerProtocolError)


@given(st.binary(max_size=300))
def test_any_bytes_are_either_read_or_refused_and_cause_no_other_error(message: bytes) -> None:
    try:
        parse(message)
    except BrowserProtocolError:
        pass


@given(st.binary(max_size=2000), st.text(max_size=40))
def test_messages_to_the_page_are_json_with_the_audio_and_the_mark(mulaw: bytes, name: str) -> None:
    played = json.loads(browser_protocol.media("any", mulaw))
    assert (played.pop("kind"), base64.b64decode(played.pop("mulaw")), played) == ("audio", mulaw, {})
    assert json.loads(browser_protocol.mark("any", name)) == {"kind": "mark", "name": name}
    assert json.loads(browser_protocol.clear("any")) == {"kind": "clear"}


def test_a_call_session_accepts_either_protocol() -> None:
    dialects: list[CallerProtocol] = [media_protocol, browser_protocol]
    assert [(each.NAME, each.IS_A_PHONE_CALL) for each in dialects] == [("twilio", True), ("browser", False)]
    assert type(parse(audio(b"\xff", 0))) is Frame
