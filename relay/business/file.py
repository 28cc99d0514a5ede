"""Reads and checks `business.toml`. One error names all mistakes, each with its line.

If the file is not valid TOML, the error names only the first mistake. Only `load` does I/O.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.business.hours_text import HOURS_ALLOWED, read_days, read_hours, read_weekdays
from relay.business.rules import (
    DAY_MIN,
    WEEKDAYS,
    AfterHours,
    Answer,
    Business,
    Days,
    Person,
    Service,
    Span,
    SpecialDay,
    Week,
)
from relay.business.toml_lines import Path as KeyPath
from relay.business.toml_lines import line_at, lines_of
from relay.settings import lacks_summer_time

T = TypeVar("T")
MISSING: Final = object()
MOST_PLACES: Final = 500
MOST_MINUTES: Final = DAY_MIN
MOST_NOTICE_MINUTES: Final = 60 * DAY_MIN
MOST_AHEAD_DAYS: Final = 366

_TOP = ("name", "place", "timezone", "country", "hours", "special_days", "services", "people", "places", "answers",
        "after_hours")  # fmt: skip
_SERVICE = ("name", "also", "minutes", "buffer_minutes", "price", "places", "step_minutes", "notice_minutes",
            "ahead_days")  # fmt: skip


class BusinessFileInvalid(ValueError):
    """The business file has mistakes. The message names all of them, and `mistakes` is their list."""

    def __init__(self, name: str, mistakes: Sequence[str]) -> None:
        super().__init__(f"{name} has mistakes:\n" + "\n".join(f"  - {each}" for each in mistakes))
        self.mistakes = list(mistakes)


def load(path: Path) -> Business:
    """Read and check a file. Raises BusinessFileInvalid."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BusinessFileInvalid(str(path), [f"{path} cannot be read: {words}"]) from None
    return parse(text, path.name)


def parse(text: str, name: str = "business.toml") -> Business:
    """Make a Business of the text of a business file. Raises BusinessFileInvalid."""
    text = text.replace("\r\n", "\n")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error).replace("at end of document", f"at line {text.count(chr(10)) + 1}, the end of the file")
        raise BusinessFileInvalid(name, [f"{name}: {words}"]) from None
    reader = _Reader(name, lines_of(text))
    business = _business(reader, _Table(reader, (), table))
    if reader.mistakes:
        raise BusinessFileInvalid(name, [words for _, words in sorted(reader.mistakes, key=lambda each: each[0])])
    assert business is not None
    return business


@dataclass
class _Reader:
    """Reads the file. Collects all mistakes, each with its line."""

    name: str
    lines: Mapping[KeyPath, int]
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def wrong(self, path: KeyPath, words: str) -> None:
        line = line_at(self.lines, path)
        shown = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        self.mistakes.append((line, f"{self.name}, line {line}: {shown + ': ' if shown else ''}{words}"))


class _Table:
    """One table of the file. A key that was read is removed. The keys that are left at the end are unknown."""

    def __init__(self, reader: _Reader, path: KeyPath, table: Mapping[str, Any]) -> None:
        self._reader, self.path, self._table = reader, path, dict(table)

    def wrong(self, key: str | int, words: str) -> None:
        self._reader.wrong((*self.path, key) if key != "" else self.path, words)

    def take(self, key: str, default: object = MISSING) -> Any:
        if key not in self._table:
            if default is MISSING:
                self.wrong("", f"{key} is missing")
            return default
        return self._table.pop(key)

    def text(self, key: str, *, needed: bool = False, most: int = 500) -> str:
        value = self.take(key, MISSING if needed else "")
        if value is MISSING:
            return ""
        if not isinstance(value, str) or (needed and not value.strip()) or len(value) > most:
            self.wrong(key, f"must be words between quotes, at most {most} characters")
            return ""
        return " ".join(value.split())

    def number(self, key: str, default: int | None, low: int, high: int) -> int:
        value = self.take(key, MISSING if default is None else default)
        if value is MISSING:
            return low
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(key, f"must be a whole number from {low} to {high}")
            return low
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            self.wrong(key, 'must be a list of words like ["one", "two"]')
            return ()
        return tuple(" ".join(each.split()) for each in value)

    def tables(self, key: str) -> list[_Table]:
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.wrong(key, f"must be tables, each under [[{key}]]")
            return []
        return [_Table(self._reader, (*self.path, key, number), each) for number, each in enumerate(value)]

    def table(self, key: str) -> _Table | None:
        if key not in self._table:
            return None
        value = self.take(key)
        if not isinstance(value, dict):
            self.wrong(key, f"must be a table under [{key}]")
            return None
        return _Table(self._reader, (*self.path, key), value)

    def read(self, key: str, value: object, read: Callable[[Any], T]) -> T | None:
        """The value as `read` understands it. If it has a mistake, the mistake is noted and None is returned."""
        try:
            return read(value)
        except ValueError as error:
            self.wrong(key, str(error))
            return None

    def items(self) -> list[tuple[str, Any]]:
        taken, self._table = list(self._table.items()), {}
        return taken

    def nothing_else(self, known: Sequence[str]) -> None:
        for key in self._table:
            self.wrong(key, f"is not known here; allowed are {', '.join(known)}")


