"""Bookings of test calls with a backend of your own. The backend is only read. Bookings of test calls are kept here.

All test calls of a process share them: a test call finds, moves and cancels what an earlier one has booked. These
bookings are gone after a restart.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from relay.functions.backend.contract import Appointment, Caller, Hours, Refused, Taken
from relay.functions.backend.port import BackendPort

NOT_FOUND = 404
# The number of bookings that are kept. The oldest are dropped, so that tests over several days do not fill the memory.
KEEP = 500
ALTERNATIVES = 3


@dataclass
class DryBookings:
    """The appointments that test calls have booked, moved and cancelled."""

    made: OrderedDict[str, tuple[str, Appointment]] = field(default_factory=OrderedDict)  # key -> number, appointment
    moved: OrderedDict[str, dt.datetime] = field(default_factory=OrderedDict)  # id -> its new start
    cancelled: OrderedDict[str, None] = field(default_factory=OrderedDict)  # ids

    def standing(self) -> list[tuple[str, Appointment]]:
        """The appointments that test calls have booked, as they are now, each with the caller's number."""
        return [(number, self.as_left(each)) for number, each in self.made.values() if each.id not in self.cancelled]

    def as_left(self, appointment: Appointment) -> Appointment:
        """The appointment, with the time to which a test call has moved it."""
        start = self.moved.get(str(appointment.id), appointment.start)
        return msgspec.structs.replace(appointment, start=start)

    def forget_old(self) -> None:
        """Drop the oldest bookings."""
        for kept in (self.made, self.moved, self.cancelled):
            while len(kept) > KEEP:
                kept.popitem(last=False)


@dataclass(frozen=True)
class DryDiary:
    """The port, for one call or for none."""

    real: BackendPort
    tests: DryBookings

    def for_call(self, call_sid: str) -> DryDiary:
        """The same, with the backend's port for this call."""
        return DryDiary(self.real.for_call(call_sid), self.tests)

    async def hours(self, day: dt.date) -> Hours:
        """From the backend."""
        return await self.real.hours(day)

    async def caller(self, phone: str) -> Caller | None:
        """From the backend."""
        return await self.real.caller(phone)

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """The backend's free times, without those that a test call has booked."""
        free = await self.real.availability(service, day, until=until, who=who)
        taken = {each.start for _, each in self.tests.standing()}
        return [each for each in free if each not in taken]

    async def appointments(self, phone: str) -> list[Appointment]:
        """The appointments of a number: the backend's as test calls changed them, and those that test calls booked."""
        theirs = [self.tests.as_left(each) for each in await self.real.appointments(phone)]
        theirs = [each for each in theirs if str(each.id) not in self.tests.cancelled]
        ours = [each for number, each in self.tests.standing() if number == phone]
        return sorted(theirs + ours, key=lambda each: each.start)

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """Book for a test call. Raises Taken if this is not one of the day's free times."""
        if key in self.tests.made:
            return self.tests.made[key][1]
        await self._refuse_taken(service, start, who)
        made = Appointment(id=f"test-{secrets.token_hex(4)}", start=start, service=service, who=who, name=name)
        self.tests.made[key] = phone, made
        self.tests.forget_old()
        return made

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Raises Refused if a test has cancelled it."""
        self._refuse_cancelled(appointment)
        self.tests.moved[appointment] = start
        self.tests.forget_old()

    async def cancel(self, key: str, appointment: str) -> None:
        """Cancel it. A repeat changes nothing."""
        self.tests.cancelled[appointment] = None
        self.tests.forget_old()

    async def _refuse_taken(self, service: str, start: dt.datetime, who: str) -> None:
        free = await self.availability(service, start.date(), who=who)
        if start not in free:
            near = sorted(free, key=lambda each: abs(each - start))[:ALTERNATIVES]
            raise Taken(sorted(near))

    def _refuse_cancelled(self, appointment: str) -> None:
        if appointment in self.tests.cancelled:
            raise Refused("a test call has cancelled this appointment", NOT_FOUND)

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Raises Refused with status 404: a test call's message is only in the table `messages`."""
        raise Refused("a test call's message goes to nobody: it is in the table `messages`", NOT_FOUND)
