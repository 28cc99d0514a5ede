"""The port `Ledger`: the ledger in memory and the ledger in Postgres pass the same tests. So plays can use memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import class_row

from relay.ledger import rows as r
from relay.ledger import statements
from relay.ledger.batch import take, write
from relay.ledger.memory import MemoryLedger
from relay.ledger.port import Ledger
from relay.ledger.postgres_thread import connect
from relay.ledger.spill import Entry
from relay.ledger.store import PostgresLedger

STATEMENTS = statements.read()

LIMIT_S = 20.0
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _columns(kind: type[r.Row]) -> str:
    """The columns of rows of this kind. The table function_calls also has columns that no row has."""
    return ", ".join(field.name for field in fields(kind))


TABLES: dict[type[r.Row], str] = {
    r.CallRow: "calls",
    r.TranscriptRow: "transcripts",
    r.FunctionCallRow: "function_calls",
    r.OutcomeRow: "call_outcomes",
    r.ConsentRow: "consents",
    r.MessageRow: "messages",
}


class Bench:
    """A running ledger, and a function that reads its rows."""

    def __init__(self, ledger: Ledger, read: Callable[[type[r.Row]], list[r.Row]]) -> None:
        self.ledger = ledger
        self._read = read

    async def rows(self, kind: type[r.Row]) -> list[r.Row]:
        with trio.fail_after(LIMIT_S):
            while self.ledger.counts().queued:  # noqa: ASYNC110  # the port tells counts, no event
                await trio.sleep(0.01)
        return self._read(kind)


def _memory(keep_words: bool) -> Bench:
    ledger = MemoryLedger(keep_words=keep_words)
    return Bench(ledger, lambda kind: list(ledger.of(kind)))  # type: ignore[type-var]  # any kind of row


def _in_postgres(url: str, spill_dir: Path, keep_words: bool) -> Bench:
    def read(kind: type[r.Row]) -> list[r.Row]:
        with psycopg.connect(url) as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(f"select {_columns(kind)} from {TABLES[kind]} order by 1, 2").fetchall()

    return Bench(PostgresLedger(url, spill_dir=spill_dir, keep_words=keep_words), read)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Bench]:
    if request.param == "memory":
        return lambda keep_words=True: _memory(keep_words)
    url = request.getfixturevalue("database_url")
    return lambda keep_words=True: _in_postgres(url, tmp_path / "spill", keep_words)


@pytest.fixture
async def bench(make: Callable[..., Bench], nursery: trio.Nursery) -> Bench:
    bench = make()
    await nursery.start(bench.ledger.run)
    return bench


FULL_ROWS: list[r.Row] = [
    r.CallRow(
        call_sid="CA1",
        started_at=NOON,
        from_number="+12125550101",
        to_number="+12125550102",
        caller_state="CA",
        machine="m",
        region="iad",
        image="i",
        model="gpt-realtime",
        voice="marin",
        prompt_hash="p",
        greeting_rung="kept",
        greeting_ms=4.5,
        greeting_heard_ms=210.25,
        webhook_greeting_ms=570.0,
        webhook_greeting_heard_ms=780.0,
        resumed=0,
        process="p1",
        spent_usd=Decimal("0.012000"),
        spent_at=NOON,
        is_test=True,
    ),
    r.TranscriptRow(
        call_sid="CA1",
        seq=1,
        role="agent",
        item_id="item_1",
        said="We are open until five 'o\"clock\\ \t😀.",
        heard="We are open",
        started_ms=1000,
        ended_ms=2500,
        interrupted=True,
        gap=False,
        latency={"vad_ms": 200, "model_ms": 310.5},
    ),
    r.FunctionCallRow(
        call_sid="CA1",
        function_call_id="call_1",
        name="book_appointment",
        arguments={"name": "Ann", "at": [1, 2.5, None, True]},
        output={"id": "a1"},
        ok=True,
        took_ms=93.25,
        key="k1",
        state="done",
    ),
    r.OutcomeRow(
        call_sid="CA1",
        ended_at=NOON,
        end_reason="caller_hung_up",
        fault="none",
        seconds=61.5,
        turns=9,
        barge_ins=1,
        cost_usd=Decimal("0.123456"),
        cost={"audio_in": {"tokens": 1200, "usd": 0.012}},
        outcome="booked",
        summary="Ann booked a table.",
        latency_p50_ms=510.0,
        latency_p95_ms=890.0,
        verified=True,
        dialled="+12125550103",
        transfer_result="accepted",
        process="p1",
        seq=2,
        voice_fault="silent",
    ),
    r.ConsentRow(
        call_sid="CA1",
        seq=1,
        announced="This call is transcribed.",
        version="v",
        rule="always",
        announced_at=NOON,
        heard_at=NOON + timedelta(seconds=2),
        refused_at=NOON + timedelta(seconds=9),
    ),
    r.MessageRow(
        call_sid="CA1", seq=1, name="Ann", phone="+12125550101", text="Call me.", created_at=NOON, delivered=False
    ),
]


@pytest.mark.parametrize("row", FULL_ROWS, ids=lambda row: type(row).__name__)
async def test_a_row_is_stored_with_every_field(bench: Bench, row: r.Row) -> None:
    assert all(getattr(row, name) is not None for name in row.__slots__), "every field must have a value"
    bench.ledger.record(row)
    assert await bench.rows(type(row)) == [row]


@pytest.mark.parametrize("row", FULL_ROWS, ids=lambda row: type(row).__name__)
async def test_a_row_that_is_recorded_again_with_fewer_fields_loses_nothing(bench: Bench, row: r.Row) -> None:
    required = ("call_sid", "seq", "role", "function_call_id", "name", "ended_at")
    bare = type(row)(**{name: getattr(row, name) for name in required if name in row.__slots__})
    for again in (row, row, bare):
        bench.ledger.record(again)
    assert await bench.rows(type(row)) == [row]


async def test_a_turn_is_completed_by_a_later_row(bench: Bench) -> None:
    bench.ledger.record(r.TranscriptRow(call_sid="CA1", seq=4, role="agent", said="One two three", started_ms=10))
    await bench.rows(r.TranscriptRow)
    bench.ledger.record(r.TranscriptRow(call_sid="CA1", seq=4, role="agent", heard="One", interrupted=True))
    assert await bench.rows(r.TranscriptRow) == [
        r.TranscriptRow(
            call_sid="CA1", seq=4, role="agent", said="One two three", heard="One", started_ms=10, interrupted=True
        )
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_row_of_the_later_stream_is_stored_whichever_of_the_two_rows_comes_first(
    bench: Bench, order: tuple[int, int]
) -> None:
    legs = [
        r.CallRow(call_sid="CA1", started_at=NOON, machine="a", greeting_ms=3.0, resumed=0),
        r.CallRow(call_sid="CA1", machine="b", resumed=1),
    ]
    ends = [
        r.OutcomeRow(call_sid="CA1", ended_at=NOON, end_reason="relay_lost", seq=1),
        r.OutcomeRow(call_sid="CA1", ended_at=NOON - timedelta(seconds=9), end_reason="agent_ended", seq=2),
    ]
    for leg in order:
        bench.ledger.record(legs[leg])
        bench.ledger.record(ends[leg])
    assert await bench.rows(r.CallRow) == [
        r.CallRow(call_sid="CA1", started_at=NOON, machine="b", greeting_ms=3.0, resumed=1)
    ]
    assert [row.end_reason for row in await bench.rows(r.OutcomeRow) if isinstance(row, r.OutcomeRow)] == [
        "agent_ended"
    ]


async def test_in_a_call_that_keeps_no_words_no_word_reaches_the_ledger(
    make: Callable[..., Bench], nursery: trio.Nursery
) -> None:
    bench = make(keep_words=False)
    await nursery.start(bench.ledger.run)
    bench.ledger.record(r.TranscriptRow(call_sid="CA1", seq=1, role="caller", said="hello", ended_ms=5))
    await bench.ledger.reserve("k", "CA1", "book", {"name": "Ann"}, function_call_id="f", limit_s=LIMIT_S)
    assert await bench.rows(r.TranscriptRow) == [r.TranscriptRow(call_sid="CA1", seq=1, role="caller", ended_ms=5)]
    assert await bench.rows(r.FunctionCallRow) == [
        r.FunctionCallRow(call_sid="CA1", function_call_id="f", name="book", key="k", state="reserved")
    ]


async def test_a_call_is_read_with_its_resumptions_and_its_end(bench: Bench) -> None:
    assert await bench.ledger.fetch_call("CA1", limit_s=LIMIT_S) is None
    bench.ledger.record(r.CallRow(call_sid="CA1", started_at=NOON, resumed=2))
    assert await bench.ledger.fetch_call("CA1", limit_s=LIMIT_S) == r.SeenCall(
        call_sid="CA1", started_at=NOON, resumed=2
    )
    bench.ledger.record(
        r.OutcomeRow(call_sid="CA1", ended_at=NOON, end_reason="transferred", transfer_result="accepted")
    )
    ended = r.SeenCall(
        call_sid="CA1",
        started_at=NOON,
        resumed=2,
        ended_at=NOON,
        end_reason="transferred",
        transfer_result="accepted",
    )
    assert await bench.ledger.fetch_call("CA1", limit_s=LIMIT_S) == ended
    await bench.rows(r.OutcomeRow)
    assert await bench.ledger.fetch_call("CA1", limit_s=LIMIT_S) == ended


async def test_a_call_that_has_only_an_outcome_is_found(bench: Bench) -> None:
    bench.ledger.record(r.OutcomeRow(call_sid="CA1", ended_at=NOON, end_reason="fault"))
    await bench.rows(r.OutcomeRow)
    seen = await bench.ledger.fetch_call("CA1", limit_s=LIMIT_S)
    assert seen == r.SeenCall(call_sid="CA1", ended_at=NOON, end_reason="fault")


async def test_the_spending_of_a_day_follows_the_time_zone_of_the_business(bench: Bench) -> None:
    tz = ZoneInfo("America/New_York")
    for number, (hour, minute, usd) in enumerate([(23, 59, "1.10"), (0, 0, "0.25"), (12, 0, "0.05")]):
        day = 23 if hour == 23 else 24
        bench.ledger.record(
            r.OutcomeRow(
                call_sid=f"CA{number}",
                ended_at=datetime(2026, 11, day, hour, minute, tzinfo=tz),
                cost_usd=Decimal(usd),
            )
        )
    bench.ledger.record(r.OutcomeRow(call_sid="CA9", ended_at=NOON))
    await bench.rows(r.OutcomeRow)
    assert await bench.ledger.spent_usd(date(2026, 11, 24), tz, limit_s=LIMIT_S) == pytest.approx(0.30)
    assert await bench.ledger.spent_usd(date(2026, 11, 23), tz, limit_s=LIMIT_S) == pytest.approx(1.10)
    assert await bench.ledger.spent_usd(date(2026, 11, 22), tz, limit_s=LIMIT_S) == 0.0


async def test_the_spending_of_a_day_includes_running_calls_of_other_machines_and_no_call_twice(bench: Bench) -> None:
    def live(sid: str, process: str, usd: str, at: datetime = NOON) -> r.CallRow:
        return r.CallRow(call_sid=sid, started_at=NOON, process=process, spent_usd=Decimal(usd), spent_at=at)

    def ended(sid: str, process: str | None, usd: str) -> r.OutcomeRow:
        return r.OutcomeRow(call_sid=sid, ended_at=NOON, process=process, cost_usd=Decimal(usd))

    for row in (
        live("CA1", "other", "0.50"),
        live("CA1", "other", "0.70"),  # it still runs
        live("CA2", "other", "0.20"),
        ended("CA2", "other", "0.30"),  # it has ended, and its cost is a little higher
        ended("CA3", "other", "0.10"),
        live("CA3", "other", "0.15"),  # the caller is back from a human, so it runs again
        live("CA4", "ours", "4.00"),
        ended("CA5", "ours", "5.00"),
        ended("CA6", None, "0.01"),  # from a relay that did not have these columns yet
        live("CA7", "other", "9.00", NOON - timedelta(days=2)),  # of another day
    ):
        bench.ledger.record(row)
    await bench.rows(r.OutcomeRow)
    day = date(2026, 11, 24)
    assert await bench.ledger.spent_usd(day, UTC, limit_s=LIMIT_S, besides="ours") == pytest.approx(1.16)
    assert await bench.ledger.spent_usd(day, UTC, limit_s=LIMIT_S) == pytest.approx(10.16)


async def test_calls_of_a_number_are_counted_since_a_given_time(bench: Bench) -> None:
    now = datetime.now(UTC)
    for number, age_s in enumerate([10, 100, 10_000]):
        bench.ledger.record(
            r.CallRow(call_sid=f"CA{number}", from_number="+12125550101", started_at=now - timedelta(seconds=age_s))
        )
    bench.ledger.record(r.CallRow(call_sid="CA9", from_number="+12125550109", started_at=now))
    bench.ledger.record(r.CallRow(call_sid="TC1", from_number="+12125550101", started_at=now, is_test=True))
    bench.ledger.record(r.CallRow(call_sid="TC2", started_at=now, is_test=True))
    await bench.rows(r.CallRow)
    assert await bench.ledger.calls_from("+12125550101", 3600, limit_s=LIMIT_S) == 2
    assert await bench.ledger.calls_from("+12125550105", 3600, limit_s=LIMIT_S) == 0
    assert await bench.ledger.calls_from("", 3600, limit_s=LIMIT_S) == 0
    bench.ledger.record(r.CallRow(call_sid="CA10", started_at=now))
    bench.ledger.record(r.CallRow(call_sid="CA11", started_at=now - timedelta(seconds=5000)))
    await bench.rows(r.CallRow)
    assert await bench.ledger.calls_from("", 3600, limit_s=LIMIT_S) == 1


async def test_each_number_that_was_ever_called_is_listed_once(bench: Bench) -> None:
    for number, called in enumerate(["+12125550100", None, "+12125550150", "+12125550100"]):
        bench.ledger.record(r.CallRow(call_sid=f"CA{number}", to_number=called, started_at=NOON))
    await bench.rows(r.CallRow)
    assert await bench.ledger.numbers_called(limit_s=LIMIT_S) == ["+12125550100", "+12125550150"]


async def test_a_greeting_is_read_back_unchanged_and_replaced_under_the_same_key(bench: Bench) -> None:
    greeting = r.Greeting(
        key="g",
        text="Hello.",
        mulaw=bytes(range(256)) * 40,
        ms=1280,
        voice="marin",
        model="gpt-realtime",
        transcript="Hello.",
        loudness_dbfs=-21.5,
        created_at=NOON,
    )
    assert await bench.ledger.load_greeting("g", limit_s=LIMIT_S) is None
    await bench.ledger.keep_greeting(greeting, limit_s=LIMIT_S)
    assert await bench.ledger.load_greeting("g", limit_s=LIMIT_S) == greeting
    louder = replace(greeting, loudness_dbfs=-18.0)
    await bench.ledger.keep_greeting(louder, limit_s=LIMIT_S)
    assert await bench.ledger.load_greeting("g", limit_s=LIMIT_S) == louder


async def _reserve(bench: Bench, function_call_id: str, key: str = "k") -> r.Reserved | r.Already | r.Unavailable:
    return await bench.ledger.reserve(
        key, "CA1", "book_appointment", {"name": "Ann"}, function_call_id=function_call_id, limit_s=LIMIT_S
    )


async def test_a_key_can_be_reserved_only_once(bench: Bench) -> None:
    assert await _reserve(bench, "call_1") == r.Reserved()
    assert await _reserve(bench, "call_1") == r.Already("reserved", None, None)
    assert await _reserve(bench, "call_2") == r.Already("reserved", None, None)
    assert await _reserve(bench, "call_2", key="other") == r.Reserved()


async def test_a_repeat_gets_the_first_result(bench: Bench) -> None:
    await _reserve(bench, "call_1")
    await bench.ledger.settle("k", True, {"id": "a1"}, limit_s=LIMIT_S)
    await bench.ledger.settle("k", False, {"error": "late"}, limit_s=LIMIT_S)
    assert await _reserve(bench, "call_2") == r.Already("done", True, {"id": "a1"})


async def test_a_function_that_failed_can_still_be_carried_out_later(bench: Bench) -> None:
    await _reserve(bench, "call_1")
    await bench.ledger.settle("k", False, {"error": "busy"}, limit_s=LIMIT_S)
    assert await _reserve(bench, "call_2") == r.Already("failed", False, {"error": "busy"})
    await bench.ledger.settle("k", True, {"id": "a1"}, limit_s=LIMIT_S)
    assert await _reserve(bench, "call_3") == r.Already("done", True, {"id": "a1"})


async def test_a_function_call_and_its_reservation_share_one_row(bench: Bench) -> None:
    await _reserve(bench, "call_1")
    row = r.FunctionCallRow(
        call_sid="CA1",
        function_call_id="call_1",
        name="book_appointment",
        arguments={"name": "Ann"},
        output={"id": "a1"},
        ok=True,
        took_ms=80.0,
        key="k",
        state="done",
    )
    bench.ledger.record(row)
    repeat = replace(row, function_call_id="call_2", took_ms=1.0)
    bench.ledger.record(repeat)
    assert await bench.rows(r.FunctionCallRow) == [row, replace(repeat, key=None)]


async def test_a_late_row_does_not_undo_the_state_done(bench: Bench) -> None:
    await _reserve(bench, "call_1")
    await bench.ledger.settle("k", True, {"id": "a1"}, limit_s=LIMIT_S)
    bench.ledger.record(
        r.FunctionCallRow(
            call_sid="CA1", function_call_id="call_1", name="book_appointment", state="unknown", ok=False, output={}
        )
    )
    await bench.rows(r.FunctionCallRow)
    assert await _reserve(bench, "call_2") == r.Already("done", True, {"id": "a1"})


async def test_the_row_of_a_success_brings_the_words_that_could_not_be_stored_with_its_settlement(bench: Bench) -> None:
    await _reserve(bench, "call_1")
    await bench.ledger.settle("k", True, {"id": "a1"}, limit_s=LIMIT_S)
    row = r.FunctionCallRow(
        call_sid="CA1", function_call_id="call_1", name="book_appointment", state="done", ok=True, key="k"
    )
    bench.ledger.record(replace(row, output={"id": "a1", "name": "Ann"}))
    bench.ledger.record(row)
    await bench.rows(r.FunctionCallRow)
    assert await _reserve(bench, "call_2") == r.Already("done", True, {"id": "a1", "name": "Ann"})


def test_without_words_the_result_of_a_function_is_only_that_it_was_done_and_its_id() -> None:
    row = r.FunctionCallRow(call_sid="CA1", function_call_id="call_1", name="book_appointment", arguments={"a": "Ann"})
    output: r.Json = {"status": "ok", "done": "booked", "id": "a1", "name": "Ann"}
    bare: r.Json = {"status": "ok", "done": "booked", "id": "a1"}
    assert r.without_words(replace(row, output=output, key="k")) == replace(row, arguments=None, output=bare, key="k")
    assert r.without_words(replace(row, output=output)) == replace(row, arguments=None)


async def test_a_row_recorded_before_its_reservation_gets_the_key(bench: Bench) -> None:
    bench.ledger.record(r.FunctionCallRow(call_sid="CA1", function_call_id="call_1", name="book_appointment"))
    await bench.rows(r.FunctionCallRow)
    assert await _reserve(bench, "call_1") == r.Reserved()
    (row,) = await bench.rows(r.FunctionCallRow)
    assert isinstance(row, r.FunctionCallRow)
    assert (row.key, row.state) == ("k", "reserved")


async def test_when_many_processes_reserve_a_key_at_once_only_one_gets_it(
    make: Callable[..., Bench], nursery: trio.Nursery
) -> None:
    bench = make()
    benches = [bench, *([make() for _ in range(3)] if isinstance(bench.ledger, PostgresLedger) else [])]
    answers = []

    async def reserve(bench: Bench, function_call_id: str) -> None:
        answers.append(await _reserve(bench, function_call_id))

    async with trio.open_nursery() as several:
        for number in range(40):
            several.start_soon(reserve, benches[number % len(benches)], f"call_{number}")
    assert answers.count(r.Reserved()) == 1
    assert answers.count(r.Already("reserved", None, None)) == 39
    for bench in benches:
        if isinstance(bench.ledger, PostgresLedger):
            await bench.ledger._asker.close(limit_s=5)


async def test_a_working_ledger_is_ready_and_counts_its_rows(bench: Bench) -> None:
    bench.ledger.record(FULL_ROWS[0])
    await bench.rows(r.CallRow)
    assert await bench.ledger.ready(limit_s=LIMIT_S) is None
    assert bench.ledger.counts() == r.Counts(recorded=1, written=1, queued=0, spilled=0, refused=0, lost=0)


async def test_rows_that_are_recorded_together_count_as_one_row(bench: Bench) -> None:
    bench.ledger.record(r.MessageRow(call_sid="CA1", seq=1, text="Hello."), r.CallRow(call_sid="CA1"))
    assert len(await bench.rows(r.CallRow)) == len(await bench.rows(r.MessageRow)) == 1
    assert bench.ledger.counts() == r.Counts(recorded=1, written=1, queued=0, spilled=0, refused=0, lost=0)


few = st.integers(0, 2)
calls = few.map("CA{}".format)
words = st.none() | st.sampled_from(["a", "b"])
values = st.none() | st.just({"a": 1}) | st.just({"b": [None, "é\x00"]})
# Few different keys and many empty fields, so that rows often meet others with the same key.
any_rows: st.SearchStrategy[list[r.Row]] = st.lists(
    st.one_of(
        st.builds(r.CallRow, call_sid=calls, machine=words, started_at=st.just(NOON), resumed=st.none() | few),
        st.builds(
            r.TranscriptRow, call_sid=calls, seq=few, role=st.sampled_from(["caller", "agent"]), said=words, heard=words
        ),
        st.builds(
            r.FunctionCallRow,
            call_sid=calls,
            function_call_id=few.map("call_{}".format),
            name=st.just("book"),
            arguments=values,
            output=values,
            ok=st.none() | st.booleans(),
            key=words,
            state=st.none() | st.sampled_from(["reserved", "done", "failed"]),
        ),
        st.builds(
            r.Settlement, key=st.sampled_from(["a", "b"]), state=st.just("done"), ok=st.just(True), output=values
        ),
        st.builds(
            r.OutcomeRow,
            call_sid=calls,
            ended_at=few.map(lambda hours: NOON + timedelta(hours=hours)),
            seq=st.none() | few,
            end_reason=words,
            verified=st.none() | st.booleans(),
        ),
    ),
    max_size=30,
)


@pytest.mark.real
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_rows)
def test_any_rows_in_any_order_have_the_same_result_in_memory_and_in_postgres(
    database_url: str, rows: list[r.Row]
) -> None:
    memory = MemoryLedger()
    waiting = deque(Entry(row, r.encode(row)) for row in rows)
    for row in rows:
        memory.record(row)
    with connect(database_url) as connection, connection.transaction(force_rollback=True):
        while waiting:
            assert write(connection, STATEMENTS, take(waiting)) == []
        for kind, table in TABLES.items():
            with connection.cursor(row_factory=class_row(kind)) as cursor:
                kept = cursor.execute(f"select {_columns(kind)} from {table} order by 1, 2").fetchall()
            assert [r.encode(row) for row in kept] == [r.encode(row) for row in memory.of(kind)]  # type: ignore[type-var]
