"""Reads a TwiML document as Twilio does.

Returns the verbs in order, or raises an error with Twilio's code and the broken rule. Pure. Sources:
docs/protocol/twilio.md 1.2 (what counts as TwiML), 1.3 (the stream), 4 (TwiML in a request to REST), 5.1 (dialling). A
verb or noun that Twilio knows and this stand-in cannot run is refused by name. It is never skipped.
"""

from __future__ import annotations

import ipaddress
import re
import xml.etree.ElementTree as ET
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from relay.standin.twilio.media_stream import PARAMETER_LIMIT
from relay.standin.twilio.twiml_verbs import (
    Connect,
    Dial,
    Document,
    Gather,
    Hangup,
    Number,
    Pause,
    Play,
    Prompt,
    Record,
    Redirect,
    Reject,
    Say,
    Verb,
)

DOCUMENT_LIMIT = 64 * 1024
INLINE_LIMIT = 4_000
NUMBERS_LIMIT = 10
"""Up to ten <Number> ring at the same time."""


class TwimlRefused(Exception):
    """The stand-in does not run this document: Twilio would refuse it, or the stand-in cannot run it.

    `code` is Twilio's error code.
    """

    def __init__(self, code: int, rule: str) -> None:
        super().__init__(f"{code}: {rule}")
        self.code, self.rule = code, rule


class NotPlayed(TwimlRefused):
    """A verb or noun that this stand-in cannot run. Twilio may be able to run it."""

    def __init__(self, name: str) -> None:
        super().__init__(12200, f"<{name}> is not played by the stand-in Twilio")
        self.name = name


_RECORDING = (
    "recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent recordingConfigurationId"
)
_ATTRIBUTES = {
    name: frozenset(words.split())
    for name, words in {
        "Response": "",
        "Say": "voice loop language",
        "Play": "loop digits",
        "Pause": "length",
        "Gather": "input action method timeout speechTimeout maxSpeechTime profanityFilter finishOnKey numDigits"
        " partialResultCallback partialResultCallbackMethod language hints bargeIn debug actionOnEmptyResult"
        " speechModel enhanced",
        "Dial": "action method timeout hangupOnStar timeLimit callerId record trim answerOnBridge ringTone"
        f" recordingTrack sequential referUrl referMethod events passports {_RECORDING}",
        "Number": "sendDigits url method statusCallbackEvent statusCallback statusCallbackMethod byoc machineDetection"
        " amdStatusCallbackMethod amdStatusCallback machineDetectionTimeout machineDetectionSpeechThreshold"
        " machineDetectionSpeechEndThreshold machineDetectionSilenceTimeout",
        "Record": "action method timeout finishOnKey maxLength playBeep trim transcribe transcribeCallback "
        + _RECORDING,
        "Hangup": "",
        "Reject": "reason",
        "Redirect": "method",
        "Connect": "action method",
        "Stream": "name connectorName url track statusCallback statusCallbackMethod audioFormat sampleRate",
        "Parameter": "name value",
    }.items()
}
"""The attributes that Twilio's own library can write. Any other attribute gives warning 12200. Capitals matter."""

_TWIML_TYPES = ("text/xml", "application/xml", "text/html")
_WHISPER_VERBS = (Say, Play, Gather, Hangup)
_NUMBER = re.compile("[0-9]{1,9}")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_DIAL_MAX_S = 86_400


