"""The order of one event's actions: first the sockets, then the rows, whatever happens to the sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio

from relay.call.actions import (
    Action,
    ClearPlayback,
    CreateItem,
    LeaveStream,
    Play,
    RecordConsent,
    RecordTurn,
    ReleaseModel,
)
from relay.call.machine import Machine
from relay.call.vocabulary import ClaimDoubted, ItemId
from relay.ledger import rows
from relay.server import media_endpoint
from relay.session.call_session import CallSession
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.transport.websocket import Gone
from tests.helpers import play as plays

CALL = parse('title = "t"\n[caller]\nsteps = [{ silent_s = 14 }, { hang_up = true }]\n', "t")
SEQ, ITEM = 77, ItemId("item_77")
ROW = RecordTurn(SEQ, ITEM, "agent", "At ten.", "At ten.", 9_000, 9_500)
# The rows come first in this list. Even so, the messages must go to the sockets before any row is recorded.
ACTIONS: list[Action] = [
    ROW,
    RecordConsent(9_500),
    CreateItem(ItemId("note_77"), "system", "a note"),
    Play(bytes(160), None, ITEM),
]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CallSession]]:
    sessions: list[CallSession] = []

    class Watched(CallSession):
        async def run(self) -> None:
            sessions.append(self)
            await super().run()

    monkeypatch.setattr(media_endpoint, "CallSession", Watched)
    yield sessions


@asynccontextmanager
async def talking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[CallSession, plays.Play]]:
    """Begin a call, and yield it when its greeting is over. The call goes on during the test."""
    with watched(monkeypatch) as sessions:
        async with plays.stage() as play, trio.open_nursery() as nursery:
            nursery.start_soon(run_scenario, CALL, play.exchange)
            await trio.sleep(10.0)
            yield sessions[0], play
            nursery.cancel_scope.cancel()


def kept(play: plays.Play) -> list[str | None]:
    return [row.said for row in play.ledger.of(rows.TranscriptRow) if row.seq == SEQ]


def congest(session: CallSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the caller's socket full from now on."""
    monkeypatch.setattr(session._caller, "post", lambda *_: True)
    monkeypatch.setattr(session._caller, "drain", trio.sleep_forever)


async def test_both_sockets_are_written_before_any_row_is_recorded(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        served: list[str] = []
        assert session._model is not None
        to_caller, to_model, turn = session._caller.post, session._model.end.post, session.rows.turn

        def post(*messages: bytes) -> bool:
            served.append("caller")
            return to_caller(*messages)

        def post_to_model(*messages: bytes) -> bool:
            served.append("model")
            return to_model(*messages)

        def record(row: RecordTurn) -> ClaimDoubted | None:
            served.append("row")
            return turn(row)

        monkeypatch.setattr(session._caller, "post", post)
        monkeypatch.setattr(session._model.end, "post", post_to_model)
        monkeypatch.setattr(session.rows, "turn", record)
        monkeypatch.setattr(session.rows, "consent", lambda _: served.append("consent"))
        session._perform(ACTIONS)
        assert served[:4] == ["caller", "model", "row", "consent"]


async def test_a_frame_that_caused_actions_is_sent_to_the_model_in_the_same_write_after_the_messages_of_the_actions(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        writes: list[tuple[bytes, ...]] = []
        assert session._model is not None
        monkeypatch.setattr(session._model.end, "post", lambda *messages: writes.append(messages))
        assert session._perform(ACTIONS, b"the frame")
        assert [len(messages) for messages in writes] == [2]
        assert writes[0][-1] == b"the frame"


async def test_if_the_actions_of_a_frame_release_the_model_session_the_frame_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        writes: list[bytes] = []
        assert session._model is not None
        monkeypatch.setattr(session._model.end, "post", lambda *messages: writes.extend(messages))
        assert not session._perform([*ACTIONS, ReleaseModel()], b"the frame"), "the frame was not kept"
        assert b"the frame" not in writes


async def test_when_the_callers_socket_is_full_no_row_is_lost(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, play):
        congest(session, monkeypatch)
        session._perform(ACTIONS)
        assert kept(play) == ["At ten."], "the row waited for the socket"


async def test_when_the_caller_is_gone_no_row_is_lost(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    async with talking(monkeypatch) as (session, play):

        def gone(*_: bytes) -> bool:
            raise Gone(1006, "")

        monkeypatch.setattr(session._caller, "post", gone)
        session._perform(ACTIONS)
        await trio.sleep(0.5)
        assert kept(play) == ["At ten."]


def hold_back(session: CallSession, for_s: float) -> bytearray:
    """Make the socket to Twilio full for the next `for_s` seconds. Later it appends what it sends to the result."""
    stream: Any = session._caller._wire._stream  # type: ignore[attr-defined] # a StreamWire, in a play
    send_all, until, sent = stream.send_all, trio.current_time() + for_s, bytearray()

    async def send_late(data: bytes) -> None:
        await trio.sleep_until(until)
        sent.extend(data)
        await send_all(data)

    stream.send_all, stream.take = send_late, lambda _: 0
    return sent


# The first byte of a close frame (RFC 6455 5.2: FIN and opcode 8). No other byte of these messages is 0x88.
CLOSE_FRAME = b"\x88"


async def test_on_a_full_socket_clear_and_audio_and_close_reach_twilio_in_the_order_in_which_they_were_sent(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        sent = hold_back(session, 1.0)
        session._perform([ClearPlayback(), Play(bytes(160), "m1", ITEM)])
        session._perform([Play(bytes(160), "m2", ITEM), LeaveStream(), ReleaseModel()])
        monkeypatch.setattr(Machine, "is_over", property(lambda _: True))
        session._stop_if_over()
        await trio.sleep(0.9)
        assert not sent
        await trio.sleep(1.0)
        places = [sent.index(words) for words in (b'"clear"', b'"m1"', b'"m2"', CLOSE_FRAME)]
        assert places == sorted(places)
        assert sent.count(b'"media"') == 4, "two messages, and the word is in each of them twice"


async def test_a_full_socket_of_the_caller_does_not_keep_a_model_session_open_that_costs_money(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        hold_back(session, 4.0)
        assert (model := session._model) is not None
        session._perform([Play(bytes(160), None, ITEM), LeaveStream(), ReleaseModel()])
        await trio.sleep(0.1)
        assert not model.end.is_open
        assert session._caller.is_open


async def test_a_full_socket_of_the_caller_does_not_stop_either_reader(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        hold_back(session, 2.0)
        session._perform([Play(bytes(160), None, ITEM)])
        heard: list[float] = []
        caller_audio = session.machine.caller_audio

        def listen(level_dbfs: float, ms: int, now: float) -> list[Action]:
            heard.append(now)
            return caller_audio(level_dbfs, ms, now)

        monkeypatch.setattr(session.machine, "caller_audio", listen)
        await trio.sleep(1.0)
        assert len(heard) >= 48, "the caller's frames reached the machine too late"
