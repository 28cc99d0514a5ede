"""A process that was told to stop runs until none of its callers needs it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import trio
import trio.testing

from relay.call.machine import Next
from relay.call.vocabulary import CallSid
from relay.ledger import rows
from relay.server import app
from relay.server.human_transfer import CALLBACK_SEQ
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play, stage
from tests.helpers.webhook import SID, ask, call_file

Clock = trio.testing.MockClock
ASKS_FOR_A_PERSON = '{ listen = true }, { say = "ask_human" }, { until = "bridged" }, { silent_s = 60 }'


async def call_and_drain(play: Play, steps: str, after_s: float, more: str = "") -> tuple[CallReport, float]:
    """Make a call, and begin a drain `after_s` after its start. Return the report and when the drain was over."""
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n{more}', "drain")
    reports: list[CallReport] = []
    over_s = 0.0

    async def call() -> None:
        reports.append(await run_scenario(scenario, play.exchange))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.sleep(after_s)
        await play.daemon.drain()
        over_s = trio.current_time()
        play.door.dead = True  # the process has ended
    return reports[0], over_s


async def test_the_last_caller_of_a_drain_is_transferred_before_the_process_ends(autojump_clock: Clock) -> None:
    async with stage() as play:
        more = '[human]\ndoes = "accepts"\nring_s = 15\ntalk_s = 4\n'
        report, _ = await call_and_drain(play, ASKS_FOR_A_PERSON, 12.0, more)
        (outcome,) = play.ledger.of(rows.OutcomeRow)
    assert report.bridged_s > 3
    assert outcome.transfer_result == "accepted"
    assert [each for each in report.complaints if each.level != "note"] == []


async def test_a_caller_for_whom_no_human_answers_leaves_a_message_before_the_process_ends(
    autojump_clock: Clock,
) -> None:
    steps = (
        '{ listen = true }, { say = "ask_human" }, { until = "recording_started" }, { say = "hello" }, { silent_s = 8 }'
    )
    async with stage() as play:
        report, _ = await call_and_drain(play, steps, 12.0, '[human]\ndoes = "busy"\nring_s = 1\n')
        (message,) = [row for row in play.ledger.of(rows.MessageRow) if row.seq == CALLBACK_SEQ]
    assert message.text is not None
    assert "A recorded message" in message.text
    assert any("We will call you back" in words for words in report.read_out)


async def test_a_caller_who_rang_before_the_drain_is_served_and_the_call_must_end_in_time(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        # Between the webhook and the stream there is half a second.
        report, over_s = await call_and_drain(play, '{ listen = true }, { say = "ask_hours" }, { silent_s = 900 }', 0.2)
        (outcome,) = play.ledger.of(rows.OutcomeRow)
    assert any("We are open tomorrow" in text for text in report.heard)
    assert outcome.end_reason == "silence_cap"
    assert over_s < 280


async def test_a_very_long_call_is_transferred_before_the_process_must_end(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DRAIN_S", 100.0)  # 280 s of a call take long to play
    steps = '{ listen = true }, { say = "ask_hours" }, ' * 15 + '{ until = "bridged" }, { hang_up = true }'
    async with stage() as play:
        report, over_s = await call_and_drain(play, steps, 0.2)
        (outcome,) = play.ledger.of(rows.OutcomeRow)
    assert outcome.end_reason == "drained"
    assert report.bridged_s > 0
    assert 80 < over_s < 120


@pytest.mark.parametrize("then", [Next.NOTHING, Next.HANG_UP])
async def test_a_drain_without_callers_is_over_at_once(then: Next, autojump_clock: Clock) -> None:
    async with stage() as play:
        file = call_file(play, then=then)
        file.expects(0)
        began = trio.current_time()
        await play.daemon.drain()
        assert trio.current_time() == began


async def test_a_caller_who_never_comes_back_does_not_delay_the_end_of_the_process(autojump_clock: Clock) -> None:
    async with stage() as play:
        await ask(play, "/twilio/incoming", {"CallStatus": "ringing"})
        began = trio.current_time()
        await play.daemon.drain()
        assert 0 < trio.current_time() - began < 15
        assert play.daemon.desk.files[CallSid(SID)].streams == 0


async def test_a_caller_who_hangs_up_while_the_human_is_dialled_does_not_delay_the_end_of_the_process(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        call_file(play)
        await ask(play, "/twilio/after")
        assert play.daemon.desk.calls_in_hand == 1
        await ask(play, "/twilio/status", {"CallStatus": "completed"})
        assert play.daemon.desk.calls_in_hand == 0


async def test_while_the_process_drains_flys_proxy_still_sends_it_the_webhooks_of_its_calls(
    autojump_clock: Clock,
) -> None:
    fly = tomllib.loads((Path(__file__).parents[2] / "fly.toml").read_text())
    (check,) = fly["http_service"]["checks"]
    async with stage(kept=False) as play:
        assert (await get(play, check["path"])).status_code == 503  # the greeting is not rendered
        await trio.sleep(app.GREETING_WAIT_S)
        play.daemon.desk.begin_drain(100)
        assert (await get(play, check["path"])).status_code == 200
        assert (await get(play, "/readyz")).status_code == 503


async def test_a_new_call_goes_to_another_fly_machine_while_this_one_drains_or_else_to_the_human(
    autojump_clock: Clock,
) -> None:
    rings = {"CallStatus": "ringing"}
    async with stage(settings={"FLY_MACHINE_ID": "148e0000"}) as play:
        known = {**rings, "CallSid": "CA" + "2" * 32}
        assert (await ask(play, "/twilio/incoming", known)).all("Connect")
        play.daemon.desk.begin_drain(100)
        sent = await ask(play, "/twilio/incoming", rings)
        assert (sent.status, sent.headers["fly-replay"]) == (307, "elsewhere=true;timeout=500ms;fallback=prefer_self")
        assert CallSid(SID) not in play.daemon.desk.files
        assert (await ask(play, "/twilio/incoming", known)).all("Connect")  # this Machine has this call
        for number, header in enumerate(("fly-replay-failed", "fly-replay-src")):
            new = {**rings, "CallSid": f"CA{number}" + "3" * 31}
            back = await ask(play, "/twilio/incoming", new, headers={header: "instance=148e0001"})
            assert back.all("Dial")
        assert (await ask(play, "/twilio/after")).status == 200


async def get(play: Play, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, play.daemon.app))) as client:
        return await client.get(f"http://relay.example.com{path}")
