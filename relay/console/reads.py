"""Reads from Postgres for the console, and writes the console's few rows.

The console has a thread and a connection of its own. So a slow search by the owner does not delay the rows of calls.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg
import trio
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier

from relay.console.search import PAGE, Question
from relay.console.wording import NOT_TAKEN
from relay.ledger import statements
from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, PostgresThread, words_of
from relay.ledger.statements import SQL_DIR

LIMIT_S = 5.0
IDLE_LOOK_S = 20.0
CSV_ROWS = 10_000
FIRST_CALLS = 10
LISTENING = dt.timedelta(minutes=15)  # Requests for the same recording within this time are one listening.

Row = dict[str, Any]
Result = TypeVar("Result")

TABLES_OF_CALL = {
    "calls": "call_sid",
    "consents": "seq",
    "transcripts": "seq",
    "function_calls": "recorded_at",
    "messages": "seq",
    "call_outcomes": "call_sid",
    "reviews": "call_sid",
    "recordings": "started_ms",
    "recording_pauses": "from_ms",
}

_COLUMNS = SQL("""
    c.call_sid, c.started_at, c.from_number, o.seconds, o.turns, o.cost_usd, o.end_reason, o.fault, o.outcome,
    o.verified, o.transfer_result, o.latency_p95_ms, r.verdict, c.is_test, c.words_deleted_at""")
_FROM = SQL(" from calls c left join call_outcomes o using (call_sid) left join reviews r using (call_sid) ")
_NAME_OF = """
    select distinct on (call_sid) call_sid, coalesce(nullif(arguments ->> 'name', ''), output ->> 'name') as name
    from function_calls
    where call_sid = any(%(sids)s) and coalesce(nullif(arguments ->> 'name', ''), output ->> 'name') is not null
    order by call_sid, recorded_at desc"""
_BOOKED = """
    select f.call_sid, f.name as function, f.arguments, f.output, f.recorded_at
    from function_calls f
    left join calls c using (call_sid)
    where f.recorded_at >= %(since)s and f.ok and f.name = any(%(functions)s) and c.is_test is not true
    order by f.recorded_at desc limit 50"""
BOOKINGS = ["book_appointment", "cancel_or_move_appointment"]


class Reads:
    """The queries of the pages. Each query raises LedgerUnavailable if Postgres does not answer it."""

    def __init__(self, url: str) -> None:
        self._thread = PostgresThread(url)
        self._outbox = statements.read(SQL_DIR / "outbox.sql")

    async def _use(self, work: Callable[[Connection], Result], *, again: bool = True) -> Result:
        try:
            return await self._thread.use(work, limit_s=LIMIT_S, again=again)
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    async def _rows(self, query: str | Composable, values: Mapping[str, object] | None = None) -> list[Row]:
        return await self._use(lambda connection: _fetch(connection, query, values))

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close(limit_s=1.0)

    async def keep_idle_closed(self) -> None:
        """Close the connection whenever it is not used for a while. A hosted database can then sleep.

        Runs until cancelled.
        """
        while True:
            await trio.sleep(IDLE_LOOK_S)
            await self._thread.close_if_idle()

    # Calls

    async def calls(self, asked: Question, tz: dt.tzinfo) -> tuple[list[Row], int]:
        """A page of calls, newest first, and the number of all calls that match.

        One row more than a page is read, to know whether there is a next page.
        """
        where, values = asked.conditions(tz)
        beyond, key = asked.beyond()
        listed = SQL("select {} {} where {} and {} order by c.started_at desc, c.call_sid desc limit {}").format(
            _COLUMNS, _FROM, where, beyond, SQL(str(PAGE + 1))
        )
        counted = SQL("select count(*) as n {} where {}").format(_FROM, where)

        def work(connection: Connection) -> tuple[list[Row], int]:
            found = _fetch(connection, listed, {**values, **key})
            _add_names(connection, found)
            return found, int(_fetch(connection, counted, values)[0]["n"])

        return await self._use(work)

    async def every_call(self, asked: Question, tz: dt.tzinfo) -> list[Row]:
        """For a CSV file: the calls of a search, newest first, at most CSV_ROWS."""
        where, values = asked.conditions(tz)
        query = SQL("select {} {} where {} order by c.started_at desc, c.call_sid desc limit {}")
        return await self._rows(query.format(_COLUMNS, _FROM, where, SQL(str(CSV_ROWS))), values)

    async def call(self, call_sid: str) -> dict[str, list[Row]]:
        """The rows of a call: a list for each table of TABLES_OF_CALL. The lists are empty if the call is not known."""

        def work(connection: Connection) -> dict[str, list[Row]]:
            found = {}
            for table, order in TABLES_OF_CALL.items():
                query = SQL("select * from {} where call_sid = %(sid)s order by {}")
                found[table] = _fetch(connection, query.format(Identifier(table), Identifier(order)), {"sid": call_sid})
            return found

        return await self._use(work)

    async def number_of(self, call_sid: str) -> str | None:
        """The caller's number in full. None if the call is not known, or its number is not."""
        found = await self._rows("select from_number from calls where call_sid = %(sid)s", {"sid": call_sid})
        return found[0]["from_number"] if found else None

    async def functions(self) -> list[str]:
        """The names of the functions that calls have used so far."""
        rows = await self._rows(
            "with recursive t as ((select min(name) as name from function_calls) union all "
            "select (select min(name) from function_calls where name > t.name) from t where t.name is not null) "
            "select name from t where name is not null"
        )
        return [row["name"] for row in rows]

    # Today

    async def today(self, day: dt.date, tz: dt.tzinfo) -> dict[str, Any]:
        """What the page Today shows. All of it is read in one transaction."""
        since = dt.datetime.combine(day, dt.time(), tz)
        month = dt.datetime.combine(day.replace(day=1), dt.time(), tz)
        values = {"since": since, "month": month, "functions": BOOKINGS, "not_taken": list(NOT_TAKEN)}

        def work(connection: Connection) -> dict[str, Any]:
            wrong = SQL(
                "select {} {} where c.started_at >= %(since)s and c.is_test is not true and (o.fault is not null "
                "or o.verified is false or o.transfer_result = any(%(not_taken)s)) "
                "order by c.started_at desc limit 20"
            ).format(_COLUMNS, _FROM)
            return {
                "messages": _fetch(connection, _OPEN_MESSAGES, {"limit": 5}),
                "open": _fetch(connection, _COUNT_OPEN)[0]["n"],
                "dead": _fetch(connection, "select count(*) as n from outbox where state = 'dead'")[0]["n"],
                "bookings": _fetch(connection, _BOOKED, values),
                "wrong": _fetch(connection, wrong, values),
                "calls": _fetch(
                    connection,
                    "select count(*) as n, count(*) filter (where o.outcome like '%%booked%%') as booked "
                    "from calls c left join call_outcomes o using (call_sid) "
                    "where c.started_at >= %(since)s and c.is_test is not true",
                    values,
                )[0],
                "usd": _fetch(
                    connection,
                    "select coalesce(sum(cost_usd) filter (where ended_at >= %(since)s and not is_test), 0) as day, "
                    "coalesce(sum(cost_usd) filter (where ended_at >= %(since)s and is_test), 0) as tests, "
                    "coalesce(sum(cost_usd) filter (where not is_test), 0) as month from (select o.cost_usd, "
                    "o.ended_at, coalesce(c.is_test, false) as is_test from call_outcomes o "
                    "left join calls c using (call_sid) where o.ended_at >= %(month)s) as ended",
                    values,
                )[0],
                "listened": _fetch(connection, _LISTENED, {"first": FIRST_CALLS})[0],
            }

        return await self._use(work)

    # What the owner does

    async def messages(self, *, done: bool) -> list[Row]:
        """At most 100 messages: those that wait, oldest first, or those that were done last."""
        query = _DONE_MESSAGES if done else _OPEN_MESSAGES
        return await self._rows(query, {"limit": 100})

    async def set_done(self, call_sid: str, seq: int, done: bool) -> bool:
        """Mark a message as done, or as waiting again. Returns False if there is no such message."""
        query = (
            "update messages set done_at = case when %(done)s then clock_timestamp() end "
            "where call_sid = %(sid)s and seq = %(seq)s returning call_sid"
        )
        return bool(await self._rows(query, {"sid": call_sid, "seq": seq, "done": done}))

    async def dead_letters(self) -> list[Row]:
        """The dead letters, newest first, at most 100."""
        return await self._rows(self._outbox["dead"].decode())

    async def send_again(self, news: str | None, channel: str | None) -> int:
        """Let a dead letter wait again, or all dead letters if `news` is None. Returns how many were changed."""
        values = {"news": news, "channel": channel, "channels": None}
        return len(await self._rows(self._outbox["again"].decode(), values))

    async def review(self, call_sid: str, verdict: str | None, note: str | None) -> None:
        """Store the owner's verdict and note on a call. If a value is None, the earlier value stays."""
        await self._rows(
            "insert into reviews as t (call_sid, verdict, note) values (%(sid)s, %(verdict)s, %(note)s) "
            "on conflict (call_sid) do update set verdict = coalesce(excluded.verdict, t.verdict), "
            "note = coalesce(excluded.note, t.note), reviewed_at = clock_timestamp() returning call_sid",
            {"sid": call_sid, "verdict": verdict, "note": note},
        )

    async def to_listen(self, skip: str = "") -> tuple[Row | None, Row]:
        """The call that the owner should listen to next, and how many calls have a verdict.

        The next call is the oldest call that has words but no verdict (_NEXT_TO_LISTEN).
        """

        def work(connection: Connection) -> tuple[Row | None, Row]:
            rows = _fetch(connection, _NEXT_TO_LISTEN, {"skip": skip})
            return (rows[0] if rows else None), _fetch(connection, _LISTENED, {"first": FIRST_CALLS})[0]

        return await self._use(work)

    async def audit(self, what: str, call_sid: str, address: str) -> None:
        """Write down who looked at what, or ordered what. Raises LedgerUnavailable.

        If this raises, a page that shows data of callers must show nothing.
        """
        await self._rows(
            "insert into audit (what, call_sid, address) values (%(what)s, %(sid)s, %(address)s) returning id",
            {"what": what, "sid": call_sid, "address": address},
        )

    async def audit_listening(self, call_sid: str, address: str) -> None:
        """Write down that somebody listens to a recording. Raises LedgerUnavailable, as `audit` does.

        A browser sends dozens of requests for one recording. So an address gets one row for a call in LISTENING.
        """
        await self._rows(_LISTENS, {"sid": call_sid, "address": address, "within": LISTENING})