def _business(reader: _Reader, top: _Table) -> Business | None:
    name = top.text("name", needed=True, most=100)
    tz = _zone(top)
    country = top.text("country", most=2)
    if country and not (len(country) == 2 and country.isalpha()):
        top.wrong("country", 'must be two letters like "US"')
    place = top.text("place", most=200)
    before = len(reader.mistakes)
    hours = top.table("hours")
    if hours is None and len(reader.mistakes) == before:
        top.wrong("", '[hours] is missing: write lines like mon-fri = "09:00-12:30, 13:30-18:00" and sat = "closed"')
    week = _week(hours) if hours else ((),) * 7
    special_tables = top.tables("special_days")
    special = tuple(_special(each) for each in special_tables)
    _special_once(special_tables, special)
    places = _places(top.table("places"))
    before = len(reader.mistakes)
    service_tables, person_tables = top.tables("services"), top.tables("people")
    people = [_person(each) for each in person_tables]
    services = [_service(each, people) for each in service_tables]
    if not service_tables and len(reader.mistakes) == before:
        top.wrong("", "[[services]] is missing: write at least one service that can be booked")
    _names_once(service_tables, [each.name for each in services], "service")
    _names_once(person_tables, [each.name for each in people], "person")
    _who_and_where(
        list(zip(service_tables, services, strict=True)), list(zip(person_tables, people, strict=True)), places
    )
    _can_ever_happen(list(zip(service_tables, services, strict=True)), week, special)
    answers = tuple(_answer(each) for each in top.tables("answers"))
    after = top.table("after_hours")
    after_hours = _after_hours(after) if after else None
    top.nothing_else(_TOP)
    if reader.mistakes:
        return None
    return Business(
        name=name, tz=tz, week=week, services=tuple(services), country=country.upper(), place=place, special=special,
        people=tuple(people), places=places, answers=answers, after_hours=after_hours,
    )  # fmt: skip


def _zone(top: _Table) -> ZoneInfo:
    name = top.text("timezone", needed=True)
    if lacks_summer_time(name):
        top.wrong(
            "timezone",
            f"{name!r} has no summer time, so in summer appointments would be an hour late; write a place instead, like"
            " America/New_York",
        )
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        top.wrong("timezone", f"{name!r} is no time zone; write one like America/New_York")
        return ZoneInfo("UTC")


def _week(table: _Table) -> Week:
    """The weekly hours of the business or of a person. A day that is not named has no hours."""
    days: list[tuple[Span, ...]] = [()] * 7
    named: set[int] = set()
    for key, value in table.items():
        spans = table.read(key, value, _hours_value) or ()
        for number in table.read(key, key, read_weekdays) or ():
            if number in named:
                table.wrong(key, f"{WEEKDAYS[number]} is named twice")
            named.add(number)
            days[number] = spans
    for number, spans in enumerate(days):
        following = days[(number + 1) % 7]
        if spans and following and spans[-1][1] - DAY_MIN > following[0][0]:
            today, tomorrow = WEEKDAYS[number], WEEKDAYS[(number + 1) % 7]
            table.wrong("", f"the night of {today} overlaps the hours of {tomorrow}")
    return tuple(days)


def _hours_value(value: object) -> tuple[Span, ...]:
    if not isinstance(value, str):
        raise ValueError(f"must be {HOURS_ALLOWED}")
    return read_hours(value)


def _days_of(table: _Table, key: str, value: object) -> tuple[Days, ...]:
    """Read one entry of days, or a list of such entries."""
    listed = value if isinstance(value, list) else [value]
    found = [table.read(key, each, read_days) for each in listed]
    return tuple(each for each in found if each is not None)


def _special(table: _Table) -> SpecialDay:
    on = table.take("on")
    days = table.read("on", on, read_days) if on is not MISSING else None
    value = table.take("hours")
    hours = table.read("hours", value, _hours_value) if value is not MISSING else ()
    note = table.text("note", most=200)
    table.nothing_else(("on", "hours", "note"))
    return SpecialDay(days or Days(dt.date.min, dt.date.min), hours or (), note)


def _special_once(tables: Sequence[_Table], special: Sequence[SpecialDay]) -> None:
    """Note a mistake if a day has two entries. One entry with a year and one without are allowed."""
    for number, (table, one) in enumerate(zip(tables, special, strict=True)):
        for other in special[:number]:
            if one.days.every_year == other.days.every_year and _meet(one.days, other.days):
                table.wrong("on", f"overlaps {_shown(other.days)}, which is named before")


