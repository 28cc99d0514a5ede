"""The claim check in whole calls: it works when no words are stored, and it does not disturb an honest agent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import structlog
from trio.testing import MockClock

from relay.ledger import rows
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import load, parse
from tests.helpers.play import Play, stage


async def played(name: str, settings: Mapping[str, str]) -> tuple[CallReport, Play, list[str]]:
    """Play a shipped scenario with other settings. Return its report, the stage, and the names of the log lines."""
    scenario = load(name)
    async with stage(script=Script.from_table(scenario.model), settings=settings) as play:
        with structlog.testing.capture_logs() as lines:
            got = await run_scenario(scenario, play.exchange)
        return got, play, [line["event"] for line in lines]


async def test_a_claim_is_checked_also_when_no_words_are_stored(autojump_clock: MockClock) -> None:
    got, play, lines = await played("claim_without_deed", {"RECORD": "off"})
    assert len(play.business.diary.bookings) == 1  # the check let the agent make the booking
    assert got.heard[-1].endswith("Is there anything else?")
    assert "call.told_wrong" in lines
    assert all(row.said is None and row.heard is None for row in play.ledger.of(rows.TranscriptRow))


@pytest.mark.parametrize(
    "name", ["good_call", "booking_taken", "booking_answer_lost", "backend_slow", "backend_500", "transfer_declined"]
)
async def test_an_agent_that_tells_the_truth_is_never_corrected(name: str, autojump_clock: MockClock) -> None:
    _, play, lines = await played(name, {})
    assert "call.told_wrong" not in lines
    assert all(row.verified for row in play.ledger.of(rows.OutcomeRow))


NEVER_BOOKS = """
title = "never books"
[caller]
steps = [{ listen = true }, { say = "ask_booking" }, { listen = true }, { silent_s = 4 }, { hang_up = true }]
[[model.reaction]]
clip = "ask_booking"
say = "%s"
[[model.reaction]]
told = "No function has done that"
say = "One moment, please."
"""


@pytest.mark.parametrize(
    ("says", "verified"),
    [
        ("Your table for two is booked for tomorrow at seven in the evening.", False),
        ("Okay, I have you down for a party of two. What time would you like to come?", True),
    ],
)
async def test_an_outcome_is_verified_only_if_the_agent_told_the_truth(
    says: str, verified: bool, autojump_clock: MockClock
) -> None:
    scenario = parse(NEVER_BOOKS % says, "t")
    async with stage(script=Script.from_table(scenario.model)) as play:
        await run_scenario(scenario, play.exchange)
        (row,) = play.ledger.of(rows.OutcomeRow)
    assert row.verified is verified
    assert ("unverified" in (row.outcome or "")) is not verified
