"""Mails, invitations and signatures for the owner. No words of a caller get into a header."""

from __future__ import annotations

import base64
import datetime as dt
import email
import email.policy
import json
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
import vobject  # type: ignore[import-untyped] # it has no types
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from relay.ledger import rows as r
from relay.notify.backoff import PAUSES_S, pause_s
from relay.notify.letter import Item, letter
from relay.notify.mail import compose
from relay.notify.news import Caller, News
from relay.notify.signing import headers
from relay.notify.webhook import body_of
from relay.settings.webhook_secret import SecretUnreadable

NOW = dt.datetime(2026, 11, 24, 17, 30, tzinfo=dt.UTC)
JANE = Caller("Jane Doe", "+12125550111")


def item(kind: str, body: r.Json, *, sequence: int = 0) -> Item:
    return Item(f"CA1.{kind}.1", "email", kind, body, NOW, "CA1", sequence)


def mail(one: Item, business: str = "Harbor Table") -> EmailMessage:
    made = compose(
        one,
        sender="relay@example.com",
        reader="owner@example.com",
        business=business,
        public_url="https://relay.example.com",
        host="relay.example.com",
        tz=ZoneInfo("America/New_York"),
    )
    # Parse the bytes again, as the reader's mail program does.
    read = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    assert [part.defects for part in read.walk() if part.defects] == []
    return read


def text_of(read: EmailMessage, kind: str = "plain") -> str:
    part = read.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


# Mails


def test_the_mail_about_a_call_back_begins_with_what_to_do() -> None:
    read = mail(item("call_back", {"text": "Nobody took the call.", "name": "Jane Doe", "phone": "+12125550111"}))
    assert text_of(read).startswith("Jane Doe wants a call back: +12125550111\n")
    assert "https://relay.example.com/console/calls/CA1" in text_of(read)
    assert "Jane Doe wants a call back: +12125550111" in text_of(read, "html")
    assert read["Subject"] == "Call back wanted: Jane Doe, +12125550111"
    assert read["Message-ID"] == "<CA1.callback.1@relay.example.com>"


@pytest.mark.parametrize("kind", ["call_back", "message", "booking", "fault", "alarm"])
@pytest.mark.parametrize("public_url", ["https://relay.example.com", ""])
def test_each_mail_about_a_call_has_a_link_to_it_if_the_relay_has_a_public_url(kind: str, public_url: str) -> None:
    one = Item("x", "email", kind, {"call": "CA1"}, NOW, None if kind == "alarm" else "CA1")
    assert letter(one, public_url).link == (f"{public_url}/console/calls/CA1" if public_url else "")


