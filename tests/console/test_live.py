"""The page Live: when snapshots are computed, the text of a card, and how orders are answered and audited."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from relay.call.vocabulary import HangUpOrdered, PutThroughOrdered, SentenceOrdered
from relay.console import live
from relay.console.live import LiveCall, Watch, sentence_of
from tests.helpers.console_app import Calls, console_app

NOWHERE = "postgresql://127.0.0.1:9/none"
HOST = {"Host": "localhost", "Origin": "http://localhost"}
CALL = LiveCall("CA1", "… 0107", "talk", 67, 0.0123, agent_speaks=True, words="kept", has_agent=True)


class CountedCalls(Calls):
    """Counts how often the calls are read."""

    looks = 0

    def seen(self) -> list[LiveCall]:
        self.looks += 1
        return super().seen()


async def read(events: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for event in events:
        into.append(event)


def calls_in(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    return json.loads(event.removeprefix(b"data: "))


async def test_without_watchers_no_snapshot_is_computed_and_several_watchers_share_one_snapshot(
    autojump_clock: MockClock,
) -> None:
    calls = CountedCalls(CALL)
    watch = Watch(calls)
    await trio.sleep(60)
    assert calls.looks == 0
    got: list[list[bytes]] = [[] for _ in range(5)]
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            for each in got:
                nursery.start_soon(read, watch.events(), each)
                await trio.sleep(0.13)  # the watchers do not come at the same time
    assert calls.looks <= 10 / live.STEP_S + len(got)
    assert all(calls_in(each[1])[0]["sid"] == "CA1" for each in got)
    looks = calls.looks
    await trio.sleep(60)
    assert (calls.looks, watch.watchers) == (looks, 0)


async def test_other_tasks_run_between_two_calls_of_a_snapshot(autojump_clock: MockClock) -> None:
    """The audio of all calls needs the same thread, so a snapshot must not block it."""
    ran: list[int] = []
    passes = 0

    class TwentyCalls(Calls):
        def seen(self) -> Iterator[LiveCall]:  # type: ignore[override]
            for number in range(20):
                ran.append(passes)
                yield replace(CALL, call_sid=f"CA{number}")

    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, Watch(TwentyCalls()).events(), got)
        for _ in range(100):
            passes += 1
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(calls_in(got[1])) == 20
    # In a pass of its loop, Trio may run the reader before or after the counting task. So two calls of `seen` may note
    # the same number.
    assert len(set(ran)) >= 10


async def test_two_watchers_never_wake_at_the_same_moment(autojump_clock: MockClock) -> None:
    numbers = itertools.count()

    class NewEachTime(Calls):
        def seen(self) -> list[LiveCall]:
            return [replace(CALL, seconds=next(numbers))]

    async def note(events: AsyncIterator[bytes], into: list[float]) -> None:
        async for _ in events:
            into.append(trio.current_time())

    watch = Watch(NewEachTime())
    woken: tuple[list[float], list[float]] = ([], [])
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            for into in woken:
                nursery.start_soon(note, watch.events(), into)
    first, second = (set(into[3:]) for into in woken)
    assert first
    assert second
    assert first.isdisjoint(second)


async def test_the_page_of_one_watcher_too_many_ends_without_an_error() -> None:
    watch = Watch(Calls(CALL))
    # All pages are let in before any of them watches. So one more page is let in than there are places.
    let_in = [watch.events() for _ in range(live.MOST_WATCHERS + 1)]
    for events in let_in[:-1]:
        await anext(events)
    assert [event async for event in let_in[-1]] == []
    for events in let_in:
        await cast(Any, events).aclose()
    assert watch.watchers == 0


async def test_an_event_comes_after_a_change_and_a_keep_alive_when_nothing_changes(
    autojump_clock: MockClock,
) -> None:
    calls, got = Calls(CALL), list[bytes]()
    with trio.move_on_after(31):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, Watch(calls).events(), got)
            await trio.sleep(1.2)
            calls.calls[0] = replace(CALL, stage="ending")
            await trio.sleep(0.6)
            calls.calls.clear()
    assert got[0] == b"retry: 3000\n\n"
    assert [[call["stage"] for call in calls_in(event)] for event in got[1:4]] == [["Talking"], ["Ending"], []]
    assert got[4:] == [b": still there\n\n"]


async def test_a_slow_watcher_does_not_get_every_snapshot_but_gets_the_latest_one(autojump_clock: MockClock) -> None:
    calls = Calls(CALL)
    events = Watch(calls).events()
    assert await anext(events) == b"retry: 3000\n\n"
    assert calls_in(await anext(events))[0]["length"] == "1:07"
    for seconds in range(68, 100):
        calls.calls[0] = replace(CALL, seconds=seconds)
        await trio.sleep(1)
    assert calls_in(await anext(events))[0]["length"] == "1:39"  # the latest state, and not the first of the changes
    await cast(Any, events).aclose()


async def test_an_event_stream_ends_after_an_hour_so_that_the_session_is_checked_again(
    autojump_clock: MockClock,
) -> None:
    got: list[bytes] = []
    await read(Watch(Calls()).events(), got)
    assert trio.current_time() == pytest.approx(live.STREAM_LIMIT_S, abs=1)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (CALL, {"stage": "Talking", "length": "1:07", "usd": "1.2 ¢", "speaks": "The agent speaks", "no_words": ""}),
        (replace(CALL, caller_speaks=True), {"speaks": "Both speak"}),
        (replace(CALL, words="waiting"), {"no_words": "No words yet: the caller has not heard the notice."}),
        (replace(CALL, words="never"), {"no_words": "No words of this call are kept."}),
        (replace(CALL, stage="human", has_agent=False, words="never"), {"stage": "With a person", "no_words": ""}),
    ],
)
def test_a_card_describes_the_call_in_the_owners_words(call: LiveCall, wanted: dict[str, str]) -> None:
    shown = call.shown()
    assert {name: shown[name] for name in wanted} == wanted


def test_a_sentence_of_the_owner_becomes_one_line_of_limited_length() -> None:
    assert sentence_of("  We close\n early\ttoday. ") == "We close early today."
    assert len(sentence_of("word " * 200)) <= 300
    assert sentence_of(" \r\n ") == ""


async def test_orders_reach_the_call_and_the_page_is_told_even_without_the_audit() -> None:
    calls = Calls(CALL)
    client = cast(Any, console_app(NOWHERE, live=calls)).test_client()
    for path, form in (("put-through", {}), ("hang-up", {}), ("say", {"text": " We close\nearly. "})):
        answer = await client.post(f"/console/live/CA1/{path}", form=form, headers=HOST)
        told = await answer.get_json()
        assert told["answer"] == "done"
        assert "has no audit row" in told["words"]  # there is no Postgres in this test
    expected = [PutThroughOrdered(), HangUpOrdered(), SentenceOrdered("We close early.")]
    assert calls.ordered == [("CA1", order) for order in expected]
    answer = await client.post("/console/live/CA2/hang-up", headers=HOST)
    assert "not on this machine" in (await answer.get_json())["words"]


async def test_the_page_names_the_machine_and_needs_no_postgres() -> None:
    answer = await cast(Any, console_app(NOWHERE)).test_client().get("/console/live", headers=HOST)
    text = await answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "Calls on machine <strong>local</strong>" in text
