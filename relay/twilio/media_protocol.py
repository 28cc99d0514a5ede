"""Reads the JSON messages of Twilio's Media Streams protocol, and makes the messages for Twilio. Pure.

Only the needed fields are decoded. There may be other fields, in any order, and numbers may be written as strings. A
message becomes a `Frame`, an event, or None if the call does not need the message. Frames come fifty times a second, so
a `Frame` is a light struct and not an event of the call's state machine. Our messages have only fields that Twilio
documents. Other messages cause warnings in Twilio's debugger (docs/protocol/twilio.md 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec
import pybase64

from relay.call.vocabulary import (
    CallerProtocolError,
    CallSid,
    DigitPressed,
    MarkReturned,
    StreamSid,
)

NAME: Final = "twilio"
# Closing the stream does not end a phone call. To end it, the relay uses Twilio's REST API.
IS_A_PHONE_CALL: Final = True


class TwilioProtocolError(CallerProtocolError):
    """A message breaks the protocol. The error says what is wrong, and never quotes the message."""


class Frame(msgspec.Struct, gc=False):
    """A piece of caller audio. In practice it has 160 bytes (20 ms), but Twilio promises no size.

    `media_ms` is Twilio's stream time at the beginning of the frame. The stream time of the first frame is 100 to
    170 ms. A jump of the stream time means that audio was lost.
    """

    mulaw: bytes = msgspec.field(name="payload")
    media_ms: int = msgspec.field(name="timestamp")
    chunk: int = 0
    sequence: int = 0
    track: str = "inbound"


@dataclass(frozen=True, slots=True)
class Connected:
    """The first message of a socket. It names the protocol and its version, but not the stream."""

    protocol: str
    version: str


@dataclass(frozen=True, slots=True)
class Started:
    """The stream has begun: its ids, its audio format, and the `<Parameter>`s of our TwiML."""

    stream_sid: StreamSid
    call_sid: CallSid
    account_sid: str
    tracks: tuple[str, ...]
    encoding: str
    rate_hz: int
    channels: int
    parameters: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stopped:
    """The stream has ended, because the call has ended or has got new TwiML.

    `call_sid` is "" if the message has none.
    """

    call_sid: CallSid


Event: TypeAlias = Connected | Started | MarkReturned | DigitPressed | Stopped


class _Message(msgspec.Struct, gc=False):
    event: str
    sequence: int = msgspec.field(name="sequenceNumber", default=0)
    media: Frame | None = None


class _Any(msgspec.Struct):
    event: str


class _Connected(msgspec.Struct):
    protocol: str = ""
    version: str = ""


class _MediaFormat(msgspec.Struct, rename="camel"):
    # The defaults are the only format that Twilio documents.
    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8000
    channels: int = 1


class _Start(msgspec.Struct, rename="camel"):
    call_sid: str
    stream_sid: str = ""
    account_sid: str = ""
    tracks: tuple[str, ...] = ("inbound",)
    media_format: _MediaFormat = msgspec.field(default_factory=_MediaFormat)
    custom_parameters: dict[str, str] = msgspec.field(default_factory=dict)


class _StartMessage(msgspec.Struct, rename="camel"):
    start: _Start
    stream_sid: str = ""


class _Mark(msgspec.Struct):
    name: str


class _MarkMessage(msgspec.Struct):
    mark: _Mark


class _Dtmf(msgspec.Struct):
    digit: str | int


class _DtmfMessage(msgspec.Struct):
    dtmf: _Dtmf


class _Stop(msgspec.Struct, rename="camel"):
    call_sid: str = ""


class _StopMessage(msgspec.Struct):
    stop: _Stop = msgspec.field(default_factory=_Stop)


# strict=False also reads "155" as the number 155. Twilio's documents promise neither form (docs/protocol/twilio.md
# 3.1).
_decode = msgspec.json.Decoder(_Message, strict=False).decode
_decode_any = msgspec.json.Decoder(_Any).decode
_decode_connected = msgspec.json.Decoder(_Connected, strict=False).decode
_decode_start = msgspec.json.Decoder(_StartMessage, strict=False).decode
_decode_mark = msgspec.json.Decoder(_MarkMessage).decode
_decode_dtmf = msgspec.json.Decoder(_DtmfMessage).decode
_decode_stop = msgspec.json.Decoder(_StopMessage).decode
_quote = msgspec.json.encode
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def parse(message: bytes) -> Frame | Event | None:
    """Read a message of Twilio's. Returns a Frame of the caller, an event, or None.

    None means an unknown event, or a frame of a track that is not the caller's. Raises TwilioProtocolError if the
    message is not a JSON object with an `event`, or if a needed field of a known event is missing or malformed.
    """
    try:
        decoded = _decode(message)
    except _MALFORMED as e:
        return _second_look(message, e)
    if decoded.event == "media":
        frame = decoded.media
        if frame is None:
            raise TwilioProtocolError("Twilio's media message has no media")
        if frame.track != "inbound" and frame.track != "inbound_track":
            return None
        frame.sequence = decoded.sequence
        return frame
    return _parse_rare(decoded.event, message)


def _second_look(message: bytes, error: Exception) -> Event | None:
    """Decode a message again, with fewer fields, after the first try failed.

    The event may be unknown, or fields that we do not use may have an unexpected form. Raises TwilioProtocolError if a
    field that we need is wrong.
    """
    try:
        event = _decode_any(message).event
    except _MALFORMED as e:
        raise TwilioProtocolError(f"Twilio sent something that is not a message: {_words(e)}") from None
    if event == "media":
        raise TwilioProtocolError(f"Twilio's media message is malformed: {_words(error)}") from None
    return _parse_rare(event, message)


def _parse_rare(event: str, message: bytes) -> Event | None:
    reader = _RARE.get(event)
    if reader is None:
        return None
    try:
        return reader(message)
    except _MALFORMED as e:
        raise TwilioProtocolError(f"Twilio's {event} message is malformed: {_words(e)}") from None


def _words(error: Exception) -> str:
    """What is wrong with a message: the field and the type that was expected.

    A UnicodeDecodeError gets a fixed text, because its own text would quote the message.
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error) if isinstance(error, msgspec.MsgspecError) else "not UTF-8 text"


