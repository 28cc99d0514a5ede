"""One call has several streams: its limits count over all of them, so no call goes from stream to stream for ever."""

from __future__ import annotations

import pytest
import structlog
import trio
from trio.testing import MockClock

from relay.call.early_governor import LEAST_ASKED
from relay.call.failover import RECONNECTS
from relay.call.vocabulary import EndReason
from relay.ledger import rows
from relay.server.human_transfer import RESUMES
from relay.session.call_session import CallSession
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play, stage

STREAMS = 1 + RESUMES  # the most streams of a call
ASKS = '{ say = "ask_hours" }, { listen = 4000 }, '
CALL = """
title = "every stream breaks"
[caller]
patience_s = 300
steps = [%s]
[human]
does = "no_answer"
[[trouble]]
does = "socket_cut"
upon = "stream_started"
after_s = %d
times = 0
"""


async def call(play: Play, turns: int, cut_after_s: int) -> CallReport:
    """A caller who asks again and again. Each stream breaks after this many seconds."""
    return await run_scenario(parse(CALL % (ASKS * turns, cut_after_s), "t"), play.exchange)


def outcome(play: Play, got: CallReport) -> rows.OutcomeRow:
    return play.ledger.of(rows.OutcomeRow, got.call_sid)[-1]


async def test_a_call_whose_streams_and_model_sessions_all_break_ends_after_four_streams_with_a_recorded_message(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:

        async def break_sessions() -> None:
            """Break as many sessions in each stream as it can lose without losing the model for good."""
            for stream in range(1, STREAMS + 1):
                while len(play.media_streams) < stream:  # noqa: ASYNC110 -- the play tells nobody
                    await trio.sleep(0.1)
                for _ in range(RECONNECTS):
                    await trio.sleep(4)
                    play.kill_model_sessions()

        play.nursery.start_soon(break_sessions)
        got = await call(play, 30, 11)
        assert got.streams == STREAMS
        assert len(play.model.sessions) <= STREAMS * (1 + RECONNECTS)
        assert len(play.model.sessions) > 1 + RECONNECTS  # so the losses of one stream do not count for the next
        assert got.dialled == ["+12125550102"]
        assert "Nobody can take your call" in " ".join(got.read_out)
        assert got.duration_s < 300


@pytest.mark.parametrize(
    ("setting", "value", "reason", "streams"),
    [("MAX_CALL_S", "120", EndReason.DURATION_CAP, 2), ("MAX_CALL_USD", "0.05", EndReason.COST_CAP, 3)],
)
async def test_a_limit_of_a_call_counts_over_all_its_streams(
    setting: str, value: str, reason: EndReason, streams: int, autojump_clock: MockClock
) -> None:
    async with stage(settings={setting: value}) as play:
        got = await call(play, 30, 50 if streams == 3 else 61)
        row = outcome(play, got)
        assert row.end_reason == reason
        assert got.streams == streams
        assert got.ended_by == "relay"


async def test_the_dollars_of_earlier_streams_stop_the_early_answers_of_a_later_stream(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings={"MAX_CALL_USD": "0.05"}) as play:
        with structlog.testing.capture_logs() as lines:
            await call(play, 30, 50)
        events = [line["event"] for line in lines]
        (off,) = [line for line in lines if line["event"] == "early_answers.off"]
        assert off["why"] == "money"
        assert events[: events.index("early_answers.off")].count("call.started") == 3


async def test_early_answers_that_were_stopped_in_a_call_are_not_asked_for_in_its_next_streams(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:
        asked: list[int] = []  # how many early answers, at the end of each stream

        def observe(kind: str, fields: dict[str, object]) -> None:
            if kind != "stream_cut":
                return
            (file,) = play.daemon.desk.files.values()
            session = file.open_streams[-1]
            assert isinstance(session, CallSession)
            early = session.machine.call.early.governor
            if not asked:
                for _ in range(3 * early.asked + LEAST_ASKED):  # the caller pauses often in the first stream
                    early.was_asked()
                    early.was_taken_back()
            asked.append(early.asked)

        play.exchange.on_event = observe
        with structlog.testing.capture_logs() as lines:
            got = await call(play, 30, 20)
        assert got.streams == STREAMS
        assert asked[0] > LEAST_ASKED
        assert asked == STREAMS * [asked[0]]
        assert [line["why"] for line in lines if line["event"] == "early_answers.off"] == ["taken back too often"]