_LISTENS = """
    insert into audit (what, call_sid, address)
    select 'listened to a recording', %(sid)s::text, %(address)s::text where not exists (
        select from audit where at > clock_timestamp() - %(within)s and what = 'listened to a recording'
        and call_sid = %(sid)s and address = %(address)s)
    returning id"""
_OPEN_MESSAGES = """
    select m.call_sid, m.seq, m.name, m.phone, m.text, m.created_at, m.done_at, c.from_number
    from messages m left join calls c using (call_sid) where m.done_at is null and c.is_test is not true
    order by m.created_at limit %(limit)s"""
_COUNT_OPEN = """
    select count(*) as n from messages m left join calls c using (call_sid)
    where m.done_at is null and c.is_test is not true"""
_DONE_MESSAGES = """
    select m.call_sid, m.seq, m.name, m.phone, m.text, m.created_at, m.done_at, c.from_number
    from messages m left join calls c using (call_sid)
    where m.done_at is not null and c.is_test is not true
    order by m.done_at desc limit %(limit)s"""
# A call with at most one turn has nothing to hear or to read. A call whose words were deleted has nothing either.
_NEXT_TO_LISTEN = """
    select c.call_sid from calls c join call_outcomes o using (call_sid) left join reviews r using (call_sid)
    where r.verdict is null and o.turns > 1 and c.call_sid <> %(skip)s and c.is_test is not true
        and c.words_deleted_at is null
    order by c.started_at limit 1"""
_LISTENED = """
    select (select count(*) from reviews r left join calls c using (call_sid)
    where r.verdict is not null and c.is_test is not true) as done, %(first)s::int as of,
    exists (select from calls where is_test is not true) as any"""


def _fetch(connection: Connection, query: str | Composable, values: Mapping[str, object] | None = None) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        # The query comes from this file, search.py or outbox.sql, never from the user.
        cursor.execute(query, values)  # type: ignore[arg-type]
        return cursor.fetchall()


def _add_names(connection: Connection, found: list[Row]) -> None:
    names = {
        row["call_sid"]: row["name"] for row in _fetch(connection, _NAME_OF, {"sids": [r["call_sid"] for r in found]})
    }
    for row in found:
        row["name"] = names.get(row["call_sid"])
