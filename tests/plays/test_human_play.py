"""The transfer to a human and back: the model's knowledge, the numbers that phones show, and Twilio's REST answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from relay.call.actions import RunFunction
from relay.call.call_config import PastTurn
from relay.call.machine import Ending, Machine, Next
from relay.call.vocabulary import EndReason
from relay.functions import CallContext, Outcome
from relay.ledger import rows
from relay.session.call_rows import CallRows, _matter
from relay.session.function_runner import FunctionRunner
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import NUMBER, Play, perform, stage
from tests.helpers.webhook import call_file

GOODBYE = """
title = "says goodbye"
[caller]
steps = [{ listen = true }, { say = "No, that's all, thank you." }, %s]
"""
ASKS = "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe."
BOOKED = "Your table for two is booked for tomorrow at seven in the evening. Is there anything else?"
NOBODY = "I'm sorry, nobody could take the call. Would you like to leave a message?"


def given(play: Play, session: int) -> list[tuple[str, str]]:
    """The items of a model session in their order, as (role, words) or (function, output)."""
    return [
        (item.role or item.name or "output", item.text or item.arguments or item.output)
        for item in play.model.sessions[session].history.items
    ]


async def test_after_a_transfer_that_failed_the_model_knows_everything_that_was_said_and_done(
    autojump_clock: MockClock,
) -> None:
    got, wrong, play = await perform("transfer_declined_after_booking")
    assert wrong == []
    before, after = given(play, 0), given(play, 1)
    told = [words for _, words in after]
    assert told.index(ASKS) < told.index(BOOKED) < told.index(NOBODY)
    call = next(words for role, words in after if role == "book_appointment")
    output = next(words for role, words in after if role == "output")
    assert "Jane Doe" in call
    assert '"done":"booked"' in output
    # The agent's words are not compared, because only their heard part is passed on. The model's own function call for
    # a transfer is not passed on, because the relay had already begun the transfer.
    callers = [each for each in before if each[0] not in ("system", "assistant", "transfer_to_human")]
    assert [each for each in after if each[0] not in ("system", "assistant")][: len(callers)] == callers
    assert any(role == "system" and "do not greet again" in words for role, words in after)
    assert sum("This is Robin" in text for text in got.heard) == 1


async def test_the_cost_of_a_caller_who_comes_back_from_a_human_counts_once_for_the_day(
    autojump_clock: MockClock,
) -> None:
    steps = '{ listen = true }, { say = "ask_human" }, { listen = true }, { say = "ask_hours" }, { silent_s = 9 }'
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n[human]\ndoes = "busy"\nring_s = 1\n', "day")
    charged: list[tuple[float, float]] = []

    async def watch(play: Play) -> None:
        while True:
            await trio.sleep(0.5)
            desk = play.daemon.desk
            charged.extend((desk.spent_today_usd, file.talk.spent_usd) for file in desk.files.values())

    async with stage() as play:
        play.nursery.start_soon(watch, play)
        await run_scenario(scenario, play.exchange)
    assert charged[-1][1] > 0
    assert [today for today, _ in charged] == pytest.approx([usd for _, usd in charged])


async def test_after_a_lost_stream_the_model_gets_an_output_for_the_booking_that_was_running(
    autojump_clock: MockClock,
) -> None:
    _, wrong, play = await perform("socket_cut_while_booking")
    assert wrong == []
    items = play.model.sessions[1].history.items
    called = [item.call_id for item in items if item.type == "function_call"]
    answered = [item.call_id for item in items if item.type == "function_call_output"]
    assert called == answered
    assert len(called) == 2
    assert "not known whether it was done" in next(
        item.output for item in items if item.call_id == called[0] and item.output
    )


async def test_a_booking_without_an_answer_of_the_backend_is_stored_as_unknown(autojump_clock: MockClock) -> None:
    _, wrong, play = await perform("booking_never_answered")
    assert wrong == []
    assert len(play.business.diary.bookings) == 1  # the state "failed" would be wrong, because the booking was made
    assert [row.state for row in play.ledger.of(rows.FunctionCallRow)] == ["unknown", "unknown"]


async def test_the_humans_phone_shows_the_relays_number_and_no_rest_request_is_made(
    autojump_clock: MockClock,
) -> None:
    _, wrong, play = await perform("transfer_accepted")
    assert wrong == []
    (call,) = play.exchange.calls.values()
    assert [leg.caller_id for leg in call.state.humans] == [NUMBER]
    assert play.rest.requests == []  # the caller's leg follows its own document, so no request can fail with 21220


async def test_after_the_second_loss_of_a_session_the_harder_model_is_used(autojump_clock: MockClock) -> None:
    _, wrong, play = await perform("model_dies_twice")
    assert wrong == []
    settings = play.daemon.desk.settings
    models = [session.session["model"] for session in play.model.sessions]
    assert models == [settings.openai_model, settings.openai_model, settings.openai_model_hard]
    (outcome,) = play.ledger.of(rows.OutcomeRow)
    assert outcome.dialled is None


async def test_after_two_misunderstandings_the_harder_model_is_used(autojump_clock: MockClock) -> None:
    _, wrong, play = await perform("misunderstands")
    assert wrong == []
    settings = play.daemon.desk.settings
    models = [session.session["model"] for session in play.model.sessions]
    assert models == [settings.openai_model, settings.openai_model_hard]


# Twilio's REST API is used for one thing only: to end a call


async def hung_up(play: Play, step: str) -> tuple[Any, list[tuple[str, str]]]:
    """Play a call that the agent ends. Return its report and the REST requests. Check that no hang-up failed."""
    with structlog.testing.capture_logs() as lines:
        got = await run_scenario(parse(GOODBYE % step, "goodbye"), play.exchange, None)
        await trio.sleep(10)
    assert "call.hang_up_failed" not in [line["event"] for line in lines]
    return got, [(method, form.get("Status", "")) for method, _, form in play.rest.requests]


async def test_after_429_the_request_is_repeated_until_the_call_has_ended(autojump_clock: MockClock) -> None:
    async with stage() as play:
        play.rest.faults.too_many = 2
        got, requests = await hung_up(play, "{ silent_s = 30 }")
        assert requests == [("POST", "completed")] * 3
        assert (got.ended_by, got.status) == ("relay", "completed")
        assert got.complaints == []
        assert "Goodbye, and thank you for calling." in got.heard[-1]


async def test_error_21220_counts_as_success_because_the_caller_hung_up_first(autojump_clock: MockClock) -> None:
    async with stage() as play:
        play.rest.faults.slow_s = 1.0  # the caller hangs up while the request is on its way
        got, requests = await hung_up(play, "{ listen = 700 }, { hang_up = true }")
        assert requests == [("POST", "completed")]
        assert got.ended_by == "caller"
        assert play.evidence(got.call_sid).end_reason == "agent_said_goodbye"
        assert play.daemon.desk.live_calls == 0


async def test_after_error_20404_the_call_ends_normally(autojump_clock: MockClock) -> None:
    async with stage() as play:
        play.rest.faults.slow_s = 0.1

        async def forget() -> None:
            while not any(each.state.leg.answered_s is not None for each in play.exchange.calls.values()):  # noqa: ASYNC110
                await trio.sleep(0.1)
            await trio.sleep(1)
            play.exchange.calls.clear()

        play.nursery.start_soon(forget)
        got, requests = await hung_up(play, "{ silent_s = 30 }")
        assert requests == [("POST", "completed")]  # the call has ended, so the request is not repeated
        assert got.ended_by == "relay"
        assert play.evidence(got.call_sid).end_reason == "agent_said_goodbye"


HANGS_UP_WHILE_BOOKING = """
title = "the agent says goodbye while its booking still runs"
[caller]
steps = [
  { listen = true },
  { say = "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe." },
  { listen = true },
  { say = "Yes please, that's right." },
  { interrupt_after_ms = 1200, say = "No, that's all, thank you." },
  { silent_s = 30 },
]
"""


@pytest.mark.parametrize("rest_fails", [False, True])
async def test_a_booking_that_still_runs_at_the_end_of_the_call_is_stored_and_no_second_stream_is_opened(
    rest_fails: bool, autojump_clock: MockClock
) -> None:
    async def slow(call: CallContext, **_: object) -> dict[str, Any]:
        await trio.sleep(20)
        return {"done": "booked", "id": "apt_1"}

    async with stage() as play:
        known = play.daemon.desk.registry._functions
        known["book_appointment"] = replace(known["book_appointment"], body=slow, deadline_s=40)
        assert not rest_fails or play.rest.faults.make("rest_fails")
        got = await run_scenario(parse(HANGS_UP_WHILE_BOOKING, "hangs up"), play.exchange, None)
        await trio.sleep(30)
        assert (got.ended_by, got.streams) == ("relay", 1)
        seen = play.evidence(got.call_sid)
        assert sorted(seen.functions) == ["book_appointment", "end_call"]
        assert (seen.end_reason, seen.outcome) == ("agent_said_goodbye", "booked")


# The words that the human is told


@pytest.mark.parametrize(
    ("summary", "reason", "matter"),
    [
        ("The caller wants to move a table.", EndReason.TRANSFERRED, "The caller wants to move a table."),
        ("Operator!", EndReason.TRANSFERRED, "I want to move my table to eight."),
        ("", EndReason.TRANSFERRED, "I want to move my table to eight."),
        ("It's on fire!", EndReason.EMERGENCY, "It's on fire!"),
    ],
)
def test_the_human_is_told_the_models_summary_or_the_callers_longest_sentence_but_an_emergency_comes_first(
    summary: str, reason: EndReason, matter: str
) -> None:
    said = ("Hello?", "I want to move my table to eight.", "Operator!", "It's on fire!")
    past = [PastTurn("assistant", "Hello, thank you for calling Harbor Table. How can I help you?")]
    past += [PastTurn("user", text) for text in said]
    assert _matter(Ending(reason, Next.HUMAN, 0.0, None, summary), past) == matter
    assert _matter(None, []) == ""


@pytest.mark.parametrize("known_first", [True, False])
async def test_the_human_is_told_the_callers_name_and_not_the_name_of_a_booking(
    known_first: bool, autojump_clock: MockClock
) -> None:
    found = ("lookup_caller", {"status": "ok", "known": True, "name": "Dana Reed"})
    booked = [
        ("book_appointment", {"status": "ok", "done": "booked", "name": name}) for name in ("Sam Hill", "Pat Roe")
    ]
    async with stage() as play:
        file = call_file(play)
        desk, machine = play.daemon.desk, Machine(play.daemon.desk.plan(file))
        runner = FunctionRunner(desk, file, machine, CallRows(desk, file, machine, 0.0))

        def done(name: str, output: object) -> None:
            function = desk.registry.get(name)
            assert function is not None
            outcome = Outcome(json.dumps(output), ok=True, names_caller=function.names_caller)
            runner.write_down(RunFunction("call", name, "{}"), outcome)

        for name, output in [found, *booked] if known_first else [*booked, ("lookup_caller", {"known": False}), found]:
            done(name, output)
        assert file.caller_name == "Dana Reed"
        file.caller_name = ""
        for name, output in [*booked, ("lookup_caller", {"known": False})]:
            done(name, output)
        assert file.caller_name == "Sam Hill"
