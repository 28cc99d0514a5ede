"""The wall clock is set back during a call. It is used for dates, but not for order or durations."""

from __future__ import annotations

import datetime as dt

import pytest
import trio
from trio.testing import MockClock

from relay.ledger import rows
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play, stage

STEPS = '{ listen = true }, { say = "ask_human" }, { listen = true }, { say = "ask_hours" }, { silent_s = 4 }'


def scenario(does: str) -> str:
    return f'title = "t"\n[caller]\nsteps = [{STEPS}]\n[human]\ndoes = "{does}"\nring_s = 1\n'


async def set_back(play: Play, when: str) -> None:
    """Set the clock back by 60 s when the result of a call's transfer is `when`."""
    desk = play.daemon.desk
    real = desk.utc_now
    while not any(file.human.result == when for file in desk.files.values()):  # noqa: ASYNC110 -- a file tells nobody
        await trio.sleep(0.05)
    desk.utc_now = lambda: real() - dt.timedelta(seconds=60)


@pytest.mark.parametrize(("does", "ends"), [("accepts", "accepted"), ("busy", "busy")])
async def test_the_result_of_a_transfer_is_correct_although_the_clock_was_set_back(
    does: str, ends: str, autojump_clock: MockClock
) -> None:
    async with stage() as play:
        play.nursery.start_soon(set_back, play, "asked")
        await run_scenario(parse(scenario(does), "clock"), play.exchange)
        (row,) = play.ledger.of(rows.OutcomeRow)
        (file,) = play.daemon.desk.files.values()
        assert row.transfer_result == ends
        assert row.seconds is not None
        assert 0 < row.seconds <= trio.current_time() - file.rang_at + 0.05  # it is rounded to a tenth of a second
        assert row.turns == len(file.tally.turns)
        assert row.end_reason == str(file.decision.reason)


async def test_the_times_of_a_calls_turns_go_on_over_its_streams(autojump_clock: MockClock) -> None:
    async with stage() as play:
        await run_scenario(parse(scenario("busy"), "times"), play.exchange)
        (file,) = play.daemon.desk.files.values()
        assert file.streams == 2
        turns = sorted(play.ledger.of(rows.TranscriptRow), key=lambda row: row.seq)
    agents = [row for row in turns if row.role == "agent"]
    # The second part of the greeting is heard after the first part, which has the notice.
    assert agents[0].started_ms == 0
    assert (agents[1].started_ms or 0) >= (agents[0].ended_ms or 0) - 400 > 1_000
    began = [row.started_ms or 0 for row in turns]
    assert began == sorted(began)
    assert all((row.ended_ms or 0) >= (row.started_ms or 0) for row in turns)
    second = next(row for row in agents if "asked" not in (row.said or "") and row.seq > agents[1].seq)
    assert (second.started_ms or 0) > 3_000
