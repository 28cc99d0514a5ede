"""The command `relay diary`, with which the owner reads and changes the diary.

It prints callers' names and phone numbers.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from relay.business.bookings import Bookings, Deed, NoSuchAppointment, NotFree, NotOffered, Wish
from relay.business.diary import Appointment, Block, Diary, Store
from relay.business.diary_postgres import PostgresDiary
from relay.business.opening import first_minute, minute_of, moment_of
from relay.business.rules import Business
from relay.functions.arguments import Phone

LIMIT_S: Final = 10.0
WEEK_DAYS: Final = 7
ACTS: Final = ("add", "move", "cancel", "block", "unblock")
USAGE: Final = (
    "today | tomorrow | week | 2026-11-24 (what is booked), add SERVICE TIME, move ID TIME, cancel ID, "
    "block FROM TO, unblock ID. A time is written like '2026-11-24 19:00'; FROM and TO may be days."
)

T = TypeVar("T")


class OwnerRefused(Exception):
    """The command cannot be carried out. The message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of the command."""

    do: str
    rest: Sequence[str] = ()
    name: str = ""
    phone: str = ""
    who: str = ""
    notes: str = ""
    why: str = ""
    anyway: bool = False
    as_json: bool = False


async def carry_out(asked: Asked, business: Business, diary: Diary, utc_now: Callable[[], dt.datetime]) -> str:
    """Carry out the command, and return the text to print. Raises OwnerRefused, DiaryUnavailable."""
    hand = _Command(business, diary, minute_of(utc_now()), asked)
    try:
        return await hand.act()
    except NotFree as no:
        free = [_shown(moment_of(each, business.tz)) for each in no.alternatives]
        more = f" Free: {', '.join(free)}." if free else ""
        hint = "" if asked.anyway else " With --anyway hours and notice do not count."
        raise OwnerRefused(f"{no.why}{more}{hint}") from None
    except NotOffered as no:
        raise OwnerRefused(f"{no.why} There are: {', '.join(no.choices)}.") from None
    except NoSuchAppointment as none:
        raise OwnerRefused(f"No appointment {none} is booked.") from None


async def at_postgres(asked: Asked, business: Business, url: str) -> str:
    """Carry out the command in the diary of this database."""
    diary = PostgresDiary(url)
    try:
        return await carry_out(asked, business, diary, lambda: dt.datetime.now(dt.UTC))
    finally:
        await diary.close()


@dataclass(frozen=True, slots=True)
class _Command:
    business: Business
    diary: Diary
    now: int
    asked: Asked

    async def act(self) -> str:
        match self.asked.do, len(self.asked.rest):
            case "add", 2:
                return await self._add(*self.asked.rest)
            case "move", 2:
                return await self._move(*self.asked.rest)
            case "cancel", 1:
                gone = await self._write(lambda store: self._bookings.cancel(store, self.asked.rest[0], self._deed))
                return self._one("cancelled", gone)
            case "block", 2:
                return await self._block(*self.asked.rest)
            case "unblock", 1:
                if not await self._write(lambda store: store.unblock(self.asked.rest[0])):
                    raise OwnerRefused(f"There is no block {self.asked.rest[0]}.")
                return f"unblocked {self.asked.rest[0]}"
            case do, 0 if do not in ACTS:
                return await self._list(*self._days(do))
        raise OwnerRefused(f"Allowed is: {USAGE}")

    # Changes

    async def _add(self, service: str, time: str) -> str:
        if not self.asked.name.strip():
            raise OwnerRefused("--name is missing: for whom is it?")
        phone = ""
        if self.asked.phone:
            try:
                phone = Phone.parse(self.asked.phone, self.business.country)
            except ValueError as error:
                raise OwnerRefused(f"--phone {error}.") from None
        wish = Wish(service, self._minute(time), self.asked.name, phone, self.asked.notes, self.asked.who)
        made = await self._write(lambda store: self._bookings.book(store, self.now, wish, self._deed))
        return self._one("booked", made)

    async def _move(self, appointment: str, time: str) -> str:
        start = self._minute(time)
        made = await self._write(lambda store: self._bookings.move(store, self.now, appointment, start, self._deed))
        return self._one("moved", made)

    async def _block(self, since: str, until: str) -> str:
        span = self._minute(since), self._minute(until, ends=True)
        if span[0] >= span[1]:
            raise OwnerRefused(f"{until} is not after {since}.")
        who = self._who()
        block = Block(span, who, self.asked.why)

        def work(store: Store) -> tuple[str, list[Appointment]]:
            booked = [each for each in store.listed((span[0] - 2 * 24 * 60, span[1])) if each.span[1] > span[0]]
            return store.block(block), [each for each in booked if who in ("", each.resource.name)]

        block_id, booked = await self._write(work)
        standing = ", ".join(f"{each.id} ({_shown(moment_of(each.start_min, self.business.tz))})" for each in booked)
        return f"blocked {block_id}" + (f"; these appointments stay until you move them: {standing}" if booked else "")

    def _who(self) -> str:
        """The person or the kind of place to block. "" means the whole business."""
        if not self.asked.who:
            return ""
        person = self.business.person(self.asked.who)
        known = [*(each.name for each in self.business.people), *self.business.places]
        if person is None and self.asked.who not in self.business.places:
            raise OwnerRefused(f"There is no {self.asked.who}. There are: {', '.join(known)}.")
        return person.name if person else self.asked.who

    # Lists

    def _days(self, words: str) -> tuple[dt.date, dt.date]:
        today = moment_of(self.now, self.business.tz).date()
        if words in ("today", "tomorrow", "week"):
            first = today + dt.timedelta(days=words == "tomorrow")
            return first, first + dt.timedelta(days=WEEK_DAYS - 1 if words == "week" else 0)
        try:
            day = dt.date.fromisoformat(words)
        except ValueError:
            raise OwnerRefused(f"{words!r} is not known. Allowed is: {USAGE}") from None
        return day, day

    async def _list(self, first: dt.date, last: dt.date) -> str:
        tz = self.business.tz
        span = first_minute(first, 0, tz), first_minute(last + dt.timedelta(days=1), 0, tz)
        booked, blocks = await self.diary.read(lambda store: (store.listed(span), store.blocks(span)), limit_s=LIMIT_S)
        if self.asked.as_json:
            shown = {"appointments": [_plain(each, tz) for each in booked], "blocks": [_block(b, tz) for b in blocks]}
            return json.dumps(shown, indent=2, ensure_ascii=False)
        days = f"{first:%A}, {first:%B} {first.day}" + (f" to {last:%A}, {last:%B} {last.day}" if last != first else "")
        if not booked and not blocks:
            return f"{days}: nothing is booked."
        rows = [("", "", "WHAT", "WITH", "NAME", "PHONE", "NOTES", "ID")]
        for each in booked:
            start, end = moment_of(each.start_min, tz), moment_of(each.start_min + each.minutes, tz)
            time = f"{start:%H:%M}-{end:%H:%M}"
            what = (each.service, each.resource.words, each.name, each.phone, each.notes, each.id)
            rows.append((f"{start:%a %d %b}", time, *what))
        for block in blocks:
            start, end = moment_of(block.span[0], tz), moment_of(block.span[1], tz)
            until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%a %d %b %H:%M}"
            what = ("blocked", block.who or "all", "", "", block.why, block.id)
            rows.append((f"{start:%a %d %b}", f"{start:%H:%M}-{until}", *what))
        return f"{days}\n" + _table(rows)

    # Details

    @property
    def _bookings(self) -> Bookings:
        return Bookings(self.business)

    @property
    def _deed(self) -> Deed:
        return Deed("", by="owner", anyway=self.asked.anyway)

    async def _write(self, work: Callable[[Store], T]) -> T:
        return await self.diary.write(work, limit_s=LIMIT_S)

    def _minute(self, text: str, *, ends: bool = False) -> int:
        """A local time of the business. A day without a time means the beginning of the day.

        If `ends` is true, a day without a time means the end of the day.
        """
        tz = self.business.tz
        try:
            if len(text) == len("2026-11-24"):
                return first_minute(dt.date.fromisoformat(text) + dt.timedelta(days=ends), 0, tz)
            wall = dt.datetime.fromisoformat(text)
        except ValueError:
            raise OwnerRefused(f"{text!r} is not a time: write it like '2026-11-24 19:00'.") from None
        minute = minute_of(wall if wall.tzinfo else wall.replace(tzinfo=tz))
        if wall.tzinfo is None and moment_of(minute, tz).replace(tzinfo=None, second=0) != wall.replace(second=0):
            raise OwnerRefused(f"The clocks change then, and {text} does not exist.")
        return minute

    def _one(self, done: str, entry: Appointment) -> str:
        if self.asked.as_json:
            return json.dumps({"done": done, **_plain(entry, self.business.tz)}, indent=2, ensure_ascii=False)
        when = _shown(moment_of(entry.start_min, self.business.tz))
        return f"{done} {entry.id}: {entry.service}, {when}, {entry.resource.words}, {entry.name}"


def _shown(moment: dt.datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M}"


def _plain(entry: Appointment, tz: ZoneInfo) -> dict[str, Any]:
    return {
        "id": entry.id, "service": entry.service, "with": entry.resource.words, "minutes": entry.minutes,
        "start": moment_of(entry.start_min, tz).isoformat(), "name": entry.name, "phone": entry.phone,
        "notes": entry.notes, "state": entry.state, "call_sid": entry.call_sid,
    }  # fmt: skip


def _block(block: Block, tz: ZoneInfo) -> dict[str, Any]:
    start, end = (moment_of(each, tz).isoformat() for each in block.span)
    return {"id": block.id, "with": block.who, "start": start, "end": end, "why": block.why}


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
