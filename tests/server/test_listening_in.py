"""Listening in to a running call, as plays: who may listen, what they hear, and listeners that do not read."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair

from relay.recordings.cipher import Keys, new_key
from relay.recordings.listening import recordings_of, stereo
from relay.recordings.stores import FolderStore
from relay.server import listening_in
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.transport.websocket import Gone, WebSocketEnd
from tests.helpers.live_stage import HASH, OwnerAtLive
from tests.helpers.pipe import pipe
from tests.helpers.play import Play, stage

KEY = new_key()
STEPS = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { silent_s = 3 }, { hang_up = true }'
NO_CALL = "there is no such call here that is recorded"
Act = Callable[[str], Awaitable[None]]


def settings(folder: Path, record: str = "on") -> dict[str, str]:
    key = {"RECORDING_KEY": KEY} if record == "on" else {}
    return {"RECORD": record, "DATA_DIR": str(folder), "CONSOLE_PASSWORD_HASH": HASH, **key}


async def call(play: Play, owner: OwnerAtLive, at: str, act: Act, steps: str = STEPS) -> CallReport:
    """Make a call in which `act` runs when the call reaches this stage."""

    async def wait_and_act() -> None:
        seen = await owner.when(lambda seen: seen.stage == at)
        await act(seen.call_sid)
        acted.set()

    acted = trio.Event()
    play.nursery.start_soon(wait_and_act)
    got = await run_scenario(parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "t"), play.exchange)
    await acted.wait()
    await trio.sleep(5)
    return got


async def refusal(owner: OwnerAtLive, call_sid: str) -> str:
    """Try to listen to this call. Return the reason with which the relay closes the socket, as the page shows it."""
    end = await owner.listen(call_sid, wire=pipe())
    with pytest.raises(Gone) as gone:
        await end.receive()
    return gone.value.reason


async def hear(end: WebSocketEnd, heard: list[tuple[bytes, bytes]]) -> Gone:
    """Read the listener's socket until it ends, and put the audio of both sides into `heard`. Return how it ended."""
    try:
        while True:
            for message in await end.receive():
                sound = json.loads(message)
                heard.append((base64.b64decode(sound["caller"]), base64.b64decode(sound["agent"])))
    except Gone as gone:
        return gone


