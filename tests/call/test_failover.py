"""Another model session takes over a call: after a loss, before the expiry, or because a harder model is needed.

The caller hears nothing but a pause.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import pytest
import trio

from relay.call import failover
from relay.ledger import rows
from relay.realtime.client import ModelSession, Wanted
from relay.standin.model.items import Item
from relay.standin.model.realtime_peer import RealtimePeer
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.transport.websocket import WebSocketEnd
from tests.helpers.bills import collect_bills
from tests.helpers.play import Play, stage

LISTEN = "{ listen = true }"


def scenario(*steps: str, model: str = "") -> str:
    """The text of a scenario with these steps."""
    return f'title = "t"\n[caller]\nsteps = [{", ".join(steps)}, {{ silent_s = 3 }}, {{ hang_up = true }}]\n{model}'


def script_of(text: str) -> Script:
    return Script.from_table(dict(parse(text, "t").model))


async def act(text: str, play: Play) -> Any:
    return await run_scenario(parse(text, "t"), play.exchange)


def slow_dial(play: Play, connect_s: float) -> None:
    """From now on a model session takes this long to open."""
    realtime = play.daemon.desk.realtime
    opened = realtime.open

    async def open_slowly(wanted: Wanted) -> ModelSession:
        await trio.sleep(connect_s)
        return await opened(wanted)

    realtime.open = open_slowly  # type: ignore[method-assign] # it waits, and then calls the real one


def told_at_first(session: RealtimePeer) -> list[Item]:
    """The items with which the relay told a session what had happened in this call so far."""
    items = session.history.items
    return items[: next(at for at, item in enumerate(items) if "do not greet again" in item.text)]


def words_told(session: RealtimePeer) -> list[str]:
    """The messages among the items of `told_at_first`, as "role: text"."""
    return [f"{item.role}: {item.text}" for item in told_at_first(session) if item.role]


def functions_told(session: RealtimePeer) -> int:
    """The number of function calls among the items of `told_at_first`. Each has its output behind it."""
    kinds = [item.type for item in told_at_first(session) if not item.role]
    assert kinds == ["function_call", "function_call_output"] * (len(kinds) // 2)
    return len(kinds) // 2


def heard_before(play: Play, call_sid: str, count: int) -> list[str]:
    """The first rows of the ledger's transcript, in the form in which a session must get them."""
    turns = sorted(play.ledger.of(rows.TranscriptRow, call_sid), key=lambda row: row.seq)
    role = {"caller": "user", "agent": "assistant"}
    return [f"{role[row.role]}: {row.said if row.heard is None else row.heard}" for row in turns[:count]]


def greetings(report: Any) -> int:
    """How often the caller was greeted."""
    return sum("thank you for calling Harbor" in heard for heard in report.heard)


def kill_when(play: Play, kind: str, text: str, after_s: float = 0.0) -> None:
    """Cut the model's connection `after_s` seconds after the scenario reports an event of this kind with this text."""
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


async def test_when_a_session_is_lost_while_the_caller_waits_the_next_session_answers(autojump_clock: object) -> None:
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        # The caller has asked, and the answer is being generated.
        kill_when(play, "caller_said", "what time do you open", after_s=4.0)
        report = await act(text, play)
        assert report.failures == []
        first, second = play.model.sessions
        told = words_told(second)
        assert told[:3] == heard_before(play, report.call_sid, 3), "a word of the history is lost"
        assert told[3].startswith("assistant: We are open tomorrow"), "words of the agent are lost"
        assert functions_told(second) == 1
        assert greetings(report) == 1
        assert first.closed or not first.report.errors
        assert max(report.silences_ms) <= 1_700, "ms from question to answer, with a function and a loss in between"
        transcript = [(row.role, row.said or "") for row in play.ledger.of(rows.TranscriptRow, report.call_sid)]
        assert sum(said.startswith("Hello, thank you") for _, said in transcript) == 1


