"""A caller's wait for an answer, step by step, is the same in the ledger, in the metrics, and at the caller."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from relay.call.actions import RecordTurn
from relay.call.vocabulary import ClaimDoubted
from relay.ledger import rows
from relay.session.call_rows import CallRows, _percentiles
from tests.helpers.greeting_play import Told, ring
from tests.helpers.play import Play, stage

STEPS = ["stopped_heard", "first_delta", "first_written", "first_heard"]
QUESTIONS = "{ listen = true }, " + ", ".join(
    f'{{ say = "{clip}" }}, {{ listen = true }}' for clip in ("can_you_hear", "ask_hours", "can_you_hear")
)


def waterfalls(told: Told) -> list[dict[str, int]]:
    """The times of each answer's steps, in the order of the conversation."""
    turns = {row.seq: row for row in told.turns}
    return [dict(turns[seq].latency or {}) for seq in sorted(turns) if turns[seq].latency]  # type: ignore[arg-type] # ms


def counted(play: Play, step: str) -> int:
    """How often a step was counted in the metrics."""
    text = play.daemon.desk.metrics.text().decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f'relay_turn_ms_count{{step="{step}"}}')]
    return int(float(line.split()[-1]))


@pytest.mark.parametrize(("answer_early", "silence_ms"), [("off", 500), ("on", 170)])
async def test_the_measured_times_of_each_answer_equal_the_times_at_the_caller(
    answer_early: str, silence_ms: int, autojump_clock: MockClock
) -> None:
    async with stage(settings={"ANSWER_EARLY": answer_early}) as play:
        told = await ring(play, f"{QUESTIONS}, {{ hang_up = true }}")
        found = waterfalls(told)
        assert len(found) == len(told.report.latencies_ms) == 3
        for steps, lived_ms in zip(found, told.report.latencies_ms, strict=True):
            assert list(steps) == STEPS
            assert sorted(steps.values()) == list(steps.values())
            assert silence_ms - 50 <= steps["stopped_heard"] <= silence_ms + 150  # ms; the VAD waits for silence
            assert abs(steps["first_heard"] - lived_ms) <= 100  # the first frame of an answer may be silent
        assert {step: counted(play, step) for step in STEPS} == dict.fromkeys(STEPS, 3)
        outcome = play.ledger.of(rows.OutcomeRow, told.report.call_sid)[-1]
        heard = sorted(steps["first_heard"] for steps in found)
        assert outcome.latency_p50_ms == heard[1]
        assert heard[1] <= (outcome.latency_p95_ms or 0) <= heard[2]


def test_the_median_and_the_95th_percentile_of_the_waits_are_computed() -> None:
    assert _percentiles([]) == (None, None)
    assert _percentiles([700]) == (700.0, 700.0)
    assert _percentiles(list(range(101))) == (50, 95)


async def test_if_a_row_is_written_again_its_answer_is_counted_once_in_the_metrics(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CallRows.turn

    def write_twice(rows: CallRows, turn: RecordTurn) -> ClaimDoubted | None:
        write(rows, turn)
        return write(rows, turn)

    monkeypatch.setattr(CallRows, "turn", write_twice)
    async with stage() as play:
        await ring(play, f"{QUESTIONS}, {{ hang_up = true }}")
        assert {step: counted(play, step) for step in STEPS} == dict.fromkeys(STEPS, 3)
