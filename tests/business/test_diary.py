"""The diary in memory and the diary in Postgres behave in the same way. In Postgres, several writers at the same moment
do no harm.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio

from relay.business.bookings import Bookings, Deed, KeyReused, NoSuchAppointment, NotFree, Wish
from relay.business.diary import Appointment, Block, Change, Diary, DiaryUnavailable, MemoryDiary, MemoryStore
from relay.business.diary_postgres import PostgresDiary
from relay.business.file import load, parse
from relay.business.opening import minute_of, moment_of
from relay.business.rules import Resource
from relay.settings.shipped import folder
from tests.helpers.business_play import CALLER, OTHER, local

BARBER = load(folder("prompts") / "business.barber.toml")
TEN = minute_of(local("2026-11-26T10:00", BARBER.tz))  # a Thursday
NOW = TEN - 24 * 60
LIMIT_S = 10.0


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
async def diary(request: pytest.FixtureRequest) -> AsyncIterator[Diary]:
    if request.param == "memory":
        yield MemoryDiary()
        return
    async with postgres(request.getfixturevalue("database_url")) as diary:
        yield diary


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[PostgresDiary]:
    diary = PostgresDiary(url)
    try:
        yield diary
    finally:
        await diary.close()


async def book(
    diary: Diary, start: int = TEN, *, key: str = "k1", who: str = "", service: str = "haircut", notes: str = ""
) -> Appointment:
    wish = Wish(service, start, "Dana Reed", CALLER, notes, who)
    return await diary.write(lambda store: Bookings(BARBER).book(store, NOW, wish, Deed(key, "CA1")), limit_s=LIMIT_S)


async def test_a_booking_is_found_by_its_phone_number_and_time(diary: Diary) -> None:
    made = await book(diary, notes="Short at the sides.")
    assert (made.resource, made.span) == (Resource("Maria"), (TEN, TEN + 35))
    assert await diary.read(lambda store: store.of_phone(CALLER, NOW), limit_s=LIMIT_S) == [made]
    assert await diary.read(lambda store: store.of_phone(CALLER, TEN), limit_s=LIMIT_S) == []
    assert await diary.read(lambda store: store.listed((TEN, TEN + 1)), limit_s=LIMIT_S) == [made]
    assert await diary.read(lambda store: store.last_name(CALLER), limit_s=LIMIT_S) == "Dana Reed"
    assert await diary.read(lambda store: store.last_name(OTHER), limit_s=LIMIT_S) == ""
    assert made.notes == "Short at the sides."


async def test_the_same_key_gets_the_first_answer_even_after_the_appointment_was_moved(diary: Diary) -> None:
    first = await book(diary)
    reception = Bookings(BARBER)
    moved = await diary.write(lambda store: reception.move(store, NOW, first.id, TEN + 60, Deed("k2")), limit_s=LIMIT_S)
    assert (moved.id, moved.start_min) == (first.id, TEN + 60)
    assert await book(diary) == first
    with pytest.raises(KeyReused):
        await diary.write(lambda store: reception.cancel(store, first.id, Deed("k2")), limit_s=LIMIT_S)


async def test_a_cancellation_is_stored_under_its_key_but_a_refusal_is_not(diary: Diary) -> None:
    reception, first, _ = Bookings(BARBER), await book(diary), await book(diary, key="k2")
    with pytest.raises(NotFree, match="taken"):
        await book(diary, key="k3")
    for _ in range(2):
        gone = await diary.write(lambda store: reception.cancel(store, first.id, Deed("k4")), limit_s=LIMIT_S)
        assert gone.state == "cancelled"
    with pytest.raises(NoSuchAppointment):
        await diary.write(lambda store: reception.cancel(store, first.id, Deed("k5")), limit_s=LIMIT_S)
    assert (await book(diary, key="k3")).resource == first.resource


async def test_an_appointment_can_be_moved_to_a_time_that_overlaps_its_old_time_and_keeps_its_person(
    diary: Diary,
) -> None:
    made = await book(diary, who="Tom")
    moved = await diary.write(
        lambda store: Bookings(BARBER).move(store, NOW, made.id, TEN + 15, Deed("k2")), limit_s=LIMIT_S
    )
    assert (moved.resource, moved.start_min) == (Resource("Tom"), TEN + 15)


async def test_nobody_can_book_a_person_in_a_blocked_time_until_the_block_is_removed(diary: Diary) -> None:
    block = Block((TEN, TEN + 60), "Maria", "dentist")
    block_id = await diary.write(lambda store: store.block(block), limit_s=LIMIT_S)
    with pytest.raises(NotFree, match=r"Maria is not free.*Free then: Tom"):
        await book(diary, who="Maria")
    assert (await book(diary, TEN + 60, who="Maria")).resource == Resource("Maria")
    (found,) = await diary.read(lambda store: store.blocks((TEN, TEN + 1)), limit_s=LIMIT_S)
    assert found == replace(block, id=block_id)
    assert await diary.write(lambda store: store.unblock(block_id), limit_s=LIMIT_S)
    assert not await diary.write(lambda store: store.unblock(block_id), limit_s=LIMIT_S)
    await book(diary, key="k2", who="Maria")


async def test_a_new_block_never_replaces_another_one(diary: Diary) -> None:
    spans = [(TEN + 60 * hour, TEN + 60 * hour + 60) for hour in range(3)]
    first = await diary.write(lambda store: store.block(Block(spans[0])), limit_s=LIMIT_S)
    second = await diary.write(lambda store: store.block(Block(spans[1])), limit_s=LIMIT_S)
    assert await diary.write(lambda store: store.unblock(first), limit_s=LIMIT_S)
    third = await diary.write(lambda store: store.block(Block(spans[2])), limit_s=LIMIT_S)
    found = await diary.read(lambda store: store.blocks((TEN, TEN + 240)), limit_s=LIMIT_S)
    assert [(each.id, each.span) for each in found] == [(second, spans[1]), (third, spans[2])]


def test_in_morocco_where_the_clocks_change_twice_in_six_weeks_no_time_is_offered_twice() -> None:
    text = """
