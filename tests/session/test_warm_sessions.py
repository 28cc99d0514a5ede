"""Sessions that are opened while a phone rings: one for each call, which is claimed once. None stays open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.call.vocabulary import CallSid
from relay.realtime.client import WARM_LIFE_S, WARM_PER_MINUTE, ModelUnreachable, Wanted, WarmSessions
from relay.standin.model.script import Faults, Script
from tests.helpers.model_door import MODEL, ModelDoor

SID, OTHER = CallSid("CA" + "1" * 32), CallSid("CA" + "2" * 32)


def wanted() -> Wanted:
    return Wanted(MODEL, "You answer the phone.")


@asynccontextmanager
async def warmed(script: Script | None = None, connect_s: float = 0.0) -> AsyncIterator[tuple[WarmSessions, ModelDoor]]:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, script, connect_s)
        warm = WarmSessions(door.realtime)
        await nursery.start(warm.run)
        yield warm, door
        nursery.cancel_scope.cancel()


async def test_for_an_incoming_call_a_session_is_opened_and_claimed_and_closed(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, door):
        assert warm.ring(SID, wanted, trio.current_time())
        assert warm.knows(SID)
        session = await warm.claim(SID)
        assert session.model == MODEL
        assert session.id.startswith("sess_")
        assert not warm.knows(SID)
        assert len(warm) == 0
        await session.end.send(b'{"type":"input_audio_buffer.clear"}')  # the session can be used
        await session.end.close()
        assert len(door.urls) == 1
        assert door.open_ends == 0


async def test_a_claim_waits_for_a_session_that_is_still_being_opened(autojump_clock: MockClock) -> None:
    async with warmed(connect_s=0.8) as (warm, _):
        warm.ring(SID, wanted, trio.current_time())
        await trio.sleep(0.3)
        session = await warm.claim(SID)
        assert 0.8 <= trio.current_time() < 1.0
        await session.end.close()


async def test_a_second_claim_gets_nothing(autojump_clock: MockClock) -> None:
    async with warmed(connect_s=0.5) as (warm, _):
        warm.ring(SID, wanted, trio.current_time())
        got: list[str] = []

        async def claim() -> None:
            try:
                session = await warm.claim(SID)
            except ModelUnreachable:
                got.append("none")
            else:
                got.append(session.id)
                await session.end.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            nursery.start_soon(claim)
        assert got.count("none") == 1
        assert len(got) == 2


async def test_a_webhook_that_comes_twice_opens_one_session(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, door):
        assert warm.ring(SID, wanted, 0.0)
        assert warm.ring(SID, wanted, 0.0)
        await trio.sleep(1.0)
        assert len(door.urls) == 1


async def test_one_call_cannot_claim_the_session_of_another(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, _):
        warm.ring(SID, wanted, 0.0)
        with pytest.raises(ModelUnreachable, match="there is no warm session"):
            await warm.claim(OTHER)
        assert warm.knows(SID)


async def test_an_unclaimed_session_is_closed_after_30_seconds(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, door):
        warm.ring(SID, wanted, trio.current_time())
        await trio.sleep(WARM_LIFE_S - 1)
        assert door.open_ends == 1
        assert warm.knows(SID)
        await trio.sleep(3)
        assert door.open_ends == 0
        assert not warm.knows(SID)


async def test_a_claimed_session_is_not_closed_after_30_seconds(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, door):
        warm.ring(SID, wanted, trio.current_time())
        session = await warm.claim(SID)
        await trio.sleep(WARM_LIFE_S + 5)
        assert session.end.is_open
        assert door.open_ends == 1
        await session.end.close()


@pytest.mark.parametrize("after_s", [0.1, 2.0])
async def test_a_call_that_ends_before_its_stream_releases_its_session(
    autojump_clock: MockClock, after_s: float
) -> None:
    async with warmed(connect_s=0.5) as (warm, door):  # one release comes while it is dialled, one when it is ready
        warm.ring(SID, wanted, trio.current_time())
        await trio.sleep(after_s)
        warm.release(SID)
        await trio.sleep(3)
        assert door.open_ends == 0
        assert not warm.knows(SID)


async def test_a_release_does_not_take_a_claimed_session_away(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, _):
        warm.ring(SID, wanted, trio.current_time())
        session = await warm.claim(SID)
        warm.release(SID)
        await trio.sleep(3)
        assert session.end.is_open
        await session.end.close()


@pytest.mark.parametrize("connect_s", [0.0, 0.5])
async def test_if_a_call_is_cancelled_while_it_claims_a_session_no_session_stays_open(
    autojump_clock: MockClock, connect_s: float
) -> None:
    async with warmed(connect_s=connect_s) as (warm, door):
        warm.ring(SID, wanted, trio.current_time())
        if not connect_s:
            await trio.sleep(1)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(warm.claim, SID)
                await wait_all_tasks_blocked() if connect_s else await trio.lowlevel.checkpoint()
                scope.cancel()
        await trio.sleep(3)
        assert door.open_ends == 0
        assert len(door.ends) == (0 if connect_s else 1)  # if it was still being dialled, it was given up


async def test_many_robocalls_open_no_more_warm_sessions_than_the_limit_for_a_minute(autojump_clock: MockClock) -> None:
    async with warmed() as (warm, door):
        rung = [warm.ring(CallSid(f"CA{n:032x}"), wanted, trio.current_time()) for n in range(WARM_PER_MINUTE + 20)]
        assert rung == [True] * WARM_PER_MINUTE + [False] * 20
        await trio.sleep(59)
        assert not warm.ring(OTHER, wanted, trio.current_time())
        assert len(door.urls) == WARM_PER_MINUTE
        await trio.sleep(2)
        assert warm.ring(OTHER, wanted, trio.current_time())


async def test_if_the_model_refuses_there_is_no_warm_session_to_claim(autojump_clock: MockClock) -> None:
    async with warmed(Script(faults=Faults(connect_error="invalid_api_key"))) as (warm, door):
        warm.ring(SID, wanted, trio.current_time())
        with pytest.raises(ModelUnreachable, match="invalid_api_key"):
            await warm.claim(SID)
        assert door.open_ends == 0


async def test_a_session_that_the_model_closes_while_it_waits_is_forgotten(autojump_clock: MockClock) -> None:
    async with warmed(Script(lifetime_s=5.0)) as (warm, door):
        warm.ring(SID, wanted, trio.current_time())
        await trio.sleep(10)
        assert not warm.knows(SID)
        assert door.open_ends == 0


async def test_the_greeting_that_is_asked_for_at_the_webhook_waits_in_the_sessions_backlog(
    autojump_clock: MockClock,
) -> None:
    async with warmed() as (warm, _):
        warm.ring(SID, lambda: Wanted(MODEL, "…", greeting="Say exactly: How can I help you?"), trio.current_time())
        await trio.sleep(5)
        session = await warm.claim(SID)
        assert session.greeting_asked
        kinds = [message.split(b'"type":"')[1].split(b'"')[0] for message in session.backlog if b'"type":"' in message]
        kinds += [
            message.split(b'"type": "')[1].split(b'"')[0] for message in session.backlog if b'"type": "' in message
        ]
        assert b"response.created" in kinds
        assert b"response.done" in kinds
        assert kinds.count(b"response.output_audio.delta") > 1
        await session.end.close()


async def test_a_bug_in_one_call_does_not_end_the_process(autojump_clock: MockClock) -> None:
    def broken() -> Wanted:
        raise KeyError("a bug")

    async with warmed() as (warm, _):
        warm.ring(SID, broken, trio.current_time())
        with pytest.raises(ModelUnreachable, match="a bug"):
            await warm.claim(SID)
        warm.ring(OTHER, wanted, trio.current_time())
        await (await warm.claim(OTHER)).end.close()
