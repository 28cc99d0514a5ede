"""A call of several streams is one conversation: its counts, its model and its figures go on from stream to stream."""

from __future__ import annotations

from typing import Any, cast

import pytest
import structlog

from relay.call.actions import RunFunction
from relay.call.wording import OFFER_HUMAN
from relay.ledger import rows
from relay.realtime import client
from relay.server import media_endpoint
from relay.session.call_rows import _percentiles
from relay.session.call_session import CallSession
from relay.standin.business.faults import Faults
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.bills import collect_bills
from tests.helpers.play import Play, stage

MISUNDERSTANDS = '{ say = "sorry_what" }, { listen = true }'
COMES_BACK = '{ say = "ask_human" }, { until = "dial_ended" }, { listen = true }'
TEXT = """
title = "comes back from a human"
[caller]
steps = [{ listen = true }, %s, { silent_s = 3 }, { hang_up = true }]
[human]
does = "declines"
ring_s = 1
[[model.reaction]]
clip = "sorry_what"
say = "I'm sorry, I can only help with questions about Harbor Table."
[[model.reaction]]
clip = "angry"
say = "I'm sorry about that. Would you like me to connect you with a colleague?"
"""
ANSWERS = Script.from_table(dict(parse(TEXT % "{ listen = true }", "t").model))
BOOKS = """
title = "books a table"
[caller]
steps = [
  { listen = true },
  { say = "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe." },
  { listen = true },
  { say = "Yes please, that's right." },
  { listen = true },
  { hang_up = true },
]
"""


async def act(play: Play, *steps: str) -> CallReport:
    """Play a call in which the human declines."""
    got = await run_scenario(parse(TEXT % ", ".join(steps), "t"), play.exchange)
    assert got.failures == []
    return got


def models(play: Play) -> list[str]:
    """The model of each session, from the URL of its socket."""
    return [each.session["model"] for each in play.model.sessions]


async def test_two_misunderstandings_before_a_declined_transfer_and_one_after_the_transfer_lead_to_another_transfer(
    autojump_clock: object,
) -> None:
    async with stage(script=ANSWERS) as play:
        got = await act(play, MISUNDERSTANDS, MISUNDERSTANDS, COMES_BACK, MISUNDERSTANDS, COMES_BACK)
    assert len(got.dialled) == 2
    assert "misunderstood too often" in got.whispers[-1]


async def test_a_human_who_declined_is_not_dialled_again_for_the_same_misunderstandings(autojump_clock: object) -> None:
    async with stage(script=ANSWERS) as play:
        third = '{ say = "sorry_what" }, { until = "dial_ended" }, { listen = true }'
        got = await act(play, MISUNDERSTANDS, MISUNDERSTANDS, third, MISUNDERSTANDS)
    assert len(got.dialled) == 1
    assert got.streams == 2


async def test_a_failed_function_before_a_declined_transfer_and_another_one_after_the_transfer_lead_to_another_transfer(
    autojump_clock: object,
) -> None:
    async with stage(script=ANSWERS, faults=Faults.from_table({"GET /hours": "500"})) as play:
        asks = '{ say = "ask_hours" }'
        got = await act(play, asks, "{ listen = true }", COMES_BACK, asks, '{ until = "dial_ended" }')
    assert len(got.dialled) == 2
    assert "lookup hours failed" in got.whispers[-1]


async def test_an_angry_caller_is_offered_a_human_only_once_in_a_call(autojump_clock: object) -> None:
    async with stage(script=ANSWERS) as play:
        angry = '{ say = "angry" }, { listen = true }'
        await act(play, angry, COMES_BACK, angry)
    first, second = ([item.text for item in each.history.items] for each in play.model.sessions)
    assert OFFER_HUMAN in first
    assert OFFER_HUMAN not in second


@pytest.mark.parametrize("kept_warm", [True, False])
async def test_after_a_declined_transfer_the_harder_model_is_still_used_and_billed_at_its_price(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, kept_warm: bool
) -> None:
    if not kept_warm:
        monkeypatch.setattr(client, "WARM_PER_MINUTE", 0)
    bills = collect_bills(monkeypatch)
    async with stage(script=ANSWERS) as play:
        says = '{ say = "can_you_hear" }, { listen = true }'
        got = await act(play, MISUNDERSTANDS, MISUNDERSTANDS, says, COMES_BACK, says)
        settings = play.daemon.desk.settings
        small, hard = settings.openai_model, settings.openai_model_hard
        assert got.streams == 2
        assert models(play) == [small, hard, hard]
        assert play.model.sessions[2].report.heard == ["Can you hear me?"]
        (outcome,) = play.ledger.of(rows.OutcomeRow)
    paid = cast(dict[str, float], cast(dict[str, Any], outcome.cost)["usd"])
    assert paid[small] == pytest.approx(bills[small], abs=1e-5)
    assert paid[hard] == pytest.approx(bills[hard], abs=1e-5)
    assert float(outcome.cost_usd or 0) == pytest.approx(sum(paid.values()), abs=1e-5)


