"""HUMAN_HOURS are in the time zone of the business, in winter and in summer."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from trio.testing import MockClock

from tests.helpers.play import stage
from tests.helpers.webhook import call_file


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
        at = dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
        assert play.daemon.desk.briefing.human_is_there(at) is there


async def test_a_running_call_keeps_the_zone_of_the_humans_hours_and_its_limits_when_the_owner_changes_them(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings={"HUMAN_HOURS": "mon 09:00-17:00", "BUSINESS_TZ": "America/New_York"}) as play:
        desk = play.daemon.desk
        desk.utc_now = lambda: dt.datetime(2026, 11, 23, 21, 58, tzinfo=dt.UTC)  # Monday, 16:58 in New York
        file = call_file(play)
        before = desk.plan(file)
        assert (before.human_available, before.human_changes_s) == (True, 120.0)
        new = dataclasses.replace(desk.settings, business_tz="America/Los_Angeles", max_call_s=60.0)
        desk.take_over(dataclasses.replace(desk.briefing, settings=new))
        after = desk.plan(file)
        assert (after.human_available, after.human_changes_s) == (True, 120.0)
        assert after.limits == before.limits
