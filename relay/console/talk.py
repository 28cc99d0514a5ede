"""Serves the page "Talk to it": begins a test call, and says how the call has ended."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import msgspec
import phonenumbers
from quart import Response, request

from relay.call.vocabulary import EndReason
from relay.console import wording
from relay.console.guard import LOOPBACK_NAMES
from relay.settings import Settings

# Sentences that the page can say for the owner, in the order of a first conversation. The stand-in model understands
# them. Their sound comes from the stand-ins' clips.
CLIPS_DIR = Path(__file__).parents[1] / "standin" / "speech" / "clips"
SENTENCES = {
    "ask_hours": "Ask for the hours",
    "oh_wait": "Interrupt it",
    "ask_booking": "Book a table",
    "yes_right": "Say yes",
    "ask_human": "Ask for a person",
    "bye": "Say goodbye",
}


_LOST = {
    EndReason.CALLER_SOCKET_LOST: "the connection to your browser was lost",
    EndReason.CALLER_SOCKET_STALLED: "your browser took no more sound",
    EndReason.NO_CALLER_AUDIO: "your browser sent nothing any more",
    EndReason.TWILIO_PROTOCOL: "your browser sent sound faster than time passes",
}


@dataclass(frozen=True)
class Rung:
    """The answer to a ring: a test call has begun.

    The page must open the socket at the path `socket`. `machine` is the machine that has the call.
    """

    call_sid: str
    socket: str
    machine: str


@dataclass(frozen=True)
class TurnedAway:
    """The answer to a ring: no call is possible. `words` tell the owner why."""

    words: str


@dataclass(frozen=True)
class Ended:
    """How a call ended. `reason` is None if the call never began.

    `human` is the number that would be dialled. `whisper` is what the person at that phone would hear.
    """

    reason: EndReason | None
    human: str = ""
    whisper: str = ""
    is_lost: bool = False  # True if a phone call would go on with a new stream.


class Calls(Protocol):
    """Runs the test calls of the page."""

    def ring(self, number: str, *, is_real: bool) -> Rung | TurnedAway:
        """Begin a call. `number` is the caller's number. "" stands for a hidden number.

        If `is_real`, the call books in the real diary.
        """

    def ended(self, call_sid: str) -> Ended | None:
        """How a test call ended. None if this process does not know such a call."""

    def elsewhere(self, machine: str, failed: str | None) -> dict[str, str] | None:
        """The header that sends a request to the machine that has the call. None if this machine must answer."""


@dataclass(frozen=True)
class Clip:
    """A sentence that the page says for the owner."""

    name: str
    label: str
    text: str


class TalkPage:
    """The routes of the page. `page` fills a template."""

    def __init__(self, settings: Settings, calls: Calls | None, page: Callable[..., Response]) -> None:
        self._settings, self._calls, self._page = settings, calls, page

    async def show(self) -> Response:
        """The page itself."""
        settings = self._settings
        return self._page("talk.html", settings=settings, clips=clips_of(settings), number=example_number(settings))

    async def ring(self) -> Response:
        """Begin a call. Answers with JSON: the path of the socket, or a text that says why there is no call."""
        if self._calls is None:
            return _json({"words": "This relay takes no calls from a browser."}, 503)
        form = await request.form
        got = self._calls.ring(form.get("number", "")[:40], is_real=form.get("real") == "yes")
        if isinstance(got, TurnedAway):
            # The status is 200, because the browser would show any other status as an error in its developer console.
            return _json({"words": got.words})
        end = f"/console/talk/{got.call_sid}?machine={quote(got.machine)}"
        return _json({"socket": got.socket, "end": end})

    async def ended(self, call_sid: str) -> Response:
        """How a call ended. Answers with JSON: a text for the owner, and the URL of the call's page."""
        if self._calls is None:
            return _json({"words": "This relay takes no calls from a browser."}, 503)
        machine, failed = request.args.get("machine", ""), request.headers.get("fly-replay-failed")
        if there := self._calls.elsewhere(machine, failed):
            return Response("", 307, there)
        found = self._calls.ended(call_sid)
        if found is None:
            return _json({"words": "This relay does not know the call. It may have restarted."}, 404)
        return _json({"words": words_of(found), "href": f"/console/calls/{call_sid}" if found.reason else ""})

    async def clip(self, name: str) -> Response:
        """A sentence of the stand-in's callers: raw mu-law at 8 kHz."""
        if name not in {clip.name for clip in clips_of(self._settings)}:
            return Response("there is no such sentence\n", 404, content_type="text/plain; charset=utf-8")
        return Response((CLIPS_DIR / f"{name}.ulaw").read_bytes(), content_type="application/octet-stream")


def clips_of(settings: Settings) -> tuple[Clip, ...]:
    """The sentences to offer. Empty if a real model answers, because it understands any sentence.

    A model on this machine is taken for the stand-in.
    """
    return _clips() if urlsplit(settings.openai_realtime_url).hostname in LOOPBACK_NAMES else ()


@cache
def _clips() -> tuple[Clip, ...]:
    try:
        texts = tomllib.loads((CLIPS_DIR / "index.toml").read_text("utf-8"))["caller"]
    except OSError:
        return ()  # This relay was installed without the stand-ins.
    return tuple(Clip(name, label, texts[name]) for name, label in SENTENCES.items())


def example_number(settings: Settings) -> str:
    """An example number of the business's country, in E.164. "" if there is none."""
    found = phonenumbers.example_number(settings.business_country)
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164) if found is not None else ""


def words_of(ended: Ended) -> str:
    """The text that the owner reads when the call has ended."""
    if ended.reason is None:
        return "The call did not begin: its connection was not opened. Press Call again."
    if ended.human:
        person = wording.short_number(ended.human)
        why = "" if ended.reason is EndReason.TRANSFERRED else f" ({wording.ending(ended.reason)})"
        rings = f"A caller would be put through now{why}: the phone {person} would ring."
        return f"{rings} Whoever takes it would hear: “{ended.whisper}”"
    if ended.reason is EndReason.CALLER_HUNG_UP:
        return "You hung up."
    if ended.is_lost:
        why = _LOST.get(ended.reason, wording.ending(ended.reason))
        return f"The call broke off: {why}. A caller on the phone would be taken up again by the agent."
    return f"{wording.ending(ended.reason)}."


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(told), status, content_type="application/json")
