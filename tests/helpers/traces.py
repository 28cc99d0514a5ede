"""Puts a caller's words and number into every table that may hold them, and searches for them in every column."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg.sql import SQL, Identifier

from relay.recordings.stores import FolderStore
from relay.retention.erasure import Erasure, Places, Whom

NUMBER, SECRET = "+12125550901", "a secret of theirs"
OTHER = "CA" + "e" * 32  # a call of another caller, in which NUMBER is named
Connection = psycopg.Connection[tuple[object, ...]]


def leave_traces(connection: Connection, call_sid: str) -> None:
    """Change an existing call: its caller becomes NUMBER, and all its words become SECRET. Needs autocommit."""
    text = f"""
update calls set from_number = '{NUMBER}', caller_state = 'NY' where call_sid = '{call_sid}';
update transcripts set said = '{SECRET}', heard = '{SECRET}' where call_sid = '{call_sid}';
update call_outcomes set summary = '{SECRET} {NUMBER}' where call_sid = '{call_sid}';
insert into function_calls (call_sid, function_call_id, name, arguments, output, ok, key, state)
    values ('{call_sid}', 'call_9', 'take_message', '{{"message": "{SECRET}", "phone": "(212) 555-0901"}}',
    '{{"name": "{SECRET}", "phone": "{NUMBER}"}}', true, 'hash-{call_sid}', 'done');
insert into messages (call_sid, seq, name, phone, text)
    values ('{call_sid}', 9, '{SECRET}', '{NUMBER}', '{SECRET}');
insert into outbox (news, channel, call_sid, kind, body, created_at, words)
    values ('n-{call_sid}', 'email', '{call_sid}', 'message', '{{"text": "{SECRET}", "phone": "{NUMBER}"}}',
    now(), '{SECRET}');
insert into reviews (call_sid, verdict, note) values ('{call_sid}', 'bad', '{SECRET}');
insert into recordings (name, call_sid, peaks, stored_in, created_at)
    values ('2026-11-28/180000-{call_sid}-00000009.rec', '{call_sid}', '{SECRET}', 'disk', '2020-01-01');
insert into diary_resources (name, number) values ('Maria', 0) on conflict do nothing;
with made as (
    insert into appointments (service, resource, span, minutes, name, phone, notes, call_sid)
    select 'a haircut', resource, '[2037-01-05 15:00+00, 2037-01-05 15:30+00)', 30, '{SECRET}', '{NUMBER}', '{SECRET}',
        '{call_sid}' from diary_resources where name = 'Maria' returning id, resource, span)
insert into appointment_history (appointment, kind, by, call_sid, key, resource, span)
    select id, 'booked', 'caller', '{call_sid}', 'made', resource, span from made;
"""
    connection.execute(text.encode())


def name_the_number(connection: Connection) -> None:
    """Write a call of another number in which NUMBER is named, in the spellings of people and models."""
    text = f"""
insert into calls (call_sid, started_at, from_number) values ('{OTHER}', now() - interval '1 day', '+13105550177');
insert into call_outcomes (call_sid, ended_at, seconds) values ('{OTHER}', now() - interval '1 day', 60);
insert into transcripts (call_sid, seq, role, said) values
    ('{OTHER}', 1, 'caller', 'Call 212-555-0901, please.'), ('{OTHER}', 2, 'agent', 'Gladly.');
insert into function_calls (call_sid, function_call_id, name, arguments, key) values
    ('{OTHER}', 'call_1', 'book_appointment', '{{"phone": "1 (212) 555 0901"}}', 'other');
insert into messages (call_sid, seq, name, phone, text) values ('{OTHER}', 1, 'Bob', '{NUMBER}', 'Call back.'),
    ('{OTHER}', 2, 'Bob', '+13105550177', 'Unrelated: +12125550902');
insert into outbox (news, channel, call_sid, kind, body, created_at)
    values ('other', 'email', '{OTHER}', 'message', '{{"phone": "{NUMBER}"}}', now());
insert into diary_resources (name, number) values ('Maria', 0) on conflict do nothing;
insert into appointments (service, resource, span, minutes, name, phone, notes)
    select 'cut', resource, '[2037-01-01 10:00+00, 2037-01-01 10:30+00)', 30, 'Bob', '+13105550177',
        'his wife is {NUMBER}' from diary_resources where name = 'Maria';
"""
    connection.execute(text.encode())


def delete_words(url: str, call_sid: str) -> None:
    """Erase a call, as `relay erase --call` does."""
    with TemporaryDirectory() as folder:
        disk = FolderStore(Path(folder))
        Erasure(Places(url, disk, None, Path(folder), "local", 30), Whom(call_sid=call_sid)).erase()


def places(connection: Connection, text: str) -> set[tuple[str, str]]:
    """Each column of each table that holds the text, as (table, column)."""
    columns = connection.execute(
        "select table_name, column_name from information_schema.columns join information_schema.tables"
        " using (table_schema, table_name) where table_schema = 'public' and table_type = 'BASE TABLE'"
    ).fetchall()
    found = set()
    for table, column in columns:
        query = SQL(
            "select exists (select from {} as t, lateral (select t.{}::text) as c (value)"
            " where position(%(text)s in value) > 0 or position(%(hex)s in value) > 0)"
        )
        names = (Identifier(str(table)), Identifier(str(column)))
        row = connection.execute(query.format(*names), {"text": text, "hex": text.encode().hex()}).fetchone()
        if row is not None and row[0]:
            found.add((str(table), str(column)))
    return found
