"""The outbox: news is stored in one transaction with its row, and sent at least once, in order, by one machine."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import structlog
import trio

from relay.cli import main
from relay.ledger import rows as r
from relay.ledger.batch import take
from relay.ledger.spill import Entry, Spill
from relay.ledger.store import PostgresLedger
from relay.notify import delivery
from relay.notify.commands import show_outbox
from relay.notify.delivery import Delivery
from relay.notify.letter import Item
from relay.notify.news import Caller, News
from relay.notify.outbox import Outbox, send_again
from relay.notify.sending import NotSent
from relay.telemetry.metrics import Metrics
from tests.helpers.receiver import SECRET, Receiver

real = pytest.mark.real
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NEWS = News(["webhook"], lambda: NOW)


def message(sid: str, seq: int) -> r.MessageRow:
    return r.MessageRow(call_sid=sid, seq=seq, name="Jane", phone="+1", text=f"message {seq}")


async def fill(url: str, folder: Path, rows: list[r.MessageRow]) -> None:
    ledger = PostgresLedger(url, spill_dir=folder / "spill")
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        for row in rows:
            ledger.record(row, *NEWS.of(row, Caller()))
        nursery.cancel_scope.cancel()


def states(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select news, state from outbox order by number").fetchall()


def test_news_stays_with_its_row_in_a_batch_and_on_disk(tmp_path: Path) -> None:
    entries = []
    for seq in range(300):
        row = message("CA1", seq + 1)
        entries.append(Entry(row, r.encode(row), tuple(Entry(one, r.encode(one)) for one in NEWS.of(row, Caller()))))
    spill = Spill(tmp_path)
    path = spill.next_file()
    spill.put(path, entries)
    read, unreadable = spill.read(path)
    assert unreadable == []
    assert read == entries
    waiting = deque(read)
    while waiting:
        assert all(
            [one.row.statement for one in entry.all()] == ["keep_messages", "keep_outbox"] for entry in take(waiting)
        )


@real
async def test_the_news_of_a_refused_row_is_not_stored_and_the_news_of_a_repeated_row_only_once(
    database_url: str, tmp_path: Path
) -> None:
    bad = r.MessageRow(call_sid="CA1", seq=2**40, text="refused")
    await fill(database_url, tmp_path, [message("CA1", 1), bad, message("CA1", 1), message("CA1", 3)])
    assert states(database_url) == [("CA1.message.1", "waiting"), ("CA1.message.3", "waiting")]


class Sent:
    """A channel that keeps all news, and fails as often as the test orders."""

    def __init__(self, *failures: NotSent) -> None:
        self.items: list[Item] = []
        self.failures = list(failures)

    async def __call__(self, item: Item) -> str:
        self.items.append(item)
        if self.failures and item.call_sid == "CA1":
            raise self.failures.pop(0)
        return "taken"


async def deliver(url: str, sent: Sent, *, until: int) -> None:
    outbox = Outbox(url, ("webhook",))
    task = Delivery(outbox, {"webhook": sent}, lambda: 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        with trio.fail_after(30):
            while len(sent.items) < until or any(state == "waiting" for _, state in states(url)):  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    await outbox.close()


async def metrics_of(url: str) -> str:
    """The text of /metrics, after the outbox has looked for news once."""
    outbox, metrics = Outbox(url, ("webhook",)), Metrics()
    task = Delivery(outbox, {"webhook": Sent()}, lambda: 0)
    metrics.watch_outbox(lambda: task.states)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        with trio.fail_after(30):
            while not task.states:  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    await outbox.close()
    return metrics.text().decode()


@real
async def test_news_of_a_call_waits_for_earlier_news_of_that_call_only(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "pause_s", lambda tries, after=None: 0.3)
    await fill(database_url, tmp_path, [message("CA1", 1), message("CA1", 2), message("CA2", 1)])
    sent = Sent(NotSent("busy"))
    await deliver(database_url, sent, until=4)
    of_first = [item.news for item in sent.items if item.call_sid == "CA1"]
    assert of_first == ["CA1.message.1", "CA1.message.1", "CA1.message.2"]
    assert [item.news for item in sent.items].index("CA2.message.1") < 3


@real
async def test_a_final_refusal_makes_a_dead_letter_that_is_shown_and_can_be_sent_again(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url, tmp_path, [message("CA1", 1), message("CA1", 2)])
    sent = Sent(NotSent("the recipient was refused (550)", for_good=True))
    await deliver(database_url, sent, until=2)
    assert states(database_url) == [("CA1.message.1", "dead"), ("CA1.message.2", "sent")]
    text = await metrics_of(database_url)
    assert 'relay_outbox{state="dead"} 1.0' in text
    assert 'relay_outbox{state="sent"} 1.0' in text
    (line,) = show_outbox(database_url)
    assert line.startswith("dead")
    assert line.endswith("the recipient was refused (550)")
    assert "Jane" not in line
    assert send_again(database_url, ("webhook",)) == [("CA1.message.1", "webhook")]
    await deliver(database_url, sent, until=3)
    assert show_outbox(database_url) == ["nothing waits: all news was sent"]


class Counted(Outbox):
    """An outbox that counts how often it was read."""

    reads = 0

    async def claim(self) -> list[Item]:
        self.reads += 1
        return await super().claim()


@real
async def test_while_postgres_is_away_waiting_rows_cause_no_more_tries_and_the_log_says_when_it_is_back(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(delivery, "LEAST_PAUSE_S", 0.01)
    monkeypatch.setattr(delivery, "AWAY_PAUSE_S", 3_600.0)
    await fill(database_url, tmp_path, [message("CA1", 1)])
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table outbox rename to moved")
    outbox, sent = Counted(database_url, ("webhook",)), Sent()
    task = Delivery(outbox, {"webhook": sent}, lambda: 7)
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            with trio.fail_after(30):
                while not logs:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            await trio.sleep(0.5)
            assert outbox.reads == 1
            task.wake()
            with trio.fail_after(30):
                while outbox.reads < 2:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            with psycopg.connect(database_url) as connection:
                connection.execute("alter table moved rename to outbox")
            task.wake()
            with trio.fail_after(30):
                while not task.states:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    await outbox.close()
    assert [line["event"] for line in logs] == ["outbox.unavailable", "outbox.sent", "outbox.available"]


@real
def test_dead_letters_that_an_operator_sends_again_arrive_although_no_relay_runs(
    database_url: str, receiver: list[Receiver], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into outbox (news, channel, call_sid, kind, body, created_at, state)"
            " values ('CA1.message.1', 'webhook', 'CA1', 'message', '{}', now(), 'dead')"
        )
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert main(["outbox", "--again"]) == 0
    assert "NOTIFY_WEBHOOK_URL" in capsys.readouterr().out
    assert states(database_url) == [("CA1.message.1", "dead")]
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", receiver[0].url)
    monkeypatch.setenv("NOTIFY_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("NOTIFY_WEBHOOK_PRIVATE", "on")
    assert main(["outbox", "--again"]) == 0
    assert "nothing waits" in capsys.readouterr().out
    assert [json.loads(body)["id"] for _, _, body in receiver[0].asked] == ["CA1.message.1"]


@real
@pytest.mark.parametrize("digest", ["", "00:01"])
def test_a_shell_with_other_settings_sends_only_the_dead_letters_again_and_says_to_whom(
    digest: str,
    database_url: str,
    receiver: list[Receiver],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into outbox (news, channel, call_sid, kind, body, created_at, state) values"
            " ('CA1.message.1', 'webhook', 'CA1', 'message', '{}', now(), 'dead'),"
            " ('CA1.message.1', 'email', 'CA1', 'message', '{}', now(), 'waiting'),"
            " ('CA2.message.1', 'webhook', 'CA2', 'message', '{}', now(), 'waiting'),"
            " ('CA3.booking.1', 'email', 'CA3', 'booking', '{}', now() - interval '2 days', 'waiting')"
        )
    environment = {
        "DATABASE_URL": database_url,
        "NOTIFY_EMAIL": "other@example.com",
        "NOTIFY_FROM": "relay@example.com",
        "SMTP_URL": "smtp://127.0.0.1:1",
        "NOTIFY_DIGEST": digest,
        "NOTIFY_WEBHOOK_URL": receiver[0].url,
        "NOTIFY_WEBHOOK_SECRET": SECRET,
        "NOTIFY_WEBHOOK_PRIVATE": "on",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["outbox", "--again"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "dead letters are sent again: mails to other@example.com, webhooks to 127.0.0.1"
    assert second == "1 dead letter is sent again"
    assert [json.loads(body)["id"] for _, _, body in receiver[0].asked] == ["CA1.message.1"]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select call_sid, channel, state, tries from outbox order by 1, 2").fetchall()
    assert rows == [
        ("CA1", "email", "waiting", 0),
        ("CA1", "webhook", "sent", 1),
        ("CA2", "webhook", "waiting", 0),
        ("CA3", "email", "waiting", 0),
    ]


@real
async def test_two_machines_never_send_the_same_news_at_once(database_url: str, tmp_path: Path) -> None:
    await fill(database_url, tmp_path, [message(f"CA{n}", 1) for n in range(40)])
    one, other = Outbox(database_url, ("webhook",)), Outbox(database_url, ("webhook",))
    claimed: list[str] = []

    async def claim_all(outbox: Outbox) -> None:
        while items := await outbox.claim():
            claimed.extend(item.news for item in items)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim_all, one)
        nursery.start_soon(claim_all, other)
    assert len(claimed) == len(set(claimed)) == 40
    assert await one.next_in_s() is not None  # the time until the leases end
    for outbox in (one, other):
        await outbox.close()


@real
async def test_later_versions_of_a_booking_have_rising_numbers(database_url: str, tmp_path: Path) -> None:
    ledger = PostgresLedger(database_url, spill_dir=tmp_path / "spill")
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        for number, done in enumerate(("booked", "moved", "cancelled")):
            row = r.FunctionCallRow(
                call_sid=f"CA{number}", function_call_id="f", name="x", ok=True, output={"done": done, "id": "17"}
            )
            ledger.record(row, *NEWS.of(row, Caller()))
        nursery.cancel_scope.cancel()
    outbox = Outbox(database_url, ("webhook",))
    assert [(item.body["done"], item.sequence) for item in sorted(await outbox.claim(), key=lambda i: i.sequence)] == [
        ("booked", 0),
        ("moved", 1),
        ("cancelled", 2),
    ]
    await outbox.close()


# A relay that records and sends. The test controls it by lines on its standard input, and kills it at any time.
RELAY = """
import datetime as dt, pathlib, sys, trio
from relay.cli import main
from relay.ledger import rows as r
from relay.ledger.store import PostgresLedger
from relay.notify import outbox, delivery
from relay.notify.news import Caller
from relay.notify.service import Notices
from relay.settings import load

