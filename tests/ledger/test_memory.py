"""The ledger in memory, and how it differs from Postgres: a test can make it act as if Postgres were away."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from relay.ledger import rows as r
from relay.ledger.memory import MemoryLedger
from relay.ledger.port import LedgerUnavailable

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_rows_recorded_while_postgres_is_away_are_stored_when_it_is_back() -> None:
    ledger = MemoryLedger()
    ledger.away = True
    ledger.record(r.TranscriptRow(call_sid="CA1", seq=1, role="caller", said="one"))
    ledger.record(r.TranscriptRow(call_sid="CA1", seq=1, role="caller", heard="two"))
    assert ledger.of(r.TranscriptRow) == []
    assert ledger.counts().queued == 2
    ledger.away = False
    assert ledger.of(r.TranscriptRow) == [
        r.TranscriptRow(call_sid="CA1", seq=1, role="caller", said="one", heard="two")
    ]
    assert ledger.counts() == r.Counts(recorded=2, written=2, queued=0, spilled=0, refused=0, lost=0)


async def test_while_postgres_is_away_reads_report_it_and_a_reservation_is_unavailable() -> None:
    ledger = MemoryLedger()
    ledger.away = True
    with pytest.raises(LedgerUnavailable, match="away"):
        await ledger.spent_usd(date(2026, 11, 24), UTC, limit_s=1)
    with pytest.raises(LedgerUnavailable):
        await ledger.calls_from("+12125550101", 60, limit_s=1)
    with pytest.raises(LedgerUnavailable):
        await ledger.load_greeting("g", limit_s=1)
    with pytest.raises(LedgerUnavailable):
        await ledger.fetch_call("CA1", limit_s=1)
    assert isinstance(await ledger.reserve("k", "CA1", "x", {}, function_call_id="f", limit_s=1), r.Unavailable)
    assert await ledger.ready(limit_s=1) is not None


async def test_a_call_whose_rows_wait_is_found_although_postgres_is_away() -> None:
    ledger = MemoryLedger()
    ledger.away = True
    ledger.record(r.OutcomeRow(call_sid="CA1", ended_at=NOON, end_reason="agent_ended"))
    seen = await ledger.fetch_call("CA1", limit_s=1)
    assert seen is not None
    assert seen.end_reason == "agent_ended"


async def test_rows_of_one_call_are_read_in_the_order_of_the_conversation() -> None:
    ledger = MemoryLedger()
    for call_sid, seq in [("CA2", 1), ("CA1", 2), ("CA1", 10), ("CA1", 1)]:
        ledger.record(r.TranscriptRow(call_sid=call_sid, seq=seq, role="caller"))
    assert [row.seq for row in ledger.of(r.TranscriptRow, "CA1")] == [1, 2, 10]


async def test_calls_are_counted_by_the_clock_of_the_play() -> None:
    ledger = MemoryLedger(utc_now=lambda: NOON)
    ledger.record(r.CallRow(call_sid="CA1", from_number="+12125550101", started_at=NOON - timedelta(seconds=50)))
    assert await ledger.calls_from("+12125550101", 60, limit_s=1) == 1
    assert await ledger.calls_from("+12125550101", 40, limit_s=1) == 0
