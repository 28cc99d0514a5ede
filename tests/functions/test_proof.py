"""A caller whose number the network has not verified: what they are told, and which bookings they can change."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from relay.functions.builtin.proof import same_name
from relay.functions.registry import CallContext, load, run
from tests.helpers.business_play import BOOK, CALLER, NOW, a_call, business, says, standin

REGISTRY = load()
DAY = (NOW + dt.timedelta(days=1)).date().isoformat()


async def ask(call: CallContext, function: str, /, **arguments: Any) -> tuple[bool, dict[str, Any]]:
    outcome = await run(REGISTRY, call, function, says(arguments))
    return outcome.ok, json.loads(outcome.output)


async def test_a_caller_with_an_unverified_number_hears_no_name_and_no_booking_and_the_backend_is_not_asked() -> None:
    app = standin()
    mine = app.diary.book("Dana Reed", CALLER, "table", NOW + dt.timedelta(days=1)).id
    async with business(app) as (backend, line):
        call = a_call(backend, attested=False)
        ok, told = await ask(call, "lookup_caller")
        assert (ok, told["known"], line.requests) == (True, False, [])
        assert not {"name", "notes", "appointments", "verified"} & {*told}
        for change in ({"action": "cancel"}, {"action": "move", "new_start": "2026-11-26T12:00"}):
            ok, _ = await ask(call, "cancel_or_move_appointment", appointment_id=mine, **change)
            assert not ok
    assert [*app.diary.bookings] == [mine]


@pytest.mark.parametrize(
    ("name", "day", "proved"),
    [
        ("Dana Reed", DAY, True),
        ("Ms. dana REED", DAY, True),
        ("Dana Reed", "2026-12-24", False),
        ("Jane Doe", DAY, False),
        ("Dana", DAY, False),
        ("", DAY, False),
        ("Dana Reed", None, False),
    ],
)
async def test_a_booking_can_be_changed_only_with_its_name_and_day(name: str, day: str | None, proved: bool) -> None:
    app = standin()
    mine = app.diary.book("Dana Reed", CALLER, "table", NOW + dt.timedelta(days=1)).id
    other = app.diary.book("Dana Reed", CALLER, "table", NOW + dt.timedelta(days=9)).id
    async with business(app) as (backend, _):
        call = a_call(backend, attested=False)
        given = {"name": name} | ({"day": day} if day else {})
        _, told = await ask(call, "lookup_caller", **given)
        assert [each["id"] for each in told.get("appointments", [])] == ([mine] if proved else [])
        assert "notes" not in told
        ok, _ = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=mine)
        assert ok is proved
        ok, _ = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=other)
        assert not ok


async def test_a_booking_that_was_made_in_a_call_can_be_changed_in_the_same_call() -> None:
    async with business(standin()) as (backend, _):
        call = a_call(backend, attested=False)
        ok, told = await ask(call, "book_appointment", **BOOK)
        assert ok
        ok, _ = await ask(call, "cancel_or_move_appointment", action="cancel", appointment_id=told["id"])
        assert ok


@pytest.mark.parametrize(
    ("said", "known", "same"),
    [
        ("Dana Reed", "dana reed", True),
        ("José Álvarez", "Jose Alvarez", True),
        ("Dana Reed", "Dana M. Reed", True),
        ("Reed, Dana", "Dana Reed", True),
        ("Dana", "Dana Reed", False),
        ("Dana Smith", "Dana Reed", False),
        ("Cher", "Cher", True),
        ("Cher", "", False),
        ("", "", False),
    ],
)
def test_two_names_are_the_same_if_they_have_the_same_parts(said: str, known: str, same: bool) -> None:
    assert same_name(said, known) is same
