"""The notifications to the owner after simulated calls, also when no words of the call are stored."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from relay.call.machine import Next
from relay.call.vocabulary import EndReason
from relay.cli import main
from relay.ledger import rows as r
from relay.notify.news import News
from relay.session.call_file import Decision
from relay.session.day_bill import EVERY_S
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import load, parse
from tests.helpers.play import Play, stage
from tests.helpers.receiver import SECRET, Receiver
from tests.helpers.webhook import ask, call_file

BUSINESS_FILE = Path(__file__).parents[2] / "prompts" / "business.toml"


def told(play: Play) -> list[tuple[str, r.Json]]:
    return [(row.kind, row.body) for row in play.ledger.of(r.OutboxRow)]


@pytest.mark.parametrize("record", ["transcripts", "off"])
async def test_a_booking_and_a_call_back_are_news_also_when_no_words_are_kept(
    record: str, autojump_clock: MockClock
) -> None:
    scenario = load("transfer_declined_after_booking")
    script = Script.from_table(scenario.model)
    async with stage(script=script, settings={**scenario.relay, "RECORD": record}) as play:
        play.daemon.desk.news = News(["email"], play.daemon.desk.utc_now)
        await run_scenario(scenario, play.exchange)
        kinds = [kind for kind, _ in told(play)]
        assert sorted(kinds) == ["booking", "call_back"]
        booking = next(body for kind, body in told(play) if kind == "booking")
    assert (booking["done"], booking["name"]) == ("booked", "Jane Doe")
    assert dt.datetime.fromisoformat(str(booking["start"]))
    assert booking["phone"]


@pytest.mark.real
def test_the_command_sends_one_example_to_each_channel_and_reports_the_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("NOTIFY_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("NOTIFY_WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("NOTIFY_WEBHOOK_PRIVATE", "on")
        assert main(["notify", "--test"]) == 0
        assert capsys.readouterr().out.count("HTTP 200") == len(receiver.asked) == 6
        receiver.status = 500
        assert main(["notify", "--test"]) == 1
        assert "NOT SENT: the receiver answered 500" in capsys.readouterr().out
        receiver.shutdown()


@pytest.mark.real
def test_the_examples_have_the_time_zone_that_only_the_business_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "business.toml"
    file.write_text(BUSINESS_FILE.read_text().replace("America/New_York", "Asia/Tokyo"))
    with Receiver() as receiver:
        monkeypatch.setenv("BUSINESS_FILE", str(file))
        monkeypatch.setenv("NOTIFY_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("NOTIFY_WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("NOTIFY_WEBHOOK_PRIVATE", "on")
        assert main(["notify", "--test"]) == 0
        assert any(b"T10:00:00+09:00" in body for _, _, body in receiver.asked)
        receiver.shutdown()


@pytest.mark.parametrize("name", ["socket_cut", "model_dies_for_good"])
async def test_a_fault_after_which_the_caller_went_on_with_the_agent_or_a_person_is_no_news(
    name: str, autojump_clock: MockClock
) -> None:
    scenario = load(name)
    async with stage(script=Script.from_table(scenario.model), settings=scenario.relay) as play:
        play.daemon.desk.news = News(["email"], play.daemon.desk.utc_now)
        await run_scenario(scenario, play.exchange, stagehand=play.make)
        assert [row.fault for row in play.ledger.of(r.OutcomeRow) if row.fault]
        assert [kind for kind, _ in told(play) if kind == "fault"] == []


@pytest.mark.parametrize(
    ("then", "over"),
    [
        (Next.RESUME, "/twilio/after"),
        (Next.RESUME, "/twilio/status"),
        (Next.HUMAN, "/twilio/dialed"),
        (Next.HUMAN, "/twilio/status"),
    ],
)
async def test_a_fault_after_which_the_caller_left_before_anybody_took_the_call_is_news(
    then: Next, over: str, autojump_clock: MockClock
) -> None:
    async with stage() as play:
        play.daemon.desk.news = News(["email"], play.daemon.desk.utc_now)
        call_file(play).decide(Decision(then, EndReason.MODEL_LOST))
        if then is Next.HUMAN:
            assert (await ask(play, "/twilio/after")).all("Dial")
        assert told(play) == []
        await ask(play, over, {"CallStatus": "completed"})
        assert [(kind, body["fault"]) for kind, body in told(play)] == [("fault", "model_lost")]


async def test_a_fault_after_which_no_webhook_of_twilio_comes_is_news(autojump_clock: MockClock) -> None:
    scenario = parse('title = "t"\n[caller]\nsteps = [{ listen = true }, { silent_s = 30 }]', "t")
    async with stage() as play:
        play.daemon.desk.news = News(["email"], play.daemon.desk.utc_now)
        play.nursery.start_soon(play.daemon._keep_day_bill)  # It looks at the running calls now and then.

        async def cut_everything() -> None:
            await trio.sleep(6)
            play.door.dead = True
            await trio.aclose_forcefully(play.media_streams[-1])

        play.nursery.start_soon(cut_everything)
        await run_scenario(scenario, play.exchange)
        await trio.sleep(2 * EVERY_S)
        assert [kind for kind, _ in told(play)] == ["fault"]


async def test_a_fault_is_no_news_after_a_person_has_accepted_the_call(autojump_clock: MockClock) -> None:
    async with stage() as play:
        play.daemon.desk.news = News(["email"], play.daemon.desk.utc_now)
        file = call_file(play)
        file.decide(Decision(Next.HUMAN, EndReason.MODEL_LOST))
        await ask(play, "/twilio/after")
        await ask(play, f"/twilio/accept?call={file.call_sid}", {"Digits": "1"})
        await trio.sleep(5 * 3600)
        play.daemon.desk.tell_of_fault(file)
        assert told(play) == []
