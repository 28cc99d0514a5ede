"""The diary of the stand-in business: bookings, messages and known callers, in memory.

The booking code is that of the embedded backend. Without a business file it is the diary of a small restaurant, open
from 11 to 22. With a file it is the diary of that business.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

from relay.business import bookings as engine
from relay.business.diary import Appointment, MemoryStore
from relay.business.embedded import hours_of
from relay.business.opening import minute_of, moment_of
from relay.business.rules import Business, Days, Service, SpecialDay
from relay.functions.backend.contract import Hours

LENGTH_MIN: Final = 60  # In the small restaurant: the length of a booking, and the time between two offered times.
NAME: Final = "Harbor Table"
OPENS_MIN, CLOSES_MIN = 11 * 60, 22 * 60
LEAP_YEAR: Final = 2000  # A leap year, because it has every possible date.


@dataclass(frozen=True)
class Booking:
    """One appointment, booked or cancelled."""

    id: str
    name: str
    phone: str
    service: str
    start: dt.datetime
    notes: str = ""
    cancelled: bool = False
    who: str = ""


@dataclass(frozen=True)
class Known:
    """A caller whom the business knows."""

    name: str
    verified: bool = False
    notes: str = ""
    id: str = ""


@dataclass(frozen=True)
class Message:
    """A message for the staff."""

    name: str
    phone: str
    message: str


class NotFree(Exception):
    """The time cannot be booked. `why` is the reason, and `alternatives` are free times."""

    def __init__(self, why: str, alternatives: list[dt.datetime]) -> None:
        super().__init__(why)
        self.why = why
        self.alternatives = alternatives


def restaurant(tz: ZoneInfo, tables: int, closed_days: frozenset[tuple[int, int]]) -> Business:
    """The small restaurant, which is open on every day of the week."""
    days = [dt.date(LEAP_YEAR, month, day) for month, day in closed_days]
    return Business(
        name=NAME,
        tz=tz,
        week=(((OPENS_MIN, CLOSES_MIN),),) * 7,
        services=(Service("table", LENGTH_MIN, places="table", step_minutes=LENGTH_MIN, ahead_days=366),),
        special=tuple(SpecialDay(Days(day, day, every_year=True)) for day in days),
        places={"table": tables},
    )


@dataclass
class Diary:
    """The diary. `capacity` is the number of tables, rooms or chairs of each kind.

    If `capacity` is None, the numbers of the business file count.
    """

    tz: ZoneInfo = field(default_factory=lambda: ZoneInfo("America/New_York"))
    capacity: int | None = 1
    # (month, day) on which the small restaurant is closed.
    closed_days: frozenset[tuple[int, int]] = frozenset({(12, 25)})
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    callers: dict[str, Known] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    file: Business | None = None
    store: MemoryStore = field(default_factory=MemoryStore)

    @cached_property
    def _restaurant(self) -> Business:
        return restaurant(self.tz, 1, self.closed_days)

    @property
    def business(self) -> Business:
        """The business of this diary."""
        business = self.file or self._restaurant
        if self.capacity is None:
            return business
        return replace(business, places=dict.fromkeys(business.places, self.capacity))

    @property
    def bookings(self) -> dict[str, Booking]:
        """All bookings in the order in which they were made, cancelled ones included."""
        return {each.id: self._shown(each) for each in self.store.appointments.values()}

    def hours(self, day: dt.date) -> Hours:
        """The opening hours of a day."""
        return hours_of(self.business, day)

    def free(
        self, day: dt.date, service: str = "table", until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """The free times from `day` to `until` (default: only `day`). Raises engine.NotOffered."""
        words = self._service(service)
        free = self._bookings.free(self.store, self._minute, words, day, until or day, who)
        return [self._moment(each) for each in free]

    def book(self, name: str, phone: str, service: str, start: dt.datetime, notes: str = "", who: str = "") -> Booking:
        """Book a time. Raises NotFree, engine.NotOffered."""
        wish = engine.Wish(self._service(service), minute_of(start), name, phone, notes, who)
        return self._change(lambda: self._bookings.book(self.store, self._minute, wish, engine.Deed("")))

    def move(self, booking: str, start: dt.datetime) -> Booking:
        """Move a booking. Raises KeyError if there is no such booking, NotFree."""
        to = minute_of(start)
        return self._change(lambda: self._bookings.move(self.store, self._minute, booking, to, engine.Deed("")))

    def cancel(self, booking: str) -> Booking:
        """Cancel a booking. Raises KeyError if there is no such booking."""
        return self._change(lambda: self._bookings.cancel(self.store, booking, engine.Deed("")))

    def of(self, phone: str) -> list[Booking]:
        """The coming bookings of a phone number, the earliest first."""
        return [self._shown(each) for each in self.store.of_phone(phone, self._minute)]

    def _change(self, change: Callable[[], Appointment]) -> Booking:
        try:
            return self._shown(change())
        except engine.NotFree as no:
            raise NotFree(no.why, [self._moment(each) for each in no.alternatives]) from None
        except engine.NoSuchAppointment as none:
            raise KeyError(str(none)) from None

    def _service(self, words: str) -> str:
        """The service that these words mean. In the small restaurant, any words mean a table."""
        return words if self.file else "table"

    @property
    def _bookings(self) -> engine.Bookings:
        return engine.Bookings(self.business)

    @property
    def _minute(self) -> int:
        return minute_of(self.now())

    def _moment(self, minute: int) -> dt.datetime:
        return moment_of(minute, self.business.tz)

    def _shown(self, entry: Appointment) -> Booking:
        person = "" if entry.resource.number else entry.resource.name
        return Booking(
            entry.id, entry.name, entry.phone, entry.service, self._moment(entry.start_min), entry.notes,
            entry.state == "cancelled", person,
        )  # fmt: skip
