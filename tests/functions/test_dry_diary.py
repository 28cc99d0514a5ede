"""The test diary keeps the bookings of test calls. The owner's backend is read, and never written to."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.functions.backend.client import Backend
from relay.functions.backend.contract import Refused, Taken
from relay.functions.backend.dry_diary import KEEP, DryBookings, DryDiary
from relay.functions.registry import CallContext, Registry, function, load, run
from relay.standin.business.app import BusinessApp
from tests.helpers.business_play import CALLER, OTHER, TZ, Answering, a_call, business, standin

DAY = dt.date(2026, 11, 24)
SEVEN = dt.datetime(2026, 11, 24, 19, tzinfo=TZ)
EIGHT, NINE = SEVEN + dt.timedelta(hours=1), SEVEN + dt.timedelta(hours=2)


@asynccontextmanager
async def dry(app: BusinessApp | None = None) -> AsyncIterator[tuple[DryDiary, BusinessApp, DryBookings]]:
    app, tests = app or standin(), DryBookings()
    async with business(app) as (backend, _):
        yield DryDiary(backend, tests).for_call("TC1"), app, tests


async def book(diary: Any, key: str, start: dt.datetime = SEVEN, phone: str = CALLER) -> Any:
    return await diary.book(key, name="Dana", phone=phone, service="table", start=start, notes="")


async def test_a_booking_of_a_test_call_is_found_by_its_phone_number_and_takes_the_time_only_for_test_calls() -> None:
    async with dry() as (diary, app, _):
        made = await book(diary, "k1")
        assert await book(diary, "k1") == made  # a repeat of the same wish
        assert await diary.appointments(CALLER) == [made]
        assert await diary.appointments(OTHER) == []
        assert SEVEN not in await diary.availability("table", DAY)
        assert SEVEN in await diary.real.availability("table", DAY)
        with pytest.raises(Taken) as taken:
            await book(diary, "k2", phone=OTHER)
        assert EIGHT in taken.value.alternatives
        assert app.diary.bookings == {}


async def test_in_a_test_call_hours_and_callers_come_from_the_backend() -> None:
    async with dry() as (diary, _, _):
        assert (await diary.hours(DAY)).open
        known = await diary.caller(CALLER)
        assert known is not None
        assert known.name == "Dana Reed"


@pytest.mark.parametrize("whose", ["a test's", "the backend's"])
async def test_a_move_or_cancellation_in_a_test_call_counts_only_for_test_calls(whose: str) -> None:
    async with dry() as (diary, app, _):
        made = await book(diary if whose == "a test's" else diary.real, "k1")
        before = dict(app.diary.bookings)
        await diary.appointments(CALLER)
        await diary.move("k2", str(made.id), EIGHT)
        (moved,) = await diary.appointments(CALLER)
        assert (moved.id, moved.start, moved.service) == (made.id, EIGHT, made.service)
        assert (SEVEN in await diary.availability("table", DAY)) == (whose == "a test's")
        await diary.cancel("k3", str(made.id))
        await diary.cancel("k3", str(made.id))
        assert await diary.appointments(CALLER) == []
        for change in (diary.move("k4", str(made.id), SEVEN), diary.cancel("k5", str(made.id))):
            with pytest.raises(Refused, match="no such appointment") as refused:
                await change
            assert refused.value.status == 404
        assert app.diary.bookings == before


@pytest.mark.parametrize("whose", ["a test's", "the backend's"])
async def test_a_test_call_cannot_move_an_appointment_to_a_time_that_is_not_free(whose: str) -> None:
    async with dry() as (diary, app, _):
        made = await book(diary if whose == "a test's" else diary.real, "k1")
        await book(diary.real, "k2", EIGHT, OTHER)
        await book(diary, "k3", NINE, OTHER)
        await diary.appointments(CALLER)
        before = dict(app.diary.bookings)
        closed = SEVEN.replace(hour=3)
        for key, start in (("k4", EIGHT), ("k5", NINE), ("k6", closed)):
            with pytest.raises(Taken) as taken:
                await diary.move(key, str(made.id), start)
            assert EIGHT not in taken.value.alternatives
            assert NINE not in taken.value.alternatives
        (unmoved,) = await diary.appointments(CALLER)
        assert unmoved.start == SEVEN
        assert app.diary.bookings == before


@pytest.mark.parametrize("whose", ["a test's", "the backend's"])
async def test_the_time_to_which_a_test_call_has_moved_an_appointment_is_taken_for_test_calls(whose: str) -> None:
    async with dry() as (diary, _, _):
        made = await book(diary if whose == "a test's" else diary.real, "k1")
        await diary.appointments(CALLER)
        for _repeat in range(2):
            await diary.move("k2", str(made.id), EIGHT)
        assert EIGHT not in await diary.availability("table", DAY)
        with pytest.raises(Taken):
            await book(diary, "k3", EIGHT, OTHER)
        await diary.move("k4", str(made.id), EIGHT)  # It may stay where it is.
        await diary.move("k5", str(made.id), SEVEN)  # It may go back to where it was.
        assert EIGHT in await diary.availability("table", DAY)


async def test_a_test_call_can_neither_move_nor_cancel_an_appointment_that_does_not_exist() -> None:
    async with dry() as (diary, _, tests):
        for change in (diary.move("k1", "apt_9", SEVEN), diary.cancel("k2", "apt_9")):
            with pytest.raises(Refused) as refused:
                await change
            assert refused.value.status == 404
        assert not tests.moved
        assert not tests.cancelled


async def test_an_appointment_without_a_service_can_be_moved_in_a_test_call_although_free_times_are_unknown() -> None:
    listed = b'{"appointments": [{"id": 7, "start": "2026-11-24T19:00:00-05:00"}]}'
    async with Backend("http://business.test/", transport=Answering(listed)) as backend:
        diary = DryDiary(backend, DryBookings())
        await diary.appointments(CALLER)
        await diary.move("k1", "7", EIGHT)
        (moved,) = await diary.appointments(CALLER)
        assert moved.start == EIGHT


async def test_a_message_of_a_test_call_is_sent_to_nobody() -> None:
    async with dry() as (diary, app, _):
        with pytest.raises(Refused) as refused:
            await diary.message("k", name="Dana", phone=CALLER, message="Call me")
        assert refused.value.status == 404
        assert app.diary.messages == []


async def test_many_test_calls_do_not_fill_the_memory() -> None:
    async with dry() as (diary, _, tests):
        first = str((await book(diary, "k0")).id)
        await diary.cancel("c0", first)
        for number in range(1, KEEP + 3):
            made = await book(diary, f"k{number}")
            await diary.cancel(f"c{number}", str(made.id))
        assert len(tests.made) == len(tests.cancelled) == len(tests.done) == KEEP
        assert first not in tests.cancelled


async def test_in_a_test_call_the_owners_functions_that_write_do_not_run_but_those_that_read_do() -> None:
    ran: list[str] = []

    async def order_taxi(call: CallContext) -> dict[str, Any]:
        """Order a taxi."""
        ran.append("order_taxi")
        return {"done": "ordered"}

    async def taxi_price(call: CallContext) -> dict[str, Any]:
        """What a taxi costs."""
        ran.append("taxi_price")
        return {"usd": 12}

    registry = Registry({f.name: f for f in (function(writes=True)(order_taxi), function()(taxi_price))})
    async with business(standin()) as (backend, _):
        told = await run(registry, a_call(backend, is_dry=True), "order_taxi", "{}")
        await run(registry, a_call(backend, is_dry=True), "taxi_price", "{}")
        assert (told.ok, told.writes, told.key) == (True, True, None)
        assert "nothing was done" in told.output
        assert ran == ["taxi_price"]
        await run(registry, a_call(backend), "order_taxi", "{}")
        assert ran[-1] == "order_taxi"


async def test_in_a_test_call_the_built_in_functions_write_to_the_test_diary() -> None:
    async with dry() as (diary, app, tests):
        call = CallContext("TC1", CALLER, diary, TZ, lambda: SEVEN - dt.timedelta(days=1), is_dry=True)
        arguments = '{"name": "Dana Reed", "service": "table", "start": "2026-11-24T19:00"}'
        booked = await run(load(), call, "book_appointment", arguments)
        assert booked.ok, booked.output
        assert len(tests.made) == 1
        assert app.diary.bookings == {}