async def test_the_outcome_and_the_closing_line_count_the_turns_of_all_streams(autojump_clock: object) -> None:
    async with stage(script=ANSWERS) as play:
        stops = '{ say = "ask_hours" }, { interrupt_after_ms = 900, say = "oh_wait" }, { listen = true }'
        coughs = '{ say = "ask_hours" }, { interrupt_after_ms = 2500, cough = true }, { listen = true }'
        with structlog.testing.capture_logs() as lines:
            got = await act(play, stops, coughs, COMES_BACK, stops, coughs)
        (outcome,) = play.ledger.of(rows.OutcomeRow)
        turns = play.ledger.of(rows.TranscriptRow)
    assert got.streams == 2
    assert outcome.turns == len(turns)
    assert outcome.barge_ins == 2
    waited = [cast(int, turn.latency["first_heard"]) for turn in turns if turn.latency is not None]
    assert (outcome.latency_p50_ms, outcome.latency_p95_ms) == _percentiles([ms for ms in waited if ms is not None])
    line = [each for each in lines if each["event"] == "call.ended"][-1]
    assert (line["turns"], line["barge_ins"], line["false_stops"]) == (len(turns), 2, 2)
    assert (line["turn_p50_ms"], line["turn_p95_ms"]) == (outcome.latency_p50_ms, outcome.latency_p95_ms)


async def test_a_caller_who_comes_back_has_only_the_rest_of_the_calls_time(autojump_clock: object) -> None:
    async with stage(script=ANSWERS, settings={"MAX_CALL_S": "120", "MAX_SILENCE_S": "300"}) as play:
        text = TEXT.replace("{ silent_s = 3 }, { hang_up = true }", "{ silent_s = 300 }")
        got = await run_scenario(parse(text % f"{{ silent_s = 30 }}, {COMES_BACK}", "t"), play.exchange)
        (file,) = play.daemon.desk.files.values()
        (outcome,) = play.ledger.of(rows.OutcomeRow)
        greeted = [row for row in play.ledger.of(rows.CallRow) if row.greeting_rung is not None]
    assert got.streams == 2
    assert outcome.end_reason == "duration_cap"
    assert 120 <= file.talk.talked_s < 135  # the call ends after 120 s, and the goodbye is heard to its end
    assert len(greeted) == 1


async def test_a_caller_who_comes_back_when_the_time_is_up_can_still_leave_a_message(autojump_clock: object) -> None:
    async with stage(script=ANSWERS, settings={"MAX_CALL_S": "70", "MAX_SILENCE_S": "300"}) as play:
        text = TEXT.replace("{ silent_s = 3 }, { hang_up = true }", "{ silent_s = 300 }")
        got = await run_scenario(parse(text % f"{{ silent_s = 40 }}, {COMES_BACK}", "t"), play.exchange)
        (file,) = play.daemon.desk.files.values()
    assert got.streams == 2
    assert 105 <= file.talk.talked_s < 135  # about 50 s before the human, and 60 s after


async def test_a_booking_made_while_postgres_is_away_is_there_with_its_key_when_postgres_is_back(
    autojump_clock: object,
) -> None:
    async with stage() as play:
        play.ledger.away = True
        await run_scenario(parse(BOOKS, "books"), play.exchange)
        play.ledger.away = False
        (row,) = [row for row in play.ledger.of(rows.FunctionCallRow) if row.name == "book_appointment"]
        assert row.key is not None
        assert row.state == "done"
        again = await play.ledger.reserve(row.key, row.call_sid, row.name, {}, function_call_id="another", limit_s=1.0)
        assert again == rows.Already("done", True, row.output)


NESTED = '{"date":' + "[" * 5_000 + "]" * 5_000 + "}"


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (f'{{"date": {10**400}}}', {"date": 10**400}),
        ('"x"', {"value": "x"}),
        (NESTED, {"unreadable_characters": 10_009}),
        ('{"date": "\\ud800"}', {"unreadable_characters": 18}),
        ('{"name": "Zo\u00eb', {"unreadable_characters": 13}),
        ("{", {"unreadable_characters": 1}),
        ("", {"unreadable_characters": 0}),
    ],
)
async def test_hostile_arguments_are_refused_with_a_sentence_and_the_call_goes_on(
    arguments: str, kept: dict[str, Any], autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[CallSession] = []

    class Watched(CallSession):
        async def run(self) -> None:
            sessions.append(self)
            await super().run()

    monkeypatch.setattr(media_endpoint, "CallSession", Watched)
    async with stage(script=ANSWERS) as play:
        asked: list[str] = []

        def ask(kind: str, _: dict[str, Any]) -> None:
            for session in sessions:
                if session.machine.phase.value == "talking" and not asked:
                    asked.append(kind)
                    action = RunFunction("call_hostile", "check_availability", arguments)
                    session._start(session._run_function, action)

        play.exchange.on_event = ask
        got = await act(play, "{ silent_s = 2 }")
        assert asked
        (row,) = play.ledger.of(rows.FunctionCallRow, got.call_sid)
        assert row.ok is False
        assert row.arguments == kept
        assert play.evidence(got.call_sid).end_reason == "caller_hung_up"
