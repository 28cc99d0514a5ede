"""The functions with the embedded backend of a barber: the outputs for the model, and the diary."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
import trio

from relay.business.diary import MemoryDiary
from relay.business.embedded import Embedded
from relay.business.file import load, parse
from relay.business.identity import settle
from relay.business.rules import Business
from relay.functions import CallContext, Once, Outcome, run
from relay.functions import load as load_functions
from relay.settings import load as load_settings
from relay.settings.shipped import folder
from tests.helpers.business_play import CALLER, OTHER, local, says

REGISTRY = load_functions()
BARBER = load(folder("prompts") / "business.barber.toml")
NOW = local("2026-11-24T10:05", BARBER.tz)  # a Tuesday
HAIRCUT: dict[str, Any] = {"name": "Dana Reed", "service": "haircut", "start": "2026-11-26T14:00"}


class Shop:
    """A relay for a barber, with one diary. Calls are made one after the other."""

    def __init__(self, business: Business = BARBER) -> None:
        self.diary = MemoryDiary()
        self.now = NOW
        self._backend = Embedded(business, self.diary, lambda: self.now)

    def call(self, number: str = CALLER, sid: str = "CA1") -> CallContext:
        backend = self._backend.for_call(sid)
        return CallContext(sid, number, backend, BARBER.tz, lambda: self.now, Once(), "GB")

    async def ask(
        self, name: str, /, *, of: CallContext | None = None, **arguments: Any
    ) -> tuple[Outcome, dict[str, Any]]:
        outcome = await run(REGISTRY, of or self.call(), name, says(arguments))
        assert len(outcome.output.encode()) <= 1024
        return outcome, json.loads(outcome.output)


async def test_the_answer_to_a_booking_names_the_person_and_only_the_callers_own_number_finds_the_booking() -> None:
    shop = Shop()
    outcome, told = await shop.ask("book_appointment", **HAIRCUT, with_whom="maria", notes="short")
    assert outcome.ok
    assert (told["when"], told["with"]) == ("Thursday, November 26 at 2 PM", "Maria")
    (entry,) = shop.diary.store.appointments.values()
    assert (entry.phone, entry.notes, entry.call_sid) == (CALLER, "short", "CA1")
    _, known = await shop.ask("lookup_caller")
    assert known["appointments"] == [
        {"id": told["id"], "service": "haircut", "when": "Thursday, November 26 at 2 PM", "with": "Maria"}
    ]
    assert (known["name"], known["verified"]) == ("Dana Reed", False)
    _, unknown = await shop.ask("lookup_caller", of=shop.call(OTHER))
    assert unknown["appointments"] == []


@pytest.mark.parametrize(
    ("changed", "words", "free"),
    [
        ({"start": "2026-11-23T14:00"}, "is in the past", False),
        ({"start": "2026-11-24T10:30"}, "at least 1 hour ahead", True),
        ({"start": "2026-11-26T12:50"}, "We are closed", True),
        ({"start": "2026-11-26T12:15"}, "takes 30 minutes", True),
        ({"start": "2027-03-24T14:00"}, "up to 60 days ahead", True),
        ({"start": "2026-12-24T14:00"}, "We are closed", True),
        ({"start": "2026-11-25T09:15", "with_whom": "Tom"}, "Tom is not there", True),
        ({"service": "beard trim", "with_whom": "Tom"}, "Tom does not do this", False),
        ({"with_whom": "Zoe"}, "Nobody called Zoe", False),
        ({"service": "lawn mowing"}, "haircut, beard trim", False),
    ],
)
async def test_a_refusal_says_why_and_which_times_are_free(changed: dict[str, Any], words: str, free: bool) -> None:
    shop = Shop()
    outcome, told = await shop.ask("book_appointment", **HAIRCUT | changed)
    assert (outcome.ok, outcome.refused, outcome.unsure) == (False, True, False)
    assert words in told["error"]
    assert bool(told.get("free")) == free
    assert not shop.diary.store.appointments


async def test_when_another_caller_books_the_offered_time_before_the_yes_other_times_are_offered() -> None:
    shop = Shop()
    _, offered = await shop.ask("check_availability", service="cut and beard", date="2026-11-26")
    assert "2 PM" in offered["free"]
    await shop.ask("book_appointment", of=shop.call(OTHER, "CA2"), **HAIRCUT | {"service": "cut and beard"})
    outcome, told = await shop.ask("book_appointment", **HAIRCUT | {"service": "cut and beard"})
    assert (outcome.ok, told["error"]) == (False, "Thursday, November 26 at 2 PM is taken.")
    assert told["free"] == [f"Thursday, November 26 at {time} PM" for time in ("3", "3:30", "4")]
    again, _ = await shop.ask("book_appointment", **HAIRCUT | {"service": "cut and beard", "start": "2026-11-26T15:00"})
    assert again.ok


async def test_if_the_wanted_person_is_busy_the_answer_names_the_people_who_are_free() -> None:
    shop = Shop()
    await shop.ask("book_appointment", of=shop.call(OTHER, "CA2"), **HAIRCUT, with_whom="Maria")
    _, told = await shop.ask("book_appointment", **HAIRCUT, with_whom="Maria")
    assert told["error"] == "Maria is not free on Thursday, November 26 at 2 PM. Free then: Tom."


async def test_without_a_wanted_person_two_callers_get_the_two_barbers_and_the_third_caller_is_refused() -> None:
    shop = Shop()
    made = [await shop.ask("book_appointment", of=shop.call(OTHER, f"CA{n}"), **HAIRCUT) for n in range(3)]
    assert [told.get("with") for _, told in made] == ["Maria", "Tom", None]


async def test_one_function_call_finds_the_next_free_time_even_after_a_holiday() -> None:
    shop = Shop()
    shop.now = local("2026-12-23T17:50", BARBER.tz)
    _, told = await shop.ask("check_availability", service="beard trim")
    assert told["next_free"][0] == "Tuesday, January 5 at 9 AM"  # only Maria does it, and Maria is away until January 2


async def test_one_function_call_finds_the_free_times_of_tom_on_thursday_afternoon() -> None:
    _, told = await Shop().ask(
        "check_availability", service="haircut", date="2026-11-26", part_of_day="afternoon", with_whom="Tom"
    )
    assert told["with"] == "Tom"
    assert told["free"][0] == "noon"
    assert all(each == "noon" or each.endswith(" PM") for each in told["free"])


async def test_lookup_hours_names_the_break_and_the_holiday_and_the_next_opening() -> None:
    shop = Shop()
    _, usual = await shop.ask("lookup_hours", date="2026-11-26")
    assert (usual["open"], usual["close"], usual["notes"]) == ("9 AM", "6 PM", "Closed from 12:30 PM to 1:15 PM.")
    _, holiday = await shop.ask("lookup_hours", date="2026-12-25")
    assert holiday["closed"]
    assert holiday["notes"] == "Closed over Christmas. The next opening is on Tuesday, December 29 at 9 AM."
    _, eve = await shop.ask("lookup_hours", date="2026-12-31")
    assert (eve["close"], eve["notes"]) == ("4 PM", "New Year's Eve.")


async def test_an_appointment_that_is_moved_keeps_its_person_and_can_be_cancelled_only_once() -> None:
    shop = Shop()
    call = shop.call()
    _, made = await shop.ask("book_appointment", of=call, **HAIRCUT, with_whom="Tom")
    move = {"action": "move", "appointment_id": made["id"], "new_start": "2026-11-27T10:00"}
    moved, told = await shop.ask("cancel_or_move_appointment", of=call, **move)
    assert (moved.ok, told["when"]) == (True, "Friday, November 27 at 10 AM")
    assert shop.diary.store.appointments[made["id"]].resource.name == "Tom"
    gone, _ = await shop.ask("cancel_or_move_appointment", of=call, action="cancel", appointment_id=made["id"])
    assert gone.ok
    twice, told = await shop.ask(
        "cancel_or_move_appointment", of=shop.call(sid="CA2"), action="cancel", appointment_id=made["id"]
    )
    assert (twice.ok, "no such appointment" in told["error"]) == (False, True)
    assert [change.call_sid for change in shop.diary.store.history] == ["CA1", "CA1", "CA1"]


async def test_a_message_is_stored_in_the_ledgers_table_and_no_fault_is_counted() -> None:
    outcome, told = await Shop().ask("take_message", name="Dana", message="Call me back.")
    assert (outcome.ok, told["done"]) == (True, "message_taken")
    assert outcome.effect is not None


async def test_while_the_diary_cannot_be_reached_a_booking_fails_without_a_refusal_and_the_same_request_succeeds_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shop = Shop()
    call = shop.call()
    shop.diary.away = True
    outcome, told = await shop.ask("book_appointment", of=call, **HAIRCUT)
    assert (outcome.ok, outcome.refused, told["error"]) == (False, False, "The booking system did not answer.")
    shop.diary.away = False
    outcome, _ = await shop.ask("book_appointment", of=call, **HAIRCUT)
    assert outcome.ok


async def test_an_hour_that_a_clock_change_skips_is_not_offered_and_an_hour_that_it_repeats_is_offered_once() -> None:
    night = parse(
        'name = "Night"\ntimezone = "America/New_York"\n[hours]\nmon-sun = "18:00-04:00"\n[places]\nchair = 1\n'
        '[[services]]\nname = "visit"\nplaces = "chair"\nminutes = 15\nstep_minutes = 30\n'
    )
    shop = Shop(night)
    backend = Embedded(night, shop.diary, lambda: dt.datetime(2026, 10, 31, 12, tzinfo=dt.UTC))
    slots = await backend.availability("visit", dt.date(2026, 11, 1))
    shown = [f"{slot:%H:%M}" for slot in slots]
    assert shown[:6] == ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"]
    spring = Embedded(night, shop.diary, lambda: dt.datetime(2027, 3, 13, 12, tzinfo=dt.UTC))
    slots = await spring.availability("visit", dt.date(2027, 3, 14))
    assert [f"{slot:%H:%M}" for slot in slots][:5] == ["00:00", "00:30", "01:00", "01:30", "03:00"]


def test_the_environment_has_precedence_over_the_file_and_differences_are_reported() -> None:
    environ = {"BUSINESS_NAME": "Other Cuts", "BUSINESS_COUNTRY": "GB"}
    settings, business, conflicts = settle(load_settings(environ, serving=False), BARBER)
    assert (settings.business_name, settings.business_tz, settings.business_country) == (
        "Other Cuts", "Europe/London", "GB",
    )  # fmt: skip
    assert (business.name, business.tz.key) == ("Other Cuts", "Europe/London")
    assert len(conflicts) == 1
    assert "'Other Cuts'" in conflicts[0]
    assert "'Corner Cuts'" in conflicts[0]


def test_without_a_country_in_the_file_the_environments_country_is_used() -> None:
    settings, _, conflicts = settle(load_settings({}, serving=False), replace(BARBER, country=""))
    assert (settings.business_country, conflicts) == ("US", [])


async def test_times_are_offered_at_full_hours_also_when_the_clock_goes_back_by_half_an_hour() -> None:
    night = parse(
        'name = "Night"\ntimezone = "Australia/Lord_Howe"\n[hours]\nsun = "01:30-06:00"\n[places]\nchair = 1\n'
        '[[services]]\nname = "visit"\nplaces = "chair"\nminutes = 15\nstep_minutes = 60\n'
    )
    backend = Embedded(night, MemoryDiary(), lambda: dt.datetime(2026, 4, 3, tzinfo=dt.UTC))
    slots = await backend.availability("visit", dt.date(2026, 4, 5))
    assert [f"{slot:%H:%M}" for slot in slots] == ["02:00", "03:00", "04:00", "05:00"]
