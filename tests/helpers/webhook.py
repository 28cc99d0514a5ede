"""Sends webhooks to a play's relay as Twilio does, and reads the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import httpx

from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.session.call_file import Caller, CallFile, Decision
from relay.twilio.caller_id import Attestation, CallerId
from relay.twilio.signature import SIGNATURE_HEADER, sign
from tests.helpers.play import ACCOUNT, NUMBER, PUBLIC_URL, Play

SID = CallSid("CA" + "1" * 32)
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Document:
    """An answer: HTTP status and TwiML."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def verbs(self) -> list[str]:
        """The verbs of the document, in order."""
        return [verb.tag for verb in ET.fromstring(self.text)]

    def all(self, tag: str) -> list[ET.Element]:
        """The elements of this name, anywhere in the document."""
        return list(ET.fromstring(self.text).iter(tag))

    def said(self) -> str:
        """All words that Twilio reads out."""
        return " ".join(each.text or "" for each in self.all("Say"))


async def ask(
    play: Play,
    path: str,
    fields: dict[str, str] | None = None,
    *,
    method: str = "POST",
    signature: str | None = "right",
    body: bytes | None = None,
    content_type: str = FORM,
    headers: Mapping[str, str] | None = None,
) -> Document:
    """Send a request to a webhook. `path` may have a query.

    `signature` is sent as it is. "right" stands for the correct one, and None for no signature.
    """
    form = {
        "AccountSid": ACCOUNT.sid,
        "CallSid": SID,
        "From": "+12125550101",
        "To": NUMBER,
        "CallStatus": "in-progress",
    }
    form |= fields or {}
    if method == "GET":
        path, form = f"{path}{'&' if '?' in path else '?'}{urlencode(form)}", {}
    if signature == "right":
        signature = sign(ACCOUNT.auth_token, f"{PUBLIC_URL}{path}", form.items())
    sent = {"Content-Type": content_type, **(headers or {})}
    sent |= {SIGNATURE_HEADER: signature} if signature is not None else {}
    content = body if body is not None else urlencode(form).encode() if method == "POST" else None
    transport = httpx.ASGITransport(cast(Any, play.daemon.app))
    async with httpx.AsyncClient(transport=transport) as client:
        got = await client.request(method, f"{PUBLIC_URL}{path}", headers=sent, content=content)
    return Document(got.status_code, got.text, got.headers)


def caller(number: str = "+12125550101") -> Caller:
    """Somebody who rings our number."""
    return Caller(CallerId(number, number, Attestation.PASSED, is_attested=True), NUMBER, "CA")


def call_file(play: Play, *, streams: int = 1, then: Next = Next.HUMAN, **known: Any) -> CallFile:
    """Make the file of a call whose stream has ended.

    `known` has the caller's number, and fields of the file or of its decision.
    """
    file = play.daemon.desk.open_file(SID, caller(known.pop("number", "+12125550101")), "US", 0.0)
    decided = {name: known.pop(name) for name in ("reason", "why", "summary") if name in known}
    file.streams, file.decision = streams, Decision(then, **decided)
    for name, value in known.items():
        setattr(file, name, value)
    return file


class OpenStream:
    """A stream that is open until `end` or `close_rows` is called."""

    def __init__(self, file: CallFile, then: Next = Next.RESUME) -> None:
        self._file, self._then = file, then
        self.stream_sid = "MZ" + "9" * 32
        self.is_decided = False
        self.ended: list[EndReason] = []
        file.stream_opens(self)

    def end(self, reason: EndReason) -> None:
        """See call_file.Stream."""
        self.ended.append(reason)
        self.is_decided = True
        self._file.decide(Decision(self._then, reason))

    def end_unless_told(self, reason: EndReason) -> None:
        """See call_file.Stream."""
        self.end(reason)

    def close_rows(self) -> None:
        """See call_file.Stream."""
        self._file.stream_closes(self)
