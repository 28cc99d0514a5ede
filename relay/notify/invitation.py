"""Makes the invitation in a mail about a booking, by RFC 5546 and 6047 (pure).

All invitations for a booking have the same UID. Each later invitation has a higher SEQUENCE. ORGANIZER is the sender of
the mail, and ATTENDEE is its reader.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from icalendar import Calendar, Event, vCalAddress, vText

from relay.notify.letter import Item

# The length of every event in minutes. News about a booking does not say how long the appointment is.
MINUTES = 60


def method_of(item: Item) -> str | None:
    """The METHOD of the invitation: REQUEST or CANCEL. None if there is no invitation.

    A REQUEST needs the id of a booking, and a start that can be read. A CANCEL needs only the id.
    """
    if item.kind != "booking" or not item.body.get("booking"):
        return None
    if item.body.get("done") == "cancelled":
        return "CANCEL"
    return "REQUEST" if _start(item, UTC) is not None else None


def invitation(item: Item, *, sender: str, reader: str, host: str, tz: tzinfo) -> bytes:
    """The calendar file with one event. Call this only if `method_of` is not None."""
    method = method_of(item)
    assert method is not None
    body = {name: " ".join(str(value).split()) for name, value in item.body.items() if value is not None}
    event = Event()
    event.add("uid", f"{body['booking']}@{host}")
    event.add("dtstamp", item.created_at.astimezone(UTC))
    event.add("sequence", item.sequence)
    event.add("summary", ": ".join(part for part in (body.get("service", "Booking"), body.get("name", "")) if part))
    event.add("description", "\n".join(filter(None, (body.get("phone", ""), body.get("notes", "")))))
    event.add("status", "CANCELLED" if method == "CANCEL" else "CONFIRMED")
    start = _start(item, tz)
    if start is not None:
        event.add("dtstart", start.astimezone(UTC))
        event.add("dtend", (start + timedelta(minutes=MINUTES)).astimezone(UTC))
    event.add("organizer", vCalAddress(f"mailto:{sender}"))
    attendee = vCalAddress(f"mailto:{reader}")
    attendee.params["ROLE"], attendee.params["PARTSTAT"] = vText("REQ-PARTICIPANT"), vText("ACCEPTED")
    event.add("attendee", attendee)
    calendar = Calendar()
    calendar.add("prodid", "-//relay//voice agent//EN")
    calendar.add("version", "2.0")
    calendar.add("method", method)
    calendar.add_component(event)
    made: bytes = calendar.to_ical()
    return made


def _start(item: Item, tz: tzinfo) -> datetime | None:
    """The start of a booking. A time without a UTC offset is local time of the business."""
    try:
        start = datetime.fromisoformat(str(item.body.get("start") or ""))
    except ValueError:
        return None
    return start if start.tzinfo is not None else start.replace(tzinfo=tz)
