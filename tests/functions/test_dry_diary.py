"""The test diary keeps the bookings of test calls. The owner's backend is read, and never written to."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.functions.backend.contract import Refused, Taken
from relay.functions.backend.dry_diary import KEEP, DryBookings, DryDiary
from relay.functions.registry import CallContext, Registry, function, load, run
from relay.standin.business.app import BusinessApp
from tests.helpers.business_play import CALLER, OTHER, TZ, a_call, business, standin

DAY = dt.date(2026, 11, 24)
SEVEN = dt.datetime(2026, 11, 24, 19, tzinfo=TZ)
EIGHT = SEVEN + dt.timedelta(hours=1)


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
        await diary.move("k2", str(made.id), EIGHT)
        (moved,) = await diary.appointments(CALLER)
        assert (moved.id, moved.start, moved.service) == (made.id, EIGHT, made.service)
        assert (SEVEN in await diary.availability("table", DAY)) == (whose == "a test's")
        await diary.cancel("k3", str(made.id))
        await diary.cancel("k3", str(made.id))
        assert await diary.appointments(CALLER) == []
        with pytest.raises(Refused, match="has cancelled"):
            await diary.move("k4", str(made.id), SEVEN)
        assert app.diary.bookings == before


async def test_a_message_of_a_test_call_is_sent_to_nobody() -> None:
    async with dry() as (diary, app, _):
        with pytest.raises(Refused) as refused:
            await diary.message("k", name="Dana", phone=CALLER, message="Call me")
        assert refused.value.status == 404
        assert app.diary.messages == []


async def test_many_test_calls_do_not_fill_the_memory() -> None:
    async with dry() as (diary, _, tests):
        for number in range(KEEP + 3):
            await diary.cancel(f"k{number}", f"apt_{number}")
        assert len(tests.cancelled) == KEEP
        assert "apt_0" not in tests.cancelled


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