outbox.LEASE_S = 1.0
delivery.pause_s = lambda tries, after=None: 0.2
url, folder, hook, secret = sys.argv[1:5]
environ = {"NOTIFY_WEBHOOK_URL": hook, "NOTIFY_WEBHOOK_SECRET": secret, "NOTIFY_WEBHOOK_PRIVATE": "on"}
settings = load(environ, serving=False)

async def main():
    ledger = PostgresLedger(url, spill_dir=pathlib.Path(folder))
    notices = Notices(settings, ledger, url, lambda: dt.datetime.now(dt.UTC))
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        nursery.start_soon(notices.run)
        print("ready", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            sid, seq = line.split()
            row = r.MessageRow(call_sid=sid, seq=int(seq), name="Jane", phone="+1", text="x")
            ledger.record(row, *notices.news.of(row, Caller()))
            while ledger.counts().queued:
                await trio.sleep(0.005)
            print("kept", flush=True)  # in Postgres or on disk: what Twilio is answered only then, no kill takes
        await trio.sleep_forever()

trio.run(main)
"""


class Killable:
    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", RELAY, *self.arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait_for("ready")

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        assert f"{word}\n" in iter(self.process.stdout.readline, "")

    def record(self, sid: str, seq: int) -> None:
        assert self.process.stdin is not None
        print(sid, seq, file=self.process.stdin, flush=True)
        self.wait_for("kept")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def receiver() -> Iterator[list[Receiver]]:
    running = [Receiver()]
    yield running
    for one in running:
        one.shutdown()
        one.server_close()


def _kills(database_url: str, folder: Path, running: list[Receiver], count: int) -> None:
    chance = random.Random(count)
    relay = Killable(database_url, str(folder / "spill"), running[0].url, SECRET)
    recorded = [(f"CA{number % 7}", number) for number in range(1, count + 1)]
    often = max(1.0, count / 400)  # longer runs have more kills: about 40 for 2,000 pieces
    kills = 0
    for number, (sid, seq) in enumerate(recorded):
        if chance.random() < 8 * often / count:
            kills += 1
            relay.kill()
            relay.start()
        if chance.random() < 5 * often / count:
            running[-1].status = chance.choice([500, 429, 200])
        if chance.random() < 4 * often / count:  # the receiver dies and comes back on the same port
            running[-1].shutdown()
            running[-1].server_close()
            running.append(Receiver(running[0].server_address[1]))
        if number % 10 == 5:
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = 'relay' and datname = current_database()"
                )
        relay.record(sid, seq)
    running[-1].status = 200
    wanted = {f"{sid}.message.{seq}" for sid, seq in recorded}
    end = time.monotonic() + 120 + count / 10
    while {news for news, state in states(database_url) if state == "sent"} != wanted:
        assert time.monotonic() < end, states(database_url)
        time.sleep(0.1)
    relay.kill()
    print(f"{kills} kills of the relay, {len(running) - 1} of the receiver, {count // 10} of the connections")
    taken = [json.loads(body)["id"] for one in running for _, _, body in one.asked]
    assert set(taken) == wanted
    for call in {sid for sid, _ in recorded}:
        first_seen = list(dict.fromkeys(news for news in taken if news.startswith(f"{call}.")))
        assert first_seen == sorted(first_seen, key=lambda news: int(news.rsplit(".", 1)[1]))


@real
def test_news_arrives_in_its_order_although_processes_are_killed(
    database_url: str, tmp_path: Path, receiver: list[Receiver]
) -> None:
    _kills(database_url, tmp_path, receiver, 50)


@real
@pytest.mark.deep
def test_2000_pieces_of_news_survive_many_kills(database_url: str, tmp_path: Path, receiver: list[Receiver]) -> None:
    _kills(database_url, tmp_path, receiver, 2_000)
