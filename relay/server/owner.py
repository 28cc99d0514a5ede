"""Gives the console what it shows of this process: health, files, diary and recordings."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence

from relay.business.diary import Diary, DiaryUnavailable
from relay.business.opening import minute_of, moment_of
from relay.console.console import File, Owner
from relay.console.health import Health, disk
from relay.console.reads import Row
from relay.console.sound import HeardCalls
from relay.console.talk import Calls
from relay.ledger.port import LedgerUnavailable
from relay.server.live_calls import CallsInHand
from relay.session.context import Desk

LIMIT_S = 2.0


def owner_of(
    desk: Desk, diary: Diary | None, send_news: Callable[[], None] | None = None, calls: Calls | None = None
) -> Owner:
    """Everything that the console needs in addition to Postgres.

    `diary` is None if the business has a backend of its own. `send_news` wakes the task that sends news to the owner.
    `calls` runs the test calls of the page "Talk to it".
    """
    parts = _Parts(desk)
    return Owner(
        settings=desk.settings,
        utc_now=desk.utc_now,
        checks=(parts.greeting, parts.model, parts.database, parts.backend, parts.room, parts.files),
        files=parts.texts,
        live=CallsInHand(desk),
        diary=_OwnersDiary(desk, diary) if diary is not None else None,
        recordings=HeardCalls(desk.settings),
        send_news=send_news,
        calls=calls,
    )


class _Parts:
    """The health of each part of the relay."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def greeting(self) -> Health:
        phrases = self._desk.phrases
        missing = phrases.missing(phrases.texts())
        if not missing:
            return Health("Greeting", "kept in the agent's own voice")
        words = f"{len(missing)} phrases are not rendered yet. If it stays so, look at the log."
        return Health("Greeting", "", words)

    async def model(self) -> Health:
        trouble = self._desk.realtime.trouble
        if trouble:
            return Health(
                "OpenAI", "", f"The last session could not be opened: {trouble}. Callers get a person meanwhile."
            )
        return Health("OpenAI", self._desk.settings.openai_model)

    async def database(self) -> Health:
        words = await self._desk.ledger.ready(limit_s=LIMIT_S)
        return Health("Database", "takes rows", words or "")

    async def backend(self) -> Health:
        desk = self._desk
        if desk.settings.business_is_embedded:
            return Health("Bookings", "in this relay's own diary")
        return Health("Backend", "answers", getattr(desk.backend, "trouble", ""))

    async def room(self) -> Health:
        return await disk(self._desk.settings.data_dir)

    async def files(self) -> Health:
        trouble = self._desk.files_trouble()
        words = f"A changed file has a mistake. The version before it stays in use. {trouble}" if trouble else ""
        return Health("Files", "all files are in use", words)

    def texts(self) -> Sequence[File]:
        """The texts that the next call will use."""
        briefing, trouble = self._desk.briefing, self._desk.files_trouble()
        prompts = briefing.prompts
        opening, question = prompts.greeting(announces=True)
        phrases = "\n".join(f"{name}: {text}" for name, text in prompts.phrases.items())
        found = [
            File("What the model is told", prompts.system, prompts.version, trouble),
            _file("Greeting", f"{opening}\n\n{question}"),
            _file("Phrases", phrases),
        ]
        if briefing.business_text:
            found.append(_file(briefing.settings.business_file.name, briefing.business_text))
        return found


def _file(name: str, text: str) -> File:
    return File(name, text, hashlib.sha256(text.encode()).hexdigest()[:12])


class _OwnersDiary:
    def __init__(self, desk: Desk, diary: Diary) -> None:
        self._desk, self._diary = desk, diary

    async def week(self, first: dt.date) -> list[Row]:
        """The booked appointments of seven days from `first`, by time. Raises LedgerUnavailable."""
        tz = self._desk.settings.tz
        begin = minute_of(dt.datetime.combine(first, dt.time(), tz))
        end = minute_of(dt.datetime.combine(first + dt.timedelta(days=7), dt.time(), tz))
        try:
            found = await self._diary.read(lambda store: store.listed((begin, end)), limit_s=LIMIT_S)
        except DiaryUnavailable as error:
            raise LedgerUnavailable(error.words) from error
        return [
            {
                "start": moment_of(each.start_min, tz),
                "minutes": each.minutes,
                "service": each.service,
                "who": each.resource[0] if not each.resource[1] else f"{each.resource[0]} {each.resource[1]}",
                "name": each.name,
                "phone": each.phone,
                "notes": each.notes,
                "call_sid": each.call_sid,
            }
            for each in found
            if each.state == "booked"
        ]
