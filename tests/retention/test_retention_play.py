"""The task that deletes words by age, on a fake clock, with a Postgres that may be away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from relay.ledger.memory import MemoryLedger
from relay.ledger.port import LedgerUnavailable
from relay.recordings.stores import FolderStore
from relay.retention import Retention
from relay.retention.old_recordings import OldRecordings
from relay.telemetry.metrics import Metrics

BEGIN = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
DAY_S, HOUR_S = 86_400.0, 3_600.0


class Calls:
    """Calls with words, in memory. Words are deleted in groups of two calls."""

    def __init__(self, *days_old: float) -> None:
        self.began = sorted(BEGIN - timedelta(days=days) for days in days_old)
        self.away = False
        self.asked_at: list[float] = []  # the times at which a deletion began, in seconds of the fake clock
        self.closed = 0
        self.files_deleted_before: list[dt.datetime] = []

    async def delete_files(self, before: dt.datetime) -> int:
        await trio.lowlevel.checkpoint()
        self.files_deleted_before.append(before)
        return 1

    async def delete_next(self, before: dt.datetime) -> int | None:
        await trio.lowlevel.checkpoint()
        if not self.asked_at or trio.current_time() - self.asked_at[-1] > HOUR_S / 2:
            self.asked_at.append(trio.current_time())
        if self.away:
            raise LedgerUnavailable("Postgres is away.")
        old = [at for at in self.began if at < before][:2]
        self.began = [at for at in self.began if at not in old]
        return len(old) or None

    async def oldest(self, since: dt.datetime) -> dt.datetime | None:
        await trio.lowlevel.checkpoint()
        return next((at for at in self.began if at >= since), None)

    async def close(self) -> None:
        self.closed += 1


def utc_now() -> dt.datetime:
    return BEGIN + timedelta(seconds=trio.current_time())


def retention(calls: Calls, folder: Path, metrics: Metrics) -> Retention:
    disk, ledger, lock = FolderStore(folder), MemoryLedger(), trio.Lock()
    recordings = OldRecordings(disk, None, ledger, metrics, keep_days=30, utc_now=utc_now, file_and_row=lock)
    recordings.stores = ()  # They need threads, and a fake clock does not wait for threads.
    return Retention(recordings, calls, metrics, keep_words_days=365, utc_now=utc_now)


def value(metrics: Metrics, name: str) -> float:
    (line,) = [line for line in metrics.text().decode().splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


Play = Callable[[Calls], tuple[Retention, Metrics]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Makes the task for these calls, with its metrics."""

    def made(calls: Calls) -> tuple[Retention, Metrics]:
        metrics = Metrics()
        return retention(calls, tmp_path, metrics), metrics

    return made


async def test_words_older_than_the_limit_are_deleted_at_the_start_in_groups_with_pauses(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls(1, 364, 366, 367, 400, 500, 600)
    task, metrics = play(calls)
    with structlog.testing.capture_logs() as log, trio.move_on_after(60):
        await task.run()
    assert calls.began == [BEGIN - timedelta(days=364), BEGIN - timedelta(days=1)]
    assert value(metrics, "relay_words_deleted_total") == 5
    assert [line for line in log if line["event"] == "words.deleted_by_age"] == [
        {"event": "words.deleted_by_age", "log_level": "info", "calls": 5}
    ]


async def test_the_words_of_a_call_that_becomes_too_old_are_deleted_on_the_next_day(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls(364.5)
    task, _ = play(calls)
    with trio.move_on_after(DAY_S - 60):
        await task.run()
    assert calls.began
    with trio.move_on_after(DAY_S):
        await task.run()
    assert not calls.began


async def test_between_two_deletions_postgres_is_asked_nothing_and_has_no_connection(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls(1)
    task, _ = play(calls)
    with trio.move_on_after(3 * DAY_S + 60):
        await task.run()
    assert calls.asked_at == pytest.approx([0, DAY_S, 2 * DAY_S, 3 * DAY_S], abs=30)
    assert calls.closed == 4


async def test_while_postgres_is_away_it_is_tried_again_each_hour_and_then_the_words_go(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls(366)
    calls.away = True
    task, _ = play(calls)

    async def comes_back() -> None:
        await trio.sleep(2.5 * HOUR_S)
        calls.away = False

    with structlog.testing.capture_logs() as log, trio.move_on_after(4 * HOUR_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(comes_back)
            nursery.start_soon(task.run)
    assert not calls.began
    assert [line["event"] for line in log].count("words.not_deleted") == 3


async def test_the_age_of_the_oldest_words_grows_while_nothing_can_be_deleted(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls(364)
    task, metrics = play(calls)
    assert value(metrics, "relay_words_oldest_seconds") == 0
    with trio.move_on_after(60):
        await task.run()
    assert value(metrics, "relay_words_oldest_seconds") == pytest.approx(364 * DAY_S, abs=120)
    calls.away = True
    with trio.move_on_after(3 * DAY_S):
        await task.run()
    assert value(metrics, "relay_words_oldest_seconds") == pytest.approx(367 * DAY_S, abs=240)


async def test_old_files_of_refused_rows_are_deleted_each_day_also_while_postgres_is_away(
    play: Play, autojump_clock: MockClock
) -> None:
    calls = Calls()
    task, _ = play(calls)
    with structlog.testing.capture_logs() as log, trio.move_on_after(DAY_S + 60):
        await task.run()
    assert calls.files_deleted_before == [BEGIN - timedelta(days=365), BEGIN - timedelta(days=364)]
    assert [line["files"] for line in log if line["event"] == "words.files_deleted_by_age"] == [1, 1]
    calls.away = True
    with trio.move_on_after(60):
        await task.run()
    assert len(calls.files_deleted_before) == 3


async def test_words_in_postgres_are_deleted_even_if_old_files_cannot_be(
    play: Play, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(before: dt.datetime) -> int:
        raise PermissionError(13, "Permission denied")

    calls = Calls(366)
    monkeypatch.setattr(calls, "delete_files", refused)
    task, _ = play(calls)
    with structlog.testing.capture_logs() as log, trio.move_on_after(60):
        await task.run()
    assert not calls.began
    assert [line["words"] for line in log if line["event"] == "words.files_not_deleted"] == ["Permission denied"]