name = "Rooms"
timezone = "Africa/Casablanca"
[hours]
mon-sun = "00:00-24:00"
[places]
room = 1
[[services]]
name = "rehearsal"
minutes = 30
places = "room"
ahead_days = 90
"""
    rooms = parse(text)
    now = minute_of(local("2025-02-20T10:00", rooms.tz))
    free = Bookings(rooms).free(MemoryStore(), now, "rehearsal", dt.date(2025, 2, 21), dt.date(2025, 4, 9))
    shown = [moment_of(each, rooms.tz).replace(tzinfo=None) for each in free]
    assert len(shown) > 40 * 48
    assert len(set(shown)) == len(shown)


async def test_the_id_of_a_block_cancels_no_appointment_and_the_id_of_an_appointment_removes_no_block(
    diary: Diary,
) -> None:
    made = await book(diary)
    block_id = await diary.write(lambda store: store.block(Block((TEN + 600, TEN + 660))), limit_s=LIMIT_S)
    assert made.id.partition("_")[2] == block_id.partition("_")[2]
    with pytest.raises(NoSuchAppointment):
        await diary.write(lambda store: Bookings(BARBER).cancel(store, block_id, Deed("k2")), limit_s=LIMIT_S)
    assert not await diary.write(lambda store: store.unblock(made.id), limit_s=LIMIT_S)


async def test_nobody_can_book_anybody_while_the_whole_business_is_blocked(diary: Diary) -> None:
    await diary.write(lambda store: store.block(Block((TEN, TEN + 60))), limit_s=LIMIT_S)
    with pytest.raises(NotFree):
        await book(diary)


@pytest.mark.real
async def test_each_change_writes_one_row_with_its_call_and_without_the_callers_words(database_url: str) -> None:
    async with postgres(database_url) as diary:
        made = await book(diary, notes="A secret.")
        reception = Bookings(BARBER)
        await diary.write(
            lambda store: reception.move(store, NOW, made.id, TEN + 60, Deed("k2", "CA2")), limit_s=LIMIT_S
        )
        await diary.write(
            lambda store: reception.cancel(store, made.id, Deed("", by="owner", anyway=True)), limit_s=LIMIT_S
        )
    with psycopg.connect(database_url) as connection:
        history = connection.execute("select kind, by, call_sid, key from appointment_history order by id").fetchall()
        everything = str(connection.execute("select * from appointment_history").fetchall())
    assert history == [
        ("booked", "caller", "CA1", "k1"), ("moved", "caller", "CA2", "k2"), ("cancelled", "owner", None, None)
    ]  # fmt: skip
    assert not any(words in everything for words in ("secret", "Dana", CALLER))


@pytest.mark.real
async def test_the_database_itself_refuses_a_second_booking_of_one_person_at_one_time(database_url: str) -> None:
    async with postgres(database_url) as diary:
        made = await book(diary)
        for start, refused in ((TEN + 34, True), (TEN - 34, True), (TEN + 35, False), (TEN - 35, False)):
            other = replace(made, id="", start_min=start)
            change = Change("booked", other, "")
            if refused:
                with pytest.raises(DiaryUnavailable, match="ExclusionViolation"):
                    await diary.write(lambda store, change=change: store.keep(change), limit_s=LIMIT_S)  # type: ignore[misc]
            else:
                await diary.write(lambda store, change=change: store.keep(change), limit_s=LIMIT_S)  # type: ignore[misc]


@pytest.mark.real
def test_when_several_callers_book_the_last_free_time_at_once_one_gets_it_and_the_others_get_alternatives(
    database_url: str,
) -> None:
    got: list[Appointment | list[int]] = []
    together = threading.Barrier(6)

    async def one(number: int) -> None:
        async with postgres(database_url) as diary:
            await diary.read(lambda store: store.last_name(""), limit_s=LIMIT_S)  # opens the connection
            together.wait(20)
            try:
                got.append(await book(diary, key=f"k{number}", who="Tom"))
            except NotFree as no:
                got.append(no.alternatives)

    threads = [threading.Thread(target=trio.run, args=(one, number)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(isinstance(each, Appointment) for each in got) == 1
    assert sorted(len(each) for each in got if isinstance(each, list)) == [3] * 5


@pytest.mark.real
async def test_the_error_of_an_unreachable_diary_has_no_name_or_number_of_the_caller(tmp_path: Path) -> None:
    async with postgres(f"postgresql://postgres@/postgres?host={tmp_path}&port=5432") as diary:
        with pytest.raises(DiaryUnavailable) as caught:
            await book(diary)
    assert "Dana" not in caught.value.words
    assert CALLER not in caught.value.words
