"""An oracle for the booking rules: a slow, simple version that checks every minute. It also makes random businesses."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import lru_cache
from math import gcd
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# The zone and the first day of a random business. Soon after most of these days the clocks change (in Lord Howe by only
# 30 minutes). On the last two lines no clock changes.
BEGINNINGS = [
    ("America/New_York", dt.date(2026, 3, 6)),
    ("America/New_York", dt.date(2026, 10, 30)),
    ("Europe/London", dt.date(2026, 3, 27)),
    ("Europe/London", dt.date(2026, 10, 23)),
    ("Australia/Lord_Howe", dt.date(2026, 4, 3)),
    ("Australia/Lord_Howe", dt.date(2026, 10, 2)),
    ("Asia/Kolkata", dt.date(2026, 12, 23)),
    ("America/New_York", dt.date(2026, 12, 30)),
]
LENGTH_DAYS = 5
MARGIN_DAYS = 2

Hours = tuple[tuple[str, str], ...]  # (opens, closes), each "HH:MM"; closes < opens means the next day


@dataclass(frozen=True)
class RandomService:
    name: str
    minutes: int
    buffer: int
    step: int
    notice: int
    ahead: int
    places: bool


@dataclass(frozen=True)
class RandomPerson:
    name: str
    does: tuple[str, ...]
    hours: dict[str, Hours] | None
    off: tuple[dt.date, ...]


@dataclass(frozen=True)
class World:
    """The contents of the business file, and the present time."""

    zone: str
    first: dt.date
    week: dict[str, Hours]
    special: dict[dt.date, Hours]
    services: tuple[RandomService, ...]
    people: tuple[RandomPerson, ...]
    tables: int
    now_min: int  # minutes after the beginning of `first`

    def toml(self) -> str:
        lines = ['name = "Random"', f'timezone = "{self.zone}"', "[places]", f"table = {self.tables}", "[hours]"]
        lines += [f'{day} = "{_written(hours)}"' for day, hours in self.week.items()]
        for day, hours in self.special.items():
            lines += ["[[special_days]]", f"on = {day.isoformat()}", f'hours = "{_written(hours)}"']
        for service in self.services:
            lines += ["[[services]]", f'name = "{service.name}"', f"minutes = {service.minutes}"]
            lines += [f"buffer_minutes = {service.buffer}", f"step_minutes = {service.step}"]
            lines += [f"notice_minutes = {service.notice}", f"ahead_days = {service.ahead}"]
            lines += ['places = "table"'] if service.places else []
        for person in self.people:
            lines += ["[[people]]", f'name = "{person.name}"', f"does = {list(person.does)}".replace("'", '"')]
            lines += ["off = [" + ", ".join(f'"{day.isoformat()}"' for day in person.off) + "]"]
            if person.hours is not None:
                lines += ["[people.hours]"] + [f'{day} = "{_written(h)}"' for day, h in person.hours.items()]
        return "\n".join(lines)


def _written(hours: Hours) -> str:
    return ", ".join(f"{opens}-{closes}" for opens, closes in hours) or "closed"


_HOURS: list[Hours] = [
    (),
    (("09:00", "12:30"), ("13:15", "18:00")),
    (("08:10", "11:05"),),
    (("18:00", "03:30"),),
    (("01:30", "06:00"), ("21:00", "24:00")),
    (("00:00", "02:30"), ("10:00", "16:00")),
    (("00:00", "01:30"), ("17:45", "23:15")),
    (("00:00", "24:00"),),
]
_hours = st.sampled_from(_HOURS)


@st.composite
def _week(draw: st.DrawFn) -> dict[str, Hours]:
    week = {day: draw(_hours) for day in DAYS}
    for day, following in zip(DAYS, (*DAYS[1:], DAYS[0]), strict=True):
        if any(closes < opens and closes != "24:00" for opens, closes in week[day]):
            week[following] = tuple(span for span in week[following] if span[0] >= "03:30")
    return week


@st.composite
def worlds(draw: st.DrawFn) -> World:
    zone, first = draw(st.sampled_from(BEGINNINGS))
    services = tuple(
        RandomService(
            f"service{number}",
            draw(st.sampled_from([15, 50, 5, 90, 30])),
            draw(st.sampled_from([0, 0, 10, 15])),
            draw(st.sampled_from([15, 30, 50, 60, 20, 90])),
            draw(st.sampled_from([0, 45, 600])),
            draw(st.sampled_from([1, 2])),  # so that all alternatives are on the days that the oracle checks
            draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 2)))
    )
    done = [each.name for each in services if not each.places]
    people = tuple(
        RandomPerson(
            f"Person{number}",
            tuple(done),
            draw(st.none() | _week()),
            tuple(draw(st.lists(st.sampled_from([first + dt.timedelta(days=n) for n in range(5)]), max_size=1))),
        )
        for number in range(draw(st.integers(1, 2)) if done else 0)
    )
    special_days = draw(st.lists(st.integers(0, LENGTH_DAYS - 1), max_size=2, unique=True))
    return World(
        zone,
        first,
        draw(_week()),
        {first + dt.timedelta(days=number): draw(_hours) for number in special_days},
        services,
        people,
        draw(st.integers(1, 2)),
        draw(st.integers(0, 2 * 1440)),
    )


@lru_cache(maxsize=64)
def walls(zone: str, first: dt.date) -> tuple[int, list[dt.datetime]]:
    """The first minute, as a number since 1970, and the local time of each minute from then on."""
    begin = dt.datetime.combine(first - dt.timedelta(days=MARGIN_DAYS), dt.time(), dt.UTC)
    start = int(begin.timestamp()) // 60
    length = (LENGTH_DAYS + 2 * MARGIN_DAYS) * 1440
    tz = ZoneInfo(zone)
    return start, [dt.datetime.fromtimestamp((start + n) * 60, tz) for n in range(length)]


@dataclass
class Oracle:
    """Says which times can be booked. It checks every minute of the appointment."""

    world: World
    taken: dict[tuple[str, int], set[int]] = field(default_factory=dict)  # (name, number) -> minutes

    def __post_init__(self) -> None:
        self.start, aware = walls(self.world.zone, self.world.first)
        self.aware = aware
        self.naive = [each.replace(tzinfo=None) for each in aware]
        self.business = self._minutes(lambda day: self._hours(day))
        self.own = {each.name: self._of_person(each) for each in self.world.people}
        self.now = self.start + self._first(dt.datetime.combine(self.world.first, dt.time())) + self.world.now_min

    def _hours(self, day: dt.date) -> Hours:
        return self.world.special.get(day, self.world.week[DAYS[day.weekday()]])

    def _of_person(self, person: RandomPerson) -> tuple[set[int], list[range]]:
        def hours(day: dt.date) -> Hours:
            if day in person.off:
                return ()
            return self._hours(day) if person.hours is None else person.hours[DAYS[day.weekday()]]

        minutes, stretches = self._minutes(hours)
        there = minutes & self.business[0]
        # A person's time begins when the person comes, or when the business opens, whichever is later.
        return there, [within for stretch in stretches for within in _runs(stretch, there)]

    def _minutes(self, hours: object) -> tuple[set[int], list[range]]:
        """All minutes within these hours, as a set, and one range of minutes for each opening."""
        inside: set[int] = set()
        stretches: list[range] = []
        for number in range(-MARGIN_DAYS, LENGTH_DAYS + MARGIN_DAYS - 1):
            day = self.world.first + dt.timedelta(days=number)
            for opens, closes in hours(day):  # type: ignore[operator]
                since = self._first(_wall(day, opens))
                until = self._first(_wall(day + dt.timedelta(days=closes <= opens), closes))
                inside.update(range(self.start + since, self.start + until))
                stretches.append(range(self.start + since, self.start + until))
        return inside, stretches

    def _first(self, wall: dt.datetime) -> int:
        low = max(0, (wall - self.naive[0]) // dt.timedelta(minutes=1) - 180)
        return next((n for n in range(low, len(self.naive)) if self.naive[n] >= wall), len(self.naive))

    def resources(self, service: RandomService) -> list[tuple[str, int]]:
        if service.places:
            return [("table", number + 1) for number in range(self.world.tables)]
        return [(each.name, 0) for each in self.world.people if service.name in each.does]

    def can(self, service: RandomService, start: int, resource: tuple[str, int]) -> bool:
        """Whether this person or place can do the service at this time."""
        inside = self.own[resource[0]][0] if resource[1] == 0 else self.business[0]
        taken = self.taken.get(resource, set())
        today = self.aware[self.now - self.start].date()
        return (
            start >= self.now + max(1, service.notice)
            and self.aware[start - self.start].date() <= today + dt.timedelta(days=service.ahead)
            and all(minute in inside for minute in range(start, start + service.minutes))
            and not any(minute in taken for minute in range(start, start + service.minutes + service.buffer))
        )

    def anybody(self, service: RandomService, start: int, who: str = "") -> bool:
        return any(self.can(service, start, each) for each in self.resources(service) if who in ("", each[0]))

    def take(self, service: RandomService, start: int, resource: tuple[str, int]) -> None:
        self.taken.setdefault(resource, set()).update(range(start, start + service.minutes + service.buffer))

    def offers(self, service: RandomService, first: dt.date, last: dt.date, who: str = "") -> set[int]:
        """All times that can be booked. They are whole steps after the beginning of a range of opening hours."""
        part = gcd(service.step, 60)
        found: set[int] = set()
        for resource in self.resources(service):
            if who not in ("", resource[0]):
                continue
            _, stretches = self.own[resource[0]] if resource[1] == 0 else self.business
            for stretch in stretches:
                minute = stretch.start
                while minute in stretch and self.aware[minute - self.start].minute % part:
                    minute += 1
                while minute in stretch:
                    shown = self.aware[minute - self.start]
                    if first <= shown.date() <= last and not shown.fold and self.can(service, minute, resource):
                        found.add(minute)
                    minute += service.step
        return found


def _wall(day: dt.date, text: str) -> dt.datetime:
    hours, minutes = text.split(":")
    return dt.datetime.combine(day, dt.time()) + dt.timedelta(hours=int(hours), minutes=int(minutes))


def _runs(stretch: range, inside: set[int]) -> list[range]:
    runs: list[range] = []
    for minute in stretch:
        if minute in inside:
            runs = (
                [*runs[:-1], range(runs[-1].start, minute + 1)]
                if runs and runs[-1].stop == minute
                else [*runs, range(minute, minute + 1)]
            )
    return runs
