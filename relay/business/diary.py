"""Defines the port of the diary: appointments and blocked times.

This file also has a diary in memory, for tests, test calls and the stand-in business.

`Store` is the diary within one transaction. While a function that was given to `Diary.write` runs, no other one runs.
All of its changes are kept, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar

import trio

from relay.business.rules import Resource, Span

T = TypeVar("T")
Kind = Literal["booked", "moved", "cancelled"]


class DiaryUnavailable(Exception):
    """The diary could not be read or written. The message holds no name and no number of a caller.

    If `may_have_happened`, the answer to a write was lost, and the change may have been made.
    """

    def __init__(self, words: str, *, may_have_happened: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.may_have_happened = may_have_happened


@dataclass(frozen=True, slots=True)
class Appointment:
    """One appointment. `busy_min` is the number of minutes from its start until its person or place is free again."""

    service: str
    resource: Resource
    start_min: int
    minutes: int
    busy_min: int
    name: str
    phone: str
    notes: str = ""
    id: str = ""
    state: Literal["booked", "cancelled"] = "booked"
    call_sid: str = ""

    @property
    def span(self) -> Span:
        return self.start_min, self.start_min + self.busy_min


@dataclass(frozen=True, slots=True)
class Block:
    """A span in which nothing can be booked. `who` is a person or a kind of place. "" means the whole business."""

    span: Span
    who: str = ""
    why: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One row of an appointment's history: the appointment after the change. A repeated change has the same `key`."""

    kind: Kind
    appointment: Appointment
    key: str
    by: str = "caller"  # Who made the change: "caller" or "owner".
    call_sid: str = ""


class Store(Protocol):
    """The diary within one transaction."""

    def busy(self, resources: Sequence[Resource], span: Span, but: str = "") -> Mapping[Resource, Sequence[Span]]:
        """The booked and blocked spans of each resource. The appointment `but` does not count."""

    def appointment(self, appointment_id: str) -> Appointment | None:
        """The appointment with this id, booked or cancelled. None if there is none."""

    def of_phone(self, phone: str, after_min: int) -> list[Appointment]:
        """The booked appointments of a phone number that begin after this minute, the earliest first."""

    def last_name(self, phone: str) -> str:
        """The name in the appointment that this phone number has booked last. "" if there is none."""

    def change(self, key: str) -> Change | None:
        """The change that was made with this key. None if there is none."""

    def keep(self, change: Change) -> Appointment:
        """Write a change, and the appointment as it is after the change. A new appointment gets an id."""

    def listed(self, span: Span) -> list[Appointment]:
        """The booked appointments that begin in a span, in order."""

    def blocks(self, span: Span) -> list[Block]:
        """The blocks in a span, in order."""

    def block(self, block: Block) -> str:
        """Block a span, and return the block's id."""

    def unblock(self, block_id: str) -> bool:
        """Remove a block. Returns False if there is no such block."""


class Diary(Protocol):
    """The port of the diary. Its methods raise DiaryUnavailable."""

    async def read(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        """Run `work`, which only reads, in a transaction."""

    async def write(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        """Run `work` in a transaction, while no other `write` runs. All of its changes are kept, or none.

        `work` must raise a refusal before its first change, because a refusal does not undo changes.
        """


@dataclass
class MemoryStore:
    """A diary in memory."""

    appointments: dict[str, Appointment] = field(default_factory=dict)  # Id -> appointment, in the order of booking.
    history: list[Change] = field(default_factory=list)
    blocked: dict[str, Block] = field(default_factory=dict)
    last_block: int = 0  # The number in the newest id of a block. No id is used again.

    def busy(self, resources: Sequence[Resource], span: Span, but: str = "") -> Mapping[Resource, Sequence[Span]]:
        found: dict[Resource, list[Span]] = {resource: [] for resource in resources}
        for each in self._standing():
            if each.id != but and each.resource in found and _touch(each.span, span):
                found[each.resource].append(each.span)
        for block in self.blocked.values():
            for resource in resources if _touch(block.span, span) else ():
                if block.who in ("", resource.name):
                    found[resource].append(block.span)
        return found

    def appointment(self, appointment_id: str) -> Appointment | None:
        return self.appointments.get(appointment_id)

    def of_phone(self, phone: str, after_min: int) -> list[Appointment]:
        own = [each for each in self._standing() if each.phone == phone and each.start_min > after_min]
        return sorted(own, key=lambda each: each.start_min)

    def last_name(self, phone: str) -> str:
        return next((each.name for each in reversed(self.appointments.values()) if each.phone == phone), "")

    def change(self, key: str) -> Change | None:
        return next((each for each in self.history if each.key == key), None) if key else None

    def keep(self, change: Change) -> Appointment:
        made = change.appointment
        if not made.id:
            made = replace(made, id=f"apt_{len(self.appointments) + 1}")
        others = [each for each in self._standing() if each.resource == made.resource and each.id != made.id]
        assert made.state != "booked" or not any(_touch(each.span, made.span) for each in others), "doubled"
        self.appointments[made.id] = made
        self.history.append(replace(change, appointment=made))
        return made

    def listed(self, span: Span) -> list[Appointment]:
        found = [each for each in self._standing() if span[0] <= each.start_min < span[1]]
        return sorted(found, key=lambda each: (each.start_min, each.resource))

    def blocks(self, span: Span) -> list[Block]:
        return sorted((each for each in self.blocked.values() if _touch(each.span, span)), key=lambda each: each.span)

    def block(self, block: Block) -> str:
        self.last_block += 1
        block_id = f"blk_{self.last_block}"
        self.blocked[block_id] = replace(block, id=block_id)
        return block_id

    def unblock(self, block_id: str) -> bool:
        return self.blocked.pop(block_id, None) is not None

    def _standing(self) -> list[Appointment]:
        return [each for each in self.appointments.values() if each.state == "booked"]


def _touch(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@dataclass
class MemoryDiary:
    """The diary in memory. The work has no await, so nothing else runs meanwhile.

    While `away` is true, the diary cannot be reached.
    """

    store: MemoryStore = field(default_factory=MemoryStore)
    away: bool = False

    async def read(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise DiaryUnavailable("the diary is away")
        return work(self.store)

    async def write(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        return await self.read(work, limit_s=limit_s)
