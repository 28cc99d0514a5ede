"""HUMAN_HOURS are in the time zone of the business, in winter and in summer."""

from __future__ import annotations

import datetime as dt

import pytest
from trio.testing import MockClock

from tests.helpers.play import stage


@pytest.mark.parametrize(
    ("utc", "there"),
    [
        ("2026-11-23T13:59", False),  # Monday, 8:59 in New York
        ("2026-11-23T14:00", True),
        ("2026-11-23T21:59", True),
        ("2026-11-23T22:00", False),
        ("2026-07-06T13:00", True),  # a Monday in summer
        ("2026-07-06T21:00", False),
        ("2026-11-24T15:00", False),  # a Tuesday
        ("2026-11-24T02:00", False),  # Monday evening in New York
    ],
)
async def test_the_humans_hours_follow_the_time_zone_of_the_business(
    utc: str, there: bool, autojump_clock: MockClock
) -> None:
    async with stage(settings={"HUMAN_HOURS": "mon 09:00-17:00", "BUSINESS_TZ": "America/New_York"}) as play:
        desk = play.daemon.desk
        desk.utc_now = lambda: dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
        assert desk.human_is_there() is there
