"""Keeps the bookings of dry test calls, if the business has a backend of its own. The backend itself is only read.

All test calls of a process share these bookings: a test call finds, moves and cancels what an earlier one has booked.
After a restart of the process, these bookings are gone.
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
# At most this many entries of each kind are kept, so that tests over several days do not fill the memory.
KEEP = 500
ALTERNATIVES = 3


@dataclass
class DryBookings:
    """The appointments that test calls have booked, moved and cancelled."""

    # Idempotency key -> the caller's number, the appointment.
    made: OrderedDict[str, tuple[str, Appointment]] = field(default_factory=OrderedDict)
    # Id -> an appointment of the backend. The backend can be asked for a number's appointments, but not for an id.
    seen: OrderedDict[str, Appointment] = field(default_factory=OrderedDict)
    moved: OrderedDict[str, dt.datetime] = field(default_factory=OrderedDict)  # Id -> its new start.
    cancelled: OrderedDict[str, None] = field(default_factory=OrderedDict)  # Ids.
    done: OrderedDict[str, None] = field(default_factory=OrderedDict)  # Idempotency keys of moves and cancellations.

    def standing(self) -> list[tuple[str, Appointment]]:
        """The appointments that test calls have booked and not cancelled, each with the caller's number."""
        return [(number, self.as_left(each)) for number, each in self.made.values() if each.id not in self.cancelled]

    def as_left(self, appointment: Appointment) -> Appointment:
        """This appointment, at the time to which a test call has moved it."""
        start = self.moved.get(str(appointment.id), appointment.start)
        return msgspec.structs.replace(appointment, start=start)

    def taken(self, but: str = "") -> set[dt.datetime]:
        """The starts of all appointments that test calls have booked or moved. The appointment `but` does not count."""
        booked = {str(each.id): each.start for _, each in self.made.values()}
        starts = booked | self.moved
        return {start for each, start in starts.items() if each != but and each not in self.cancelled}

    def forget_old(self) -> None:
        """Keep only the newest KEEP entries of each kind."""
        for kept in (self.made, self.seen, self.moved, self.cancelled, self.done):
            while len(kept) > KEEP:
                kept.popitem(last=False)


@dataclass(frozen=True)
class DryDiary:
    """The port (`BackendPort`) for test calls. It reads from the real backend, and writes only to `tests`.

    The backend does not say how long an appointment lasts. So an appointment of a test call takes only its own start.
    """

    real: BackendPort
    tests: DryBookings

    def for_call(self, call_sid: str) -> DryDiary:
        """A DryDiary with the real backend's port for this call."""
        return DryDiary(self.real.for_call(call_sid), self.tests)

    async def hours(self, day: dt.date) -> Hours:
        """Asks the backend."""
        return await self.real.hours(day)

    async def caller(self, phone: str) -> Caller | None:
        """Asks the backend."""
        return await self.real.caller(phone)

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = "", but: str = ""
    ) -> list[dt.datetime]:
        """The backend's free times, without those that test calls have taken. The appointment `but` does not count."""
        free = await self.real.availability(service, day, until=until, who=who)
        taken = self.tests.taken(but)
        return [each for each in free if each not in taken]

    async def appointments(self, phone: str) -> list[Appointment]:
        """The appointments of a number: the backend's, as test calls changed them, and those booked in test calls."""
        theirs = await self.real.appointments(phone)
        for each in theirs:
            self.tests.seen[str(each.id)] = each
            self.tests.seen.move_to_end(str(each.id))
        self.tests.forget_old()
        standing = [self.tests.as_left(each) for each in theirs if str(each.id) not in self.tests.cancelled]
        ours = [each for number, each in self.tests.standing() if number == phone]
        return sorted(standing + ours, key=lambda each: each.start)

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """Book for a test call. Raises Taken if the time is not free."""
        if key in self.tests.made:
            return self.tests.made[key][1]
        await self._refuse_taken(service, start, who)
        made = Appointment(id=f"test-{secrets.token_hex(4)}", start=start, service=service, who=who, name=name)
        self.tests.made[key] = phone, made
        self.tests.forget_old()
        return made

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Move for a test call. Raises Taken. Raises Refused with status 404 if there is no such appointment.

        If the backend does not name the service of its appointment, free times are unknown, and any time counts as
        free.
        """
        if key in self.tests.done:
            return
        old = self._standing(appointment)
        own = {self.tests.as_left(old).start}
        # The backend does not list the first time of its appointment as free. But the appointment may move back to it.
        own |= {old.start} if appointment in self.tests.seen else set()
        if old.service and start not in own:
            await self._refuse_taken(old.service, start, old.who, but=appointment)
        self.tests.moved[appointment] = start
        self._did(key)

    async def cancel(self, key: str, appointment: str) -> None:
        """Cancel for a test call. Raises Refused with status 404 if there is no such appointment."""
        if key in self.tests.done:
            return
        self._standing(appointment)
        self.tests.cancelled[appointment] = None
        self._did(key)

    def _did(self, key: str) -> None:
        self.tests.done[key] = None
        self.tests.forget_old()

    async def _refuse_taken(self, service: str, start: dt.datetime, who: str, but: str = "") -> None:
        """Raise Taken if the time is not free. The appointment `but` does not count, because it is being moved."""
        free = await self.availability(service, start.date(), who=who, but=but)
        if start not in free:
            near = sorted(free, key=lambda each: abs(each - start))[:ALTERNATIVES]
            raise Taken(sorted(near))

    def _standing(self, appointment: str) -> Appointment:
        """The appointment with this id, as it was before a test call moved it. Raises Refused."""
        ours = (each for _, each in self.tests.made.values() if each.id == appointment)
        found = next(ours, None) or self.tests.seen.get(appointment)
        if found is None or appointment in self.tests.cancelled:
            raise Refused("there is no such appointment", NOT_FOUND)
        return found

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Raises Refused with status 404: a message of a test call is only written in the table `messages`."""
        raise Refused("a test call's message goes to nobody: it is in the table `messages`", NOT_FOUND)
