"""The instructions have the facts of the call at their end, so that OpenAI's cache can be used for the rest."""

from __future__ import annotations

import datetime as dt
from itertools import takewhile

import pytest
from trio.testing import MockClock

from relay.business.diary import MemoryDiary
from relay.call.vocabulary import CallSid
from relay.realtime.client import Wanted
from relay.settings.shipped import folder
from tests.helpers.play import Play, stage
from tests.helpers.webhook import caller

BARBER = {"BUSINESS_API_BASE": "embedded", "BUSINESS_FILE": str(folder("prompts") / "business.barber.toml")}


def session_of(play: Play, number: str, at: str) -> Wanted:
    desk = play.daemon.desk
    desk.utc_now = lambda: dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)
    file = desk.open_file(CallSid(f"CA{number[1:]:0>32}"), caller(number), "US", 0.0)
    return desk.wanted(file, "gpt-realtime-2.1-mini")


@pytest.mark.parametrize("settings", [{}, BARBER], ids=["a backend of the owner", "the embedded backend"])
async def test_two_callers_on_two_days_share_nearly_all_of_the_instructions_and_all_functions(
    settings: dict[str, str], autojump_clock: MockClock
) -> None:
    async with stage(settings=settings, diary=MemoryDiary()) as play:
        one = session_of(play, "+12125550101", "2026-11-23T17:00")  # Monday at noon in New York: open
        other = session_of(play, "+14155550177", "2026-11-29T04:00")  # Saturday, 23:00: closed
        same = sum(
            1
            for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.instructions, other.instructions, strict=False))
        )
        assert one.instructions != other.instructions
        assert same >= 0.9 * min(len(one.instructions), len(other.instructions)), one.instructions[same:]
        assert one.tools == other.tools
