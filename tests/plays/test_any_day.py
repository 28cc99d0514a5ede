"""A rehearsal passes on any day: in summer and winter, at a clock change, on a holiday, and on 29 February."""

from __future__ import annotations

import datetime as dt

import pytest
from trio.testing import MockClock

from relay.standin.scenario.scenario_file import load, shipped
from tests.helpers.play import perform

pytestmark = pytest.mark.usefixtures("same_order")

# The clocks of New York change on 14 March and 7 November 2027, 12 March and 5 November 2028.
DAYS = [
    "2026-12-24", "2026-12-25", "2026-12-26", "2026-12-31", "2027-01-01", "2027-02-28", "2027-03-13", "2027-03-14",
    "2027-03-27", "2027-03-28", "2027-06-10", "2027-08-15", "2027-10-30", "2027-11-06", "2027-11-07", "2027-12-24",
    "2028-02-28", "2028-02-29", "2028-03-11", "2028-03-12", "2028-07-04", "2028-11-04", "2028-11-05", "2028-12-31",
]  # fmt: skip
A_FEW = ["2026-12-24", "2027-03-13", "2027-06-10"]
# In the morning and late in the evening of New York, when it is the next day in London.
HOURS = [dt.time(15, 5, tzinfo=dt.UTC), dt.time(3, 40, tzinfo=dt.UTC)]


def _with_a_date() -> list[str]:
    """The scenarios in which somebody mentions or books a day or an hour."""
    return [
        name
        for name in shipped()
        if any(word in str((load(name).model, load(name).relay)) for word in ("T19:", "HOURS"))
    ]


def _at(day: str, hour: int = 0) -> dt.datetime:
    return dt.datetime.combine(dt.date.fromisoformat(day), HOURS[hour])


@pytest.mark.parametrize("day", A_FEW)
@pytest.mark.parametrize("name", ["good_call", *_with_a_date()])
async def test_a_scenario_with_a_date_passes_on_any_day(name: str, day: str, autojump_clock: MockClock) -> None:
    got, wrong, _ = await perform(name, _at(day))
    assert wrong == [], f"{got.heard}\n{got.evidence}"


@pytest.mark.deep
@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("name", shipped())
async def test_every_scenario_passes_on_any_day(name: str, day: str, autojump_clock: MockClock) -> None:
    got, wrong, _ = await perform(name, _at(day, DAYS.index(day) % 2))
    assert wrong == [], f"{got.heard}\n{got.evidence}"
