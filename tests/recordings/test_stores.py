"""Recordings in an S3-compatible store: uploads are confirmed and tried again, and old recordings are deleted."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.recordings import service
from relay.recordings.cipher import CHUNK_BYTES, Header, Keys, new_key
from relay.recordings.files import FileInProgress, Finished, finished_of
from relay.recordings.service import Recordings
from relay.recordings.stores import FolderStore, ObjectStore, S3Access, StoreFailed
from relay.telemetry.metrics import Metrics
from tests.helpers.until import until

pytestmark = pytest.mark.real

KEYS = Keys.parse(new_key())
NOW = dt.datetime(2026, 11, 29, 12, tzinfo=UTC)
SOUND = bytes(range(250)) * (CHUNK_BYTES // 250)


def put_file(folder: Path, begun_at: dt.datetime, call_sid: str = "CA" + "1" * 32, chunks: int = 3) -> str:
    """Write a closed recording, and return its name."""
    header = Header.fresh(KEYS, call_sid, 8_000, round(begun_at.timestamp() * 1000))
    file = FileInProgress(folder, f"{begun_at:%Y-%m-%d/%H%M%S}-{call_sid}-{header.salt[:4].hex()}.rec", KEYS, header)
    file.open()
    for _ in range(chunks):
        file.append(SOUND)
    return file.close(SOUND[:100]).name


def _recordings(folder: Path, store: ObjectStore | None, keep_days: int = 30) -> tuple[Recordings, MemoryLedger]:
    ledger = MemoryLedger()
    made = Recordings(folder, KEYS, ledger, Metrics(), keep_days=keep_days, utc_now=lambda: NOW, store=store)
    return made, ledger


@asynccontextmanager
async def _running(recordings: Recordings) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(recordings.run)
        yield
        nursery.cancel_scope.cancel()


def _there(store: ObjectStore | FolderStore) -> list[str]:
    return sorted(store.names())


async def test_closed_recordings_are_uploaded_and_then_removed_from_the_disk(bucket: S3Access, tmp_path: Path) -> None:
    store, disk = ObjectStore(bucket), FolderStore(tmp_path)
    names = [put_file(tmp_path, NOW - timedelta(hours=hour)) for hour in (1, 30)]
    recordings, ledger = _recordings(tmp_path, store)
    async with _running(recordings):
        await until(lambda: not _there(disk))
    assert _there(store) == sorted(names)
    found = ledger.of(rows.RecordingRow)
    assert {row.stored_in for row in found} == {bucket.url}
    assert all(row.n_bytes == store.size(row.name) for row in found)
    heard = await trio.to_thread.run_sync(store.open, names[0], KEYS)
    assert heard.read(0, CHUNK_BYTES // 2) == SOUND
    assert not await trio.to_thread.run_sync(lambda: list(tmp_path.glob("*/*")))


# Faults on the way to the store


class Way:
    """A connection to the store that a test can break."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self.mode = "good"  # "good", "closed", "silent", "half"
        self.connections = 0
        self.url = ""

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, self._connected, 0, host="127.0.0.1"))
            self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            task_status.started()

    async def _connected(self, ours: trio.SocketStream) -> None:
        self.connections += 1
        if self.mode == "closed":
            return
        if self.mode == "silent":
            await trio.sleep_forever()
        theirs = await trio.open_tcp_stream(self._host, self._port)
        async with ours, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, ours, theirs, 5_000 if self.mode == "half" else None)
            nursery.start_soon(self._pass, theirs, ours, None)

    async def _pass(self, source: trio.SocketStream, sink: trio.SocketStream, limit: int | None) -> None:
        passed = 0
        try:
            async for data in source:
                await sink.send_all(data)
                passed += len(data)
                if limit is not None and passed > limit:  # the upload breaks off without an answer
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(sink)
        await trio.aclose_forcefully(source)


@pytest.mark.parametrize("mode", ["closed", "silent", "half"])
async def test_a_failed_upload_is_tried_again_and_the_local_copy_is_kept_until_it_succeeds(
    mode: str, bucket: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "UPLOAD_AGAIN_S", 0.1)
    monkeypatch.setattr(service, "LAST_UPLOADS_S", 0.5)
    name = put_file(tmp_path, NOW, chunks=40)
    async with trio.open_nursery() as nursery:
        way = Way(bucket.endpoint)
        await nursery.start(way.serve)
        way.mode = mode
        store = ObjectStore(dataclasses.replace(bucket, endpoint=way.url), timedelta(seconds=0.5))
        recordings, ledger = _recordings(tmp_path, store)
        async with _running(recordings):
            await until(lambda: way.connections >= 3)
            assert _there(FolderStore(tmp_path)) == [name]
            assert all(row.stored_in == "disk" for row in ledger.of(rows.RecordingRow))
            way.mode = "good"
            await until(lambda: not _there(FolderStore(tmp_path)))
        assert _there(ObjectStore(bucket)) == [name]
        assert [row.stored_in for row in ledger.of(rows.RecordingRow)] == [bucket.url]
        nursery.cancel_scope.cancel()


