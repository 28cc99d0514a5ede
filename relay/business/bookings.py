"""Books, moves and cancels appointments. If a change is not possible, says why in words for the caller (pure).

A method that gets a `Store` runs inside one transaction of the diary. `now` is the present time in minutes since 1970.
A refusal is an exception and changes nothing. A change is stored with its idempotency key. If a key comes again
for the same kind of change, nothing is changed, and the result of the first change is returned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from relay.business.diary import Appointment, Change, Kind, Store
from relay.business.offers import Choice, bookable, choices, free_resource, nearest, offered
from relay.business.opening import business_pieces, day_of, first_minute, merged, moment_of
from relay.business.rules import Business, Person, Resource, Service, Span
from relay.functions.builtin.times import clock_words, time_words

ALTERNATIVES: Final = 3
# If the wanted day has too few free times, alternatives are also searched on this many days after it.
LOOK_AHEAD_DAYS: Final = 14


class NotFree(Exception):
    """This time cannot be booked. `alternatives` are times that can be booked, in minutes since 1970.

    `why` is a sentence for the caller.
    """

    def __init__(self, why: str, alternatives: Sequence[int]) -> None:
        super().__init__(why)
        self.why = why
        self.alternatives = list(alternatives)


class NotOffered(Exception):
    """The words fit no service or more than one, or no person with this name does the service.

    `choices` are the names that can be chosen.
    """

    def __init__(self, why: str, choices: Sequence[str]) -> None:
        super().__init__(why)
        self.why = why
        self.choices = list(choices)


class NoSuchAppointment(Exception):
    """No appointment with this id is booked."""


class KeyReused(Exception):
    """The key was used before, for another kind of change."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The appointment that a caller wants."""

    service: str
    start_min: int
    name: str
    phone: str
    notes: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """A change of the diary: its idempotency key, and who makes it."""

    key: str
    call_sid: str = ""
    by: str = "caller"
    # If true, opening hours, notice and horizon (rules.py: `notice_minutes`, `ahead_days`) do not count. Even then, no
    # person or place can be booked twice at one time, or while blocked.
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class Bookings:
    """Books for one business, by its rules."""

    business: Business

    # Look-ups

    def service(self, words: str) -> Service:
        """The service that these words mean. Raises NotOffered."""
        found = self.business.service(words)
        if found is None:
            names = [each.name for each in self.business.services]
            raise NotOffered("It is not clear which service that is.", names)
        return found

    def person(self, name: str, service: Service) -> Person | None:
        """The person whom the caller asks for. None if the caller names nobody. Raises NotOffered."""
        if not name.strip():
            return None
        person = self.business.person(name)
        if person is None or person.name not in service.people:
            words = f"Nobody called {name} does this." if person is None else f"{person.name} does not do this."
            raise NotOffered(words, list(service.people))
        return person

    def free(self, store: Store, now: int, service: str, first: dt.date, last: dt.date, who: str = "") -> list[int]:
        """The times to offer to a caller on these local days. Raises NotOffered."""
        wanted = self.service(service)
        person = self.person(who, wanted)
        return self._free(store, now, wanted, first, last, person)

    def _free(
        self,
        store: Store,
        now: int,
        service: Service,
        first: dt.date,
        last: dt.date,
        person: Person | None,
        but: str = "",
    ) -> list[int]:
        able = choices(self.business, service, first, last, person.name if person else "")
        tz = self.business.tz
        earliest, beyond = bookable(self.business, service, now)
        after_last = first_minute(last + dt.timedelta(days=1), 0, tz)
        limits = max(earliest, first_minute(first, 0, tz)), min(beyond, after_last)
        if limits[0] >= limits[1]:
            return []
        busy = store.busy(_resources(able), (limits[0], limits[1] + _need(service)), but)
        return offered(self.business, service, able, busy, limits)

    # Changes

    def book(self, store: Store, now: int, wish: Wish, deed: Deed) -> Appointment:
        """Book a new appointment. Raises NotFree, NotOffered, KeyReused."""
        before = _before(store, "booked", deed)
        if before is not None:
            return before
        service = self.service(wish.service)
        person = self.person(wish.who, service)
        resource = self._resource(store, now, service, wish.start_min, person, deed)
        made = Appointment(
            service=service.name,
            resource=resource,
            start_min=wish.start_min,
            minutes=service.minutes,
            busy_min=service.minutes + service.buffer_minutes,
            name=wish.name,
            phone=wish.phone,
            notes=wish.notes,
            call_sid=deed.call_sid,
        )
        return store.keep(Change("booked", made, deed.key, deed.by, deed.call_sid))

    def move(self, store: Store, now: int, appointment_id: str, start_min: int, deed: Deed) -> Appointment:
        """Move an appointment to another time. Its person stays the same, if the business file still has the person.

        Raises NotFree, NoSuchAppointment, KeyReused.
        """
        before = _before(store, "moved", deed)
        if before is not None:
            return before
        old = self._standing(store, appointment_id)
        service = self._service_of(old)
        person = self.business.person(old.resource.name) if service.people else None
        resource = self._resource(store, now, service, start_min, person, deed, old.id)
        made = replace(old, start_min=start_min, resource=resource)
        return store.keep(Change("moved", made, deed.key, deed.by, deed.call_sid))

    def cancel(self, store: Store, appointment_id: str, deed: Deed) -> Appointment:
        """Cancel an appointment. Raises NoSuchAppointment, KeyReused."""
        before = _before(store, "cancelled", deed)
        if before is not None:
            return before
        gone = replace(self._standing(store, appointment_id), state="cancelled")
        return store.keep(Change("cancelled", gone, deed.key, deed.by, deed.call_sid))

    def _standing(self, store: Store, appointment_id: str) -> Appointment:
        found = store.appointment(appointment_id)
        if found is None or found.state != "booked":
            raise NoSuchAppointment(appointment_id)
        return found

    def _service_of(self, old: Appointment) -> Service:
        """The service of an appointment, with the length and the buffer that were booked.

        The business file may have changed since then.
        """
        now = next((each for each in self.business.services if each.name == old.service), None)
        buffer = old.busy_min - old.minutes
        if now is None:
            kind = old.resource.name if old.resource.name in self.business.places else ""
            return Service(old.service, old.minutes, () if kind else (old.resource.name,), kind, buffer_minutes=buffer)
        return replace(now, minutes=old.minutes, buffer_minutes=buffer)

    def _resource(
        self, store: Store, now: int, service: Service, start: int, person: Person | None, deed: Deed, but: str = ""
    ) -> Resource:
        """A person or place that is free at this time. Raises NotFree.

        The appointment `but` does not count, because it is being moved.
        """
        able, limits = self._able(now, service, start, person, deed)
        busy = store.busy(_resources(able), (start, start + _need(service)), but)
        found = free_resource(able, service, busy, start, limits)
        if found is None:
            why = self._why_not(store, now, service, start, person, deed)
            raise NotFree(why, self._alternatives(store, now, service, start, person, but))
        return found

    def _able(
        self, now: int, service: Service, start: int, person: Person | None, deed: Deed
    ) -> tuple[list[Choice], Span]:
        """Who can do the service on the day of `start`, and the minutes in which it can be booked.

        If hours, notice and horizon do not count, it can be booked at `start`.
        """
        day = day_of(start, self.business.tz)
        able = choices(self.business, service, day, day, person.name if person else "")
        if not deed.anyway:
            return able, bookable(self.business, service, now)
        return [replace(each, fits=((start, start + 1),)) for each in able], (start, start + 1)

    def _alternatives(
        self, store: Store, now: int, service: Service, start: int, person: Person | None, but: str
    ) -> list[int]:
        """The free times nearest to the wanted time. Later days are searched if the wanted day has too few."""
        tz = self.business.tz
        earliest, beyond = bookable(self.business, service, now)
        day = day_of(min(max(start, earliest), beyond - 1), tz)
        free = self._free(store, now, service, day, day, person, but)
        if len(free) < ALTERNATIVES:
            free = self._free(store, now, service, day, day + dt.timedelta(days=LOOK_AHEAD_DAYS), person, but)
        return nearest(free, start, ALTERNATIVES)

    def _why_not(self, store: Store, now: int, service: Service, start: int, person: Person | None, deed: Deed) -> str:
        """Why the time cannot be booked, in a sentence that the agent can say."""
        tz = self.business.tz
        when = time_words(moment_of(start, tz), tz)
        able, (earliest, beyond) = self._able(now, service, start, person, deed)
        if deed.anyway:
            if not able:  # The business file has changed since the appointment was booked.
                return "Nobody in the business file does this."
            return self._taken_words(store, now, service, start, person, deed)
        if start <= now:
            return f"{when} has passed; it is now {clock_words(moment_of(now, tz))}."
        if start < earliest:
            return f"This must be booked at least {_length_words(service.notice_minutes)} ahead."
        if start >= beyond:
            return f"This can be booked up to {service.ahead_days} days ahead, and {when} is later."
        if any(since <= start < until for choice in able for since, until in choice.fits):
            return self._taken_words(store, now, service, start, person, deed)
        day = day_of(start, tz)
        pieces = merged(business_pieces(self.business, day, day))
        if not any(since <= start < until for since, until in pieces):
            return f"We are closed on {when}."
        if not any(since <= start and start + service.minutes <= until for since, until in pieces):
            return f"This takes {_length_words(service.minutes)}, and on {when} we close before that is over."
        return f"{person.name if person else 'Nobody who does this'} is{'' if not person else ' not'} there on {when}."

    def _taken_words(
        self, store: Store, now: int, service: Service, start: int, person: Person | None, deed: Deed
    ) -> str:
        when = time_words(moment_of(start, self.business.tz), self.business.tz)
        if person is None:
            return f"{when} is taken."
        others, limits = self._able(now, service, start, None, deed)
        busy = store.busy(_resources(others), (start, start + _need(service)))
        free = [one.words for each in others if (one := free_resource([each], service, busy, start, limits))]
        return f"{person.name} is not free on {when}." + (f" Free then: {', '.join(free)}." if free else "")


def _resources(able: Sequence[Choice]) -> list[Resource]:
    return [resource for choice in able for resource in choice.resources]


def _need(service: Service) -> int:
    return service.minutes + service.buffer_minutes


def _length_words(minutes: int) -> str:
    """A length of time in words: `45 minutes`, `2 hours`, `3 days`."""
    for size, unit in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size and minutes % size == 0:
            return f"{minutes // size} {unit}{'s' if minutes != size else ''}"
    return f"{minutes} minutes"


def _before(store: Store, kind: Kind, deed: Deed) -> Appointment | None:
    """The appointment after the earlier change with this key. None if the key is new. Raises KeyReused."""
    change = store.change(deed.key)
    if change is None:
        return None
    if change.kind != kind:
        raise KeyReused(f"this key was used when an appointment was {change.kind}")
    return change.appointment
