"""Recordings that are older than RETENTION_DAYS are deleted, on the disk and in the store."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.recordings import service as recordings_service
from relay.recordings.files import Finished, finished_of
from relay.recordings.service import Recordings
from relay.recordings.stores import FolderStore, ObjectStore, S3Access
from relay.retention import Retention, old_recordings, service
from relay.retention.old_recordings import OldRecordings
from relay.telemetry.metrics import Metrics
from tests.helpers.recorded import KEYS, put_file
from tests.helpers.until import until

pytestmark = pytest.mark.real

NOW = dt.datetime(2026, 11, 29, 12, tzinfo=UTC)


class NoWords:
    async def delete_files(self, before: dt.datetime) -> int:
        return 0

    async def delete_next(self, before: dt.datetime) -> None:
        return None

    async def oldest(self, since: dt.datetime) -> None:
        return None

    async def close(self) -> None:
        pass


class Process:
    """The recordings of one relay process, and its task that deletes old recordings."""

    def __init__(self, folder: Path, store: ObjectStore | None, *, records: bool = True) -> None:
        self.ledger, self.metrics = MemoryLedger(), Metrics()
        self.recordings: Recordings | None = None
        if records:
            self.recordings = Recordings(folder, KEYS, self.ledger, self.metrics, utc_now=lambda: NOW, store=store)
        old = OldRecordings(
            FolderStore(folder), store, self.ledger, self.metrics, keep_days=30, utc_now=lambda: NOW,
            file_and_row=self.recordings.file_and_row if self.recordings else trio.Lock(),
        )  # fmt: skip
        self.retention = Retention(old, NoWords(), self.metrics, keep_words_days=365, utc_now=lambda: NOW)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            if self.recordings is not None:
                await nursery.start(self.recordings.run)
            nursery.start_soon(self.retention.run)
            yield
            nursery.cancel_scope.cancel()

    def deleted(self) -> dict[str, str | None]:
        """The recordings whose rows say that they were deleted. The keys are names, and the values are waveforms."""
        return {row.name: row.peaks for row in self.ledger.of(rows.RecordingRow) if row.deleted_at is not None}


def _there(store: ObjectStore | FolderStore) -> list[str]:
    return sorted(store.names())


@pytest.mark.parametrize("place", ["disk", "store"])
async def test_recordings_older_than_the_limit_are_deleted_and_the_others_are_kept(
    place: str, bucket: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_recordings, "GROUP", 2)
    monkeypatch.setattr(service, "GROUP_PAUSE_S", 0.0)
    store = ObjectStore(bucket) if place == "store" else None
    names = [put_file(tmp_path, NOW - timedelta(days=days, seconds=1)) for days in (1, 29, 30, 31, 40, 41, 100)]
    if store is not None:
        for name in names:
            await trio.to_thread.run_sync(store.put, name, tmp_path / name)
            (tmp_path / name).unlink()
    process = Process(tmp_path, store)
    where = store or FolderStore(tmp_path)
    label = "disk" if store is None else "store"
    told = f'oldest_seconds{{where="{label}"}}'.encode()  # the disk is looked at before the store
    async with process.running():
        await until(lambda: len(_there(where)) == 2 and told in process.metrics.text())
    assert _there(where) == sorted(names[:2])
    assert process.deleted() == dict.fromkeys(names[2:], "\\x")
    lines = process.metrics.text().decode().splitlines()
    (age,) = [
        line.split()[1] for line in lines if line.startswith(f'relay_recordings_oldest_seconds{{where="{label}"}}')
    ]
    assert float(age) == 29 * 86_400 + 1


async def test_the_folder_of_a_day_is_removed_with_its_last_recording(tmp_path: Path) -> None:
    put_file(tmp_path, NOW - timedelta(days=31))
    async with Process(tmp_path, None).running():
        await until(lambda: not list(tmp_path.iterdir()))


async def test_when_calls_are_no_longer_recorded_the_old_recordings_still_expire(tmp_path: Path) -> None:
    put_file(tmp_path, NOW - timedelta(days=31))
    async with Process(tmp_path, None, records=False).running():
        await until(lambda: not list(tmp_path.iterdir()))


async def test_a_recording_that_is_deleted_while_its_row_is_written_again_leaves_no_peaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, delete = threading.Event(), FolderStore.delete

    def slowly(*given: Any) -> Finished:
        finished = finished_of(*given)
        is_read.set()
        time.sleep(0.1)  # s; long enough for the deletion in the other thread
        return finished

    def delete_what_is_read(store: FolderStore, names: list[str]) -> None:
        is_read.wait(0.5)
        delete(store, names)

    monkeypatch.setattr(recordings_service, "finished_of", slowly)
    monkeypatch.setattr(FolderStore, "delete", delete_what_is_read)
    monkeypatch.setattr(service, "GROUP_PAUSE_S", 0.0)
    names = {put_file(tmp_path, NOW - timedelta(days=days)) for days in (31, 32)}
    process = Process(tmp_path, None)
    async with process.running():
        await until(lambda: not _there(FolderStore(tmp_path)) and process.deleted().keys() == names)
        await trio.sleep(0.3)  # s; the slow read has ended by now
    assert set(process.deleted().values()) == {"\\x"}
