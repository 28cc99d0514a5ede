"""Many calls in one relay, some of which break off in different ways: nothing stays open."""

from __future__ import annotations

import gc
import random

import pytest
import trio

from relay.call.vocabulary import EndReason
from relay.ledger import rows
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, parse
from relay.standin.twilio.numbers import fictional_number
from tests.helpers.play import Play, stage

_SHORT = """
title = "asks and hangs up"
[caller]
number = "{number}"
steps = [{{ silent_s = {wait_s} }}, {{ say = "hello" }}, {{ silent_s = 2 }}, {{ hang_up = true }}]
"""


def _scenario(number: int, wait_s: float) -> Scenario:
    return parse(_SHORT.format(number=fictional_number(number), wait_s=wait_s), "short")


def _live_tasks() -> int:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    todo, count = [root], 0
    while todo:
        task = todo.pop()
        count += 1
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count


async def _cut_media(play: Play, after_s: float) -> None:
    await trio.sleep(after_s)
    for scope in play.media_scopes[-1:]:
        scope.cancel()


@pytest.mark.parametrize("calls", [60, pytest.param(200, marks=pytest.mark.deep)])
async def test_many_calls_leave_no_task_and_no_session_and_no_open_call(
    calls: int, autojump_clock: trio.testing.MockClock
) -> None:
    random_ = random.Random(7)
    async with stage(settings={"MAX_CALLS": "500"}) as play:
        await run_scenario(_scenario(0, 1.0), play.exchange)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(60)
        before = _live_tasks()
        limiter = trio.CapacityLimiter(40)

        async def one(number: int) -> None:
            async with limiter:
                await run_scenario(_scenario(number, random_.choice([0.1, 0.3, 1.0, 4.0])), play.exchange)

        async with trio.open_nursery() as nursery:
            for number in range(1, calls + 1):
                nursery.start_soon(one, number)
                if number % (calls // 10) == 0:
                    nursery.start_soon(_cut_media, play, 2.0 + 4.0 * number / calls)
        await trio.sleep(60)
        assert _live_tasks() == before
        assert play.daemon.desk.live_calls == 0
        assert len(play.daemon.desk.warm) == 0
        assert play.model_scopes == []
        outcomes = play.ledger.of(rows.OutcomeRow)
        assert len(outcomes) == calls + 1
        assert all(row.end_reason in set(EndReason) for row in outcomes)
    gc.collect()


@pytest.mark.parametrize("after_s", [0.2, 3.0, 8.0])
async def test_when_the_model_dies_in_the_middle_the_caller_is_not_left_in_silence(
    after_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }'
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "model_dies")
    async with stage() as play:

        async def kill() -> None:
            await trio.sleep(after_s)
            play.kill_model_sessions()

        play.nursery.start_soon(kill)
        got = await run_scenario(scenario, play.exchange)
        (outcome,) = play.ledger.of(rows.OutcomeRow, got.call_sid)
        assert outcome.end_reason == EndReason.CALLER_HUNG_UP
        assert any("open tomorrow" in text for text in got.heard)
