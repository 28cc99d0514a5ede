"""Defines the content of the business file: hours, special days, services, people, places, answers (pure).

A *span* is a pair of minutes, its beginning and its end. In opening hours these are minutes of a day, and the end may
be after 24:00. Elsewhere they are minutes since 1970 in UTC. A *resource* is a person, or one numbered place. It can be
booked only once at a time.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

DAY_MIN: Final = 24 * 60
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Span = tuple[int, int]
Week = tuple[tuple[Span, ...], ...]
"""Seven days, from Monday on. Each has its spans in minutes of the day."""


class Resource(NamedTuple):
    """A person, or one numbered place such as table 3. `number` is 0 for a person. Places are counted from 1."""

    name: str
    number: int = 0

    @property
    def words(self) -> str:
        """The resource in words: `Maria`, `table 3`."""
        return f"{self.name} {self.number}" if self.number else self.name


@dataclass(frozen=True, slots=True)
class Days:
    """A day, or several days in a row. If `every_year`, the year does not count."""

    first: dt.date
    last: dt.date
    every_year: bool = False

    def holds(self, day: dt.date) -> bool:
        if not self.every_year:
            return self.first <= day <= self.last
        at, first, last = ((each.month, each.day) for each in (day, self.first, self.last))
        return first <= at <= last if first <= last else at >= first or at <= last


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """Days with special hours. If `hours` is empty, the business is closed on these days."""

    days: Days
    hours: tuple[Span, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that can be booked. One of `people` does it, or it needs one of the places of the kind `places`."""

    name: str
    minutes: int
    people: tuple[str, ...] = ()
    places: str = ""
    also: tuple[str, ...] = ()
    # The buffer: for so many minutes after the appointment, the person or place is not free. It may end after closing
    # time.
    buffer_minutes: int = 0
    price: str = ""
    step_minutes: int = 30  # The minutes between two times that are offered.
    notice_minutes: int = 0  # The notice: an appointment begins at least so many minutes after it is booked.
    ahead_days: int = 60  # The horizon: an appointment is at most so many days after today.


@dataclass(frozen=True, slots=True)
class Person:
    """A person who does services. If `hours` is None, the person has the hours of the business.

    Own hours count only as far as the business is open.
    """

    name: str
    does: tuple[str, ...]
    hours: Week | None = None
    off: tuple[Days, ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question that callers often ask."""

    about: str
    answer: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AfterHours:
    """How a call is answered while the business is closed. `offer` is told to the model."""

    greeting: str
    offer: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Business:
    """The content of the business file."""

    name: str
    tz: ZoneInfo
    week: Week
    services: tuple[Service, ...]
    country: str = ""
    place: str = ""
    special: tuple[SpecialDay, ...] = ()
    people: tuple[Person, ...] = ()
    places: dict[str, int] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    after_hours: AfterHours | None = None

    def special_day(self, day: dt.date) -> SpecialDay | None:
        """The entry for this day. An entry with a year is used before an entry for every year."""
        found = [each for each in self.special if each.days.holds(day)]
        return min(found, key=lambda each: each.days.every_year, default=None)

    def person(self, name: str) -> Person | None:
        """The person with this name. If there is none, the person whose first name is the first word of `name`.

        None if nobody or more than one person fits. Upper and lower case are the same.
        """
        wanted = _plain(name)
        full = [each for each in self.people if _plain(each.name) == wanted]
        first = [each for each in self.people if _plain(each.name).split()[:1] == wanted.split()[:1]]
        found = full or (first if len(first) == 1 else [])
        return found[0] if found else None

    def service(self, words: str) -> Service | None:
        """The service that the caller's words mean. None if the words fit no service, or more than one."""
        wanted = _plain(words)
        called = [(_plain(name), each) for each in self.services for name in (each.name, *each.also)]
        exact = [each for name, each in called if name == wanted]
        if exact:
            return exact[0]
        said = _stems(wanted)
        within = [(len(_stems(name)), each) for name, each in called if _stems(name) <= said]
        if within:
            longest = max(size for size, _ in within)
            return _only(each for size, each in within if size == longest)
        return _only(each for name, each in called if said and said <= _stems(name))

    def resources_of(self, service: Service) -> list[Resource]:
        """The people or places that can do the service, in the order of the file."""
        if service.places:
            return [Resource(service.places, number + 1) for number in range(self.places[service.places])]
        return [Resource(name) for name in service.people]


def _plain(words: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in words.casefold()).split())


def _stems(plain: str) -> frozenset[str]:
    """The words without a plural s, so that "haircuts" finds the service "haircut"."""
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in plain.split())


def _only(found: object) -> Service | None:
    different = list(dict.fromkeys(found))  # type: ignore[call-overload]
    return different[0] if len(different) == 1 else None
