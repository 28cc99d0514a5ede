"""The stand-in backend keeps the contract, books nothing twice, and makes the ordered faults."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relay.business.file import load as load_business
from relay.settings.shipped import folder
from relay.standin.business.app import BusinessApp, Diary, Faults, business_app, serve_business, stage_diary
from relay.standin.business.diary import LENGTH_MIN, NotFree
from tests.helpers.business_play import CALLER, NOW, OTHER, TZ, Line, standin

SEVEN = "2026-11-24T19:00:00-05:00"
WISH = {"name": "Dana", "phone": CALLER, "service": "table", "start": SEVEN, "notes": ""}


def to(app: BusinessApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Line(app), base_url="http://business.test")


async def book(client: httpx.AsyncClient, key: str, **changed: Any) -> httpx.Response:
    return await client.post("/appointments", json=WISH | changed, headers={"Idempotency-Key": key})


async def test_the_hours_of_a_day_have_an_offset_and_on_christmas_it_is_closed() -> None:
    async with to(standin()) as client:
        tuesday = (await client.get("/hours", params={"date": "2026-11-24"})).json()
        christmas = (await client.get("/hours", params={"date": "2026-12-25"})).json()
    assert (tuesday["open"], tuesday["close"]) == ("2026-11-24T11:00:00-05:00", "2026-11-24T22:00:00-05:00")
    assert (tuesday["closed"], tuesday["timezone"]) == (False, "America/New_York")
    assert (christmas["closed"], "open" in christmas) == (True, False)


async def test_a_booked_time_is_no_longer_free() -> None:
    async with to(standin()) as client:
        query = {"service": "table", "date": "2026-11-24"}
        before = (await client.get("/availability", params=query)).json()["slots"]
        assert (await book(client, "k1")).status_code == 201
        after = (await client.get("/availability", params=query)).json()["slots"]
    assert set(before) - set(after) == {SEVEN}
    assert before[0] == "2026-11-24T11:00:00-05:00"
    assert before[-1] == "2026-11-24T21:00:00-05:00"


async def test_a_second_booking_of_one_table_is_refused_with_the_nearest_times() -> None:
    async with to(standin()) as client:
        await book(client, "k1")
        second = await book(client, "k2", phone=OTHER)
    assert second.status_code == 409
    assert second.json()["alternatives"] == [f"2026-11-24T{hour}:00:00-05:00" for hour in (17, 18, 20)]


async def test_two_tables_take_two_bookings_at_one_time() -> None:
    async with to(standin(capacity=2)) as client:
        statuses = [(await book(client, f"k{n}")).status_code for n in range(3)]
    assert statuses == [201, 201, 409]


async def test_two_requests_with_the_same_key_get_the_same_answer_and_make_one_booking() -> None:
    app = standin()
    async with to(app) as client:
        answers = [await book(client, "k1") for _ in range(3)]
        refused = [await book(client, "k2", phone=OTHER) for _ in range(2)]
        listed = (await client.get("/standin/bookings")).json()
    assert {(each.status_code, each.text) for each in answers} == {(201, answers[0].text)}
    assert {(each.status_code, each.text) for each in refused} == {(409, refused[0].text)}
    assert len(listed["bookings"]) == 1
    assert listed["asked"] == {"POST /appointments": 5}


async def test_the_same_key_with_another_request_is_refused_and_books_nothing() -> None:
    app = standin()
    async with to(app) as client:
        first = await book(client, "k1")
        other = await book(client, "k1", start="2026-11-24T20:00:00-05:00")
        rewritten = dict(reversed((WISH | {"name": "dana "}).items()))
        again = await client.post("/appointments", json=rewritten, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, "another content" in other.json()["error"]) == (422, True)
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(app.diary.bookings) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/hours", 405),
        ("GET", "/appointments?phone=+12125550147", 422),  # a plus in a query means a blank
        ("GET", "/appointments", 422),
    ],
)
async def test_a_request_that_is_not_in_the_contract_is_refused_with_a_sentence(
    method: str, path: str, status: int
) -> None:
    async with to(standin()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


async def test_a_body_of_more_than_16_kb_is_refused_with_a_sentence() -> None:
    async with to(standin()) as client:
        answer = await book(client, "k1", notes="x" * 20_000)
    assert (answer.status_code, bool(answer.json()["error"])) == (413, True)


async def test_a_key_on_another_route_or_no_key_is_refused() -> None:
    async with to(standin()) as client:
        await book(client, "k1")
        assert (await client.delete("/appointments/apt_1", headers={"Idempotency-Key": "k1"})).status_code == 422
        assert (await client.post("/appointments", json=WISH)).status_code == 400


async def test_a_booking_can_be_moved_and_is_cancelled_only_once() -> None:
    async with to(standin()) as client:
        made = (await book(client, "k1")).json()["id"]
        eight = {"start": "2026-11-24T20:00:00-05:00"}
        moved = await client.patch(f"/appointments/{made}", json=eight, headers={"Idempotency-Key": "k2"})
        assert (moved.status_code, moved.json()["start"]) == (200, eight["start"])
        listed = (await client.get("/appointments", params={"phone": CALLER})).json()["appointments"]
        assert [(each["id"], each["start"]) for each in listed] == [(made, eight["start"])]
        gone = [
            (await client.delete(f"/appointments/{made}", headers={"Idempotency-Key": key})).status_code
            for key in ("k3", "k3", "k4")
        ]
        assert gone == [204, 204, 404]
        assert (await client.get("/appointments", params={"phone": CALLER})).json() == {"appointments": []}
        assert (await book(client, "k5", phone=OTHER)).status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"start": "2026-11-24T19:00:00"},  # without an offset
        {"start": "2025-11-24T19:00:00-05:00"},  # in the past
        {"phone": "2125550147"},
        {"name": ""},
        {"name": 5},
    ],
)
async def test_a_booking_that_makes_no_sense_is_refused_with_a_sentence(changed: dict[str, Any]) -> None:
    app = standin()
    async with to(app) as client:
        answer = await book(client, "k1", **changed)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert not app.diary.bookings


async def test_a_time_outside_the_hours_is_not_free() -> None:
    async with to(standin()) as client:
        answer = await book(client, "k1", start="2026-11-24T22:00:00-05:00")
    assert (answer.status_code, len(answer.json()["alternatives"])) == (409, 3)


async def test_a_known_caller_is_recognised_but_an_unknown_caller_is_not() -> None:
    async with to(standin()) as client:
        known = await client.get("/callers/%2B12125550147")
        assert known.json() == {"name": "Dana Reed", "verified": True, "notes": "Likes the window."}
        assert (await client.get("/callers/%2B12125550199")).status_code == 404


async def test_a_message_that_is_sent_twice_is_stored_once() -> None:
    app = standin()
    async with to(app) as client:
        for _ in range(2):
            left = {"name": "Dana", "phone": CALLER, "message": "Call me"}
            answer = await client.post("/messages", json=left, headers={"Idempotency-Key": "m1"})
            assert answer.status_code == 201
    assert [each.message for each in app.diary.messages] == ["Call me"]


async def test_without_the_bearer_token_every_request_is_refused() -> None:
    app = business_app(Diary(now=lambda: NOW), api_key="secret")
    async with to(app) as client:
        assert (await client.get("/hours?date=2026-11-24")).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert (await client.get("/hours?date=2026-11-24")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("500", 500, "on order"),
        ("409", 409, "alternatives"),
        ("garbage", 200, "<html>"),
        ("wrong_types", 200, '"open":11'),
        ("redirect", 307, ""),
        ("huge", 200, "xxxxxxxx"),
    ],
)
async def test_an_ordered_fault_breaks_only_its_own_route(kind: str, status: int, text: str) -> None:
    app = standin({"/hours": kind})
    async with to(app) as client:
        spoilt = await client.get("/hours?date=2026-11-24")
        assert (spoilt.status_code, text in spoilt.text) == (status, True)
        assert (await client.get("/callers/%2B12125550147")).status_code == 200


async def test_an_ordered_slow_answer_and_an_ordered_hanging_answer_take_the_ordered_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = standin({"GET /hours": {"kind": "slow", "ms": 2000}, "GET /callers": "hang"})
    async with to(app) as client:
        client.timeout = httpx.Timeout(None)
        began = trio.current_time()
        assert (await client.get("/hours?date=2026-11-24")).status_code == 200
        assert trio.current_time() - began == pytest.approx(2.0)
        with trio.move_on_after(60) as scope:
            await client.get("/callers/%2B12125550147")
        assert scope.cancelled_caught


async def test_if_the_fault_comes_after_the_booking_the_booking_is_still_made() -> None:
    app = standin({"POST /appointments": {"kind": "500", "times": 1, "after": True}})
    async with to(app) as client:
        assert [(await book(client, "k1")).status_code for _ in range(2)] == [500, 201]
    assert len(app.diary.bookings) == 1


async def test_faults_come_in_their_order_and_as_often_as_ordered() -> None:
    app = standin({"*": [{"kind": "500", "times": 2}, {"kind": "409", "times": 1}]})
    async with to(app) as client:
        seen = [(await client.get("/hours?date=2026-11-24")).status_code for _ in range(4)]
    assert seen == [500, 500, 409, 200]


async def test_faults_can_be_set_over_http_and_the_error_for_a_wrong_fault_names_it() -> None:
    async with to(standin()) as client:
        assert (await client.post("/standin/faults", json={"/hours": "500"})).status_code == 200
        assert (await client.get("/hours?date=2026-11-24")).status_code == 500
        wrong = await client.post("/standin/faults", json={"/hours": "5OO"})
        assert (wrong.status_code, "/hours" in wrong.json()["error"]) == (400, True)
        assert (await client.post("/standin/faults", json={})).status_code == 200
        assert (await client.get("/hours?date=2026-11-24")).status_code == 200


@pytest.mark.parametrize("table", [{"hours": "500"}, {"/hours": {"kind": "500", "sometimes": True}}, {"/hours": 7}])
def test_a_table_that_does_not_describe_faults_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="hours"):
        Faults.from_table(table)


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.sampled_from(["book", "move", "cancel"]), st.integers(0, 9), st.integers(0, 44)), max_size=40
    ),
)
def test_no_series_of_bookings_and_moves_and_cancellations_books_too_many(
    capacity: int, history: list[tuple[str, int, int]]
) -> None:
    diary = Diary(tz=TZ, now=lambda: NOW, capacity=capacity)
    for what, which, quarter in history:
        start = dt.datetime(2026, 11, 24, 11, tzinfo=TZ) + quarter * dt.timedelta(minutes=15)
        try:
            if what == "book":
                diary.book("Dana", CALLER, "table", start)
            elif what == "move":
                diary.move(f"apt_{which}", start)
            else:
                diary.cancel(f"apt_{which}")
        except (NotFree, KeyError):
            pass  # the diary refuses what would overbook it
    length = dt.timedelta(minutes=LENGTH_MIN)
    standing = [each.start for each in diary.bookings.values() if not each.cancelled]
    for start in standing:
        assert sum(other <= start < other + length for other in standing) <= capacity


@pytest.mark.real
async def test_the_stand_in_serves_on_a_port_and_says_which(nursery: trio.Nursery) -> None:
    binds: list[str] = await nursery.start(serve_business, 0, standin())
    async with httpx.AsyncClient(base_url=binds[0], trust_env=False) as client:
        assert (await client.get("/hours?date=2026-11-24")).json()["closed"] is False
    nursery.cancel_scope.cancel()


async def test_the_stand_in_uses_the_hours_and_people_and_words_of_the_owners_business_file() -> None:
    barber = load_business(folder("prompts") / "business.barber.toml")
    books = stage_diary(barber.tz, lambda: NOW, business=barber)
    async with to(business_app(books)) as client:
        query = {"service": "haircut", "date": "2026-11-26", "with": "Tom"}
        slots = (await client.get("/availability", params=query)).json()["slots"]
        assert slots[0] == "2026-11-26T10:00:00+00:00"
        wish = {"service": "haircut", "start": slots[0], "with": "Tom"}
        made = await book(client, "k1", **wish)
        assert (made.status_code, made.json()["with"]) == (201, "Tom")
        taken = await book(client, "k2", **wish)
        assert (taken.status_code, taken.json()["why"].split(".")[1]) == (409, " Free then: Maria")
        unknown = await book(client, "k3", service="lawn mowing")
        assert (unknown.status_code, "haircut" in unknown.json()["told"]) == (422, True)
        month = (await client.get("/availability", params=query | {"until": "2026-12-26"})).json()["slots"]
        assert len(month) > 200
        closed = (await client.get("/hours", params={"date": "2026-12-25"})).json()
        assert (closed["closed"], "Closed over Christmas." in closed["notes"]) == (True, True)
