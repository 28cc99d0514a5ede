"""A function that writes runs exactly once, also with repeats, retries, reconnects, other machines, and no Postgres."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relay.functions.arguments import bind
from relay.functions.backend.client import Backend
from relay.functions.idempotency import RESERVE_LIMIT_S, Once, Wish
from relay.functions.registry import CallContext, Function, Outcome, Registry, function, load, run
from relay.ledger.memory import MemoryLedger
from relay.ledger.rows import Already, FunctionCallRow, Json, Reserved, Unavailable
from tests.helpers.business_play import BOOK, CALLER, OTHER, TZ, Line, Spoken, a_call, business, says, standin

REGISTRY = load()
BOOKING = REGISTRY.get("book_appointment")
assert BOOKING is not None


def wish(sid: str = "CA1", **changed: Any) -> Wish:
    assert BOOKING is not None
    arguments = bind(BOOKING.arguments, says(BOOK | changed), CALLER, "US")
    return Wish(sid, "book_appointment", arguments, TZ, same=BOOKING.same)


async def book(call: CallContext, **changed: Any) -> Outcome:
    return await run(REGISTRY, call, "book_appointment", says(BOOK | changed))


async def _give_up_after(patience_s: float, ask: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
    """Cancel the request after this time, as the end of a call does. A cancel scope with a deadline would be visible to
    the function.
    """
    outcome: Outcome | None = None

    async with trio.open_nursery() as nursery:

        async def end() -> None:
            await trio.sleep(patience_s)
            nursery.cancel_scope.cancel()

        nursery.start_soon(end)
        outcome = await ask()
        nursery.cancel_scope.cancel()
    return outcome


def posts(line: Line) -> list[str]:
    return [each.headers["idempotency-key"] for each in line.requests if each.method == "POST"]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"name": " dana   REED "},
        {"service": "Table for Two"},
        {"start": "2026-11-24T19:00:00-05:00"},
        {"phone": "212-555-0147"},
        {"notes": None},
        {"notes": "window"},
        {"name": "Dan Read"},
        {"service": "dinner, two people"},
        {"phone": "212-555-0148"},
    ],
)
def test_the_same_request_in_two_spellings_has_one_key(changed: dict[str, Any]) -> None:
    assert wish(**changed).digest() == wish().digest()
    assert len(wish().digest()) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"start": "2026-11-24T20:00"},
        {"start": "2026-11-25T19:00"},
        {"sid": "CA2"},
    ],
)
def test_another_request_has_another_key(changed: dict[str, Any]) -> None:
    assert wish(**changed).digest() != wish().digest()


@given(st.text(max_size=80).filter(lambda text: text.strip()))
def test_a_request_with_any_name_has_a_key(name: str) -> None:
    try:
        again = wish(name=f"  {name} ")
    except ValueError:
        return  # only control characters
    assert again.digest() == wish(name=name).digest()


async def test_a_repeat_gets_the_first_result_without_a_request() -> None:
    app = standin()
    async with business(app) as (backend, line):
        call = a_call(backend)
        first, second = await book(call), await book(call, name="DANA REED")
        assert len(posts(line)) == 1
    assert first.ok
    assert second.output == first.output
    assert second.key == first.key
    assert len(app.diary.bookings) == 1


async def test_a_repeat_waits_while_the_first_request_still_runs(autojump_clock: trio.testing.MockClock) -> None:
    app = standin({"POST /appointments": {"kind": "slow", "ms": 1500}})
    outcomes: list[Outcome] = []

    async def one(call: CallContext) -> None:
        outcomes.append(await book(call))

    async with business(app) as (backend, line):
        call = a_call(backend)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one, call)
        assert len(posts(line)) == 1
    assert len({each.output for each in outcomes}) == 1
    assert all(each.ok for each in outcomes)


async def test_the_effect_of_a_repeated_function_is_carried_out_once() -> None:
    async with business(standin()) as (backend, _):
        call, left = a_call(backend), says({"name": "Dana", "message": "Call me"})
        first = await run(REGISTRY, call, "take_message", left)
        second = await run(REGISTRY, call, "take_message", left)
    assert first.effect is not None
    assert (second.effect, second.output) == (None, first.output)


async def test_a_retry_after_a_lost_answer_has_the_same_key_and_body_and_books_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"POST /appointments": {"kind": "hang", "times": 1, "after": True}, "GET /appointments": "500"})
    async with business(app) as (backend, line):
        call = a_call(backend)
        first = await book(call)
        second = await book(call, name="Dana Reid", notes="by the window")
        assert len(set(posts(line))) == 1
        bodies = {each.content for each in line.requests if each.method == "POST"}
        assert len(bodies) == 1, "the bodies with one key differ, which a backend may refuse"
    assert (first.ok, second.ok, len(app.diary.bookings)) == (False, True, 1)


async def test_a_repeat_that_was_never_sent_does_not_turn_a_lost_answer_into_a_refusal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"GET /appointments": "500"})
    async with business(app, ["lose", "lose", *[None] * 3, "refuse", "refuse"]) as (backend, _):
        call = a_call(backend)
        for _ in range(2):
            outcome = await book(call)
            assert len(app.diary.bookings) == 1
            assert "not known whether it was done" in json.loads(outcome.output)["next"]
        assert (await book(call)).ok
        assert "not known" not in (await book(call, start="2020-01-01T10:00")).output


async def test_a_repeat_that_was_never_sent_does_not_turn_a_cancelled_attempt_into_a_refusal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"POST /appointments": {"kind": "hang", "times": 1, "after": True}, "GET /appointments": "500"})
    async with business(app, [None, "refuse", "refuse"]) as (backend, _):
        call = a_call(backend)
        await _give_up_after(0.5, lambda: book(call))
        assert len(app.diary.bookings) == 1
        assert "not known whether it was done" in json.loads((await book(call)).output)["next"]


async def test_when_the_first_attempt_is_cancelled_the_second_attempt_runs_instead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"POST /appointments": {"kind": "slow", "ms": 1000, "times": 1}})
    outcomes: list[Outcome] = []

    async def hasty(call: CallContext) -> None:
        await _give_up_after(0.5, lambda: book(call))

    async def patient(call: CallContext) -> None:
        await trio.sleep(0.1)
        outcomes.append(await book(call))

    async with business(app) as (backend, _):
        call = a_call(backend)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hasty, call)
            nursery.start_soon(patient, call)
    assert [each.ok for each in outcomes] == [True]
    assert len(app.diary.bookings) == 1


async def test_after_a_refusal_the_same_request_is_sent_again_with_a_new_key() -> None:
    app = standin({"POST /appointments": {"kind": "409", "times": 1}})
    async with business(app) as (backend, line):
        call = a_call(backend)
        outcomes = [await book(call) for _ in range(3)]
        assert len(posts(line)) == 2
        assert len(set(posts(line))) == 2
    assert [each.ok for each in outcomes] == [False, True, True]


@pytest.mark.parametrize(
    "reworded",
    [
        {"notes": "a birthday"},
        {"name": "Dana Read"},
        {"service": "dinner for two"},
        {"phone": "212-555-0148"},
        {"name": "D. Reed", "service": "a table", "notes": "no nuts"},
    ],
)
async def test_the_same_booking_in_other_words_is_asked_about_and_not_made_twice(reworded: dict[str, str]) -> None:
    app = standin(capacity=5)
    spoken = Spoken(3)
    async with business(app) as (backend, line):
        call = a_call(backend, caller_words=spoken)
        first = await book(call)
        for _ in range(3):  # the model asks several times, and the caller says nothing new
            again = await book(call, **reworded)
            told = json.loads(again.output)
            assert (again.ok, again.refused, told["status"]) == (False, True, "error")
            assert told["stands"]["id"] == json.loads(first.output)["id"]
        assert (len(app.diary.bookings), len(posts(line))) == (1, 1)
        spoken.turn = 4
        second = await book(call, **reworded)
    assert second.ok
    assert second.key != first.key
    assert len(app.diary.bookings) == 2, "the second booking was not made, although the caller asked for it"


async def test_the_same_booking_with_different_notes_is_made_once() -> None:
    app = standin(capacity=99)
    async with business(app) as (backend, _):
        call = a_call(backend)
        outcomes = [await book(call, notes=f"note {number}") for number in range(58)]
    assert [each.ok for each in outcomes] == [True, *[False] * 57]
    assert len(app.diary.bookings) == 1


async def test_a_booking_at_another_time_is_another_booking() -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend, caller_words=Spoken(1))
        assert (await book(call)).ok
        assert (await book(call, start="2026-11-24T20:00")).ok
        assert (await book(call, start="2026-11-25T19:00", notes="again")).ok
    assert len(app.diary.bookings) == 3


async def test_a_message_in_other_words_is_asked_about() -> None:
    app = standin()
    spoken = Spoken(0)
    async with business(app) as (backend, _):
        call = a_call(backend, caller_words=spoken)
        left = {"name": "Dana", "message": "Call me back about Friday"}
        first = await run(REGISTRY, call, "take_message", says(left))
        other = left | {"message": "Please call me back, it is about Friday"}
        second = await run(REGISTRY, call, "take_message", says(other))
        assert (first.ok, second.ok, second.effect) == (True, False, None)
        assert len(app.diary.messages) == 1
        spoken.turn = 1
        assert (await run(REGISTRY, call, "take_message", says(other))).ok
    assert len(app.diary.messages) == 2


async def test_a_time_that_the_caller_has_booked_is_not_reported_as_taken() -> None:
    app = standin()
    async with business(app) as (backend, _):
        assert (await book(a_call(backend, sid="CA0"))).ok  # an earlier call, cut off too early
        told = json.loads((await book(a_call(backend, sid="CA1"), notes="window")).output)
    assert "it is booked already" in told["error"]
    assert told["id"] in app.diary.bookings
    assert len(app.diary.bookings) == 1


async def test_a_time_that_is_free_again_is_booked_although_it_was_refused_before() -> None:
    app = standin()
    async with business(app) as (backend, _):
        jane, john = a_call(backend, sid="CA2", number=OTHER), a_call(backend)
        made = json.loads((await book(jane, name="Jane Hill")).output)["id"]
        assert not (await book(john)).ok
        change = says({"action": "cancel", "appointment_id": made})
        assert (await run(REGISTRY, jane, "cancel_or_move_appointment", change)).ok
        assert (await book(john)).ok, "a new request after a refusal needs a new key"


async def test_a_refusal_on_another_machine_does_not_count_for_ever() -> None:
    app, ledger = standin(), MemoryLedger()
    async with business(app) as (backend, line):
        made = app.diary.book("Jane", OTHER, "table", dt.datetime(2026, 11, 24, 19, tzinfo=TZ))
        assert not (await book(a_call(backend, once=Once(ledger)))).ok
        app.diary.cancel(made.id)
        assert (await book(a_call(backend, once=Once(ledger)))).ok
        assert [len(posts(line)), len(set(posts(line)))] == [3, 2]


class Forgetful(httpx.AsyncBaseTransport):
    """A backend that ignores Idempotency-Keys, as most backends do. It carries a write out, but its answer is lost."""

    def __init__(self, *, lists: bool = True) -> None:
        self.apts: dict[str, str] = {"apt_1": "2026-11-25T12:00:00-05:00"}
        self.lists, self.lost = lists, 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if request.method == "GET":
            listed = [{"id": known, "start": start} for known, start in self.apts.items()]
            return self._answer(200 if self.lists else 404, {"appointments": listed})
        status, body = self._write(request, json.loads(request.content or b"{}"))
        if self.lost:
            self.lost -= 1
            if request.method == "POST":
                return self._answer(500, {"error": "the mail could not be sent"})
            raise httpx.ReadError("connection reset", request=request)
        return self._answer(status, body)

    def _write(self, request: httpx.Request, said: dict[str, Any]) -> tuple[int, Any]:
        known = request.url.path.rsplit("/", 1)[1]
        if request.method == "POST":
            if said["start"] in self.apts.values():
                return 409, {"alternatives": []}
            self.apts["apt_2"] = said["start"]
            return 201, {"id": "apt_2", "start": said["start"]}
        if known not in self.apts:
            return 404, {"error": "not found"}
        if request.method == "DELETE":
            del self.apts[known]
        elif said["start"] in self.apts.values():
            return 409, {"alternatives": []}
        else:
            self.apts[known] = said["start"]
        return 200, {}

    def _answer(self, status: int, body: Any) -> httpx.Response:
        return httpx.Response(status, stream=httpx.ByteStream(json.dumps(body).encode()))


async def test_a_cancellation_whose_answer_was_lost_counts_although_the_retry_finds_nothing() -> None:
    async with Backend("http://b.test", transport=Forgetful()) as backend:
        change = says({"action": "cancel", "appointment_id": "apt_1"})
        outcome = await run(REGISTRY, a_call(backend), "cancel_or_move_appointment", change)
    assert (outcome.ok, json.loads(outcome.output)["done"]) == (True, "cancelled")


@pytest.mark.parametrize("lists", [True, False])
async def test_a_booking_whose_answer_was_lost_is_never_reported_as_taken(lists: bool) -> None:
    shop = Forgetful(lists=lists)
    async with Backend("http://b.test", transport=shop) as backend:
        call = a_call(backend)
        for _ in range(2):
            outcome = await book(call)
            assert not outcome.refused
            assert (outcome.ok, outcome.unsure) == ((True, False) if lists else (False, True))
            assert "taken" not in outcome.output
    assert len(shop.apts) == 2


@pytest.mark.parametrize("lists", [True, False])
async def test_a_move_whose_answer_was_lost_is_never_reported_as_taken(lists: bool) -> None:
    shop = Forgetful(lists=lists)
    async with Backend("http://b.test", transport=shop) as backend:
        call = a_call(backend, own_ids={"apt_1"})
        change = {"action": "move", "appointment_id": "apt_1", "new_start": "2026-11-24T19:00"}
        outcome = await run(REGISTRY, call, "cancel_or_move_appointment", says(change))
    assert (outcome.ok, outcome.refused, outcome.unsure) == (lists, False, not lists)


async def test_a_refusal_without_a_lost_answer_is_reported_as_a_refusal() -> None:
    async with business(standin({"POST /appointments": {"kind": "409", "times": 1}})) as (backend, _):
        outcome = await book(a_call(backend))
        assert (outcome.refused, outcome.unsure) == (True, False)
        gone = says({"action": "cancel", "appointment_id": "apt_9"})
        outcome = await run(REGISTRY, a_call(backend, own_ids={"apt_9"}), "cancel_or_move_appointment", gone)
        assert (outcome.ok, outcome.refused, outcome.unsure) == (False, True, False)


def _two_tables() -> tuple[Function, Function]:
    """Two own functions whose backend counts the ids of each table from 1, so that ids can be equal."""

    @function(writes=True)
    async def order_flowers(call: CallContext, bunches: int) -> dict[str, object]:
        """Order flowers."""
        return {"done": "ordered", "id": "apt_1"}

    @function(writes=True)
    async def send_reminder(call: CallContext, appointment_id: str) -> dict[str, object]:
        """Send a text with the appointment."""
        return {"done": "sent", "id": appointment_id}

    return order_flowers, send_reminder


async def test_functions_with_equal_ids_from_two_tables_do_not_undo_each_other() -> None:
    app = standin(capacity=5)
    registry = Registry({each.name: each for each in (*REGISTRY, *_two_tables())})
    async with business(app) as (backend, _):
        call = a_call(backend)
        first = await run(registry, call, "book_appointment", says(BOOK))
        assert json.loads(first.output)["id"] == "apt_1"
        for name, more in (("order_flowers", {"bunches": 1}), ("send_reminder", {"appointment_id": "apt_1"})):
            assert (await run(registry, call, name, says(more))).ok
        again = await run(registry, call, "book_appointment", says(BOOK))
    assert again.output == first.output
    assert len(app.diary.bookings) == 1


async def test_functions_about_the_same_thing_undo_each_other_by_its_id() -> None:
    orders: list[str] = []

    @function(writes=True, about="order")
    async def order_flowers(call: CallContext, bunches: int) -> dict[str, object]:
        """Order flowers."""
        orders.append(call.idempotency_key)
        return {"done": "ordered", "id": "1"}

    @function(writes=True, about="order")
    async def cancel_order(call: CallContext, order: str) -> dict[str, object]:
        """Cancel an order."""
        return {"done": "cancelled", "id": order}

    registry = Registry({"order_flowers": order_flowers, "cancel_order": cancel_order})
    async with business(standin()) as (backend, _):
        call = a_call(backend)
        for _ in range(2):
            await run(registry, call, "order_flowers", says({"bunches": 2}))
        await run(registry, call, "cancel_order", says({"order": "1"}))
        await run(registry, call, "order_flowers", says({"bunches": 2}))
    assert len(set(orders)) == len(orders) == 2


async def test_a_cancelled_booking_can_be_made_again_in_the_same_call() -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend)
        keys = set()
        for _ in range(3):
            outcome = await book(call)
            made = json.loads(outcome.output)["id"]
            assert (outcome.ok, app.diary.bookings[made].cancelled) == (True, False)
            keys.add(outcome.key)
            change = says({"action": "cancel", "appointment_id": made})
            assert (await run(REGISTRY, call, "cancel_or_move_appointment", change)).ok
            assert app.diary.bookings[made].cancelled
    assert len(keys) == 3
    assert len(app.diary.bookings) == 3


async def test_moving_an_appointment_and_moving_it_back_and_moving_it_again_are_three_moves() -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend)
        made = json.loads((await book(call)).output)["id"]
        for hour in (20, 19, 20):
            change = {"action": "move", "appointment_id": made, "new_start": f"2026-11-24T{hour}:00"}
            assert (await run(REGISTRY, call, "cancel_or_move_appointment", says(change))).ok
            assert app.diary.bookings[made].start == dt.datetime(2026, 11, 24, hour, tzinfo=TZ)


async def test_another_machine_with_the_same_database_returns_the_first_result() -> None:
    app, ledger = standin(), MemoryLedger()
    async with business(app) as (backend, line):
        first = await book(a_call(backend, once=Once(ledger)))
        second = await book(a_call(backend, once=Once(ledger)))
        assert len(posts(line)) == 1
    assert json.loads(second.output) == json.loads(first.output)
    assert second.ok
    (row,) = ledger.of(FunctionCallRow)
    assert (row.key, row.state, row.ok) == (first.key, "done", True)


async def test_without_a_common_database_the_backend_stops_the_second_machine_by_the_idempotency_key() -> None:
    app = standin()
    async with business(app) as (backend, line):
        first, second = await book(a_call(backend)), await book(a_call(backend))
        assert posts(line) == [first.key, first.key]
    assert second.output == first.output
    assert len(app.diary.bookings) == 1


async def test_if_the_result_of_a_write_is_not_known_its_key_stays_reserved_until_the_backend_confirms_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lost = {"kind": "hang", "after": True, "times": 1}
    for last, state in ((None, "done"), ({"kind": "409", "times": 1}, "reserved")):
        faults = {"POST /appointments": [lost, *([last] if last else [])], "GET /appointments": "garbage"}
        app, ledger = standin(faults), MemoryLedger()
        async with business(app, [None, None, "refuse", "refuse"]) as (backend, _):
            call = a_call(backend, once=Once(ledger))
            for _ in range(2):  # the second attempt is never sent, so the result of the first is still not known
                await book(call)
                assert [row.state for row in ledger.of(FunctionCallRow)] == ["reserved"]
            await book(call)
        assert [row.state for row in ledger.of(FunctionCallRow)] == [state]


async def test_a_reservation_of_a_relay_that_died_does_not_stop_another_relay() -> None:
    app, ledger = standin(), MemoryLedger()
    before = await ledger.reserve(wish().digest(), "CA1", "book_appointment", {}, function_call_id="f0", limit_s=1)
    assert isinstance(before, Reserved)
    async with business(app) as (backend, _):
        outcome = await book(a_call(backend, once=Once(ledger)))
    assert outcome.ok


class Troubled:
    """Reservations that hang or raise an exception, although the interface forbids both."""

    def __init__(self, trouble: Callable[[], Any]) -> None:
        self.trouble = trouble

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        await self._fail()
        return Reserved()

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        await self._fail()

    async def _fail(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble() is None:
            await trio.sleep_forever()


def _raise() -> Any:
    raise OSError("connection reset")


@pytest.mark.parametrize("trouble", [lambda: None, _raise], ids=["hangs", "raises"])
async def test_a_caller_does_not_notice_that_postgres_is_away(
    trouble: Callable[[], Any], autojump_clock: trio.testing.MockClock
) -> None:
    app = standin()
    async with business(app) as (backend, _):
        call = a_call(backend, once=Once(Troubled(trouble)))
        outcomes = [await book(call) for _ in range(2)]
    assert all(each.ok for each in outcomes)
    assert outcomes[0].took_s <= 2 * RESERVE_LIMIT_S + 0.01
    assert len(app.diary.bookings) == 1


async def test_look_ups_are_always_sent_again() -> None:
    async with business(standin()) as (backend, line):
        call = a_call(backend)
        for _ in range(3):
            await run(REGISTRY, call, "lookup_hours", "{}")
        assert len(line.requests) == 3


# A random series of requests for the same booking. It has faults of the backend, broken connections, duplicates at the
# same time, callers who give up, reconnects to another machine, and a database that comes and goes. It ends when three
# requests have succeeded.
_FAULTS: tuple[Any, ...] = (
    "500", "hang", "garbage", "wrong_types", "huge", "redirect", {"kind": "slow", "ms": 900},
    {"kind": "slow", "ms": 3000},
    {"kind": "500", "after": True}, {"kind": "hang", "after": True}, {"kind": "garbage", "after": True},
    {"kind": "wrong_types", "after": True}, {"kind": "redirect", "after": True},
)  # fmt: skip


async def _one_life(seed: int) -> None:
    chance = random.Random(seed)
    drawn = [
        ({"kind": each} if isinstance(each, str) else each) | {"times": 1} for each in chance.choices(_FAULTS, k=6)
    ]
    app = standin({"POST /appointments": drawn[: chance.randint(0, 6)]}, capacity=5)
    ledger = MemoryLedger()
    breaks = [chance.choice([None, None, "refuse", "lose"]) for _ in range(chance.randint(0, 8))]
    async with business(app, breaks) as (backend, _):
        call = a_call(backend, once=Once(ledger))
        granted: list[Outcome] = []
        for _ in range(60):
            ledger.away = chance.random() < 0.3
            if chance.random() < 0.3:  # the call is resumed on another machine
                call = a_call(backend, once=Once(ledger if chance.random() < 0.7 else None))
            await _ask_at_once(call, chance, granted)
            if len(granted) >= 3:
                break
            await trio.sleep(chance.uniform(0, 12))  # s; sometimes long enough for the breaker's pause
        assert granted, f"seed {seed}: the booking was never made"
        assert len(app.diary.bookings) == 1, f"seed {seed}"
        assert {json.loads(each.output)["id"] for each in granted} == set(app.diary.bookings)


async def _ask_at_once(call: CallContext, chance: random.Random, granted: list[Outcome]) -> None:
    """Send one to three requests at once for the same booking. Some of them are cancelled while they run."""

    async def ask(said: dict[str, Any], patience_s: float) -> None:
        outcome = await _give_up_after(patience_s, lambda: book(call, **said))
        if outcome is not None and outcome.ok:
            granted.append(outcome)

    async with trio.open_nursery() as nursery:
        for _ in range(chance.randint(1, 3)):
            said = chance.choice([{}, {"name": "dana reed"}, {"phone": CALLER}, {"start": "2026-11-24T19:00:00-05:00"}])
            nursery.start_soon(ask, said, chance.choice([0.05, 1.0, 60.0, 60.0, 60.0]))


async def test_with_any_faults_one_wish_leads_to_one_booking(autojump_clock: trio.testing.MockClock) -> None:
    for seed in range(60):
        await _one_life(seed)


@pytest.mark.deep
async def test_with_any_faults_a_thousand_wishes_lead_to_a_thousand_bookings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(1000, 2000):
        await _one_life(seed)