def test_words_of_a_caller_are_not_interpreted_as_html() -> None:
    read = mail(item("message", {"text": "<script>alert(1)</script> & <b>bold</b>", "name": "<i>x", "phone": "+1"}))
    assert "<script>" not in text_of(read, "html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in text_of(read, "html")
    assert "<script>alert(1)</script>" in text_of(read)


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_words_of_a_caller_never_add_a_header_to_a_mail(words: str, name: str, business: str) -> None:
    words, name, business = (text.encode(errors="replace").decode() for text in (words, name, business))
    plain = mail(item("message", {"text": "x", "name": "y", "phone": "+1"}))
    evil = "x\r\nBcc: evil@example.com\r\n\r\n"
    read = mail(item("message", {"text": evil + words, "name": evil + name, "phone": "+1"}), business=evil + business)
    assert sorted(key.casefold() for key in read) == sorted(key.casefold() for key in plain)
    assert [address.addr_spec for address in read["To"].addresses] == ["owner@example.com"]
    assert [address.addr_spec for address in read["From"].addresses] == ["relay@example.com"]
    assert read["Bcc"] is None


def test_the_digest_begins_with_what_to_do_and_has_a_link_for_each_piece_of_news() -> None:
    booking: r.Json = {"booking": "17", "service": "Haircut", "start": "2026-11-26T10:00", "name": "Zoë Doe"}
    members = (
        item("booking", {"done": "booked", **booking}),
        item("fault", {"fault": "model_lost", "name": "Amir", "phone": "+12125550112"}),
        item("booking", {"done": "moved", **booking, "start": "2026-11-27T10:00"}, sequence=1),
        item("booking", {"done": "cancelled", "booking": "18"}, sequence=1),
    )
    read = mail(Item("digest.2026-11-24", "email", "digest", {"news": []}, NOW, members=members))
    assert read["Subject"] == "The day: 1 call ended by a fault, 3 bookings"
    assert text_of(read).startswith("Call back the callers whom a fault cut off, if it matters.\n")
    for kind in ("plain", "html"):
        assert "Call Amir back if it matters: +12125550112." in text_of(read, kind)
        assert text_of(read, kind).count("https://relay.example.com/console/calls/CA1") >= 4
    files = {str(part.get_filename()): str(part.get_content()) for part in read.iter_attachments()}
    assert sorted(files) == ["17.ics", "18.ics"]
    assert "METHOD:CANCEL" in files["18.ics"]
    assert "SEQUENCE:1" in files["17.ics"]
    assert "20261127T150000Z" in files["17.ics"]


# Invitations


def calendar_of(read: EmailMessage) -> tuple[str, Any]:
    (part,) = [part for part in read.walk() if part.get_content_type() == "text/calendar"]
    calendar = icalendar.Calendar.from_ical(str(part.get_content()))
    assert part.get_param("method") == str(calendar["METHOD"])
    assert part.get_content_charset() == "utf-8"
    (event,) = calendar.walk("VEVENT")
    # Another library reads the same values.
    other = vobject.readOne(str(part.get_content()), validate=True)
    assert other.method.value == str(calendar["METHOD"])
    assert (other.vevent.uid.value, other.vevent.sequence.value) == (event["UID"], str(event["SEQUENCE"]))
    assert other.vevent.summary.value == event["SUMMARY"]
    assert other.vevent.organizer.value == str(event["ORGANIZER"])
    if "DTSTART" in event:
        assert (other.vevent.dtstart.value, other.vevent.dtend.value) == (
            event.decoded("DTSTART"),
            event.decoded("DTEND"),
        )
    return str(calendar["METHOD"]), event


def test_the_mail_about_a_booking_has_an_invitation_that_later_versions_replace() -> None:
    booking: r.Json = {"booking": "17", "service": "Haircut", "start": "2026-11-26T10:00", "name": "Zoë; Doe"}
    method, made = calendar_of(mail(item("booking", {"done": "booked", **booking})))
    assert method == "REQUEST"
    assert made["DTSTART"].dt == dt.datetime(2026, 11, 26, 15, 0, tzinfo=dt.UTC)  # ten o'clock in New York
    assert made["SUMMARY"] == "Haircut: Zoë; Doe"
    assert (str(made["ORGANIZER"]), str(made["ATTENDEE"])) == ("mailto:relay@example.com", "mailto:owner@example.com")
    moved = item("booking", {"done": "moved", **booking, "start": "2026-11-27T10:00:00-05:00"}, sequence=1)
    method, later = calendar_of(mail(moved))
    assert (method, later["UID"], later["SEQUENCE"]) == ("REQUEST", made["UID"], made["SEQUENCE"] + 1)
    method, gone = calendar_of(mail(item("booking", {"done": "cancelled", "booking": "17"}, sequence=2)))
    assert (method, gone["UID"], gone["STATUS"], gone["SEQUENCE"]) == ("CANCEL", made["UID"], "CANCELLED", 2)


def test_the_mail_about_a_booking_without_a_time_has_no_invitation() -> None:
    read = mail(item("booking", {"done": "booked", "booking": "17", "start": "soon"}))
    assert [part.get_content_type() for part in read.walk()] == ["multipart/alternative", "text/plain", "text/html"]


# Signatures


OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.mark.parametrize("secrets", [OLD, f"{NEW},{OLD}"])
def test_a_signature_is_verified_by_the_standards_own_package(secrets: str) -> None:
    body = body_of(item("message", {"text": "naïve 😀"}))
    signed = headers("CA1.message.1", int(dt.datetime.now(dt.UTC).timestamp()), body, secrets)
    assert Webhook(OLD).verify(body, signed) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body + b" ", signed)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"3" * 32).decode()).verify(body, signed)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_%%%"])
def test_an_invalid_webhook_secret_is_refused(secret: str) -> None:
    with pytest.raises(SecretUnreadable):
        headers("x", 1, b"", secret)


# News


def test_news_has_the_same_id_however_often_it_is_recorded() -> None:
    news = News(["email", "webhook"], lambda: NOW)
    message = r.MessageRow(call_sid="CA1", seq=3, name="Jane", phone="+1", text="Call me.")
    assert [(row.news, row.channel, row.kind) for row in news.of(message, JANE)] == [
        ("CA1.message.3", "email", "message"),
        ("CA1.message.3", "webhook", "message"),
    ]
    assert news.of(message, JANE) == news.of(message, JANE)
    nobody = r.MessageRow(call_sid="CA1", seq=0, text="Call back: nobody took it.", created_at=NOW)
    recorded = r.MessageRow(call_sid="CA1", seq=0, text="A recorded message of 9 s: https://x")
    assert [row.kind for row in news.of(nobody, JANE)] == ["call_back"] * 2
    assert [row.news for row in news.of(recorded, JANE)] == ["CA1.recorded"] * 2


@pytest.mark.parametrize(
    ("ok", "output", "told"),
    [
        (True, {"done": "booked", "id": "17", "when": "Thursday at ten", "name": "Jane"}, True),
        (True, {"free": []}, False),
        (False, {"done": "booked"}, False),
        (None, None, False),
    ],
)
def test_only_a_function_call_that_did_something_is_news(ok: bool | None, output: r.Json | None, told: bool) -> None:
    row = r.FunctionCallRow(
        call_sid="CA1", function_call_id="f", name="book_appointment", arguments={"start": "x"}, output=output, ok=ok
    )
    assert bool(News(["email"], lambda: NOW).of(row, JANE)) is told


def test_without_a_channel_no_news_is_stored() -> None:
    assert News([], lambda: NOW).of(r.MessageRow(call_sid="CA1", seq=1, text="x"), JANE) == []


def test_news_is_tried_for_days_and_then_given_up() -> None:
    assert pause_s(len(PAUSES_S) + 1) is None
    assert 2 * 86_400 < sum(PAUSES_S) < 5 * 86_400
    assert (pause_s(1), pause_s(1, 300), pause_s(1, 1e9)) == (10, 300, 86_400)
