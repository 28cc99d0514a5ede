"""Each function with the stand-in backend: the output for the model, and the bookings in the diary."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from relay.functions.backend.client import Backend
from relay.functions.builtin.times import check_start, clock_words, time_words
from relay.functions.outcome import EndCall, NotPossible, Outcome, StaySilent, TakeMessage, TransferCall
from relay.functions.registry import CallContext, load, run
from relay.standin.business.app import BusinessApp, Known
from tests.helpers.business_play import BOOK, CALLER, NOW, OTHER, TZ, Answering, Line, a_call, business, says, standin

REGISTRY = load()


async def ask(call: CallContext, function: str, /, **arguments: Any) -> tuple[Outcome, dict[str, Any]]:
    outcome = await run(REGISTRY, call, function, says(arguments))
    return outcome, json.loads(outcome.output)


def one(app: BusinessApp, phone: str = CALLER, start: dt.datetime = NOW + dt.timedelta(days=1)) -> str:
    """Make a booking before the call, and return its id."""
    return app.diary.book("Dana Reed", phone, "table", start).id


async def test_hours_are_given_as_words_that_can_be_spoken() -> None:
    async with business(standin()) as (backend, _):
        outcome, told = await ask(a_call(backend), "lookup_hours", date="2026-11-24")
    assert outcome.ok
    assert (told["day"], told["open"], told["close"]) == ("Tuesday, November 24", "11 AM", "10 PM")


async def test_hours_that_the_backend_gives_in_utc_become_local_times_of_the_business() -> None:
    hours = b'{"open": "2026-11-24T16:00:00Z", "close": "2026-11-25T03:00:00+00:00"}'
    async with Backend("http://business.test/", transport=Answering(hours)) as backend:
        _, told = await ask(a_call(backend), "lookup_hours", date="2026-11-24")
    assert (told["open"], told["close"]) == ("11 AM", "10 PM")


@pytest.mark.parametrize("close", ["24:00", "24:00:00", "2026-11-24T24:00:00-05:00", "2026-11-25T00:00:00-05:00"])
async def test_a_day_may_end_at_midnight_in_any_spelling_of_iso_8601(close: str) -> None:
    hours = says({"open": "16:00", "close": close}).encode()
    async with Backend("http://business.test/", transport=Answering(hours)) as backend:
        _, told = await ask(a_call(backend), "lookup_hours", date="2026-11-24")
    assert (told["open"], told["close"]) == ("4 PM", "midnight")


async def test_without_a_date_the_hours_of_today_are_given() -> None:
    async with business(standin()) as (backend, line):
        _, told = await ask(a_call(backend), "lookup_hours")
        assert line.requests[0].url.params["date"] == "2026-11-23"
    assert told["day"] == "Monday, November 23"


async def test_the_hours_of_today_come_with_the_present_time() -> None:
    async with business(standin()) as (backend, _):
        call = a_call(backend)
        for date, now in (("2026-11-23", "3 PM"), ("2026-11-24", None)):
            assert (await ask(call, "lookup_hours", date=date))[1].get("now") == now


async def test_a_closed_day_is_reported_as_closed() -> None:
    async with business(standin()) as (backend, _):
        _, told = await ask(a_call(backend), "lookup_hours", date="2026-12-25")
    assert (told["closed"], "open" in told) == (True, False)


@pytest.mark.parametrize(("date", "words"), [("2026-11-22", "in the past"), ("2027-12-01", "more than a year ahead")])
@pytest.mark.parametrize("name", ["lookup_hours", "check_availability", "book_appointment"])
async def test_past_days_and_days_far_ahead_are_refused_without_a_request(name: str, date: str, words: str) -> None:
    arguments: dict[str, Any] = {
        "lookup_hours": {"date": date},
        "check_availability": {"date": date, "service": "table"},
        "book_appointment": BOOK | {"start": f"{date}T19:00"},
    }[name]
    async with business(standin()) as (backend, line):
        outcome, told = await ask(a_call(backend), name, **arguments)
    assert not outcome.ok
    assert words in told["error"]
    assert not line.requests


async def test_free_times_are_given_as_spoken_words_and_past_times_are_left_out() -> None:
    async with business(standin()) as (backend, _):
        _, told = await ask(a_call(backend), "check_availability", service="table", date="2026-11-23")
    assert told["free"] == ["4 PM", "5 PM", "6 PM", "7 PM", "8 PM", "9 PM"]


async def test_a_booking_is_stored_with_the_callers_number() -> None:
    app = standin()
    async with business(app) as (backend, _):
        outcome, told = await ask(a_call(backend), "book_appointment", **BOOK, notes="window")
    booked = app.diary.bookings[told["id"]]
    assert outcome.ok
    assert outcome.writes
    assert (told["done"], told["when"]) == ("booked", "Tuesday, November 24 at 7 PM")
    assert (booked.name, booked.phone, booked.notes) == ("Dana Reed", CALLER, "window")
    assert booked.start == dt.datetime(2026, 11, 24, 19, tzinfo=TZ)


async def test_a_hidden_caller_is_asked_for_a_number_before_booking() -> None:
    app = standin()
    async with business(app) as (backend, line):
        call = a_call(backend, number="")
        outcome, told = await ask(call, "book_appointment", **BOOK)
        assert (outcome.ok, "phone number" in told["error"], line.requests) == (False, True, [])
        outcome, told = await ask(call, "book_appointment", **BOOK, phone="212 555 0199")
    assert app.diary.bookings[told["id"]].phone == OTHER


async def test_for_a_time_that_is_taken_the_output_has_free_times() -> None:
    app = standin()
    one(app, start=dt.datetime(2026, 11, 24, 19, tzinfo=TZ), phone=OTHER)
    async with business(app) as (backend, _):
        outcome, told = await ask(a_call(backend), "book_appointment", **BOOK)
    assert not outcome.ok
    assert told["error"] == "Tuesday, November 24 at 7 PM is taken."
    assert told["free"] == [f"Tuesday, November 24 at {hour} PM" for hour in (5, 6, 8)]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error": "taken"}', b'{"alternatives": null}', b'{"alternatives": ["later"]}']
)
async def test_a_409_with_any_body_counts_as_a_refusal_and_does_not_lead_to_a_human(body: bytes) -> None:
    async with Backend("http://business.test/", transport=Answering(body, 409)) as backend:
        outcome, told = await ask(a_call(backend), "book_appointment", **BOOK)
        assert backend.breaker.faults == 0
    assert (outcome.ok, outcome.refused) == (False, True)
    assert (told["error"], told["free"]) == ("Tuesday, November 24 at 7 PM is taken.", [])


async def test_a_start_time_with_another_offset_is_refused_and_not_guessed() -> None:
    app = standin()
    async with business(app) as (backend, _):
        outcome, told = await ask(a_call(backend), "book_appointment", **BOOK | {"start": "2026-11-24T19:00:00Z"})
        assert (outcome.ok, "without an offset" in told["error"]) == (False, True)
        outcome, _ = await ask(a_call(backend), "book_appointment", **BOOK | {"start": "2026-11-24T19:00:00-05:00"})
    assert outcome.ok


async def test_the_caller_is_looked_up_by_their_own_number_only() -> None:
    app = standin()
    mine, theirs = one(app), one(app, phone=OTHER, start=NOW + dt.timedelta(days=2))
    async with business(app) as (backend, line):
        outcome, told = await ask(a_call(backend), "lookup_caller")
        assert [each.url.raw_path for each in line.requests] == [
            b"/callers/%2B12125550147",
            b"/appointments?phone=%2B12125550147",
        ]
        outcome, _ = await ask(a_call(backend), "lookup_caller", phone=OTHER)
    assert (told["name"], told["verified"]) == ("Dana Reed", True)
    assert [each["id"] for each in told["appointments"]] == [mine]
    assert theirs not in json.dumps(told)
    assert not outcome.ok


async def test_a_caller_without_a_number_is_unknown_and_the_backend_is_not_asked() -> None:
    async with business(standin()) as (backend, line):
        outcome, told = await ask(a_call(backend, number=""), "lookup_caller")
    assert (outcome.ok, told["known"], line.requests) == (True, False, [])


@pytest.mark.parametrize("seen", [True, False])
async def test_the_callers_own_appointment_can_be_moved_and_cancelled(seen: bool) -> None:
    app = standin()
    mine = one(app)
    async with business(app) as (backend, _):
        call = a_call(backend)
        if seen:
            await ask(call, "lookup_caller")
        change = {"appointment_id": mine}
        moved, told = await ask(
            call, "cancel_or_move_appointment", action="move", new_start="2026-11-25T12:00", **change
        )
        assert (moved.ok, told["done"], told["when"]) == (True, "moved", "Wednesday, November 25 at noon")
        assert app.diary.bookings[mine].start == dt.datetime(2026, 11, 25, 12, tzinfo=TZ)
        cancelled, told = await ask(call, "cancel_or_move_appointment", action="cancel", **change)
    assert (cancelled.ok, told["done"]) == (True, "cancelled")
    assert app.diary.bookings[mine].cancelled


@pytest.mark.parametrize(
    ("number", "more"),
    [(CALLER, {}), (CALLER, {"phone": OTHER}), ("", {}), ("", {"phone": OTHER})],
    ids=["by id alone", "by naming the number", "hidden", "hidden, naming the number"],
)
async def test_another_persons_appointment_cannot_be_changed(number: str, more: dict[str, Any]) -> None:
    app = standin(callers={OTHER: Known("Sam Hill", verified=True)})
    theirs = one(app, phone=OTHER)
    async with business(app) as (backend, line):
        call = a_call(backend, number=number)
        outcome, _ = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=theirs, **more)
        assert not outcome.ok
        assert all(each.method == "GET" for each in line.requests)
    assert not app.diary.bookings[theirs].cancelled


@pytest.mark.parametrize(
    ("calling", "booked", "allowed"),
    [
        (Known("Dana Reed", verified=True, id="p1"), Known("D. Reed", verified=True, id="p1"), True),
        (Known("Dana Reed", verified=False, id="p1"), Known("Dana Reed", verified=True, id="p1"), False),
        (Known("Dana Reed", verified=True, id="p1"), Known("Dana Reed", verified=False, id="p1"), False),
        (Known("John Smith", verified=True, id="p1"), Known("john smith", verified=True, id="p2"), False),
        (Known("Dana Reed", verified=True), Known("Dana Reed", verified=True), False),
    ],
)
async def test_an_appointment_with_another_number_can_be_changed_when_the_backend_says_that_both_are_the_callers(
    calling: Known, booked: Known, allowed: bool
) -> None:
    app = standin(callers={CALLER: calling, OTHER: booked})
    theirs = one(app, phone=OTHER)
    async with business(app) as (backend, _):
        outcome, _ = await ask(
            a_call(backend), "cancel_or_move_appointment", action="cancel", appointment_id=theirs, phone=OTHER
        )
    assert (outcome.ok, app.diary.bookings[theirs].cancelled) == (allowed, allowed)


async def test_if_the_answer_to_a_cancellation_was_lost_the_retry_counts_as_done(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"DELETE /appointments": {"kind": "hang", "times": 1, "after": True}})
    mine = one(app)
    async with business(app) as (backend, _):
        call = a_call(backend)
        first, told = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=mine)
        assert (first.ok, "not known whether" in told["next"]) == (False, True)
        second, told = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=mine)
    assert (second.ok, told["done"]) == (True, "cancelled")


@pytest.mark.parametrize("changed", [{"action": "move"}, {"action": "move", "new_start": "2026-11-20T12:00"}])
async def test_a_move_without_a_future_time_is_refused(changed: dict[str, Any]) -> None:
    app = standin()
    mine = one(app)
    async with business(app) as (backend, line):
        outcome, _ = await ask(a_call(backend), "cancel_or_move_appointment", appointment_id=mine, **changed)
    assert (outcome.ok, line.requests) == (False, [])


async def test_the_output_for_an_appointment_that_no_longer_exists_says_so() -> None:
    app = standin()
    mine = one(app)
    async with business(app) as (backend, _):
        call = a_call(backend)
        await ask(call, "lookup_caller")
        app.diary.cancel(mine)
        outcome, told = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=mine)
    assert not outcome.ok
    assert "no such appointment" in told["error"]


async def test_a_message_goes_to_the_backend_and_to_the_ledger() -> None:
    app = standin()
    async with business(app) as (backend, _):
        outcome, told = await ask(a_call(backend), "take_message", name="Dana", message="Call me back")
    assert outcome.effect == TakeMessage("Dana", CALLER, "Call me back", delivered=True)
    assert (outcome.ok, told["done"]) == (True, "message_taken")
    assert [each.message for each in app.diary.messages] == ["Call me back"]


@pytest.mark.parametrize("kind", ["500", "hang", "huge", "redirect"])
async def test_a_message_is_not_lost_when_the_backend_cannot_be_reached(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with business(standin({"*": kind})) as (backend, _):
        outcome, _ = await ask(a_call(backend, number=""), "take_message", name="Dana", message="Call me back")
    assert outcome.ok
    assert outcome.effect == TakeMessage("Dana", "", "Call me back", delivered=False)


async def test_functions_that_act_on_the_call_only_return_their_effect() -> None:
    async with business(standin()) as (backend, line):
        call = a_call(backend)
        transfer, _ = await ask(call, "transfer_to_human", reason="asked", summary="Dana wants a party of twelve.")
        end, _ = await ask(call, "end_call", reason="done")
        wait, _ = await ask(call, "wait_for_user")
    assert transfer.effect == TransferCall("asked", "Dana wants a party of twelve.")
    assert end.effect == EndCall("done")
    assert wait.effect == StaySilent()
    assert (transfer.ok, end.ok, wait.ok, line.requests) == (True, True, True, [])


@pytest.mark.parametrize("extra", ["phone", "number", "to"])
async def test_a_number_to_dial_is_refused_as_an_argument(extra: str) -> None:
    async with business(standin()) as (backend, _):
        outcome, _ = await ask(
            a_call(backend), "transfer_to_human", reason="asked", summary="Dana.", **{extra: "+19005550100"}
        )
    assert (outcome.ok, outcome.effect) == (False, None)


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("lookup_hours", {}),
    ("check_availability", {"service": "table", "date": "2026-11-24"}),
    ("book_appointment", BOOK),
    ("cancel_or_move_appointment", {"action": "cancel", "appointment_id": "apt_1"}),
    ("lookup_caller", {}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("kind", ["500", "409", "garbage", "wrong_types", "redirect", "huge", "hang"])
async def test_every_fault_of_the_backend_becomes_an_output_of_the_function(
    kind: str, name: str, arguments: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    app = standin({"*": kind})
    async with business(app) as (backend, _):
        began = trio.current_time()
        outcome, told = await ask(a_call(backend), name, **arguments)
        assert trio.current_time() - began <= 2.6
    assert not outcome.ok
    assert told["status"] == "error"
    assert outcome.error
    assert "2125550147" not in outcome.error + outcome.output
    assert "has a bug" not in outcome.error


async def test_the_output_for_a_refused_connection_says_that_there_is_no_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with business(standin(), ["refuse"] * 9) as (backend, line):
        assert isinstance(line, Line)
        outcome, told = await ask(a_call(backend), "book_appointment", **BOOK)
    assert "no connection" in str(outcome.error)
    assert "not known whether" not in told["next"], "no request was sent, so the result is known"


@pytest.mark.parametrize(
    ("time", "words"),
    [("00:00", "midnight"), ("12:00", "noon"), ("12:30", "12:30 PM"), ("00:15", "12:15 AM"), ("19:05", "7:05 PM")],
)
def test_hours_are_written_as_words(time: str, words: str) -> None:
    assert clock_words(dt.time.fromisoformat(time)) == words


def test_times_are_given_in_the_time_zone_of_the_business() -> None:
    assert time_words(dt.datetime(2026, 11, 25, 0, 30, tzinfo=dt.UTC), TZ) == "Tuesday, November 24 at 7:30 PM"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("2026-11-23T14:59", "has passed"),
        ("2027-03-14T02:30", "does not exist"),
        ("2028-01-01T12:00", "more than a year"),
        ("0001-01-01T00:00", "in the past"),
        ("9999-12-31T23:59", "more than a year"),
        ("9999-12-31T23:59-05:00", "more than a year"),
    ],
)
def test_impossible_times_are_refused(start: str, words: str) -> None:
    with pytest.raises(NotPossible, match=words):
        check_start(dt.datetime.fromisoformat(start), NOW, TZ)


def test_a_date_at_the_edge_of_the_calendar_east_of_greenwich_is_refused() -> None:
    with pytest.raises(NotPossible, match="in the past"):
        check_start(dt.datetime.fromisoformat("0001-01-01T00:00"), NOW, ZoneInfo("Asia/Tokyo"))
