"""Whole calls to a business with the embedded backend: bookings, closed days, a lost slot, and changed files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from relay.business.bookings import Bookings, Deed, Wish
from relay.business.diary import MemoryDiary, Store
from relay.business.file import parse as parse_business
from relay.ledger import rows
from relay.server import briefings
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play, stage

T = TypeVar("T")

SHOP = """
name = "Harbor Table"
timezone = "America/New_York"
[hours]
mon-sun = "00:00-24:00"
[places]
table = 1
[[services]]
name = "table"
also = ["table for two"]
places = "table"
minutes = 30
ahead_days = 366
"""
AFTER = """
[after_hours]
greeting = "Hello, this is {AGENT_NAME}. We are closed now."
question = "Shall I take a message?"
offer = "Offer to take a message."
"""
BOOKS = """
title = "books a table"
[caller]
steps = [
  { listen = true },
  { say = "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe." },
  { listen = true },
  { say = "Yes please, that's right." },
  { listen = true },
  %s
  { hang_up = true },
]
[[model.reaction]]
after = "book_appointment"
output = "free"
say = "I'm sorry, that time is already taken. Would half past seven work for you?"
"""
LISTENS = """
title = "listens"
[caller]
steps = [{ listen = true }, { hang_up = true }]
"""


@asynccontextmanager
async def shop(
    tmp_path: Path, text: str = SHOP, diary: MemoryDiary | None = None, scenario: str = BOOKS % ""
) -> AsyncIterator[tuple[Play, MemoryDiary, Path]]:
    """A stage whose relay has the embedded backend."""
    file, diary = tmp_path / "business.toml", diary or MemoryDiary()
    file.write_text(text)
    script = Script.from_table(dict(parse(scenario, "t").model))
    env = {"BUSINESS_API_BASE": "embedded", "BUSINESS_FILE": str(file)}
    async with stage(script=script, settings=env, diary=diary) as play:
        yield play, diary, file


async def act(play: Play, text: str = BOOKS % "") -> CallReport:
    got = await run_scenario(parse(text, "t"), play.exchange)
    assert got.failures == []
    return got


def told_to_model(play: Play) -> str:
    """The instructions of the latest session."""
    return str(play.model.sessions[-1].session["instructions"])


async def test_a_booking_is_in_the_diary_with_its_call_and_no_other_backend_is_asked(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with shop(tmp_path) as (play, diary, _):
        got = await act(play)
        (entry,) = diary.store.appointments.values()
        assert (entry.service, entry.name, entry.call_sid) == ("table", "Jane Doe", got.call_sid)
        assert any("is booked for tomorrow at seven" in each for each in got.heard)
        assert not play.business.asked
        assert "What can be booked: table (30 minutes)." in told_to_model(play)


@pytest.mark.parametrize(
    ("hours", "closed"),
    [
        ('[hours]\nmon-sun = "00:00-24:00"', False),
        ('[hours]\nmon-sun = "02:00-02:05"', True),  # after hours
        (
            '[[special_days]]\non = "01-01 to 12-31"\nhours = "closed"\n[hours]\nmon-sun = "00:00-24:00"',
            True,
        ),  # a holiday
    ],
)
async def test_while_the_business_is_closed_another_greeting_is_said_and_the_model_is_told_what_to_offer(
    tmp_path: Path, hours: str, closed: bool, autojump_clock: object
) -> None:
    text = SHOP.replace('[hours]\nmon-sun = "00:00-24:00"', hours).replace("minutes = 30", "minutes = 5") + AFTER
    async with shop(tmp_path, text) as (play, _, _):
        got = await act(play, LISTENS)
        turns = play.ledger.of(rows.TranscriptRow, got.call_sid)
        said = " ".join(turn.said or "" for turn in turns if turn.role == "agent")
        assert ("We are closed now." in said) == closed
        assert ("thank you for calling Harbor Table" in said) == (not closed)
        assert "This call may be transcribed" in said
        assert ("The business is closed at the moment." in told_to_model(play)) == closed
        assert ("Offer to take a message." in told_to_model(play)) == closed


class Contested(MemoryDiary):
    """A diary in which another caller books the wanted time just before the first booking."""

    async def write(self, work: Callable[[Store], T], *, limit_s: float) -> T:
        if not self.store.appointments:

            def faster(store: Store) -> T:
                (now, wish), *_ = _wishes(work)
                Bookings(parse_business(SHOP)).book(
                    store, now, replace(wish, phone="+12125550111"), Deed("other", "CAother")
                )
                return work(store)

            return await super().write(faster, limit_s=limit_s)
        return await super().write(work, limit_s=limit_s)


def _wishes(work: Any) -> list[tuple[int, Wish]]:
    """The wish that the function `work` carries out, with the present time. Both are in the closure of the function."""
    held = [cell.cell_contents for cell in work.__closure__ or ()]
    backend = next(each for each in held if hasattr(each, "_now"))
    return [(backend._now, each) for each in held if isinstance(each, Wish)]


async def test_when_another_caller_books_the_offered_time_before_the_yes_the_caller_hears_so_and_books_the_next_one(
    tmp_path: Path, autojump_clock: object
) -> None:
    text = BOOKS % '{ say = "Yes, half past seven is fine." }, { listen = true },'
    async with shop(tmp_path, diary=Contested(), scenario=text) as (play, diary, _):
        got = await act(play, text)
        assert any("that time is already taken" in each for each in got.heard)
        other, ours = diary.store.appointments.values()
        assert other.call_sid == "CAother"
        assert (ours.call_sid, ours.start_min) == (got.call_sid, other.start_min + 30)


def metric(play: Play, name: str) -> float:
    families = text_string_to_metric_families(play.daemon.desk.metrics.text().decode())
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


async def until(done: Callable[[], object]) -> None:
    """Wait in real time, because the play's clock jumps while threads look at the files."""
    limit_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit_s
        await trio.to_thread.run_sync(time.sleep, 0.01)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the files often. The clock does not move in a play, so a change is noticed only by the file's size."""
    monkeypatch.setattr(briefings, "LOOK_EVERY_S", 0.2)


