"""The process around the calls: an error outside the calls does not end them."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog
import trio
import trio.testing

from relay import functions, settings
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.notify import smtp
from relay.notify.letter import Item
from relay.notify.news import News
from relay.notify.service import Notices, http_client, senders
from relay.phrases.phrase_book import PhraseBook
from relay.recordings.cipher import new_key
from relay.server.app import Daemon, open_desk, rest_of, run
from relay.session.call_file import Decision
from relay.session.day_bill import EVERY_S
from tests.helpers.play import ENVIRONMENT, PUBLIC_URL, stage
from tests.helpers.webhook import OpenStream, caller

pytestmark = pytest.mark.real
BUSINESS_FILE = Path(__file__).parents[2] / "prompts" / "business.toml"


@asynccontextmanager
async def serving(nursery: trio.Nursery, folder: Path, ledger: MemoryLedger) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon on a port of its own. The test must stop it. The end of the block waits until it has stopped."""
    loaded = settings.load({**ENVIRONMENT, "DATA_DIR": str(folder)}, serving=True)
    async with functions.Backend("http://127.0.0.1:9") as backend, rest_of(loaded) as rest:
        daemon = Daemon(open_desk(loaded, ledger, backend=backend, rest=rest))
        over = trio.Event()

        async def serve(task_status: trio.TaskStatus[list[str]]) -> None:
            await daemon.serve("127.0.0.1:0", task_status=task_status)
            over.set()

        (url,) = await nursery.start(serve)
        yield daemon, url
        with trio.fail_after(30):
            await over.wait()


