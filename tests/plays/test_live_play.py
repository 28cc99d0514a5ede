"""Orders of the owner to a running call, as plays: at each stage, from two people at once, and too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.functions import CallContext
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.live_stage import HASH, OwnerAtLive
from tests.helpers.play import Play, stage

TEXT = """
title = "a call that visits every stage"
[caller]
steps = [%s, { silent_s = 12 }, { hang_up = true }]
[human]
ring_s = 3
"""
BOOKS = '{ listen = true }, { say = "ask_booking" }, { listen = true }, { say = "yes_right" }'
INTERRUPTS = '{ listen = true }, { say = "ask_hours" }, { interrupt_after_ms = 1500, say = "oh_wait" }'
WANTS_HUMAN = '{ listen = true }, { say = "operator" }'
SAYS_GOODBYE = '{ listen = true }, { say = "no_thanks" }'
STEPS = {
    "ringing": BOOKS,
    "greeting": BOOKS,
    "notice": BOOKS,
    "talk": BOOKS,
    "function": BOOKS,
    "holding": INTERRUPTS,
    "transferring": WANTS_HUMAN,
    "ending": SAYS_GOODBYE,
}
# The answers that the two people get at each stage: first to "put through", then to "hang up", then to "say".
ANSWERS: dict[str, tuple[set[str], set[str], set[str]]] = dict.fromkeys(
    STEPS, ({"done", "already"}, {"done", "already"}, {"done", "already"})
)
ANSWERS["transferring"] = ({"already"}, {"done", "already"}, {"too_late"})
ANSWERS["ending"] = ({"done", "already"}, {"done", "already"}, {"too_late"})
SENTENCE = "We are open from eleven in the morning until ten at night."


async def _slow(call: CallContext, **_: object) -> dict[str, Any]:
    await trio.sleep(3)
    return {"done": "booked", "id": "apt_1"}


async def _at(play: Play, owner: OwnerAtLive, at: str, what: str, told: list[str]) -> CallReport:
    """Make a call. When it reaches the stage `at`, two people press the same button at the same moment."""
    known = play.daemon.desk.registry._functions
    known["book_appointment"] = replace(known["book_appointment"], body=_slow)
    form = {"text": SENTENCE} if what == "say" else {}

    async def press(call_sid: str) -> None:
        told.append((await owner.press(call_sid, what, **form))["answer"])

    async def act() -> None:
        call = await owner.when(lambda seen: seen.stage == at)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press, call.call_sid)
            nursery.start_soon(press, call.call_sid)

    play.nursery.start_soon(act)
    got = await run_scenario(parse(TEXT % STEPS[at], at), play.exchange)
    await trio.sleep(8)
    return got


SETTINGS: dict[str, Mapping[str, str]] = {
    "greeting": {"RECORD": "off"},  # with a notice, the greeting would begin with the stage "notice"
}


def _settings(at: str) -> Mapping[str, str]:
    return {"CONSOLE_PASSWORD_HASH": HASH, **SETTINGS.get(at, {})}


@pytest.mark.parametrize("at", STEPS)
async def test_if_two_people_order_put_through_at_once_a_human_is_dialled_once(
    at: str, autojump_clock: MockClock
) -> None:
    async with stage(settings=_settings(at)) as play:
        owner, told = OwnerAtLive(play), list[str]()
        got = await _at(play, owner, at, "put-through", told)
        assert set(told) == ANSWERS[at][0]
        assert len(got.dialled) == 1
        assert play.evidence(got.call_sid).end_reason == "transferred"
        if "done" in told:
            assert "the owner put the call through" in got.whispers[0]
        assert sorted(what for what, _ in owner.audits.rows) == sorted(f"put a running call through: {a}" for a in told)
        late = await owner.press(got.call_sid, "put-through")
        assert late["answer"] in ("already", "too_late")


@pytest.mark.parametrize("at", STEPS)
async def test_if_two_people_order_hang_up_at_once_the_call_ends_once(at: str, autojump_clock: MockClock) -> None:
    async with stage(settings=_settings(at)) as play:
        owner, told = OwnerAtLive(play), list[str]()
        got = await _at(play, owner, at, "hang-up", told)
        assert set(told) == ANSWERS[at][1]
        assert got.dialled == []
        assert got.ended_by == "relay"
        assert play.evidence(got.call_sid).end_reason == "hung_up_by_owner"
        assert (await owner.press(got.call_sid, "hang-up"))["answer"] == "already"
        assert (await owner.press(got.call_sid, "put-through"))["answer"] == "too_late"


@pytest.mark.parametrize("at", STEPS)
async def test_if_two_people_order_the_same_sentence_at_once_it_is_said_once_and_the_call_goes_on(
    at: str, autojump_clock: MockClock
) -> None:
    async with stage(settings=_settings(at)) as play:
        owner, told = OwnerAtLive(play), list[str]()
        got = await _at(play, owner, at, "say", told)
        assert set(told) == ANSWERS[at][2]
        said = [text for role, text in play.evidence(got.call_sid).transcript if role == "agent"]
        if at != "greeting":  # no words are kept at that stage
            assert sum(SENTENCE in text for text in said) == ("done" in told)
        assert got.failures == []
        assert SENTENCE not in str(owner.audits.rows)
        assert (await owner.press(got.call_sid, "say", text=SENTENCE))["answer"] == "too_late"


async def test_while_the_caller_talks_with_a_human_every_order_comes_too_late(autojump_clock: MockClock) -> None:
    async with stage(settings=_settings("talk")) as play:
        owner, told = OwnerAtLive(play), dict[str, str]()

        async def act() -> None:
            call = await owner.when(lambda seen: seen.stage == "human")
            assert not call.has_agent
            for what in ("put-through", "hang-up", "say"):
                told[what] = (await owner.press(call.call_sid, what, text="Hello."))["answer"]

        play.nursery.start_soon(act)
        await run_scenario(parse(TEXT % f"{WANTS_HUMAN}, {{ silent_s = 30 }}", "human"), play.exchange)
        assert told == {"put-through": "already", "hang-up": "too_late", "say": "too_late"}


async def test_orders_for_an_unknown_call_and_without_a_sentence_and_without_the_audit_are_answered_with_sentences(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings=_settings("talk")) as play:
        owner = OwnerAtLive(play)
        assert "not on this machine" in (await owner.press("CA1", "hang-up"))["words"]
        assert (await owner.press("CA1", "say", text=" \n "))["words"] == "Write the sentence first."
        owner.audits.away = True

        async def act() -> None:
            call = await owner.when(lambda seen: seen.stage == "talk")
            told.append(await owner.press(call.call_sid, "hang-up"))

        told: list[dict[str, str]] = []
        play.nursery.start_soon(act)
        got = await run_scenario(parse(TEXT % BOOKS, "away"), play.exchange)
        assert got.ended_by == "relay"  # the order does not wait for Postgres
        assert told[0]["answer"] == "done"
        assert "has no audit row" in told[0]["words"]


async def test_an_owner_who_puts_a_caller_through_outside_the_hours_reaches_the_human(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings={**_settings("talk"), "HUMAN_HOURS": "mon 03:00-04:00"}) as play:
        owner, told = OwnerAtLive(play), list[str]()
        got = await _at(play, owner, "talk", "put-through", told)
        assert len(got.dialled) == 1
