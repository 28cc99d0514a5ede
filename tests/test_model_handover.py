"""Another model session takes a call over: after a loss, before the expiry, for a harder call. A pause is all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from relay.call import handover
from relay.ledger import rows
from relay.realtime.session import ModelSession, Wanted
from relay.standin.conversation import RealtimePeer
from relay.standin.run import run_scenario
from relay.standin.scenario import parse
from relay.standin.script import Script
from tests.play import Play, stage

LISTEN = "{ listen = true }"


def scenario(*steps: str, model: str = "") -> str:
    """A scenario's text."""
    return f'title = "t"\n[caller]\nsteps = [{", ".join(steps)}, {{ silent_s = 3 }}, {{ hang_up = true }}]\n{model}'


def script_of(text: str) -> Script:
    return Script.from_table(dict(parse(text, "t").model))


async def act(text: str, play: Play) -> Any:
    return await run_scenario(parse(text, "t"), play.exchange)


def slow_dial(play: Play, connect_s: float) -> None:
    """From now on a model session takes so long to open."""
    realtime = play.daemon.desk.realtime
    opened = realtime.open

    async def open_slowly(wanted: Wanted) -> ModelSession:
        await trio.sleep(connect_s)
        return await opened(wanted)

    realtime.open = open_slowly  # type: ignore[method-assign] # the real one, on a longer way


def said_by(session: RealtimePeer) -> list[str]:
    """What a session holds, as text: who and what."""
    return [f"{item.role}: {item.text}" for item in session.history.items if item.role in ("user", "assistant")]


def kill_when(play: Play, kind: str, text: str, after_s: float = 0.0) -> None:
    """Cut the model's connection a while after an event of the exchange with this text."""
    done = False
    observed = play.exchange.on_event

    async def kill() -> None:
        await trio.sleep(after_s)
        play.kill_model_sessions()

    def look(event: str, fields: Mapping[str, Any]) -> None:
        nonlocal done
        observed(event, dict(fields))
        if not done and event == kind and text in str(fields.get("text", "")).casefold():
            done = True
            play.nursery.start_soon(kill)

    play.exchange.on_event = look


async def test_a_session_lost_while_the_caller_waits_is_followed_by_one_that_answers(autojump_clock: object) -> None:
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        kill_when(play, "caller_said", "what time do you open", after_s=4.0)  # asked, its answer being generated
        report = await act(text, play)
        assert report.failures == []
        first, second = play.model.sessions
        assert "assistant: Hello, thank you for calling" in said_by(second)[0]
        assert any("what time do you open" in line for line in said_by(second)), "a word of the history is lost"
        told = [item.text for item in second.history.items if item.role == "system"]
        assert any("do not greet again" in words for words in told)
        assert sum("thank you for calling Harbor" in line for line in said_by(second)) == 1
        assert first.closed or not first.report.errors
        transcript = [(row.role, row.said or "") for row in play.ledger.of(rows.TranscriptRow, report.call_sid)]
        assert sum(said.startswith("Hello, thank you") for _, said in transcript) == 1


async def test_a_session_lost_in_silence_leaves_no_more_than_a_pause(autojump_clock: object) -> None:
    text = scenario(LISTEN, '{ say = "can_you_hear" }', LISTEN, "{ silent_s = 2 }", '{ say = "ask_booking" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        kill_when(play, "caller_said", "can you hear", after_s=6.5)  # answered, heard, silent
        report = await act(text, play)
        assert report.failures == []
        assert len(play.model.sessions) == 2
        assert not any("One moment" in heard for heard in report.heard), "nobody waited: nothing was to be said"
        assert any("A table for two" in heard for heard in report.heard)
        assert max(report.latencies_ms) <= 1_500


async def test_a_session_near_its_expiry_hands_over_in_silence_and_the_caller_hears_no_gap(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "SESSION_LIMIT_S", 20.0)  # a real one is at 50 minutes; the way is the same
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "ask_booking" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        report = await act(text, play)
        assert report.failures == []
        first, second = play.model.sessions[:2]
        assert "user: Hi, what time do you open tomorrow?" in said_by(second)
        assert not first.report.errors
        assert not second.report.errors
        assert report.gaps_ms == [] or max(report.gaps_ms) <= 1_500
        assert max(report.latencies_ms) <= 2_000
        assert sum("thank you for calling Harbor" in heard for heard in report.heard) <= 1


MISUNDERSTOOD = """
[[model.reaction]]
clip = "off_topic"
say = "I'm sorry, I can only help with questions about Harbor Table."
"""


async def test_two_misunderstandings_bring_the_harder_model_and_three_the_human(autojump_clock: object) -> None:
    steps = [LISTEN]
    for _ in range(3):
        steps += ['{ say = "sorry_what" }', LISTEN]
    text = scenario(*steps[:-1], '{ until = "bridged" }', model=MISUNDERSTOOD)
    async with stage(script=script_of(text)) as play:
        rules = play.daemon.desk.prompts.rules
        heard = dataclasses.replace(rules, misunderstood_words=("sorry, what", "sorry what"), _patterns={})
        play.daemon.desk.prompts = dataclasses.replace(play.daemon.desk.prompts, rules=heard)
        report = await act(text, play)
        assert report.failures == []
        models = [session.session["model"] for session in play.model.sessions]
        assert models == ["gpt-realtime-2.1-mini", "gpt-realtime-2.1"]
        assert report.dialled == ["+15550100002"]
        outcome = play.ledger.of(rows.OutcomeRow, report.call_sid)[-1]
        assert outcome.end_reason == "transferred"


async def test_a_move_that_fails_leaves_the_caller_with_the_present_session(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "SESSION_LIMIT_S", 15.0)
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "can_you_hear" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        observed = play.exchange.on_event

        def refuse_once_it_runs(kind: str, fields: Mapping[str, Any]) -> None:
            observed(kind, dict(fields))
            if kind == "caller_said":
                faults = dataclasses.replace(play.model.script.faults, connect_refused=True)
                play.model.script = dataclasses.replace(play.model.script, faults=faults)

        play.exchange.on_event = refuse_once_it_runs
        report = await act(text, play)
        assert report.failures == []
        assert len(play.model.sessions) == 1
        assert any("Yes, I'm here" in heard for heard in report.heard)