async def test_a_listener_hears_both_sides_as_they_are_recorded_and_listening_is_audited(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    heard: list[tuple[bytes, bytes]] = []
    ends: list[Gone] = []
    async with stage(settings=settings(tmp_path)) as play:
        owner = OwnerAtLive(play)

        async def listen(call_sid: str) -> None:
            end = await owner.listen(call_sid, wire=pipe())
            ends.append(await hear(end, heard))

        got = await call(play, owner, "talk", listen)
        recordings = recordings_of(got.call_sid, [], FolderStore(tmp_path / "recordings"), None, Keys.parse(KEY))
        both = b"".join(stereo(recordings))
        assert play.daemon.desk.metrics.listeners._value.get() == 0
    caller = b"".join(left for left, _ in heard)
    agent = b"".join(right for _, right in heard)
    assert len(caller) == len(agent) > 8_000 * 8
    assert caller in both[0::2]
    assert agent in both[1::2]
    assert caller.strip(b"\xff")
    assert agent.strip(b"\xff")
    assert (ends[0].code, ends[0].reason) == (1000, "the call is over")
    assert owner.audits.rows == [("began to listen in", got.call_sid), ("stopped listening in", got.call_sid)]


@pytest.mark.parametrize(
    ("record", "at", "why"),
    [("on", "notice", "has not heard the notice"), ("transcripts", "talk", NO_CALL), ("off", "talk", NO_CALL)],
)
async def test_listening_is_refused_before_the_notice_and_in_calls_that_are_not_recorded(
    record: str, at: str, why: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with stage(settings=settings(tmp_path, record)) as play:
        owner = OwnerAtLive(play)

        async def listen(call_sid: str) -> None:
            assert not next(iter(owner.calls.seen())).can_listen
            assert why in await refusal(owner, call_sid)
            assert NO_CALL in await refusal(owner, "CAnone")
            assert NO_CALL in await refusal(owner, "")

        got = await call(play, owner, at, listen)
        assert NO_CALL in await refusal(owner, got.call_sid)  # the call is over
        assert owner.audits.rows == []


async def test_listening_is_refused_while_the_audit_cannot_be_written(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with stage(settings=settings(tmp_path)) as play:
        owner = OwnerAtLive(play)
        owner.audits.away = True

        async def listen(call_sid: str) -> None:
            assert "Postgres cannot write down who listens" in await refusal(owner, call_sid)

        await call(play, owner, "talk", listen)


async def test_a_listener_that_does_not_read_is_dropped_without_effect_on_the_call_or_other_listeners(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    heard: list[tuple[bytes, bytes]] = []
    left = trio.Event()
    async with stage(settings=settings(tmp_path)) as play:
        owner = OwnerAtLive(play)
        room = play.daemon.desk.metrics.listeners._value

        async def listen(call_sid: str) -> None:
            deaf = await owner.listen(call_sid, wire=lockstep_stream_pair())
            good = await owner.listen(call_sid, wire=pipe())
            assert room.get() == 2
            play.nursery.start_soon(watch, deaf)
            await hear(good, heard)

        async def watch(deaf: WebSocketEnd) -> None:
            while room.get() == 2:  # noqa: ASYNC110 -- a figure has no event
                await trio.sleep(0.1)
            left.set()
            assert list(owner.calls.seen())  # the call goes on

        got = await call(play, owner, "talk", listen)
        assert left.is_set()
        assert room.get() == 0
    assert got.failures == []
    assert got.ended_by == "caller"
    assert len(heard) > 40
    assert [what for what, _ in owner.audits.rows].count("stopped listening in") == 2


async def test_at_most_four_seconds_of_audio_wait_for_a_listener(autojump_clock: MockClock) -> None:
    queue = listening_in.ListenerQueue()
    for number in range(100):
        queue.hear(bytes([number]), b"")
    assert queue.is_full
    assert [caller for caller, _ in await queue.pieces()] == [bytes([number]) for number in range(16)]
    assert await queue.pieces() == []


async def test_after_a_refusal_of_the_recording_listeners_hear_nothing_more(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    heard: list[tuple[bytes, bytes]] = []
    ends: list[Gone] = []
    async with stage(settings=settings(tmp_path)) as play:
        owner = OwnerAtLive(play)

        async def refuse(call_sid: str) -> None:
            await trio.sleep(3)
            play.daemon.desk.files[call_sid].consent.refuse()  # type: ignore[index]

        async def listen(call_sid: str) -> None:
            end = await owner.listen(call_sid, wire=pipe())
            play.nursery.start_soon(refuse, call_sid)
            ends.append(await hear(end, heard))
            assert "does not want to be recorded" in await refusal(owner, call_sid)

        await call(play, owner, "talk", listen)
    assert ends[0].code == 1008
    assert len(heard) < 20


async def test_the_number_of_listeners_is_limited_and_a_listener_that_leaves_or_sends_something_frees_its_place(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with stage(settings=settings(tmp_path)) as play:
        owner = OwnerAtLive(play)
        room = play.daemon.desk.metrics.listeners._value

        async def listen(call_sid: str) -> None:
            ends = [await owner.listen(call_sid, wire=pipe()) for _ in range(listening_in.MOST_LISTENERS)]
            assert "4 people are listening already" in await refusal(owner, call_sid)
            await ends[0].close()
            await ends[1].send(b"hello?")
            await trio.sleep(3)  # the relay waits two seconds for the client's close
            assert room.get() == listening_in.MOST_LISTENERS - 2
            await owner.listen(call_sid, wire=pipe())

        await call(play, owner, "talk", listen)
        assert room.get() == 0
