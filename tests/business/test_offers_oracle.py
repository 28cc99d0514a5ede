"""The offered times and the bookings of random businesses equal those of an oracle that checks every minute."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from relay.business.bookings import Bookings, Deed, NotFree, Wish
from relay.business.diary import Appointment, MemoryStore, Store
from relay.business.file import parse
from tests.helpers.business_oracle import LENGTH_DAYS, Oracle, World, worlds

WISHES = st.lists(
    st.tuples(
        st.integers(0, 1),  # which service
        st.integers(0, 2),  # for anybody, or for one of two people
        st.sampled_from(["offered", "any"]),
        st.integers(0, LENGTH_DAYS * 1440 - 1),
    ),
    min_size=1,
    max_size=14,
)


def attempt(reception: Bookings, store: Store, now: int, wish: Wish, key: str) -> tuple[Appointment | None, list[int]]:
    try:
        return reception.book(store, now, wish, Deed(key)), []
    except NotFree as no:
        return None, no.alternatives


@given(worlds(), WISHES)
def test_offered_times_can_be_booked_and_refused_times_cannot_and_nothing_is_booked_twice(
    world: World, wishes: list[tuple[int, int, str, int]]
) -> None:
    reception, oracle, store = Bookings(parse(world.toml())), Oracle(world), MemoryStore()
    begin = oracle.now - world.now_min
    for number, (which, whom, how, at) in enumerate(wishes):
        service = world.services[which % len(world.services)]
        doers = [each.name for each in world.people if not service.places]
        who = "" if service.places or whom == 0 else doers[whom % len(doers)]
        first = world.first + dt.timedelta(days=at % 3)
        last = first + dt.timedelta(days=whom)
        free = reception.free(store, oracle.now, service.name, first, last, who)
        expected = oracle.offers(service, first, last, who)
        assert set(free) <= {each for each in free if oracle.anybody(service, each, who)}, "a time on offer is not free"
        assert free == sorted(expected)
        start = free[at % len(free)] if how == "offered" and free else begin + at
        possible = oracle.anybody(service, start, who)
        wish = Wish(service.name, start, "A", "+12125550147", "", who)
        made, alternatives = attempt(reception, store, oracle.now, wish, f"k{number}")
        assert (made is not None) == possible
        assert all(oracle.anybody(service, each, who) for each in alternatives)
        if made is not None:
            resource = made.resource.name, made.resource.number
            assert oracle.can(service, start, resource), "another person is free, but not the booked one"
            oracle.take(service, start, resource)
