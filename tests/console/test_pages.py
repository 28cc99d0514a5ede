"""The console's pages with a real Postgres: an owner finds, marks, hears and exports things."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
import structlog
import trio

from relay.console.search import PAGE
from relay.console.sound import asked_bytes, sound_response
from relay.recordings.listening import NotHeard
from tests.helpers.owner_data import fill, sid
from tests.helpers.traces import delete_words

pytestmark = pytest.mark.real
HOST = {"Host": "localhost", "Origin": "http://localhost"}
CALLS = 60


class Tape:
    """A recording of 3 s. Each byte shows its position."""

    n_bytes = 96_044

    async def read(self, first: int, count: int) -> bytes:
        return bytes(n % 251 for n in range(first, first + count))


class Tapes:
    async def has_sound(self, call_sid: str, tables: dict[str, Any]) -> bool:
        return call_sid == sid(1)

    async def sound(self, call_sid: str, tables: dict[str, Any]) -> Tape | None:
        return Tape() if call_sid == sid(1) else None


@pytest.fixture
def url(database_url: str) -> str:
    fill(database_url, CALLS)
    return database_url


Open = Callable[..., Any]


async def get(opened: Open, url: str, path: str, **headers: str) -> Any:
    answer = await opened(url, recordings=Tapes()).get(path, headers={**HOST, **headers})
    assert len(await answer.get_data()) < 100_000 or path.endswith(".wav")
    return answer


async def text_of(opened: Open, url: str, path: str) -> str:
    answer = await get(opened, url, path)
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    return str(await answer.get_data(as_text=True))


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    "path", ["/", "/calls", "/messages", "/messages?show=done", "/diary", "/words", "/listen", "/outbox"]
)
async def test_every_page_has_a_text_for_an_empty_database(opened: Open, database_url: str, path: str) -> None:
    text = await text_of(opened, database_url, f"/console{path}")
    assert "None" not in re.sub(r"<[^>]+>", "", text)


async def test_the_first_page_shows_who_waits_and_what_was_booked_and_what_went_wrong_and_the_cost(
    opened: Open, url: str
) -> None:
    text = await text_of(opened, url, "/console/")
    assert "The delivery this morning was two boxes short." in text
    assert "tomorrow at seven in the evening" in text
    assert "The caller wanted a person: nobody took the call." in text
    assert "of $50.00" in text
    assert "0 of 10 listened" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=peanuts", lambda n: n % 5 == 3),
        ("q=pean", lambda n: n % 5 == 3),
        ("q=Zo%C3%AB", lambda n: (n % 7 in (1, 6) and n % 5 == 2) or (n % 6 == 1 and n % 5 == 2)),
        ("q=%2B1+212+555+0107", lambda n: n % 100 == 7 and n % 11 != 10),
        ("q=5550107", lambda n: n % 100 == 7 and n % 11 != 10),
        (f"q={sid(12)}", lambda n: n == 12),
        ("outcome=booked", lambda n: n % 7 in (1, 6)),
        ("outcome=unverified", lambda n: n % 7 == 6),
        ("end=fault", lambda n: n % 7 == 4),
        ("end=silence_cap", lambda n: n % 7 == 5),
        ("function=book_appointment", lambda n: n % 7 in (1, 6)),
        ("slow=1", lambda n: n % 5 == 0),
        ("day=2026-11-28", lambda n: 14 <= n < 38),
        ("heard=no", lambda n: True),
        ("heard=good", lambda n: False),
        ("q=%27%3B+drop+table+calls%3B--", lambda n: False),
        ("q=%25", lambda n: False),
    ],
)
async def test_a_search_finds_exactly_the_calls_that_fit(opened: Open, url: str, query: str, found: Any) -> None:
    expected = [sid(n) for n in range(CALLS) if found(n)]
    answer = await get(opened, url, f"/console/calls.csv?{query}")
    listed = [row["call_sid"] for row in csv.DictReader(io.StringIO(await answer.get_data(as_text=True)))]
    assert listed == expected
    text = await text_of(opened, url, f"/console/calls?{query}")
    assert f"{len(expected)} call{'' if len(expected) == 1 else 's'}" in text


async def test_paging_shows_every_call_once(opened: Open, url: str) -> None:
    shown: list[str] = []
    path = "/console/calls"
    while path:
        text = await text_of(opened, url, path)
        page = re.findall(r"/console/calls/(CA[0-9a-f]{32})", text)
        assert len(page) <= PAGE
        shown += page
        more = re.search(r'href="(/console/calls\?after=[^"]+)"', text)
        path = more[1].replace("&amp;", "&") if more else ""
    assert shown == [sid(n) for n in range(CALLS)]


async def test_the_page_of_a_call_shows_its_words_and_functions_and_times(opened: Open, url: str) -> None:
    text = await text_of(opened, url, f"/console/calls/{sid(1)}")
    assert "said: We are open from eleven until ten at night." in text
    assert "interrupted" in text
    assert "The agent booked" in text
    assert "1180 ms until it was heard" in text
    assert "The notice was heard" in text
    assert "+1212555" not in text  # the number is not shown in full


async def test_the_page_of_an_unknown_call_says_that_there_is_no_such_call(opened: Open, url: str) -> None:
    answer = await get(opened, url, "/console/calls/CAnone")
    assert answer.status_code == 404


async def _page_after_deletion(opened: Open, url: str, call_sid: str, *, erased: str) -> str:
    """The page of a call, as text, after the call `erased` was erased."""
    await trio.to_thread.run_sync(delete_words, url, erased)
    return " ".join(re.sub(r"<[^>]*>", " ", await text_of(opened, url, f"/console/calls/{call_sid}")).split())


async def test_the_page_of_an_erased_call_says_when_its_words_were_deleted_and_keeps_its_figures(
    opened: Open, url: str
) -> None:
    page = await _page_after_deletion(opened, url, sid(1), erased=sid(1))
    assert re.search(r"\d+:\d\d: the words of this call were deleted. No number of the caller is kept either.", page)
    assert "From hidden or deleted number Length" in page  # "Length" follows: there is no button between
    assert "No words of this call were kept" not in page
    assert "gpt-realtime-2.1-mini" in page
    assert "hidden or deleted number" in await text_of(opened, url, "/console/calls")


async def test_the_page_of_a_call_whose_words_were_kept_says_nothing_of_a_deletion(opened: Open, url: str) -> None:
    page = await _page_after_deletion(opened, url, sid(2), erased=sid(1))
    assert "were deleted" not in page
    assert "deleted number" not in page


async def test_an_erased_call_is_not_offered_to_listen_to(opened: Open, url: str) -> None:
    assert sid(CALLS - 1) in await text_of(opened, url, "/console/listen")
    await _page_after_deletion(opened, url, sid(1), erased=sid(CALLS - 1))
    assert sid(CALLS - 1) not in await text_of(opened, url, "/console/listen")


async def test_words_of_a_caller_are_not_interpreted_as_html(opened: Open, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update transcripts set said = '<script>alert(1)</script>', heard = null where seq = 10")
    assert "<script>alert" not in await text_of(opened, url, f"/console/calls/{sid(1)}")


async def test_showing_a_number_in_full_leaves_an_audit_row(opened: Open, url: str) -> None:
    answer = await opened(url).post(f"/console/calls/{sid(3)}/number", headers=HOST)
    assert "+12125550103" in await answer.get_data(as_text=True)
    assert rows(url, "select what, call_sid from audit") == [("looked at a number in full", sid(3))]


SOUND = f"/console/calls/{sid(1)}/sound.wav"
HEARD = "listened to a recording"


async def test_a_recording_can_be_requested_by_range(opened: Open, url: str) -> None:
    part = await get(opened, url, SOUND, Range="bytes=1000-1999")
    assert (part.status_code, part.headers["Content-Range"]) == (206, "bytes 1000-1999/96044")
    assert await part.get_data() == bytes(n % 251 for n in range(1000, 2000))
    tail = await get(opened, url, SOUND, Range="bytes=-44")
    assert tail.headers["Content-Range"] == "bytes 96000-96043/96044"
    assert (await get(opened, url, f"/console/calls/{sid(2)}/sound.wav")).status_code == 404


@pytest.mark.parametrize("asked", ["", "bytes=0-", "bytes=1-", "bytes=44-", "bytes=-44", "bytes=0-1", "bytes=x"])
async def test_whoever_gets_sound_leaves_an_audit_row(opened: Open, url: str, asked: str) -> None:
    answer = await get(opened, url, SOUND, **({"Range": asked} if asked else {}))
    assert answer.status_code in (200, 206)
    assert rows(url, "select what, call_sid, address from audit") == [(HEARD, sid(1), "<local>")]


async def test_the_requests_of_one_listening_leave_one_audit_row_and_a_later_listening_leaves_another(
    opened: Open, url: str
) -> None:
    for first in range(0, 96_000, 16_000):
        await get(opened, url, SOUND, Range=f"bytes={first}-")
    assert rows(url, "select what from audit") == [(HEARD,)]
    for number, change in enumerate(
        ["address = '203.0.113.7'", f"call_sid = '{sid(2)}'", "at = at - interval '16 min'"]
    ):
        with psycopg.connect(url) as connection:
            connection.execute(f"update audit set {change}".encode())
        await get(opened, url, SOUND, Range="bytes=1000-")
        assert rows(url, "select count(*) from audit") == [(2 + number,)], change


async def test_no_sound_is_sent_while_the_audit_row_cannot_be_written(opened: Open, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("alter table audit add check (what <> 'listened to a recording')")
    assert (await get(opened, url, SOUND, Range="bytes=1-")).status_code == 503


async def test_a_request_that_gets_no_sound_leaves_no_audit_row(opened: Open, url: str) -> None:
    for asked in ("bytes=96044-", "bytes=96044-96050", "bytes=-0"):
        answer = await get(opened, url, SOUND, Range=asked)
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */96044")
    head = await opened(url, recordings=Tapes()).head(SOUND, headers=HOST)
    assert (head.status_code, await head.get_data()) == (200, b"")
    assert rows(url, "select what from audit") == []


@pytest.mark.parametrize(
    "asked", ["", "seconds=0-1", "bytes=x", "bytes=9-5", "bytes=-", "bytes=+1-", "bytes=0-1,5-6", "bytes=1_0-"]
)
async def test_a_request_without_a_range_or_with_one_that_is_not_understood_gets_the_whole_file(
    opened: Open, url: str, asked: str
) -> None:
    answer = await get(opened, url, SOUND, **({"Range": asked} if asked else {}))
    assert (answer.status_code, "Content-Range" in answer.headers) == (200, False)
    assert (answer.headers["Content-Length"], answer.headers["Accept-Ranges"]) == ("96044", "bytes")
    assert await answer.get_data() == bytes(n % 251 for n in range(96_044))


class LongTape(Tape):
    """A recording of five minutes. It notes how many bytes were read at once."""

    n_bytes = 9_600_044

    def __init__(self) -> None:
        self.counts: list[int] = []

    async def read(self, first: int, count: int) -> bytes:
        self.counts.append(count)
        return await super().read(first, count)


async def test_a_long_recording_is_read_in_parts_and_sent_in_pieces_that_a_slow_line_takes_in_time() -> None:
    tape = LongTape()
    answer = await sound_response(tape, None, sid(1))
    async with answer.response as body:
        pieces = [piece async for piece in body]
    assert b"".join(pieces) == bytes(n % 251 for n in range(tape.n_bytes))
    assert max(tape.counts) == 1 << 20
    assert max(len(piece) for piece in pieces) == 65_536
    part = await sound_response(tape, asked_bytes("bytes=5-", tape.n_bytes), sid(1))
    assert part.headers["Content-Range"] == f"bytes 5-{(1 << 20) + 4}/{tape.n_bytes}"
    assert part.headers["Content-Length"] == str(1 << 20)


async def test_a_recording_that_is_damaged_in_its_middle_is_cut_there_and_the_log_names_the_call() -> None:
    class Damaged(LongTape):
        async def read(self, first: int, count: int) -> bytes:
            if first > 3_000_000:
                raise NotHeard("the recording is damaged")
            return await super().read(first, count)

    answer = await sound_response(Damaged(), None, sid(1))
    body: AsyncIterator[bytes] = aiter(answer.response)  # type: ignore[arg-type]  # Quart's type lacks the method
    for _ in range((3 << 20) // 65_536):
        await anext(body)
    with structlog.testing.capture_logs() as logs, pytest.raises(NotHeard):
        await anext(body)
    assert [(line["event"], line["call_sid"]) for line in logs] == [("console.sound_cut", sid(1))]


async def test_a_review_is_stored_and_counted_and_the_next_call_is_shown(opened: Open, url: str) -> None:
    client = opened(url)
    answer = await client.post(
        f"/console/calls/{sid(59)}/review", form={"verdict": "bad", "note": "too slow", "then": "next"}, headers=HOST
    )
    assert answer.headers["Location"] == "/console/listen"
    assert "1 of 10 listened" in await text_of(opened, url, "/console/")
    assert sid(58) in await text_of(opened, url, "/console/listen")  # the oldest call that nobody has listened to
    await client.post(f"/console/calls/{sid(59)}/review", form={"note": "slow, but right"}, headers=HOST)
    assert rows(url, "select verdict, note from reviews") == [("bad", "slow, but right")]


async def test_a_message_that_is_done_no_longer_waits_and_this_can_be_undone(opened: Open, url: str) -> None:
    client = opened(url)
    before = (await text_of(opened, url, "/console/messages")).count("<article")
    await client.post(f"/console/messages/{sid(1)}/1", form={"done": "yes"}, headers=HOST)
    assert (await text_of(opened, url, "/console/messages")).count("<article") == before - 1
    assert sid(1) in await text_of(opened, url, "/console/messages?show=done")
    await client.post(f"/console/messages/{sid(1)}/1", form={"done": "no"}, headers=HOST)
    assert (await text_of(opened, url, "/console/messages")).count("<article") == before


NOT_SENT = """insert into outbox (news, channel, call_sid, kind, body, created_at, state, tries, words)
    select 'CA' || n || '.message.1', channel, 'CA' || n, 'message', '{"name": "Jane <b>Doe", "phone": "+12125550111"}',
    now(), state, 3, 'the recipient was refused (550)'
    from generate_series(1, 2) as n, (values ('email', 'dead'), ('webhook', 'sent')) as each (channel, state)"""


async def test_a_dead_letter_is_shown_on_the_first_page_and_can_be_sent_again_with_a_button(
    opened: Open, url: str
) -> None:
    assert "could not be sent" not in await text_of(opened, url, "/console/")
    with psycopg.connect(url) as connection:
        connection.execute(NOT_SENT)
    assert "2 pieces of news could not be sent" in await text_of(opened, url, "/console/")
    text = await text_of(opened, url, "/console/outbox")
    assert text.count("Jane &lt;b&gt;Doe") == text.count("the recipient was refused (550)") == 2
    assert "+12125550111" not in text  # the number is not shown in full
    woken: list[str] = []
    client = opened(url, send_news=lambda: woken.append("woken"))
    form = {"news": "CA1.message.1", "channel": "email"}
    for expected in ("again=1", "again=0"):  # pressed twice; the second time it is no longer a dead letter
        answer = await client.post("/console/outbox/again", form=form, headers=HOST)
        assert answer.headers["Location"] == f"/console/outbox?{expected}"
    waits = "select news, channel, tries from outbox where state = 'waiting' order by news"
    assert rows(url, waits) == [("CA1.message.1", "email", 0)]
    assert rows(url, "select count(*) from outbox where state = 'sent'") == [(2,)]
    assert woken
    await client.post("/console/outbox/again", headers=HOST)
    assert [news for news, *_ in rows(url, waits)] == ["CA1.message.1", "CA2.message.1"]
    assert "Nothing was given up" in await text_of(opened, url, "/console/outbox")


async def test_the_data_of_a_call_can_be_downloaded(opened: Open, url: str) -> None:
    answer = await get(opened, url, f"/console/calls/{sid(1)}/export.json")
    taken = json.loads(await answer.get_data())
    assert taken["calls"][0]["call_sid"] == sid(1)
    assert len(taken["transcripts"]) == 6
    assert rows(url, "select what from audit") == [("took a call's data along",)]


async def test_no_cell_of_a_downloaded_table_is_a_formula(opened: Open, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update call_outcomes set outcome = '=cmd()' where call_sid = %s", [sid(0)])
    answer = await get(opened, url, "/console/calls.csv")
    first = next(csv.DictReader(io.StringIO(await answer.get_data(as_text=True))))
    assert first["outcome"] == "'=cmd()"
    assert first["from_number"] == "+12125550100"


async def test_an_empty_value_is_an_empty_cell_in_a_downloaded_table(opened: Open, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update call_outcomes set outcome = '' where call_sid = %s", [sid(0)])
        connection.execute("update calls set from_number = null where call_sid = %s", [sid(0)])
    answer = await get(opened, url, "/console/calls.csv")
    first = next(csv.DictReader(io.StringIO(await answer.get_data(as_text=True))))
    assert (first["outcome"], first["from_number"]) == ("", "")
    assert "'" not in first.values()


async def test_without_postgres_a_page_explains_what_to_do(opened: Open) -> None:
    answer = await opened("postgresql://127.0.0.1:9/none").get("/console/calls", headers=HOST)
    assert answer.status_code == 503
    assert "Postgres cannot be asked" in await answer.get_data(as_text=True)


def same(text: str) -> str:
    """A page without the parts that differ at each request, and without the cost of test calls."""
    text = re.sub(r">\s+<", "><", re.sub(r'nonce="[^"]*"', "", text))
    text = re.sub(r"<div><dt>Tests today</dt>.*?</div>", "", text)
    return re.sub(r'<progress max="50.*?</progress>', "", text)


@pytest.mark.parametrize("path", ["/", "/messages", "/messages?show=done", "/listen", "/calls"])
async def test_sixty_test_calls_change_only_the_cost_on_the_pages(opened: Open, database_url: str, path: str) -> None:
    before = await text_of(opened, database_url, f"/console{path}")
    fill(database_url, CALLS)
    with psycopg.connect(database_url) as connection:
        connection.execute("update calls set is_test = true")
        connection.execute("update messages set done_at = now() where call_sid < %s", [sid(20)])
        connection.execute("insert into reviews (call_sid, verdict) values (%s, 'good')", [sid(3)])
    after = await text_of(opened, database_url, f"/console{path}")
    assert ("Tests today" in after) == (path == "/")
    if path == "/calls":  # the filters on this page name the functions that were used
        assert "No call yet" in after
    else:
        assert same(after) == same(before)


async def test_test_calls_are_found_with_their_filter_and_each_by_its_sid(opened: Open, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("update calls set is_test = true where call_sid < %s", [sid(10)])
    assert "50 calls" in await text_of(opened, url, "/console/calls")
    tests = await text_of(opened, url, "/console/calls?tests=yes")
    assert "10 calls" in tests
    assert tests.count('<span class="tag">test</span>') == 10
    assert "1 call" in await text_of(opened, url, f"/console/calls?q={sid(3)}")
    assert '<span class="tag">test</span>' in await text_of(opened, url, f"/console/calls/{sid(3)}")