@pytest.mark.parametrize(
    "more",
    [
        {"RECORD": "on", "RECORDING_KEY": new_key()},
        {"RECORD": "off", "RECORDINGS_URL": "s3://calls"},  # the library for the bucket is not installed
    ],
    ids=["recording", "not recording any more"],
)
async def test_the_process_deletes_old_recordings_and_words_whether_it_records_or_not(
    more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[str] = []

    async def serve(daemon: Daemon, *_: str) -> None:
        await trio.lowlevel.checkpoint()
        tasks.extend(daemon.desk.tasks)

    monkeypatch.setattr(Daemon, "serve", serve)
    monkeypatch.setitem(sys.modules, "obstore", None)
    loaded = settings.load({**ENVIRONMENT, "DATA_DIR": str(tmp_path), **more}, serving=True)
    await run(loaded, MemoryLedger(), "postgresql://127.0.0.1:9/none")
    assert "retention" in tasks


async def test_mails_have_the_name_and_the_time_zone_that_only_the_business_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "business.toml"
    text = BUSINESS_FILE.read_text()
    file.write_text(text.replace("America/New_York", "Asia/Tokyo"))
    notices: list[Notices] = []
    mails: list[EmailMessage] = []

    async def serve(daemon: Daemon, *_: str) -> None:
        await trio.lowlevel.checkpoint()
        notices.append(cast(Any, daemon.desk.tasks["notices"]).__self__)

    async def send(_: object, message: EmailMessage) -> str:
        await trio.lowlevel.checkpoint()
        mails.append(message)
        return "accepted"

    monkeypatch.setattr(Daemon, "serve", serve)
    monkeypatch.setattr(smtp, "send", send)
    channel = {"NOTIFY_EMAIL": "owner@example.com", "NOTIFY_FROM": "relay@example.com", "SMTP_URL": "smtp://127.0.0.1"}
    more = {**channel, "NOTIFY_DIGEST": "18:00", "BUSINESS_FILE": str(file), "DATA_DIR": str(tmp_path)}
    without_name = {name: value for name, value in ENVIRONMENT.items() if name != "BUSINESS_NAME"}
    await run(settings.load({**without_name, **more}, serving=True), MemoryLedger(), "postgresql://127.0.0.1:9/none")
    (made,) = notices
    assert str(cast(Any, made._outbox)._digest.tz) == "Asia/Tokyo"
    item = Item("alarm.test", "email", "alarm", {"title": "a test"}, dt.datetime.now(dt.UTC))
    async with http_client() as client:
        await senders(made._settings, client)["email"](item)
    assert mails[0]["From"].startswith("Harbor Table")


@pytest.fixture
def hang_up_signal() -> Iterator[None]:
    """Give SIGHUP its default action, also if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class BrokenLedger(MemoryLedger):
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        raise RuntimeError("a bug of the ledger's")


async def test_the_metrics_are_given_to_direct_requests_and_not_to_requests_through_a_proxy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage() as play:
        transport = httpx.ASGITransport(cast(Any, play.daemon.app))
        async with httpx.AsyncClient(transport=transport) as client:
            assert "relay_usd_total" in (await client.get("http://relay/metrics")).text
            proxies = "X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host Forwarded X-Real-IP Via True-Client-IP CF-Ray"
            proxies += " CF-Connecting-IP Fly-Client-IP Fastly-Client-IP X-Client-IP X-Amzn-Trace-Id"
            for header in proxies.split():
                public = await client.get("http://relay/metrics", headers={header: "203.0.113.9"})
                assert (public.status_code, "relay" in public.text) == (404, False), header
            for url in (f"{PUBLIC_URL}/metrics", f"{PUBLIC_URL.upper()}:443/metrics"):  # a proxy that adds no headers
                assert (await client.get(url)).status_code == 404
            assert (await client.get("http://relay/metrics", headers={"Host": "[::"})).status_code == 200
            scraper = {"X-Prometheus-Scrape-Timeout-Seconds": "10", "User-Agent": "Prometheus/3", "Accept": "*/*"}
            assert (await client.get("http://relay/metrics", headers=scraper)).status_code == 200


async def test_a_bug_in_a_part_that_calls_do_not_need_does_not_end_the_process(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug of the phrases")

    monkeypatch.setattr(PhraseBook, "keep", broken)
    with structlog.testing.capture_logs() as lines:
        async with serving(nursery, tmp_path, BrokenLedger()) as (daemon, url):
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"{url}/healthz", timeout=30)).status_code == 200
            daemon.stop()
    assert {line["task"] for line in lines if line["event"] == "relay.task_broke"} == {"ledger", "phrases"}


async def test_the_days_spending_starts_at_zero_at_midnight_also_without_postgres(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage() as play:
        desk = play.daemon.desk
        now = dt.datetime(2026, 11, 24, 23, 59, tzinfo=desk.settings.tz)
        desk.utc_now = lambda: now
        play.ledger.away = True
        play.nursery.start_soon(play.daemon._keep_day_bill)
        await trio.sleep(EVERY_S + 1)
        desk.day_usd = 49.0
        await trio.sleep(EVERY_S)
        assert desk.spent_today_usd == 49.0
        now += dt.timedelta(minutes=2)
        assert desk.spent_today_usd == 0.0


async def test_the_first_signal_begins_the_drain_and_the_second_ends_the_process_at_once(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    async with serving(nursery, tmp_path, MemoryLedger()) as (daemon, url):
        OpenStream(daemon.desk.open_file(CallSid("CA" + "1" * 32), caller(), "", 0.0))  # this call stays open
        async with httpx.AsyncClient(trust_env=False) as client:
            os.kill(os.getpid(), signal.SIGTERM)
            with trio.fail_after(30):
                while not daemon.desk.draining:  # noqa: ASYNC110 -- the drain has no event
                    await trio.sleep(0.05)
            assert (await client.get(f"{url}/readyz", timeout=30)).text.startswith("draining")
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("hang_up_signal")
@pytest.mark.parametrize("together", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)])
async def test_several_signals_at_once_count_as_one_and_do_not_end_the_calls(
    nursery: trio.Nursery, tmp_path: Path, together: tuple[signal.Signals, ...]
) -> None:
    async with serving(nursery, tmp_path, MemoryLedger()) as (daemon, url):
        stream = OpenStream(daemon.desk.open_file(CallSid("CA" + "1" * 32), caller(), "", 0.0))
        for number in together:
            os.kill(os.getpid(), number)
            await trio.sleep(0.005)
        await trio.sleep(0.5)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/readyz", timeout=30)).text.startswith("draining")
        stream.close_rows()  # the call ends, and with it the drain


@pytest.mark.usefixtures("hang_up_signal")
async def test_a_closed_terminal_begins_the_drain_too(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with serving(nursery, tmp_path, MemoryLedger()) as (daemon, url):
        stream = OpenStream(daemon.desk.open_file(CallSid("CA" + "1" * 32), caller(), "", 0.0))
        os.kill(os.getpid(), signal.SIGHUP)
        await trio.sleep(0.3)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/readyz", timeout=30)).text.startswith("draining")
        stream.close_rows()


@pytest.mark.usefixtures("hang_up_signal")
async def test_under_nohup_a_closed_terminal_changes_nothing(nursery: trio.Nursery, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with serving(nursery, tmp_path, MemoryLedger()) as (daemon, _):
        os.kill(os.getpid(), signal.SIGHUP)
        await trio.sleep(0.3)
        assert not daemon.desk.draining
        daemon.stop()


async def test_the_relays_own_numbers_are_read_from_the_ledger_and_from_the_account(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage() as play:
        called = "+12125550177"
        play.ledger.record(rows.CallRow(call_sid="CA1", to_number=called))
        play.ledger.record(rows.CallRow(call_sid="CA2", to_number="+12125550102"))  # a human's number
        await play.daemon._learn_own_numbers()
        assert play.daemon.desk.own_numbers == {called, play.exchange.number.number}
        assert any(path.endswith("IncomingPhoneNumbers.json") for _, path, _ in play.rest.requests)


async def test_a_signal_without_calls_ends_the_process(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with serving(nursery, tmp_path, MemoryLedger()):
        os.kill(os.getpid(), signal.SIGINT)


async def test_a_fault_is_news_if_the_process_stops_before_anybody_has_taken_the_call_up_again(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with trio.open_nursery() as nursery, serving(nursery, tmp_path, ledger) as (daemon, _):
        desk = daemon.desk
        desk.news = News(["email"], desk.utc_now)
        file = desk.open_file(CallSid("CA" + "1" * 32), caller(), "US", trio.current_time(), rings=True)
        file.decide(Decision(Next.RESUME, EndReason.CALLER_SOCKET_LOST))
        assert ledger.of(rows.OutboxRow) == []
        daemon.stop()
    assert [row.kind for row in ledger.of(rows.OutboxRow)] == ["fault"]
