"""The actions of one event: the sockets first, the rows after them, whatever happens to the sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from relay.call.actions import Action, CreateItem, Play, RecordConsent, RecordTurn
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
# The rows come first in this list: it is not their place in the list that puts them after the sockets.
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
    """A call whose greeting is over, which goes on meanwhile."""
    with watched(monkeypatch) as sessions:
        async with plays.stage() as play, trio.open_nursery() as nursery:
            nursery.start_soon(run_scenario, CALL, play.exchange)
            await trio.sleep(10.0)
            yield sessions[0], play
            nursery.cancel_scope.cancel()


def kept(play: plays.Play) -> list[str | None]:
    return [row.said for row in play.ledger.of(rows.TranscriptRow) if row.seq == SEQ]


def congest(session: CallSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the caller's socket takes nothing more."""
    monkeypatch.setattr(session._caller, "post", lambda *_: True)
    monkeypatch.setattr(session._caller, "drain", trio.sleep_forever)


async def test_both_sockets_are_served_before_anything_is_written_down(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with talking(monkeypatch) as (session, _):
        served: list[str] = []
        assert session._model is not None
        to_caller, to_model, turn = session._caller.post, session._model.end.post, session.books.turn

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
        monkeypatch.setattr(session.books, "turn", record)
        monkeypatch.setattr(session.books, "consent", lambda _: served.append("consent"))
        await session._perform(ACTIONS)
        assert served[:4] == ["caller", "model", "row", "consent"]


async def test_a_send_that_is_cancelled_loses_no_row(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    async with talking(monkeypatch) as (session, play):
        congest(session, monkeypatch)
        with trio.move_on_after(1.0) as scope:
            await session._perform(ACTIONS)
        assert scope.cancelled_caught, "the socket took it after all: nothing was cancelled"
        await trio.sleep(0.5)
        assert kept(play) == ["At ten."]


async def test_a_caller_who_is_gone_loses_no_row(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    async with talking(monkeypatch) as (session, play):

        def gone(*_: bytes) -> bool:
            raise Gone(1006, "")

        monkeypatch.setattr(session._caller, "post", gone)
        await session._perform(ACTIONS)
        await trio.sleep(0.5)
        assert kept(play) == ["At ten."]