async def test_a_recording_that_was_uploaded_before_a_restart_is_not_uploaded_again(
    bucket: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(bucket)
    name = put_file(tmp_path, NOW)
    await trio.to_thread.run_sync(store.put, name, tmp_path / name)  # after this the process was killed
    monkeypatch.setattr(store._api, "put", lambda *_: pytest.fail("uploaded twice"))
    recordings, ledger = _recordings(tmp_path, store)
    async with _running(recordings):
        await until(lambda: not _there(FolderStore(tmp_path)))
    assert [row.stored_in for row in ledger.of(rows.RecordingRow)] == [bucket.url]


async def test_an_incomplete_copy_in_the_store_does_not_count_as_uploaded(bucket: S3Access, tmp_path: Path) -> None:
    store = ObjectStore(bucket)
    name = put_file(tmp_path, NOW)
    short = tmp_path / "short"
    short.write_bytes((tmp_path / name).read_bytes()[:1_000])
    await trio.to_thread.run_sync(store._api.put, store._store, name, short)
    short.unlink()
    recordings, _ = _recordings(tmp_path, store)
    async with _running(recordings):
        await until(lambda: not _there(FolderStore(tmp_path)))
    assert (await trio.to_thread.run_sync(store.open, name, KEYS)).samples == 3 * CHUNK_BYTES // 2 + 50


def test_a_copy_with_another_size_does_not_count_as_uploaded(
    bucket: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(bucket)
    name = put_file(tmp_path, NOW)
    put = store._api.put
    monkeypatch.setattr(store._api, "put", lambda s, n, path: put(s, n, path.read_bytes()[:-1]))
    with pytest.raises(StoreFailed, match="bytes of"):
        store.put(name, tmp_path / name)


def test_wrong_credentials_and_missing_buckets_are_reported_without_secrets(bucket: S3Access, tmp_path: Path) -> None:
    name = put_file(tmp_path, NOW)
    store = ObjectStore(dataclasses.replace(bucket, url="s3://no-such-bucket-here"))
    with pytest.raises(StoreFailed) as failed:
        store.put(name, tmp_path / name)
    assert "key-secret" not in str(failed.value)
    assert "\n" not in str(failed.value)


# Retention


@pytest.mark.parametrize("place", ["disk", "store"])
async def test_recordings_older_than_the_limit_are_deleted_and_the_others_are_kept(
    place: str, bucket: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DELETE_BATCH", 2)
    monkeypatch.setattr(service, "BATCH_PAUSE_S", 0.0)
    store = ObjectStore(bucket) if place == "store" else None
    names = [put_file(tmp_path, NOW - timedelta(days=days, seconds=1)) for days in (1, 29, 30, 31, 40, 41, 100)]
    if store is not None:
        for name in names:
            await trio.to_thread.run_sync(store.put, name, tmp_path / name)
            (tmp_path / name).unlink()
    recordings, ledger = _recordings(tmp_path, store)
    where = store or FolderStore(tmp_path)
    label = "disk" if store is None else "store"
    told = f'oldest_seconds{{where="{label}"}}'.encode()  # the disk is looked at before the store
    async with _running(recordings):
        await until(lambda: len(_there(where)) == 2 and told in recordings._metrics.text())
    assert _there(where) == sorted(names[:2])
    deleted = {row.name for row in ledger.of(rows.RecordingRow) if row.deleted_at is not None}
    assert deleted == set(names[2:])
    assert {row.peaks for row in ledger.of(rows.RecordingRow) if row.deleted_at is not None} == {"\\x"}
    lines = recordings._metrics.text().decode().splitlines()
    (age,) = [
        line.split()[1] for line in lines if line.startswith(f'relay_recordings_oldest_seconds{{where="{label}"}}')
    ]
    assert float(age) == 29 * 86_400 + 1


async def test_the_folder_of_a_day_is_removed_with_its_last_recording(tmp_path: Path) -> None:
    put_file(tmp_path, NOW - timedelta(days=31))
    recordings, _ = _recordings(tmp_path, None)
    async with _running(recordings):
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

    monkeypatch.setattr(service, "finished_of", slowly)
    monkeypatch.setattr(FolderStore, "delete", delete_what_is_read)
    monkeypatch.setattr(service, "BATCH_PAUSE_S", 0.0)
    names = {put_file(tmp_path, NOW - timedelta(days=days)) for days in (31, 32)}
    recordings, ledger = _recordings(tmp_path, None)

    def deleted() -> dict[str, str | None]:
        return {row.name: row.peaks for row in ledger.of(rows.RecordingRow) if row.deleted_at is not None}

    async with _running(recordings):
        await until(lambda: not _there(FolderStore(tmp_path)) and deleted().keys() == names)
        await trio.sleep(0.3)  # s; the slow read has ended by now
    assert set(deleted().values()) == {"\\x"}