async def test_if_a_session_is_lost_while_nobody_speaks_the_caller_hears_no_more_than_a_pause(
    autojump_clock: object,
) -> None:
    text = scenario(LISTEN, '{ say = "can_you_hear" }', LISTEN, "{ silent_s = 2 }", '{ say = "ask_booking" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        kill_when(play, "caller_said", "can you hear", after_s=6.5)  # the answer was heard, and nobody speaks
        report = await act(text, play)
        assert report.failures == []
        assert len(play.model.sessions) == 2
        assert words_told(play.model.sessions[1]) == heard_before(play, report.call_sid, 4)
        assert greetings(report) == 1
        assert not any("One moment" in heard for heard in report.heard), "a holding phrase came although nobody waited"
        assert any("A table for two" in heard for heard in report.heard)
        assert max(report.latencies_ms) <= 1_500


async def test_a_caller_who_speaks_while_the_session_is_lost_is_answered_by_the_next_one(
    autojump_clock: object,
) -> None:
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "can_you_hear" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        # The session is lost when the caller begins to speak, so it has not heard the words.
        kill_when(play, "caller_said", "can you hear")
        report = await act(text, play)
        assert report.failures == []
        second = play.model.sessions[1]
        assert words_told(second) == heard_before(play, report.call_sid, 4)
        assert second.report.heard == ["Can you hear me?"], (
            "words that were said while no session was connected are lost"
        )
        assert report.latencies_ms[-1] <= 1_500
        assert greetings(report) == 1


async def test_a_session_near_its_expiry_is_replaced_during_silence_and_the_caller_hears_no_gap(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "SESSION_LIMIT_S", 20.0)  # in seconds; the real limit is 50 minutes
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "ask_booking" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        report = await act(text, play)
        assert report.failures == []
        first, second = play.model.sessions[:2]
        assert not first.report.errors
        assert not second.report.errors
        assert words_told(second) == heard_before(play, report.call_sid, 4)
        assert functions_told(second) == 1
        assert second.report.heard == [
            "Can I book a table for two tomorrow at seven in the evening? My name is Jane Doe."
        ]
        assert report.gaps_ms == []
        assert report.latencies_ms[-1] <= 1_500, "ms to the first answer of the new session"
        assert greetings(report) == 1


async def test_words_that_begin_while_the_old_session_is_being_closed_are_heard_by_the_new_session(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_goodbye = WebSocketEnd._say_goodbye

    async def and_wait(end: WebSocketEnd, code: int, reason: str) -> None:
        """Let a close of the model's socket take 1 s, if another task than the reader of the socket closes it."""
        waits = end._is_client and not end._receiving
        await say_goodbye(end, code, reason)
        await trio.sleep(1.0 if waits else 0.0)

    monkeypatch.setattr(WebSocketEnd, "_say_goodbye", and_wait)
    # At the session limit the relay still waits for the transcript of the cough. The move begins when it has come.
    monkeypatch.setattr(failover, "SESSION_LIMIT_S", 10.7)
    text = scenario(LISTEN, "{ cough = true }", "{ silent_s = 1.7 }", '{ say = "can_you_hear" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.1)
        report = await act(text, play)
        assert [session.report.heard for session in play.model.sessions] == [[""], ["Can you hear me?"]]
        assert report.latencies_ms[-1] <= 1_500


async def test_the_new_session_hears_the_words_that_were_said_while_no_session_was_connected_before_later_words(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = WebSocketEnd.send

    async def send_slowly(end: WebSocketEnd, *messages: bytes) -> None:
        """Send slowly, as if the whole conversation were too large for the socket's buffer."""
        await send(end, *messages)
        if b"conversation.item.create" in messages[0] and len(messages) > 2:
            await trio.sleep(0.4)

    monkeypatch.setattr(WebSocketEnd, "send", send_slowly)
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "can_you_hear" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        kill_when(play, "caller_said", "can you hear")
        await act(text, play)
        assert play.model.sessions[1].report.heard == ["Can you hear me?"]


MISUNDERSTOOD = """
[[model.reaction]]
clip = "off_topic"
say = "I'm sorry, I can only help with questions about Harbor Table."
"""


async def test_after_two_misunderstandings_the_harder_model_is_used_and_after_three_the_human_is_dialled(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills = collect_bills(monkeypatch)
    steps = [LISTEN]
    for _ in range(3):
        steps += ['{ say = "sorry_what" }', LISTEN]
    text = scenario(*steps[:-1], '{ until = "bridged" }', model=MISUNDERSTOOD)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        report = await act(text, play)
        assert report.failures == []
        first, second = play.model.sessions
        assert first.session["model"] == "gpt-realtime-2.1-mini"  # the model that the URL of the socket names
        assert second.session["model"] == "gpt-realtime-2.1"
        assert (first.report.heard, second.report.heard) == (["Sorry, what?"] * 2, ["Sorry, what?"])
        assert words_told(second) == heard_before(play, report.call_sid, 6)
        assert greetings(report) == 1
        assert max(report.latencies_ms) <= 1_500
        assert report.dialled == ["+12125550102"]
        outcome = play.ledger.of(rows.OutcomeRow, report.call_sid)[-1]
        assert outcome.end_reason == "transferred"
        assert outcome.cost is not None
        paid = cast(dict[str, float], outcome.cost["usd"])
        for model in ("gpt-realtime-2.1-mini", "gpt-realtime-2.1"):
            assert paid[model] == pytest.approx(bills[model], abs=1e-5)
        assert float(outcome.cost_usd or 0) == pytest.approx(sum(paid.values()), abs=1e-5)


async def test_after_a_hard_topic_the_harder_model_is_used_at_once(autojump_clock: object) -> None:
    text = scenario(LISTEN, '{ say = "ask_hours" }', LISTEN, '{ say = "can_you_hear" }', LISTEN)
    async with stage(script=script_of(text)) as play:
        slow_dial(play, 0.3)
        briefing = play.daemon.desk.briefing
        rules = dataclasses.replace(briefing.prompts.rules, topics_hard=("open tomorrow",), _patterns={})
        words = dataclasses.replace(briefing.prompts, rules=rules)
        play.daemon.desk.take_over(dataclasses.replace(briefing, prompts=words))
        report = await act(text, play)
        assert report.failures == []
        assert [s.session["model"] for s in play.model.sessions] == ["gpt-realtime-2.1-mini", "gpt-realtime-2.1"]
        assert play.model.sessions[1].report.heard == ["Can you hear me?"]
        assert greetings(report) == 1


async def test_if_a_move_fails_the_caller_stays_with_the_present_session(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "SESSION_LIMIT_S", 15.0)
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