def _meet(one: Days, other: Days) -> bool:
    return any(a.holds(b.first) or a.holds(b.last) for a, b in ((one, other), (other, one)))


def _shown(days: Days) -> str:
    form = "%m-%d" if days.every_year else "%Y-%m-%d"
    ends = [f"{each:{form}}" for each in (days.first, days.last)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _places(table: _Table | None) -> dict[str, int]:
    places: dict[str, int] = {}
    for key, value in table.items() if table else ():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_PLACES:
            assert table is not None
            table.wrong(key, f"must say how many there are, from 1 to {MOST_PLACES}")
        else:
            places[key] = value
    return places


def _person(table: _Table) -> Person:
    name = table.text("name", needed=True, most=60)
    does = table.words("does")
    hours = table.table("hours")
    value = table.take("off", [])
    person = Person(name, does, _week(hours) if hours else None, _days_of(table, "off", value), table.text("about"))
    table.nothing_else(("name", "does", "hours", "off", "about"))
    return person


def _service(table: _Table, people: Sequence[Person]) -> Service:
    name = table.text("name", needed=True, most=60)
    service = Service(
        name=name,
        minutes=table.number("minutes", None, 1, MOST_MINUTES),
        people=tuple(each.name for each in people if name in each.does),
        places=table.text("places", most=60),
        also=table.words("also"),
        buffer_minutes=table.number("buffer_minutes", 0, 0, MOST_MINUTES),
        price=table.text("price", most=100),
        step_minutes=table.number("step_minutes", 30, 5, MOST_MINUTES),
        notice_minutes=table.number("notice_minutes", 0, 0, MOST_NOTICE_MINUTES),
        ahead_days=table.number("ahead_days", 60, 1, MOST_AHEAD_DAYS),
    )
    table.nothing_else(_SERVICE)
    return service


def _names_once(tables: Sequence[_Table], names: Sequence[str], kind: str) -> None:
    seen: set[str] = set()
    for table, name in zip(tables, names, strict=True):
        if name and name.casefold() in seen:
            table.wrong("name", f"there are two of the name {name}: each {kind} needs its own")
        seen.add(name.casefold())


def _who_and_where(
    services: Sequence[tuple[_Table, Service]], people: Sequence[tuple[_Table, Person]], places: Mapping[str, int]
) -> None:
    """Check that each service has a person or a kind of place, and that each person does a service."""
    known = [service.name for _, service in services]
    for table, person in people:
        if not person.does and person.name:
            table.wrong("does", f"{person.name} does nothing: name services, such as {', '.join(known[:3])}")
        for name in person.does:
            if name not in known:
                table.wrong("does", f"there is no service {name!r}; there are {', '.join(known)}")
        if person.name in places:
            table.wrong("name", f"{person.name} is also the name of a place")
    for table, service in services:
        if not service.name:
            continue
        if service.places and service.places not in places:
            there = f"there are {', '.join(places)}" if places else "write them under [places], like table = 5"
            table.wrong("places", f"there are no places {service.places!r}; {there}")
        if service.places and service.people:
            table.wrong("places", f"it needs a place, and {', '.join(service.people)} does it: name one or the other")
        if not service.places and not service.people:
            table.wrong("", f"nobody does {service.name}: name it under `does` of a person, or give it `places`")
    taken: dict[str, str] = {}
    for table, service in services:
        for word in (service.name, *service.also):
            other = taken.setdefault(word.casefold(), service.name)
            if other != service.name:
                table.wrong("", f"{word!r} is a name of {other} already: each name may mean only one service")


def _can_ever_happen(services: Sequence[tuple[_Table, Service]], week: Week, special: Sequence[SpecialDay]) -> None:
    """Check that each service fits into the hours of some day, between two breaks. Otherwise nobody could book it."""
    spans = [span for hours in (*week, *(each.hours for each in special)) for span in hours]
    if any(start == 0 for start, _ in spans) and any(end >= DAY_MIN for _, end in spans):
        return  # Hours until midnight may continue with the next day's hours.
    longest = max((end - start for start, end in spans), default=0)
    for table, service in services:
        if longest and service.minutes > longest:
            table.wrong(
                "minutes",
                f"{service.minutes} minutes are longer than the opening hours of every day (at most {longest} minutes)",
            )


def _answer(table: _Table) -> Answer:
    answer = Answer(table.text("about", needed=True, most=60), table.text("answer", needed=True), table.words("also"))
    table.nothing_else(("about", "answer", "also"))
    return answer


def _after_hours(table: _Table) -> AfterHours:
    after = AfterHours(
        table.text("greeting", needed=True), table.text("offer", needed=True), table.text("question", most=200)
    )
    table.nothing_else(("greeting", "offer", "question"))
    return after
