"""Values that the caller has not said are refused once, with a question. A confirmed value is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.functions.arguments import Phone
from relay.functions.invented import invented
from relay.functions.registry import load, run
from relay.standin.business.app import Known
from tests.helpers.business_play import BOOK, CALLER, Spoken, a_call, business, says, standin

REGISTRY = load()


@pytest.mark.parametrize(
    "made_up",
    [
        {"name": "John Doe"},
        {"name": "john  doe"},
        {"name": "[NAME]"},
        {"name": "<caller name>"},
        {"name": "{name}"},
        {"name": "Customer"},
        {"name": "Unknown"},
        {"name": "N/A"},
        {"name": "Max Mustermann"},
        {"service": "[SERVICE]"},
        {"notes": "Call ____ before"},
        {"phone": "212-555-1234"},
        {"phone": "555-123-4567"},
        {"phone": "+44 1234567890"},
        {"phone": "222-222-2222"},
    ],
)
async def test_the_agent_asks_about_an_invented_value_once_and_then_the_value_is_accepted(
    made_up: dict[str, str],
) -> None:
    app = standin(capacity=5)
    spoken = Spoken(1)
    async with business(app) as (backend, line):
        call = a_call(backend, caller_words=spoken)
        for _ in range(2):  # the caller has not been asked yet, so a repeat is refused too
            outcome = await run(REGISTRY, call, "book_appointment", says(BOOK | made_up))
            assert (outcome.ok, outcome.refused, app.diary.bookings) == (False, True, {})
            told = json.loads(outcome.output)
            assert told["status"] == "error"
            assert "Ask the caller" in told["next"]
        assert not line.requests
        spoken.turn = 2
        outcome = await run(REGISTRY, call, "book_appointment", says(BOOK | made_up))
    assert outcome.ok
    assert len(app.diary.bookings) == 1


@pytest.mark.parametrize(
    "real",
    [
        {"name": "Dana Reed"},
        {"name": "Doe"},
        {"name": "John Doering"},
        {"name": "Customer Jones"},
        {"name": "Test Ament"},
        {"service": "test drive"},
        {"service": "customer"},
        {"notes": "name of the dog: Unknown"},
        {"notes": "I <3 your cakes, 2 > 1"},
        {"notes": "array[0]"},
        {"phone": "212-555-0148"},
        {"phone": "+447911123456"},
        {"phone": "+49 30 901820"},
    ],
)
def test_a_possible_name_is_not_asked_about(real: dict[str, Any]) -> None:
    values = {name: Phone.parse(value, "US") if name == "phone" else value for name, value in real.items()}
    assert list(invented(values, CALLER)) == []


async def test_the_name_under_which_the_business_knows_the_caller_is_not_asked_about() -> None:
    app = standin(callers={CALLER: Known("John Smith", verified=True)})
    async with business(app) as (backend, _):
        call = a_call(backend)
        await run(REGISTRY, call, "lookup_caller", "{}")
        assert (await run(REGISTRY, call, "book_appointment", says(BOOK | {"name": "John Smith"}))).ok


async def test_a_name_that_the_caller_has_said_is_not_asked_about() -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend, caller_words=Spoken(1, "Hi, this is John Doe, no joke."))
        assert (await run(REGISTRY, call, "book_appointment", says(BOOK | {"name": "John Doe"}))).ok


async def test_the_callers_own_number_is_not_asked_about() -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend, number="+12125551234")
        assert (await run(REGISTRY, call, "book_appointment", says(BOOK))).ok
