"""The digest: news that can wait comes once a day, in one mail. Urgent news does not wait."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
import trio

from relay.ledger import rows as r
from relay.ledger.store import PostgresLedger
from relay.notify.digest import Digest
from relay.notify.letter import Item
from relay.notify.news import Caller, News
from relay.notify.outbox import Outbox

NEW_YORK = ZoneInfo("America/New_York")
JANE = Caller("Jane Doe", "+12125550111")


class Clock:
    """A clock in New York that a test sets."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = dt.datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.mark.parametrize(
    ("now", "last", "next_in_h"),
    [
        ("2026-11-24 17:59", "digest.2026-11-23", 1 / 60),
        ("2026-11-24 18:00", "digest.2026-11-24", 24),
        ("2026-11-24 23:59", "digest.2026-11-24", 18 + 1 / 60),
        ("2026-11-25 00:00", "digest.2026-11-24", 18),
        ("2026-10-31 18:00", "digest.2026-10-31", 25),  # summer time ends in this night
        ("2026-03-07 18:00", "digest.2026-03-07", 23),  # summer time begins in this night
    ],
)
def test_the_digest_is_due_at_its_time_in_the_time_zone_of_the_business(now: str, last: str, next_in_h: float) -> None:
    digest = Digest.of("18:00", NEW_YORK, Clock(now))
    assert digest is not None
    assert digest.last()[0] == last
    assert digest.next_in_s() == pytest.approx(next_in_h * 3600)


def test_east_of_greenwich_the_digest_has_the_date_of_the_business() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    now = dt.datetime(2026, 11, 24, 23, tzinfo=dt.UTC)  # 08:00 of the 25th in the zone of the business
    digest = Digest.of("07:30", tokyo, lambda: now)
    assert digest is not None
    assert digest.last() == ("digest.2026-11-25", dt.datetime(2026, 11, 25, 7, 30, tzinfo=tokyo))


def test_without_the_setting_there_is_no_digest() -> None:
    assert Digest.of("off", NEW_YORK, Clock("2026-11-24 18:00")) is None


def booking(sid: str, done: str, name: str = "17") -> r.FunctionCallRow:
    output: r.Json = {"done": done, "id": name, "when": "Thursday at ten"}
    arguments: r.Json = {"start": "2026-11-26T10:00", "service": "Haircut"}
    return r.FunctionCallRow(
        call_sid=sid, function_call_id=f"f{done}", name="book", ok=True, arguments=arguments, output=output
    )


class Day:
    """Two channels, a clock, and an outbox with the digest at 18:00."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.clock = url, folder, Clock("2026-11-24 12:00")
        self.news = News(["email", "webhook"], self.clock)
        digest = Digest.of("18:00", NEW_YORK, self.clock)
        self.outboxes = [Outbox(url, ("email", "webhook"), digest) for _ in range(2)]

    async def record(self, *rows: r.Row) -> None:
        ledger = PostgresLedger(self.url, spill_dir=self.folder / "spill")
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            for row in rows:
                ledger.record(row, *self.news.of(row, JANE))
            nursery.cancel_scope.cancel()

    async def mails(self) -> list[Item]:
        """Send the mails that are due now, and return them. Two machines try to send them at the same time."""
        found: list[Item] = []

        async def look(outbox: Outbox) -> None:
            await outbox.gather()
            while items := await outbox.claim():
                for item in items:
                    found.append(item)
                    await outbox.settle(item, "sent")

        async with trio.open_nursery() as nursery:
            for outbox in self.outboxes:
                nursery.start_soon(look, outbox)
        self.hooks = [item for item in found if item.channel == "webhook"]
        return [item for item in found if item.channel == "email"]

    async def close(self) -> None:
        for outbox in self.outboxes:
            await outbox.close()


@pytest.mark.real
async def test_a_message_is_sent_at_once_and_bookings_and_faults_come_in_the_digest(
    database_url: str, tmp_path: Path
) -> None:
    day = Day(database_url, tmp_path)
    fault = r.OutcomeRow(call_sid="CA2", ended_at=day.clock(), end_reason="relay_fault", fault="model_lost")
    message = r.MessageRow(call_sid="CA1", seq=1, text="Call me.")
    await day.record(booking("CA1", "booked"), message, fault)
    # The message is later than the booking of the same call, but it does not wait for it.
    assert [item.kind for item in await day.mails()] == ["message"]
    assert sorted(item.kind for item in day.hooks) == ["booking", "fault", "message"]
    wait_s = await day.outboxes[0].next_in_s()
    assert wait_s == pytest.approx(6 * 3600)
    day.clock.set("2026-11-24 18:00")
    (letter,) = await day.mails()
    assert (letter.kind, letter.news) == ("digest", "digest.2026-11-24")
    assert [(one.kind, one.call_sid) for one in letter.members] == [("booking", "CA1"), ("fault", "CA2")]
    assert await day.outboxes[0].next_in_s() is None
    # Later news waits for the next digest, which does not come before its time.
    await day.record(booking("CA3", "moved"))
    assert await day.mails() == []
    day.clock.set("2026-11-25 17:59")
    assert await day.mails() == []
    day.clock.set("2026-11-26 03:00")  # no machine ran at the time of the digest
    (letter,) = await day.mails()
    assert letter.news == "digest.2026-11-25"
    assert [(one.body["done"], one.sequence) for one in letter.members] == [("moved", 1)]
    day.clock.set("2026-11-26 18:00")
    assert await day.mails() == []  # a day without news has no digest
    await day.close()


@pytest.mark.real
async def test_a_digest_that_could_not_be_sent_is_tried_again_unchanged(database_url: str, tmp_path: Path) -> None:
    day = Day(database_url, tmp_path)
    await day.record(booking("CA1", "booked"))
    day.clock.set("2026-11-24 18:01")
    outbox = day.outboxes[0]
    await outbox.gather()
    (first,) = [item for item in await outbox.claim() if item.channel == "email"]
    await outbox.settle(first, "waiting", words="the mail server answered 450")
    day.clock.set("2026-11-24 17:00")
    await day.record(booking("CA2", "booked", "18"))  # older than the digest, but stored later
    day.clock.set("2026-11-24 18:02")
    (again,) = await day.mails()
    assert (again.news, again.members) == (first.news, first.members)
    day.clock.set("2026-11-25 18:00")
    (other,) = await day.mails()
    assert [one.call_sid for one in other.members] == ["CA2"]
    await day.close()


@pytest.mark.real
async def test_when_the_digest_is_switched_off_each_waiting_news_comes_in_a_mail_of_its_own(
    database_url: str, tmp_path: Path
) -> None:
    day = Day(database_url, tmp_path)
    await day.record(booking("CA1", "booked"))
    assert await day.mails() == []
    off = Outbox(database_url, ("email", "webhook"))
    await off.gather()
    assert [item.kind for item in await off.claim()] == ["booking"]
    await off.close()
    await day.close()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from outbox where kind = 'digest'").fetchone() == (0,)
