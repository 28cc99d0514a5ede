"""The books of the stand-in restaurant: hours, tables, messages; no double booking (pure, time comes in)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

LENGTH: Final = dt.timedelta(hours=1)  # how long a table is taken
STEP: Final = dt.timedelta(hours=1)  # free times are offered on the hour
ALTERNATIVES: Final = 3


@dataclass(frozen=True)
class Booking:
    """One appointment, standing or cancelled."""

    id: str
    name: str
    phone: str
    service: str
    start: dt.datetime
    notes: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class Known:
    """A caller the business knows."""

    name: str
    verified: bool = False
    notes: str = ""
    id: str = ""


@dataclass(frozen=True)
class Message:
    """A message left for the staff."""

    name: str
    phone: str
    message: str


class NotFree(Exception):
    """The time is taken, or the house is closed then; `alternatives` are free."""

    def __init__(self, alternatives: list[dt.datetime]) -> None:
        super().__init__("not free")
        self.alternatives = alternatives


@dataclass
class Diary:
    """A small restaurant. `capacity` tables can be taken at the same time."""

    tz: ZoneInfo = field(default_factory=lambda: ZoneInfo("America/New_York"))
    capacity: int = 1
    opens: dt.time = dt.time(11)
    closes: dt.time = dt.time(22)
    closed_days: frozenset[tuple[int, int]] = frozenset({(12, 25)})  # (month, day)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    callers: dict[str, Known] = field(default_factory=dict)
    bookings: dict[str, Booking] = field(default_factory=dict)  # in the order they were made, cancelled ones too
    messages: list[Message] = field(default_factory=list)

    def hours(self, day: dt.date) -> tuple[dt.datetime, dt.datetime] | None:
        """(open, close) of a day, aware; None when closed."""
        if (day.month, day.day) in self.closed_days:
            return None
        return (
            dt.datetime.combine(day, self.opens, self.tz),
            dt.datetime.combine(day, self.closes, self.tz),
        )

    def free(self, day: dt.date) -> list[dt.datetime]:
        """Starts on the hour that can be booked."""
        hours = self.hours(day)
        if hours is None:
            return []
        starts: list[dt.datetime] = []
        start, close = hours
        while start + LENGTH <= close:
            if self.is_free(start):
                starts.append(start)
            start += STEP
        return starts

    def is_free(self, start: dt.datetime, but: str | None = None) -> bool:
        """True if a table can be taken from `start`, not counting booking `but` (which is being moved)."""
        local = start.astimezone(self.tz)
        hours = self.hours(local.date())
        if local <= self.now() or hours is None or not (hours[0] <= local and local + LENGTH <= hours[1]):
            return False
        beside = [b for b in self._standing() if b.id != but and abs(b.start - start) < LENGTH]
        return len(beside) < self.capacity

    def book(self, name: str, phone: str, service: str, start: dt.datetime, notes: str = "") -> Booking:
        """Raises NotFree."""
        if not self.is_free(start):
            raise NotFree(self.alternatives(start))
        made = Booking(f"apt_{len(self.bookings) + 1}", name, phone, service, start.astimezone(self.tz), notes)
        self.bookings[made.id] = made
        return made

    def move(self, booking: str, start: dt.datetime) -> Booking:
        """Raises KeyError for no such standing booking, NotFree."""
        old = self._find(booking)
        if not self.is_free(start, but=booking):
            raise NotFree(self.alternatives(start))
        self.bookings[booking] = replace(old, start=start.astimezone(self.tz))
        return self.bookings[booking]

    def cancel(self, booking: str) -> Booking:
        """Raises KeyError for no such standing booking."""
        self.bookings[booking] = replace(self._find(booking), cancelled=True)
        return self.bookings[booking]

    def of(self, phone: str) -> list[Booking]:
        """The coming bookings of a number, soonest first."""
        own = [b for b in self._standing() if b.phone == phone and b.start > self.now()]
        return sorted(own, key=lambda b: b.start)

    def alternatives(self, start: dt.datetime) -> list[dt.datetime]:
        """Free starts nearest to one that is not: of that day, else of the next days."""
        day = max(start, self.now()).astimezone(self.tz).date()
        for ahead in range(14):
            free = self.free(day + dt.timedelta(days=ahead))
            if free:
                return sorted(sorted(free, key=lambda each: abs(each - start))[:ALTERNATIVES])
        return []

    def _standing(self) -> Iterator[Booking]:
        return (b for b in self.bookings.values() if not b.cancelled)

    def _find(self, booking: str) -> Booking:
        found = self.bookings[booking]
        if found.cancelled:
            raise KeyError(booking)
        return found
