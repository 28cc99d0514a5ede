"""The rows: how later ones complete earlier ones, how they are encoded, and what RECORD=off removes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ledger import rows as r

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

texts = st.text(st.characters(), max_size=40)  # includes NUL and halves of surrogate pairs
optional_texts = st.none() | texts
turns = st.builds(
    r.TranscriptRow,
    call_sid=st.just("CA1"),
    seq=st.just(1),
    role=st.sampled_from(["caller", "agent", "system"]),
    said=optional_texts,
    heard=optional_texts,
    started_ms=st.none() | st.integers(0, 600_000),
    interrupted=st.none() | st.booleans(),
    latency=st.none() | st.dictionaries(texts, texts | st.floats(), max_size=3),
)


@given(turns, turns)
def test_a_field_that_is_none_does_not_change_the_stored_value(old: r.TranscriptRow, new: r.TranscriptRow) -> None:
    merged = r.merge(old, new)
    for name in r.TranscriptRow.__slots__:
        expected = getattr(old, name) if getattr(new, name) is None else getattr(new, name)
        assert getattr(merged, name) is expected


@given(turns, turns)
def test_a_row_recorded_twice_is_one_row(old: r.TranscriptRow, new: r.TranscriptRow) -> None:
    once = r.merge(old, new)
    assert r.encode(r.merge(once, new)) == r.encode(once)


@given(turns)
def test_every_row_is_encoded_as_json_that_postgres_can_store(row: r.TranscriptRow) -> None:
    encoded = r.encode(row).decode("utf-8")
    assert "\\u0000" not in encoded.replace("\\\\", "")
    assert set(json.loads(encoded)) == set(r.TranscriptRow.__slots__)


def test_a_nul_and_half_a_surrogate_pair_become_replacement_characters() -> None:
    row = r.FunctionCallRow(call_sid="CA1", function_call_id="f", name="x", arguments={"a\x00": ["b\ud83d", "é"]})
    assert json.loads(r.encode(row))["arguments"] == {"a�": ["b�", "é"]}


def test_a_dict_changed_after_encoding_does_not_reach_the_ledger() -> None:
    arguments: r.Json = {"date": "2026-11-24"}
    row = r.FunctionCallRow(call_sid="CA1", function_call_id="f", name="x", arguments=arguments)
    encoded = r.encode(row)
    arguments["date"] = "never"
    assert b"2026-11-24" in encoded


@pytest.mark.parametrize("kind", r.ROW_TYPES)
def test_every_row_can_be_read_back_from_its_json(kind: type[r.Row]) -> None:
    given_values: dict[str, object] = {
        "call_sid": "CA1",
        "seq": 3,
        "from_ms": 1_200,
        "news": "CA1:message:1",
        "channel": "mail",
        "kind": "message",
        "body": {"text": "Call me."},
        "created_at": NOON,
        "role": "agent",
        "function_call_id": "call_1",
        "name": "book_appointment",
        "key": "k",
        "state": "done",
        "ok": True,
        "output": {"id": "a1"},
        "ended_at": NOON,
        "cost_usd": Decimal("0.123456"),
    }
    row = kind(**{name: value for name, value in given_values.items() if name in kind.__slots__})  # type: ignore[arg-type]  # whatever the kind needs
    assert msgspec.json.decode(r.encode(row), type=kind) == row


def test_a_done_function_keeps_its_first_result() -> None:
    done = r.FunctionCallRow(call_sid="CA1", function_call_id="f", name="x", state="done", ok=True, output={"id": 1})
    late = r.FunctionCallRow(
        call_sid="CA1", function_call_id="f", name="x", state="failed", ok=False, output={"error": "no"}, took_ms=9.0
    )
    merged = r.merge(done, late)
    assert (merged.state, merged.ok, merged.output, merged.took_ms) == ("done", True, {"id": 1}, 9.0)


def test_of_two_outcomes_of_a_call_the_later_one_is_stored_whatever_their_order_and_the_clock() -> None:
    asked = r.OutcomeRow(call_sid="CA1", ended_at=NOON, seq=1, end_reason="transferred", transfer_result="asked")
    set_back = NOON - timedelta(seconds=60)
    accepted = r.OutcomeRow(call_sid="CA1", ended_at=set_back, seq=2, transfer_result="accepted")
    assert r.merge(asked, accepted) == r.merge(accepted, asked)
    assert r.merge(asked, accepted) == r.OutcomeRow(
        call_sid="CA1", ended_at=set_back, seq=2, end_reason="transferred", transfer_result="accepted"
    )


def test_the_row_of_the_later_stream_is_stored_whichever_of_the_two_rows_comes_first() -> None:
    first = r.CallRow(call_sid="CA1", machine="a", started_at=NOON, resumed=0)
    second = r.CallRow(call_sid="CA1", machine="b", resumed=1)
    assert r.merge(first, second) == r.merge(second, first)
    assert r.merge(first, second) == r.CallRow(call_sid="CA1", machine="b", started_at=NOON, resumed=1)


def test_a_row_without_words_has_no_spoken_text() -> None:
    turn = r.TranscriptRow(call_sid="CA1", seq=1, role="caller", said="SECRET", heard="SECRET", started_ms=5)
    look_up = r.FunctionCallRow(
        call_sid="CA1", function_call_id="f", name="x", arguments={"n": "SECRET"}, output={"n": "SECRET"}, took_ms=3.0
    )
    outcome = r.OutcomeRow(call_sid="CA1", ended_at=NOON, summary="SECRET", outcome="booked", cost_usd=Decimal("0.1"))
    for row in (turn, look_up, outcome):
        assert b"SECRET" not in r.encode(r.without_words(row))
    assert r.without_words(turn) == r.TranscriptRow(call_sid="CA1", seq=1, role="caller", started_ms=5)
    kept = r.without_words(outcome)
    assert isinstance(kept, r.OutcomeRow)
    assert (kept.outcome, kept.cost_usd) == ("booked", Decimal("0.1"))


def test_a_row_without_words_keeps_the_result_of_a_function_that_writes_so_that_nothing_is_done_twice() -> None:
    row = r.FunctionCallRow(
        call_sid="CA1", function_call_id="f", name="x", key="k", arguments={"n": 1}, output={"id": 1}
    )
    kept = r.without_words(row)
    assert isinstance(kept, r.FunctionCallRow)
    assert (kept.arguments, kept.output) == (None, {"id": 1})


def test_rows_that_wait_have_precedence_over_rows_in_the_database() -> None:
    stored = r.SeenCall(call_sid="CA1", resumed=1, started_at=NOON)
    outcome = r.OutcomeRow(call_sid="CA1", ended_at=NOON, end_reason="agent_ended")
    other = r.OutcomeRow(call_sid="CA2", ended_at=NOON, end_reason="fault")
    seen = r.seen("CA1", stored, [outcome, other])
    assert seen == r.SeenCall(call_sid="CA1", resumed=1, started_at=NOON, ended_at=NOON, end_reason="agent_ended")
    assert r.seen("CA3", None, [outcome, other]) is None


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 11, 1), 25), (date(2026, 3, 8), 23), (date(2026, 7, 1), 24)])
def test_the_length_of_a_day_follows_the_time_zone_of_the_business(day: date, hours: int) -> None:
    since, until = r.day_bounds(day, ZoneInfo("America/New_York"))
    assert until.timestamp() - since.timestamp() == hours * 3600
