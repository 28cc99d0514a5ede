"""Reads the JSON messages of a test call from the page "Talk to it", and makes the messages for the page. Pure.

This file has the functions of twilio/media_protocol.py that relay/session uses, and the same types of events. So
relay/session has the same code for phone calls and test calls. The page (console/static/talk.js) sends

    {"kind": "audio", "ms": 1200, "mulaw": "<base64>"}   8 kHz mu-law; `ms`: the page's stream time where it begins
    {"kind": "mark", "name": "..."}                      the audio before this mark has been played or cleared
    {"kind": "key", "digit": "1"}                        a key was pressed
    {"kind": "hang_up"}                                  the caller put the phone down

and gets `audio`, `mark` and `clear`. Every message is a text frame, as in Twilio's protocol, so relay/transport handles
both protocols in the same way.
"""

from __future__ import annotations

from typing import Final

import msgspec
import pybase64

from relay.call.vocabulary import CallerProtocolError, CallSid, DigitPressed, MarkReturned
from relay.twilio.media_protocol import Event, Frame, Stopped

NAME: Final = "browser"
# No phone must be hung up. The page's socket is the only connection of the call, so closing it ends the call.
IS_A_PHONE_CALL: Final = False
# The longest audio of one message: one second. The page itself sends 20 ms in each message.
LONGEST_AUDIO_BYTES: Final = 8_000
_DIGITS: Final = frozenset("0123456789*#")


class BrowserProtocolError(CallerProtocolError):
    """A message breaks the protocol. The error says what is wrong, and never quotes the message."""


class _Message(msgspec.Struct, gc=False):
    kind: str
    ms: int = -1
    mulaw: bytes | None = None
    name: str | None = None
    digit: str = ""


class _Any(msgspec.Struct):
    kind: str


_decode = msgspec.json.Decoder(_Message).decode
_decode_any = msgspec.json.Decoder(_Any).decode
_quote = msgspec.json.encode
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_KINDS: Final = frozenset({"audio", "mark", "key", "hang_up"})


def parse(message: bytes) -> Frame | Event | None:
    """Read a message of the page. Returns a Frame of the caller, an event, or None for an unknown kind.

    Raises BrowserProtocolError if the message is not a JSON object with a `kind`, or if a field of a known kind is
    wrong or missing.
    """
    try:
        told = _decode(message)
    except _MALFORMED as error:
        _refuse_broken(message, error)
        return None
    match told.kind:
        case "audio":
            return _frame(told)
        case "mark":
            if told.name is None:
                raise BrowserProtocolError("the page's mark message needs `name`")
            return MarkReturned(told.name)
        case "key":
            if told.digit not in _DIGITS:
                raise BrowserProtocolError("the page's key message names no key of a phone: one of 0 to 9, * and #")
            return DigitPressed(told.digit)
        case "hang_up":
            return Stopped(CallSid(""))
    return None


def _frame(told: _Message) -> Frame:
    if told.mulaw is None or told.ms < 0:
        raise BrowserProtocolError("the page's audio message needs `ms` (0 or more) and `mulaw` (base64)")
    if not 0 < len(told.mulaw) <= LONGEST_AUDIO_BYTES:
        words = f"the page's audio message holds {len(told.mulaw)} bytes, and may hold 1 to {LONGEST_AUDIO_BYTES}"
        raise BrowserProtocolError(words)
    return Frame(told.mulaw, told.ms)


def _refuse_broken(message: bytes, error: Exception) -> None:
    """Raise BrowserProtocolError, unless the kind of the message is unknown. Such a message may have any fields."""
    try:
        kind = _decode_any(message).kind
    except _MALFORMED as e:
        raise BrowserProtocolError(f"the page sent bytes that are not a message: {_words(e)}") from None
    if kind in _KINDS:
        raise BrowserProtocolError(f"the page's {kind} message is malformed: {_words(error)}") from None


def _words(error: Exception) -> str:
    """What is wrong with a message: the field and the type that was expected.

    A UnicodeDecodeError gets a fixed text, because its own text would quote the message.
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error) if isinstance(error, msgspec.MsgspecError) else "not UTF-8 text"


def media(stream_sid: str, mulaw: bytes) -> bytes:
    """The message that plays `mulaw` (8 kHz, any length). The page has one stream, so it needs no `stream_sid`."""
    return b'{"kind":"audio","mulaw":"%b"}' % pybase64.b64encode(mulaw)


def mark(stream_sid: str, name: str) -> bytes:
    """The message that the page sends back when the audio before it has been played or cleared."""
    return b'{"kind":"mark","name":%b}' % _quote(name)


def play(stream_sid: str, mulaw: bytes, receipt: str | None) -> list[bytes]:
    """The messages that play `mulaw`. If `receipt` is given, a mark of this name follows the audio."""
    message = media(stream_sid, mulaw)
    return [message] if receipt is None else [message, mark(stream_sid, receipt)]


def clear(stream_sid: str) -> bytes:
    """The message that makes the page drop the audio that it has not played.

    The page then sends all marks back at once.
    """
    return b'{"kind":"clear"}'
