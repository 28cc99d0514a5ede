"""The backend client: it always ends in time, with an answer or with a fault that has a sentence for the model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relay.functions.backend.breaker import FAULTS_TO_OPEN, REST_S, Breaker
from relay.functions.backend.client import Backend, BackendFault, Refused, Taken
from relay.functions.backend.contract import segment
from relay.standin.business.app import serve_business
from tests.helpers.business_play import CALLER, OTHER, TZ, Answering, business, standin

DAY = dt.date(2026, 11, 24)
SEVEN = dt.datetime(2026, 11, 24, 19, tzinfo=TZ)


async def book(backend: Backend, key: str = "k1", phone: str = CALLER) -> Any:
    return await backend.book(key, name="Dana", phone=phone, service="table", start=SEVEN, notes="")


LOOK_UPS: list[Callable[[Backend], Awaitable[Any]]] = [
    lambda b: b.hours(DAY),
    lambda b: b.availability("table", DAY),
    lambda b: b.appointments(CALLER),
    lambda b: b.caller(CALLER),
]
WRITES: list[Callable[[Backend], Awaitable[Any]]] = [
    book,
    lambda b: b.move("k2", "apt_1", SEVEN),
    lambda b: b.cancel("k3", "apt_1"),
    lambda b: b.message("k4", name="Dana", phone=CALLER, message="Hello"),
]


async def test_every_endpoint_of_the_contract_has_a_typed_answer() -> None:
    async with business(standin()) as (backend, line):
        hours = await backend.hours(DAY)
        assert (hours.timezone, hours.closed, hours.open) == ("America/New_York", False, "2026-11-24T11:00:00-05:00")
        assert SEVEN in await backend.availability("table", DAY)
        booked = await book(backend)
        assert booked.start == SEVEN
        assert [each.id for each in await backend.appointments(CALLER)] == [booked.id]
        with pytest.raises(Taken) as taken:
            await book(backend, "k2", OTHER)
        assert len(taken.value.alternatives) == 3
        await backend.move("k3", str(booked.id), SEVEN + dt.timedelta(hours=1))
        await backend.cancel("k4", str(booked.id))
        assert await backend.appointments(CALLER) == []
        known = await backend.caller(CALLER)
        assert known is not None
        assert (known.name, known.verified) == ("Dana Reed", True)
        assert await backend.caller(OTHER) is None
        await backend.message("k5", name="Dana", phone=CALLER, message="Hello")
        sent = [(request.method, request.url.raw_path.decode()) for request in line.requests]
        assert ("GET", "/callers/%2B12125550147") in sent
        assert ("GET", "/appointments?phone=%2B12125550147") in sent


async def test_the_key_and_the_idempotency_key_are_sent() -> None:
    shop = Answering(b"", 204)
    async with Backend("https://shop.test/api", "secret", transport=shop) as backend:
        await backend.cancel("key-1", "a/b?c")
    assert shop.requests[0].headers["authorization"] == "Bearer secret"
    assert shop.requests[0].headers["idempotency-key"] == "key-1"


async def test_the_path_of_the_base_url_is_kept_and_an_id_is_one_segment() -> None:
    shop = Answering(b"", 204)
    async with Backend("https://shop.test/api/v1", transport=shop) as backend:
        await backend.cancel("k", "../callers/a b?c#d%2e")
    assert shop.requests[0].url.raw_path == b"/api/v1/appointments/..%2Fcallers%2Fa%20b%3Fc%23d%252e"


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_refused(text: str) -> None:
    with pytest.raises(BackendFault):
        segment(text)


@given(st.text(min_size=1))
def test_an_id_in_a_path_never_contains_a_character_that_ends_its_segment(text: str) -> None:
    if text not in (".", ".."):
        assert not set(segment(text)) & set("/?#\\ +")


@pytest.mark.parametrize("ask", LOOK_UPS)
@pytest.mark.parametrize("kind", ["500", "409", "garbage", "wrong_types", "redirect", "huge"])
async def test_a_look_up_that_fails_becomes_a_fault_with_a_sentence_for_the_model(
    ask: Callable[[Backend], Awaitable[Any]], kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with business(standin({"*": kind})) as (backend, _):
        with pytest.raises(BackendFault) as fault:
            await ask(backend)
    assert not fault.value.may_have_happened
    assert "2125550147" not in fault.value.words
    assert fault.value.words.startswith("GET /")


@pytest.mark.parametrize("status", [422, 500])
async def test_a_number_in_the_backends_own_words_does_not_reach_the_log(
    status: int, autojump_clock: trio.testing.MockClock
) -> None:
    shop = Answering(b'{"error": "no customer +12125550147 on 2026-11-24"}', status)
    async with Backend("http://x.test", transport=shop) as backend:
        with pytest.raises(BackendFault) as fault:
            await backend.appointments(CALLER)
    assert fault.value.words == f"GET /appointments answered {status}"
    assert fault.value.reason == "no customer <number> on 2026-11-24"


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", ["500", "redirect", "huge", "hang"])
async def test_a_write_without_an_answer_counts_as_possibly_done(
    write: Callable[[Backend], Awaitable[Any]], kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with business(standin({"*": kind})) as (backend, _):
        with pytest.raises(BackendFault) as fault:
            await write(backend)
    assert fault.value.may_have_happened


@pytest.mark.parametrize("ask", LOOK_UPS + WRITES)
async def test_a_backend_that_hangs_is_given_up_after_two_and_a_half_seconds(
    ask: Callable[[Backend], Awaitable[Any]], autojump_clock: trio.testing.MockClock
) -> None:
    async with business(standin({"*": "hang"})) as (backend, _):
        began = trio.current_time()
        with pytest.raises(BackendFault, match=r"not answered within 2\.5 s"):
            await ask(backend)
        assert trio.current_time() - began == pytest.approx(2.5)


async def test_the_client_waits_for_an_answer_that_takes_two_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with business(standin({"*": {"kind": "slow", "ms": 2000}})) as (backend, _):
        assert not (await backend.hours(DAY)).closed


async def test_a_look_up_that_failed_is_repeated_but_a_look_up_that_was_refused_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with business(standin({"/hours": {"kind": "500", "times": 2}})) as (backend, line):
        assert not (await backend.hours(DAY)).closed
        assert len(line.requests) == 3
        with pytest.raises(Refused) as refused:
            await backend.availability("", DAY)
        assert (refused.value.status, len(line.requests)) == (422, 4)


async def test_a_failed_write_is_repeated_once_with_the_same_key_and_books_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin()
    async with business(app, ["lose"]) as (backend, line):
        booked = await book(backend)
        assert [each.headers["idempotency-key"] for each in line.requests] == ["k1", "k1"]
    assert list(app.diary.bookings) == [booked.id]


async def test_a_write_that_was_lost_twice_is_not_sent_a_third_time(autojump_clock: trio.testing.MockClock) -> None:
    app = standin()
    async with business(app, ["lose", "refuse"]) as (backend, line):
        with pytest.raises(BackendFault) as fault:
            await book(backend)
        assert len(line.requests) == 2
    assert fault.value.may_have_happened, "the first attempt may have been carried out"


async def test_a_write_that_was_never_sent_counts_as_not_done(autojump_clock: trio.testing.MockClock) -> None:
    async with business(standin(), ["refuse", "refuse"]) as (backend, _):
        with pytest.raises(BackendFault, match="no connection") as fault:
            await book(backend)
    assert not fault.value.may_have_happened


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"slots": null}', b'{"slots": ["2026-11-24T19:00:00"]}', b"[" * 9000],
)
async def test_a_body_that_is_not_a_valid_answer_is_a_fault_with_a_sentence(body: bytes) -> None:
    async with Backend("http://x.test", transport=Answering(body)) as backend:
        with pytest.raises(BackendFault, match="not as agreed"):
            await backend.availability("table", DAY)


@pytest.mark.parametrize(
    "body",
    ['{"open": "banana", "close": "22:00"}', '{"closed": false}', '{"open": 11, "close": 22}', '{"closed": "perhaps"}'],
)
async def test_hours_that_make_no_sense_are_a_fault(body: str) -> None:
    async with Backend("http://x.test", transport=Answering(body.encode())) as backend:
        with pytest.raises(BackendFault, match="not as agreed"):
            await backend.hours(DAY)


async def test_extra_keys_and_hours_without_a_date_are_accepted() -> None:
    shop = Answering(b'{"open": "11:00", "close": "22:00", "closed": false, "chef": "Ana"}')
    async with Backend("http://x.test", transport=shop) as backend:
        assert (await backend.hours(DAY)).open == "11:00"


async def test_a_compressed_bomb_is_not_decompressed() -> None:
    shop = Answering(b"\x1f\x8b" * 50, headers={"content-encoding": "gzip"})
    async with Backend("http://x.test", transport=shop) as backend:
        with pytest.raises(BackendFault, match="compressed"):
            await backend.hours(DAY)


async def test_the_breaker_stops_requests_and_tries_again_after_its_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"/hours": "garbage"})
    async with business(app) as (backend, line):
        for _ in range(FAULTS_TO_OPEN):
            with pytest.raises(BackendFault, match="not as agreed"):
                await backend.hours(DAY)
        asked, began = len(line.requests), trio.current_time()
        with pytest.raises(BackendFault, match="was not asked"):
            await backend.caller(CALLER)
        assert (len(line.requests), trio.current_time()) == (asked, began)
        await trio.sleep(REST_S)
        assert await backend.caller(CALLER) is not None
        assert await backend.caller(OTHER) is None


async def test_refusals_do_not_open_the_breaker() -> None:
    async with business(standin()) as (backend, _):
        for _ in range(FAULTS_TO_OPEN + 1):
            assert await backend.caller(OTHER) is None
            with pytest.raises(Refused):
                await backend.cancel("k", "nothing")


async def test_a_functions_own_deadline_counts_as_a_fault_of_the_backend(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with business(standin({"*": "hang"})) as (backend, _):
        with trio.move_on_after(1.0) as scope:
            with pytest.raises(BackendFault, match="not answered"):
                await backend.hours(DAY)
        assert not scope.cancelled_caught
        assert backend.breaker.faults == 1


def test_a_half_open_breaker_lets_one_request_through() -> None:
    breaker = Breaker()
    for _ in range(FAULTS_TO_OPEN):
        assert breaker.wait_s(0.0) == 0.0
        breaker.failed(0.0)
    assert breaker.wait_s(4.0) == pytest.approx(6.0)
    assert breaker.wait_s(10.0) == 0.0
    assert breaker.wait_s(10.1) > 0
    breaker.failed(11.0)
    assert breaker.wait_s(20.9) > 0
    assert breaker.wait_s(21.0) == 0.0
    breaker.answered()
    assert breaker.wait_s(21.1) == 0.0


@pytest.mark.real
async def test_on_real_sockets_the_client_uses_its_connection_again_and_a_dead_port_causes_a_fault(
    nursery: trio.Nursery,
) -> None:
    binds: list[str] = await nursery.start(serve_business, 0, standin({"/callers": "huge"}))
    async with Backend(binds[0]) as backend:
        for _ in range(3):
            assert not (await backend.hours(DAY)).closed
        with pytest.raises(BackendFault, match="more than"):
            await backend.caller(CALLER)
    async with Backend("http://127.0.0.1:9") as backend:
        with pytest.raises(BackendFault, match="no connection"):
            await backend.hours(DAY)
    nursery.cancel_scope.cancel()
