"""Writes news as text: first what to do, then the facts (pure). mail.py makes plain text and HTML from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from relay.ledger.rows import Json


@dataclass(frozen=True, slots=True)
class Item:
    """A row of the outbox that is being sent. `sequence` is the number of earlier news about the same booking."""

    news: str  # The id of the news.
    channel: str
    kind: str
    body: Json
    created_at: datetime
    call_sid: str | None = None
    sequence: int = 0
    tries: int = 1
    members: tuple[Item, ...] = ()  # For a digest: the news in it.


@dataclass(frozen=True, slots=True)
class Letter:
    """News as text. `do` says what to do. `facts` are pairs of a name and a value, the most important first."""

    subject: str
    do: str
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    words: str = field(default="", repr=False)  # The text of a message or of a call back.


_DONE = {"booked": "New booking", "moved": "Booking moved", "cancelled": "Booking cancelled"}


def letter(item: Item, public_url: str) -> Letter:
    """Write the text of this news."""
    body = {name: " ".join(str(value).split()) for name, value in item.body.items() if value is not None}
    who = body.get("name") or "A caller"
    at = body.get("phone") or "a hidden number"
    call = item.call_sid or body.get("call")
    link = f"{public_url}/console/calls/{call}" if call and public_url else ""
    phone = ("Phone", at)
    match item.kind:
        case "message":
            return Letter(
                f"Message from {who}, {at}",
                f"{who} left a message. Call back: {at}",
                (phone,),
                link,
                body.get("text", ""),
            )
        case "call_back":
            return Letter(
                f"Call back wanted: {who}, {at}", f"{who} wants a call back: {at}", (phone,), link, body.get("text", "")
            )
        case "booking":
            done = _DONE.get(body.get("done", ""), "Booking")
            when = body.get("when") or body.get("start") or ""
            facts = tuple(
                (label, body[name])
                for label, name in (("When", "when"), ("What", "service"), ("Notes", "notes"), ("Booking", "booking"))
                if body.get(name)
            )
            subject = f"{done}: {who}" + (f", {when}" if when else "")
            return Letter(subject, f"{done}: {who} ({at}). Nothing to do.", (*facts, phone), link)
        case "fault":
            return Letter(
                f"A call ended by a fault: {who}, {at}",
                f"Call {who} back if it matters: {at}. The call was cut off by a fault ({body.get('fault', '')}).",
                (phone, ("Fault", body.get("fault", ""))),
                link,
            )
        case "digest":
            return _digest(item)
        case _:
            return Letter(f"Alarm: {body.get('title', item.kind)}", body.get("do", "See the relay's log."), (), link)


def _digest(item: Item) -> Letter:
    """The first part of a digest. In the mail, the texts of its news follow."""
    bookings = sum(one.kind == "booking" for one in item.members)
    faults = len(item.members) - bookings
    told = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (faults, "call ended by a fault", "calls ended by a fault"),
            (bookings, "booking", "bookings"),
        )
        if count
    ]
    do = "Call back the callers whom a fault cut off, if it matters." if faults else "Nothing to do."
    return Letter(f"The day: {', '.join(told) or 'nothing'}", do)