def interpret(body: bytes, content_type: str, url: str, *, inline: bool = False, whisper: bool = False) -> Document:
    """Read a TwiML document that came from `url`.

    If `inline`, the document came in a REST request. Then it may have no relative URL, and at most 4,000 characters. If
    `whisper`, it runs on the leg of a dialled human. Then only Say, Play, Gather and Hangup are allowed. Raises
    TwimlRefused.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if len(body) > DOCUMENT_LIMIT:
        raise TwimlRefused(11750, f"a document has {DOCUMENT_LIMIT} bytes at most, this one has {len(body)}")
    if inline and len(body.decode("utf-8", "replace")) > INLINE_LIMIT:
        raise TwimlRefused(32018, f"inline TwiML has {INLINE_LIMIT} characters at most")
    if kind == "text/plain":
        return _plain(body, url, inline, whisper)
    if kind.startswith("audio/"):
        raise TwimlRefused(12200, f"a document of {kind} is not played by the stand-in Twilio: let <Play> ask for it")
    if kind not in _TWIML_TYPES:
        raise TwimlRefused(12300, f"the content type must be text/xml, not {content_type or 'missing'}")
    return _Reader(url, inline).document(body, whisper)


def _plain(body: bytes, url: str, inline: bool, whisper: bool) -> Document:
    """A text/plain document is run if it is TwiML. Otherwise Twilio reads it aloud (docs/protocol/twilio.md 1.2)."""
    try:
        return _Reader(url, inline).document(body, whisper)
    except TwimlRefused as refused:
        if refused.code != 12100:
            raise
        return Document(url, (Say(body.decode("utf-8", "replace").strip(), 1),), ())


class _Reader:
    def __init__(self, url: str, inline: bool) -> None:
        self._url, self._inline = url, inline
        self._warnings: list[tuple[int, str]] = []

    def document(self, body: bytes, whisper: bool) -> Document:
        try:
            root = ET.fromstring(body)  # noqa: S314 -- the relay under test wrote it, and it is at most 64 kB
        except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding.
            raise TwimlRefused(12100, f"the document is not XML: {error}") from error
        if root.tag != "Response":
            raise TwimlRefused(12100, f"the root must be <Response>, not <{root.tag}>")
        self._attributes(root)
        verbs = tuple(self._verb(element) for element in root)
        if whisper:
            for element, verb in zip(root, verbs, strict=True):
                if not isinstance(verb, _WHISPER_VERBS):
                    raise TwimlRefused(12200, f"<{element.tag}> is not allowed in a <Number> url's document")
        return Document(self._url, verbs, tuple(self._warnings))

    def _verb(self, element: ET.Element) -> Verb:
        read = {
            "Say": self._prompt,
            "Play": self._prompt,
            "Pause": self._prompt,
            "Gather": self._gather,
            "Dial": self._dial,
            "Record": self._record,
            "Hangup": self._hangup,
            "Reject": self._reject,
            "Redirect": self._redirect,
            "Connect": self._connect,
        }.get(element.tag)
        if read is None:
            raise NotPlayed(element.tag)
        self._attributes(element)
        return read(element)

    def _prompt(self, element: ET.Element) -> Prompt:
        if element.tag == "Pause":
            self._no_children(element)
            return Pause(self._int(element, "length", 1, 1, 3600))
        loop = self._int(element, "loop", 1, 0, 1000)
        if element.tag == "Say":
            return Say(" ".join("".join(element.itertext()).split()), loop)
        self._no_children(element)
        url, digits = (element.text or "").strip(), element.get("digits", "")
        if not url and not digits:
            raise TwimlRefused(12200, "<Play> has neither a URL nor digits")
        return Play(self._absolute(url, "Play") if url else "", digits, loop)

    def _gather(self, element: ET.Element) -> Gather:
        prompts = []
        for child in element:
            if child.tag not in ("Say", "Play", "Pause"):
                raise TwimlRefused(13321, f"<Gather> cannot hold <{child.tag}>")
            self._attributes(child)
            prompts.append(self._prompt(child))
        inputs = element.get("input", "dtmf").split()
        if not inputs or set(inputs) - {"dtmf", "speech"}:
            raise TwimlRefused(12200, f"<Gather input> is {element.get('input')!r}")
        num_digits = self._int(element, "numDigits", 0, 1, 1000)
        return Gather(
            prompts=tuple(prompts),
            speech="speech" in inputs,
            dtmf="dtmf" in inputs,
            timeout_s=self._int(element, "timeout", 5, 0, 600),
            num_digits=num_digits or None,
            finish_on_key=element.get("finishOnKey", "#"),
            action=self._link(element, "action") or self._own_url(),
            method=self._method(element, "method"),
            action_on_empty=self._bool(element, "actionOnEmptyResult", False),
        )

    def _dial(self, element: ET.Element) -> Dial:
        numbers = [self._number(child) for child in element]
        if text := (element.text or "").strip():
            if numbers:
                raise TwimlRefused(12200, "<Dial> has both a number in its text and nouns")
            numbers = [self._bare_number(text)]
        if not 1 <= len(numbers) <= NUMBERS_LIMIT:
            raise TwimlRefused(13223, f"<Dial> needs 1 to {NUMBERS_LIMIT} numbers, this one has {len(numbers)}")
        caller_id = element.get("callerId", "")
        if caller_id and not _E164.fullmatch(caller_id):
            raise TwimlRefused(13214, f"<Dial callerId> is no E.164 number: {caller_id!r}")
        return Dial(
            numbers=tuple(numbers),
            sequential=self._bool(element, "sequential", False),
            action=self._link(element, "action"),
            method=self._method(element, "method"),
            timeout_s=self._int(element, "timeout", 30, 5, 600),
            time_limit_s=self._int(element, "timeLimit", 14_400, 1, _DIAL_MAX_S),
            caller_id=caller_id,
            answer_on_bridge=self._bool(element, "answerOnBridge", False),
        )

    def _number(self, element: ET.Element) -> Number:
        if element.tag != "Number":
            raise NotPlayed(element.tag)
        self._attributes(element)
        self._no_children(element)
        events = tuple(element.get("statusCallbackEvent", "completed").split())
        if unknown := set(events) - {"initiated", "ringing", "answered", "completed"}:
            raise TwimlRefused(12200, f"<Number statusCallbackEvent> has {sorted(unknown)}")
        bare = self._bare_number((element.text or "").strip())
        return Number(
            number=bare.number,
            url=self._link(element, "url"),
            method=self._method(element, "method"),
            send_digits=element.get("sendDigits", ""),
            status_callback=self._link(element, "statusCallback", absolute=True),
            status_method=self._method(element, "statusCallbackMethod"),
            status_events=events,
        )

    def _bare_number(self, text: str) -> Number:
        if not _E164.fullmatch(text):
            raise TwimlRefused(13223, f"not an E.164 number to dial: {text!r}")
        return Number(text, "", "POST", "", "", "POST", ("completed",))

    def _record(self, element: ET.Element) -> Record:
        self._no_children(element)
        return Record(
            action=self._link(element, "action") or self._own_url(),
            method=self._method(element, "method"),
            timeout_s=self._int(element, "timeout", 5, 1, 600),
            max_length_s=self._int(element, "maxLength", 3600, 1, 14_400),
            finish_on_key=element.get("finishOnKey", "1234567890*#"),
            play_beep=self._bool(element, "playBeep", True),
            status_callback=self._link(element, "recordingStatusCallback", absolute=True),
            status_method=self._method(element, "recordingStatusCallbackMethod"),
        )

    def _hangup(self, element: ET.Element) -> Hangup:
        self._parameters(element)
        return Hangup()

    def _reject(self, element: ET.Element) -> Reject:
        self._parameters(element)
        match element.get("reason", "rejected"):
            case "rejected":
                return Reject("rejected")
            case "busy":
                return Reject("busy")
            case other:
                raise TwimlRefused(12200, f"<Reject reason> is {other!r}")

    def _redirect(self, element: ET.Element) -> Redirect:
        self._no_children(element)
        url = (element.text or "").strip()
        return Redirect(self._absolute(url, "Redirect") if url else self._own_url(), self._method(element, "method"))

    def _connect(self, element: ET.Element) -> Connect:
        children = list(element)
        if len(children) != 1:
            raise TwimlRefused(12200, f"<Connect> needs one noun, this one has {len(children)}")
        stream = children[0]
        if stream.tag != "Stream":
            raise NotPlayed(stream.tag)
        self._attributes(stream)
        url, fault = self._stream_url(stream.get("url", ""))
        if stream.get("track", "inbound_track") != "inbound_track":
            fault = (31941, f"<Connect><Stream track> must be inbound_track, not {stream.get('track')!r}")
        return Connect(
            url=url,
            name=stream.get("name", ""),
            parameters=self._parameters(stream),
            status_callback=self._link(stream, "statusCallback", absolute=True),
            status_method=self._method(stream, "statusCallbackMethod"),
            action=self._link(element, "action"),
            method=self._method(element, "method"),
            fault=fault,
        )

    def _stream_url(self, text: str) -> tuple[str, tuple[int, str] | None]:
        """The URL of the socket to open. It must be wss (or ws on this machine). Its query is removed, as Twilio
        removes it."""
        if not text:
            return "", (31923, "<Stream> has no url")
        base = self._url.replace("https://", "wss://", 1).replace("http://", "ws://", 1)
        if _split(text) is None:
            return text, (31923, f"a <Stream url> that cannot be read: {text!r}")
        parts = urlsplit(text if self._inline else urljoin(base, text))
        if parts.query:
            self._warnings.append((31920, "the query of a <Stream url> is thrown away: use <Parameter>"))
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            return url, (31923, f"a <Stream url> begins with wss://: {text!r}")
        if parts.scheme == "ws" and not _loopback(parts.hostname):
            return url, (31910, f"a <Stream url> is wss, not ws: {text!r}")
        return url, None

    def _parameters(self, element: ET.Element) -> dict[str, str]:
        found: dict[str, str] = {}
        for child in element:
            if child.tag != "Parameter":
                raise TwimlRefused(12200, f"<{element.tag}> cannot hold <{child.tag}>")
            self._attributes(child)
            name, value = child.get("name", ""), child.get("value", "")
            if len(name) + len(value) >= PARAMETER_LIMIT:
                raise TwimlRefused(12200, f"<Parameter name={name[:40]!r}> and its value have 500 characters or more")
            found[name] = value
        return found

    def _link(self, element: ET.Element, name: str, *, absolute: bool = False) -> str:
        """A URL attribute, made absolute. Empty if it is missing."""
        text = element.get(name, "").strip()
        given = _split(text)
        if text and absolute and given is not None and not given.scheme:
            raise TwimlRefused(11100, f"<{element.tag} {name}> must be an absolute URL: {text!r}")
        return self._absolute(text, f"{element.tag} {name}") if text else ""

    def _absolute(self, text: str, where: str) -> str:
        given = _split(text)
        if given is None:
            raise TwimlRefused(11100, f"<{where}> is a URL that cannot be read: {text!r}")
        if self._inline and not given.scheme:
            raise TwimlRefused(15004, f"<{where}> must be an absolute URL in inline TwiML: {text!r}")
        url = urljoin(self._url, text)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TwimlRefused(11100, f"<{where}> is no http or https URL: {text!r}")
        if "_" in parts.hostname:
            raise TwimlRefused(11210, f"<{where}> has an underscore in its host name: {text!r}")
        return url

    def _own_url(self) -> str:
        """This document's URL, for a verb without an action. An inline document has no URL to ask."""
        if self._inline:
            raise TwimlRefused(15004, "inline TwiML needs an absolute action URL here")
        return self._url

    def _attributes(self, element: ET.Element) -> None:
        for name in sorted(set(element.keys()) - _ATTRIBUTES[element.tag]):
            self._warnings.append((12200, f"<{element.tag}> has no attribute {name!r}"))

    def _no_children(self, element: ET.Element) -> None:
        if len(element):
            raise TwimlRefused(12200, f"<{element.tag}> cannot hold <{element[0].tag}>")

    def _int(self, element: ET.Element, name: str, default: int, least: int, most: int) -> int:
        text = element.get(name)
        if text is None or (text == "auto" and (element.tag, name) == ("Gather", "timeout")):
            return default
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise TwimlRefused(12200, f"<{element.tag} {name}> must be {least} to {most}, not {text!r}")
        return int(text)

    def _bool(self, element: ET.Element, name: str, default: bool) -> bool:
        text = element.get(name)
        if text is None:
            return default
        if text.lower() not in ("true", "false"):
            raise TwimlRefused(12200, f"<{element.tag} {name}> must be true or false, not {text!r}")
        return text.lower() == "true"

    def _method(self, element: ET.Element, name: str) -> str:
        method = element.get(name, "POST").upper()
        if method not in ("GET", "POST"):
            raise TwimlRefused(12200, f"<{element.tag} {name}> must be GET or POST, not {method!r}")
        return method


def _split(text: str) -> SplitResult | None:
    """A URL's parts, relative or not. None for a broken IPv6 address or a wrong port."""
    try:
        parts = urlsplit(text)
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
