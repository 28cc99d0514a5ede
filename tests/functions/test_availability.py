"""Questions for free times, each answered by one function call. Also the reasons that a backend gives for a refusal."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from relay.functions.backend.client import Backend
from relay.functions.builtin.check_availability import few
from relay.functions.registry import load, run
from tests.helpers.business_play import BOOK, TZ, Answering, a_call, says

REGISTRY = load()


def at(*times: str) -> bytes:
    return says({"slots": [dt.datetime.fromisoformat(each).replace(tzinfo=TZ).isoformat() for each in times]}).encode()


async def ask(backend: Backend, function: str, /, **arguments: Any) -> tuple[Any, dict[str, Any]]:
    outcome = await run(REGISTRY, a_call(backend), function, says(arguments))
    assert len(outcome.output) <= 1024
    return outcome, json.loads(outcome.output)


async def test_without_a_date_one_function_call_gives_the_soonest_times_of_the_next_days() -> None:
    slots = at("2026-11-24T09:15", "2026-11-24T09:30", "2026-11-24T10:00", "2026-11-26T14:00", "2026-11-27T08:00")
    answering = Answering(slots)
    async with Backend("http://business.test/", transport=answering) as backend:
        _, told = await ask(backend, "check_availability", service="haircut")
    assert told["next_free"] == [
        "Tuesday, November 24 at 9:15 AM", "Tuesday, November 24 at 10 AM", "Thursday, November 26 at 2 PM",
        "Friday, November 27 at 8 AM",
    ]  # fmt: skip
    (request,) = answering.requests
    assert dict(request.url.params) == {"service": "haircut", "date": "2026-11-23", "until": "2026-12-06"}


async def test_free_times_of_one_part_of_the_day_come_with_a_hint_that_there_are_more_times() -> None:
    slots = at("2026-11-26T09:00", "2026-11-26T11:30")
    async with Backend("http://business.test/", transport=Answering(slots)) as backend:
        for part, free in (("morning", ["9 AM", "11:30 AM"]), ("afternoon", [])):
            _, told = await ask(backend, "check_availability", service="haircut", date="2026-11-26", part_of_day=part)
            assert told["free"] == free
            assert told.get("free_at_other_times") == (None if free else ["9 AM", "11:30 AM"])


async def test_the_backend_is_asked_for_the_person_whom_the_caller_wants() -> None:
    answering = Answering(at("2026-11-26T09:00"))
    async with Backend("http://business.test/", transport=answering) as backend:
        _, told = await ask(backend, "check_availability", service="haircut", date="2026-11-26", with_whom="Maria")
    assert told["with"] == answering.requests[0].url.params["with"] == "Maria"


async def test_the_agent_gets_the_backends_reason_for_a_refusal_and_this_is_not_a_failure() -> None:
    no = Answering(says({"error": "unknown service", "told": "We do not do that. There are: haircut."}).encode(), 422)
    async with Backend("http://business.test/", transport=no) as backend:
        outcome, told = await ask(backend, "check_availability", service="lawn", date="2026-11-26")
        assert (outcome.ok, outcome.refused, told["error"]) == (False, True, "We do not do that. There are: haircut.")
        assert backend.breaker.faults == 0


async def test_if_the_backend_gives_a_reason_for_a_refused_time_the_agent_gets_it_instead_of_the_word_taken() -> None:
    no = Answering(says({"alternatives": [], "why": "We are closed on Mondays."}).encode(), 409)
    async with Backend("http://business.test/", transport=no) as backend:
        _, told = await ask(backend, "book_appointment", **BOOK)
    assert told["error"] == "We are closed on Mondays."


@pytest.mark.parametrize("number", [1, 2, 3, 6, 40])
def test_the_few_offered_times_are_spread_over_all_times_and_easy_to_say(number: int) -> None:
    slots = [dt.datetime(2026, 11, 26, 9, tzinfo=TZ) + dt.timedelta(minutes=15 * each) for each in range(36)]
    kept = few(slots, number)
    assert len(kept) == min(number, 36)
    assert kept == sorted(set(kept))
    assert number > 9 or all(slot.minute == 0 for slot in kept)
    assert number < 3 or (kept[0].hour < 12 and kept[-1].hour >= 15)


async def test_an_answer_that_does_not_fit_into_the_prompt_is_found_by_its_subject() -> None:
    answers = {"gift vouchers, presents": "We sell vouchers.", "parking": "Behind the house."}
    async with Backend("http://business.test/", transport=Answering(b"{}")) as backend:
        call = a_call(backend, answers=answers)
        found = [
            json.loads((await run(REGISTRY, call, "lookup_answer", says({"about": about}))).output)["answers"]
            for about in ("a gift voucher", "where can I park, is there parking", "the weather")
        ]
    assert found == [["We sell vouchers."], ["Behind the house."], []]
