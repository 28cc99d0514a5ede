"""Makes TwiML, the documents that tell Twilio what to do with a call. Pure.

The twilio package would make the same XML, and tests compare both. The relay does not use the twilio package, because
that package needs four HTTP libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

MAX_BYTES = 64 * 1024  # The longest answer to a webhook. For a longer answer, Twilio reports error 11750.
MAX_PARAMETER_CHARS = 499  # A parameter's name and value together may have this many characters.
ACCEPT_WAIT_S = 8  # How long the human may take to press a key after the whisper.
ALL_LEG_EVENTS = "initiated ringing answered completed"

# Characters that XML 1.0 cannot contain, not even escaped. The model's summary of a call may contain such a character.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class TwimlError(ValueError):
    """Twilio would refuse this document."""


class UrlNotAbsolute(TwimlError):
    """A URL has no host, or a wrong scheme. In an update of a running call, Twilio would answer with error 15004."""


class TooLong(TwimlError):
    """A text or a document is longer than Twilio allows."""


def connect_stream(stream_url: str, status_callback: str, after_url: str, parameters: Mapping[str, str]) -> str:
    """Stream the call to `stream_url` (wss, no query).

    When the stream has ended, Twilio asks `after_url` what comes next. Twilio puts `parameters` into its start message.
    A name and its value together have fewer than 500 characters.
    """
    if "?" in stream_url or "#" in stream_url:
        raise TwimlError("Twilio takes no query in a stream's URL (error 31920): use the path or a parameter")
    response = ET.Element("Response")
    attributes = {
        "url": _absolute(stream_url, "wss", "ws"),
        "statusCallback": _web(status_callback),
        "statusCallbackMethod": "POST",
    }
    stream = ET.SubElement(ET.SubElement(response, "Connect"), "Stream", attributes)
    for name, value in parameters.items():
        if len(name) + len(value) > MAX_PARAMETER_CHARS:
            raise TooLong(f"the stream parameter {name} and its value have more than {MAX_PARAMETER_CHARS} characters")
        ET.SubElement(stream, "Parameter", {"name": _clean(name), "value": _clean(value)})
    _text(response, "Redirect", _web(after_url), method="POST")
    return _render(response)


def dial_human(
    number: str,
    caller_id: str,
    whisper_url: str,
    action_url: str,
    status_url: str,
    timeout_s: int,
    limit_s: int,
    say: str | None = None,
) -> str:
    """Ring the human. The human hears the document of `whisper_url` before the caller is connected.

    At the end Twilio asks `action_url` what comes next. The phone rings for `timeout_s`, and Twilio adds about 5 s. The
    caller and the human may talk for `limit_s`. The caller hears `say` before the phone rings.
    """
    response = ET.Element("Response")
    if say:
        _text(response, "Say", say)
    dial = ET.SubElement(response, "Dial", _dial_attributes(caller_id, action_url, timeout_s, limit_s))
    _text(
        dial,
        "Number",
        number,
        url=_web(whisper_url),
        method="POST",
        statusCallback=_web(status_url),
        statusCallbackMethod="POST",
        statusCallbackEvent=ALL_LEG_EVENTS,
    )
    return _render(response)


def whisper(text: str, accept_url: str) -> str:
    """Say `text` to the human. If the human presses a key within ACCEPT_WAIT_S, Twilio asks `accept_url`.

    Otherwise Twilio hangs up on the human.
    """
    response = ET.Element("Response")
    attributes = {"numDigits": "1", "timeout": str(ACCEPT_WAIT_S), "action": _web(accept_url), "method": "POST"}
    _text(ET.SubElement(response, "Gather", attributes), "Say", text)
    ET.SubElement(response, "Hangup")
    return _render(response)


def record_message(text: str, action_url: str, status_url: str, limit_s: int) -> str:
    """Say `text`, beep, and record up to `limit_s`. Then Twilio asks `action_url`. If nothing was recorded, hang up.

    Twilio calls `status_url` when the recording can be fetched.
    """
    response = ET.Element("Response")
    _text(response, "Say", text)
    attributes = {
        "action": _web(action_url),
        "method": "POST",
        "maxLength": str(limit_s),
        "playBeep": "true",
        "recordingStatusCallback": _web(status_url),
        "recordingStatusCallbackMethod": "POST",
    }
    ET.SubElement(response, "Record", attributes)
    ET.SubElement(response, "Hangup")
    return _render(response)


def fallback(number: str, text: str, caller_id: str = "") -> str:
    """The document for the fallback URL. Twilio uses it when no relay answers, so it contains no URL of the relay.

    `caller_id` is a number of ours. Without `caller_id`, Twilio shows the caller's number to the human, and refuses
    callers without a number (SIP, client).
    """
    response = ET.Element("Response")
    _text(response, "Say", text)
    _text(response, "Dial", number, **({"callerId": _clean(caller_id)} if caller_id else {}))
    ET.SubElement(response, "Hangup")
    return _render(response)


def say_and_hang_up(text: str) -> str:
    """Say `text`, then end the call."""
    response = ET.Element("Response")
    _text(response, "Say", text)
    ET.SubElement(response, "Hangup")
    return _render(response)


def hang_up() -> str:
    """End the call."""
    return _render(_response_with("Hangup"))


def reject(reason: str = "") -> str:
    """Refuse the call without answering it, so that it costs nothing. With "busy" the caller hears a busy line."""
    response = ET.Element("Response")
    ET.SubElement(response, "Reject", {"reason": reason} if reason else {})
    return _render(response)


def empty() -> str:
    """A document without verbs. It answers a status callback.

    If it answers the key that a human has pressed, Twilio connects the human with the caller.
    """
    return _render(ET.Element("Response"))


def _response_with(verb: str) -> ET.Element:
    response = ET.Element("Response")
    ET.SubElement(response, verb)
    return response


def _dial_attributes(caller_id: str, action_url: str, timeout_s: int, limit_s: int) -> dict[str, str]:
    return {
        "action": _web(action_url),
        "method": "POST",
        "timeout": str(timeout_s),
        "timeLimit": str(limit_s),
        "callerId": _clean(caller_id),
        "answerOnBridge": "true",
    }


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = _clean(text)


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)


def _web(url: str) -> str:
    return _absolute(url, "https", "http")


def _absolute(url: str, *schemes: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise UrlNotAbsolute(f"not an absolute {schemes[0]}:// URL: {url[:40]!r}")
    return _clean(url)


def _render(response: ET.Element) -> str:
    document = '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(response, encoding="unicode")
    if (n_bytes := len(document.encode())) > MAX_BYTES:
        raise TooLong(f"the TwiML has {n_bytes} bytes; Twilio takes {MAX_BYTES}")
    return document
