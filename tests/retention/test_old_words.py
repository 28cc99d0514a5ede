"""Words and numbers that are older than RETENTION_DAYS_WORDS, in a real Postgres."""

from __future__ import annotations

import datetime as dt
import os
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from relay.ledger.port import LedgerUnavailable
from relay.retention import old_words
from relay.retention.old_words import OldWords
from tests.helpers.owner_data import NOW, fill, sid
from tests.helpers.traces import NUMBER, SECRET, leave_traces, places

pytestmark = pytest.mark.real

Connection = psycopg.Connection[tuple[object, ...]]


async def _delete(words: OldWords, before: dt.datetime) -> int:
    calls = 0
    while (deleted := await words.delete_next(before)) is not None:
        calls += deleted
    return calls


@pytest.fixture
def words(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OldWords:
    monkeypatch.setattr(old_words, "GROUP", 3)
    return OldWords(database_url, tmp_path)


async def test_of_old_calls_only_the_figures_are_left_and_young_calls_are_not_changed(
    database_url: str, words: OldWords
) -> None:
    fill(database_url, 12)  # one an hour
    before = NOW - timedelta(hours=5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        leave_traces(connection, sid(7))
        figures = "select call_sid, seconds, cost_usd, cost, end_reason, outcome from call_outcomes order by 1"
        ran = "select call_sid, name, ok, took_ms from function_calls order by 1, 2"
        kept = [connection.execute(query).fetchall() for query in (figures, ran)]
        young = connection.execute("select * from transcripts order by 1, 2").fetchall()
        young = [row for row in young if row[0] in {sid(number) for number in range(5)}]
        assert await _delete(words, before) == 7
        assert [connection.execute(query).fetchall() for query in (figures, ran)] == kept
        assert connection.execute("select * from transcripts order by 1, 2").fetchall() == young
        numbers = connection.execute("select from_number, words_deleted_at from calls where started_at < %s", [before])
        assert {(number, at is not None) for number, at in numbers} == {(None, True)}
        at = "select count(*) from calls where started_at >= %s and words_deleted_at is null"
        assert connection.execute(at, [before]).fetchone() == (5,)
        # Recordings and future appointments are not deleted by the age of their call.
        left = {table for table, _ in places(connection, NUMBER) | places(connection, SECRET)}
        assert left == {"appointments", "recordings"}
    await words.close()


async def test_appointments_and_news_older_than_the_limit_are_deleted_and_later_ones_are_not(
    database_url: str, words: OldWords
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into diary_resources (name, number) values ('Maria', 0);"
            "insert into appointments (service, resource, span, minutes, name, phone, created_at)"
            " select 'cut', resource, tstzrange(at, at + interval '30 min'), 30, 'X', '+1', '2020-01-01'"
            " from diary_resources, unnest(array['2025-11-01 10:00+00', '2025-12-01 10:00+00', '2030-01-01 10:00+00']"
            "::timestamptz[]) as at;"
            "insert into outbox (news, channel, kind, body, created_at) values"
            " ('old', 'email', 'digest', '{}', '2025-11-01'), ('young', 'email', 'digest', '{}', '2026-11-01');"
        )
        await _delete(words, NOW - timedelta(days=365))
        starts = connection.execute("select lower(span)::date::text from appointments order by 1").fetchall()
        assert starts == [("2025-12-01",), ("2030-01-01",)]
        assert connection.execute("select news from outbox").fetchall() == [("young",)]
    await words.close()


async def test_words_of_an_old_call_that_come_late_are_deleted_at_the_next_look(
    database_url: str, words: OldWords
) -> None:
    fill(database_url, 6)
    assert await _delete(words, NOW) == 6
    assert await _delete(words, NOW) == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into transcripts (call_sid, seq, role, said) values (%s, 9, 'caller', 'hm')", [sid(4)]
        )
        assert await _delete(words, NOW) == 1
        assert connection.execute("select count(*) from transcripts").fetchone() == (0,)
    await words.close()


async def test_the_oldest_words_are_those_of_the_oldest_call_that_still_has_words(
    database_url: str, words: OldWords
) -> None:
    assert await words.oldest(old_words.BEGINNING[0]) is None
    fill(database_url, 8)
    before = NOW - timedelta(hours=3)
    await _delete(words, before)
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select min(started_at) from calls where started_at >= %s", [before]).fetchone()
    assert row is not None
    assert await words.oldest(before) == row[0]
    assert await words.oldest(old_words.BEGINNING[0]) == row[0]
    await words.close()


async def test_tables_that_are_not_migrated_yet_are_reported_with_what_to_do(
    empty_database_url: str, tmp_path: Path
) -> None:
    words = OldWords(empty_database_url, tmp_path)
    with pytest.raises(LedgerUnavailable, match="relay migrate"):
        await words.delete_next(NOW)
    await words.close()


async def test_old_files_of_refused_rows_are_deleted_and_young_ones_are_not(words: OldWords, tmp_path: Path) -> None:
    for name, changed_at in (("refused-1.jsonl", NOW - timedelta(days=1)), ("refused-2.jsonl", NOW)):
        (tmp_path / name).write_text("words")
        os.utime(tmp_path / name, (0, changed_at.timestamp()))
    assert await words.delete_files(NOW) == 1
    assert os.listdir(tmp_path) == ["refused-2.jsonl"]
    await words.close()