def _read_connected(message: bytes) -> Connected:
    connected = _decode_connected(message)
    return Connected(connected.protocol, connected.version)


def _read_start(message: bytes) -> Started:
    told = _decode_start(message)
    start, media_format = told.start, told.start.media_format
    if not (stream_sid := start.stream_sid or told.stream_sid):
        raise TwilioProtocolError("Twilio's start message names no streamSid")
    return Started(
        StreamSid(stream_sid),
        CallSid(start.call_sid),
        start.account_sid,
        start.tracks,
        media_format.encoding,
        media_format.sample_rate,
        media_format.channels,
        start.custom_parameters,
    )


def _read_mark(message: bytes) -> MarkReturned:
    return MarkReturned(_decode_mark(message).mark.name)


def _read_dtmf(message: bytes) -> DigitPressed:
    return DigitPressed(str(_decode_dtmf(message).dtmf.digit))


def _read_stop(message: bytes) -> Stopped:
    return Stopped(CallSid(_decode_stop(message).stop.call_sid))


_RARE: dict[str, Callable[[bytes], Event]] = {
    "connected": _read_connected,
    "start": _read_start,
    "mark": _read_mark,
    "dtmf": _read_dtmf,
    "stop": _read_stop,
}


def media(stream_sid: str, mulaw: bytes) -> bytes:
    """The message that plays `mulaw` at 8 kHz. Any length is allowed, but whole frames of 160 bytes play best."""
    return b'{"event":"media","streamSid":%b,"media":{"payload":"%b"}}' % (
        _quote(stream_sid),
        pybase64.b64encode(mulaw),
    )


def mark(stream_sid: str, name: str) -> bytes:
    """The message that Twilio sends back when the audio before it has been played or cleared."""
    return b'{"event":"mark","streamSid":%b,"mark":{"name":%b}}' % (_quote(stream_sid), _quote(name))


def play(stream_sid: str, mulaw: bytes, receipt: str | None) -> list[bytes]:
    """The messages that play `mulaw`. If `receipt` is given, a mark of this name follows the audio."""
    message = media(stream_sid, mulaw)
    return [message] if receipt is None else [message, mark(stream_sid, receipt)]


def clear(stream_sid: str) -> bytes:
    """The message that makes Twilio drop the audio that it has not played. Twilio then sends all marks back at once."""
    return b'{"event":"clear","streamSid":%b}' % _quote(stream_sid)
