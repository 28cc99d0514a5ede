"""Implements the backend's port in this process, with the business file and the diary.

Each `Embedded` has one version of the business file. A call uses the same version until the call ends. All of these
objects use the same diary, except those of dry test calls: they use the test diary (relay/server/browser_calls.py).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import trio

from relay.business.bookings import Bookings, Deed, KeyReused, NoSuchAppointment, NotFree, NotOffered, Wish
from relay.business.diary import Appointment as Entry
from relay.business.diary import Diary, DiaryUnavailable, Store
from relay.business.opening import hours_on, minute_of, moment_of, next_opening
from relay.business.rules import Business
from relay.functions.backend.contract import Appointment, BackendFault, Caller, Hours, Refused, Taken
from relay.functions.builtin.times import clock_words, time_words

LIMIT_S: Final = 2.5  # Seconds. A backend over HTTP has the same limit.
# The diary's work is cancelled this long before the function's deadline, so that its error still reaches the function.
MARGIN_S: Final = 0.05
NOT_FOUND: Final = 404
UNCLEAR: Final = 422

T = TypeVar("T")


@dataclass(frozen=True)
class Embedded:
    """Implements the backend's port for one call. `call_sid` is "" if there is no call."""

    business: Business
    diary: Diary
    utc_now: Callable[[], dt.datetime]
    call_sid: str = ""

    def for_call(self, call_sid: str) -> Embedded:
        """This backend for one call. Each of its changes has the call's SID in the history."""
        return replace(self, call_sid=call_sid)

    async def hours(self, day: dt.date) -> Hours:
        """The opening hours of a day."""
        return hours_of(self.business, day)

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """The free times on `day`, or from `day` to `until`.

        Raises Refused, whose `told` is for the caller, if the service is not clear, or nobody of this name does it.
        """
        free = await self._ask(
            lambda store: self._bookings.free(store, self._now, service, day, until or day, who), writes=False
        )
        return [moment_of(minute, self.business.tz) for minute in free]

    async def appointments(self, phone: str) -> list[Appointment]:
        """The coming appointments of a number."""
        found = await self._ask(lambda store: store.of_phone(phone, self._now), writes=False)
        return [self._shown(each) for each in found]

    async def caller(self, phone: str) -> Caller | None:
        """The name with which this phone number has booked before. Nobody has checked the name."""
        name = await self._ask(lambda store: store.last_name(phone), writes=False)
        return Caller(name=name) if name else None

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """Book a new appointment. Raises Taken, Refused."""
        wish = Wish(service, minute_of(start), name, phone, notes, who)
        return self._shown(await self._ask(lambda store: self._bookings.book(store, self._now, wish, self._deed(key))))

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Move an appointment. Raises Taken. Raises Refused with status 404 if there is no such appointment."""
        minute = minute_of(start)
        await self._ask(lambda store: self._bookings.move(store, self._now, appointment, minute, self._deed(key)))

    async def cancel(self, key: str, appointment: str) -> None:
        """Cancel an appointment. Raises Refused with status 404 if there is no such appointment."""
        await self._ask(lambda store: self._bookings.cancel(store, appointment, self._deed(key)))

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Always raises Refused with status 404. Messages are kept in the table `messages` instead."""
        raise Refused("the embedded backend takes no messages: they are in the table `messages`", NOT_FOUND)

    @property
    def _bookings(self) -> Bookings:
        return Bookings(self.business)

    @property
    def _now(self) -> int:
        return minute_of(self.utc_now())

    def _deed(self, key: str) -> Deed:
        return Deed(key, self.call_sid)

    def _shown(self, entry: Entry) -> Appointment:
        person = "" if entry.resource.number else entry.resource.name
        return Appointment(entry.id, moment_of(entry.start_min, self.business.tz), entry.service, person, entry.name)

    async def _ask(self, work: Callable[[Store], T], *, writes: bool = True) -> T:
        """Run `work` in the diary. Exceptions of bookings.py become exceptions of the port."""
        use = self.diary.write if writes else self.diary.read
        limit_s = min(LIMIT_S, trio.current_effective_deadline() - MARGIN_S - trio.current_time())
        try:
            return await use(work, limit_s=max(limit_s, 0.0))
        except NotFree as no:
            raise Taken([moment_of(each, self.business.tz) for each in no.alternatives], no.why) from None
        except NotOffered as no:
            words = f"{no.why} There are: {', '.join(no.choices)}."
            raise Refused("what was asked for is not offered", UNCLEAR, told=words) from None
        except KeyReused as reused:
            raise Refused(str(reused), UNCLEAR) from None
        except NoSuchAppointment:
            raise Refused("there is no such appointment", NOT_FOUND) from None
        except DiaryUnavailable as error:
            raise BackendFault(f"the diary: {error.words}", may_have_happened=error.may_have_happened) from None


def hours_of(business: Business, day: dt.date) -> Hours:
    """The hours of a day as the port's type `Hours`.

    `notes` has the breaks, the next opening if the day is closed, and the business file's note about the day.
    """
    tz = business.tz
    spans = [(moment_of(start, tz), moment_of(end, tz)) for start, end in hours_on(business, day)]
    special = business.special_day(day)
    notes = [special.note] if special and special.note else []
    if not spans:
        after = minute_of(dt.datetime.combine(day, dt.time(), tz)) - 1
        opens = next_opening(business, after)
        notes += [f"The next opening is on {time_words(moment_of(opens, tz), tz)}."] if opens else []
        return Hours(tz.key, closed=True, notes=" ".join(notes) or None)
    breaks = [
        f"Closed from {clock_words(one[1])} to {clock_words(other[0])}." for one, other in itertools.pairwise(spans)
    ]
    return Hours(tz.key, spans[0][0].isoformat(), spans[-1][1].isoformat(), notes=" ".join([*breaks, *notes]) or None)
