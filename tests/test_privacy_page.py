"""The SQL of docs/privacy.md that erases a caller."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.helpers.owner_data import fill, sid

PAGE = Path(__file__).parents[1] / "docs" / "privacy.md"
NUMBER, WORDS = "+12125550101", "a secret of theirs"
CALL = sid(3)  # has a transcript and a booking
TRACES = f"""
update calls set from_number = '{NUMBER}' where call_sid = '{CALL}';
update transcripts set said = '{WORDS}', heard = '{WORDS}' where call_sid = '{CALL}';
update call_outcomes set summary = '{WORDS}' where call_sid = '{CALL}';
insert into function_calls (call_sid, function_call_id, name, arguments)
    values ('{CALL}', 'call_9', 'take_message', '{{"message": "{WORDS}"}}');
insert into messages (call_sid, seq, phone, text) values ('{CALL}', 9, '{NUMBER}', '{WORDS}');
insert into outbox (news, channel, call_sid, kind, body, created_at)
    values ('n', 'email', '{CALL}', 'message', '{{"text": "{WORDS}", "phone": "{NUMBER}"}}', now());
insert into reviews (call_sid, note) values ('{CALL}', '{WORDS}');
insert into recordings (name, call_sid, peaks) values ('x-{CALL}-1.rec', '{CALL}', '{WORDS}');
insert into diary_resources (name, number) values ('Maria', 0);
insert into appointments (service, resource, span, minutes, name, phone, notes)
    select 'cut', resource, '[2027-01-01 10:00+00, 2027-01-01 10:30+00)', 30, 'X', '{NUMBER}', '{WORDS}'
    from diary_resources;
"""


def traces(connection: psycopg.Connection[tuple[object, ...]]) -> set[str]:
    """The tables that hold the number or the words in any column."""
    found = set()
    tables = "select tablename from pg_tables where schemaname = 'public'"
    for (table,) in connection.execute(tables).fetchall():
        query = SQL("select count(*) from {} as t where position(%s in t::text) > 0 or position(%s in t::text) > 0")
        shown = WORDS.encode().hex() if table == "recordings" else WORDS
        row = connection.execute(query.format(Identifier(str(table))), (NUMBER, shown)).fetchone()
        if row is not None and row[0]:
            found.add(str(table))
    return found


@pytest.mark.real
def test_the_sql_of_the_page_leaves_neither_the_number_nor_a_word_of_the_caller(database_url: str) -> None:
    (erase,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    fill(database_url, 5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TRACES.encode())
        assert len(traces(connection)) == 9, "a table with nothing of theirs proves nothing"
        calls_before = connection.execute("select count(*) from calls").fetchone()
        connection.execute(erase.encode())
        assert traces(connection) == set()
        assert connection.execute("select count(*) from calls").fetchone() == calls_before