async def test_a_change_of_the_business_file_during_a_call_takes_effect_in_the_next_call(
    tmp_path: Path, looks_often: None, autojump_clock: object
) -> None:
    async with shop(tmp_path) as (play, diary, file):
        desk = play.daemon.desk
        play.nursery.start_soon(desk.tasks["files"])
        before = desk.briefing

        async def change() -> None:
            await until(lambda: desk.live_calls)
            text = SHOP.replace('"00:00-24:00"', '"02:00-03:00"') + AFTER
            file.write_text(text)

        play.nursery.start_soon(change)
        first = await act(play)
        assert len(diary.store.appointments) == 1, "the running call did not book with the hours of its beginning"
        await until(lambda: desk.briefing is not before)
        assert desk.phrases.greeting(announces=True, closed=True).is_kept, "the new greeting is not rendered"
        assert metric(play, "relay_files_taken_over_total") == 1
        second = await act(play, LISTENS)
        texts = [
            " ".join(turn.said or "" for turn in play.ledger.of(rows.TranscriptRow, each.call_sid))
            for each in (first, second)
        ]
        assert ["We are closed now." in text for text in texts] == [False, True]


async def test_a_broken_business_file_is_reported_and_not_used_until_it_is_corrected(
    tmp_path: Path, looks_often: None, autojump_clock: object
) -> None:
    async with shop(tmp_path) as (play, diary, file):
        desk = play.daemon.desk
        play.nursery.start_soon(desk.tasks["files"])
        before = desk.briefing
        with capture_logs() as logs:
            file.write_text(SHOP.replace("minutes = 30", "minutes = none at all"))
            await until(lambda: metric(play, "relay_files_broken") == 1)
        (told,) = [each for each in logs if each["event"] == "files.broken"]
        assert "business.toml" in told["words"]
        assert "relay check" in told["do"]
        assert desk.briefing is before
        await act(play)
        assert len(diary.store.appointments) == 1
        file.write_text(SHOP.replace("minutes = 30", "minutes = 45  # and mended"))
        await until(lambda: desk.briefing is not before)
        assert metric(play, "relay_files_broken") == 0
        assert "table (45 minutes)" in desk.prompts.system


async def test_a_new_greeting_is_not_used_before_it_is_rendered(
    tmp_path: Path, looks_often: None, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with shop(tmp_path, SHOP + AFTER) as (play, _, file):
        desk = play.daemon.desk
        play.nursery.start_soon(desk.tasks["files"])
        before, play.model_is_gone = desk.briefing, True
        with capture_logs() as logs:
            file.write_text(SHOP + AFTER.replace("closed now", "closed for today"))
            await until(lambda: desk.briefing is not before or "files.not_rendered" in {log["event"] for log in logs})
        assert desk.briefing is before
        play.model_is_gone = False
        await until(lambda: desk.briefing is not before)
        assert "closed for today" in desk.phrases.greeting(announces=False, closed=True).text


async def test_a_public_relay_with_the_shipped_business_file_logs_that_it_is_an_example(
    tmp_path: Path, autojump_clock: object
) -> None:
    places = {"": False, 'place = "12 Water Street, by the old pier"': True}
    for line, said in places.items():
        with capture_logs() as logs:
            async with shop(tmp_path, f"{line}\n{SHOP}"):
                pass
        assert ("business.is_the_example" in {log["event"] for log in logs}) == said
