"""Recordings in an S3-compatible store: uploads are confirmed and tried again."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.recordings import service
from relay.recordings.cipher import CHUNK_BYTES
from relay.recordings.service import Recordings
from relay.recordings.stores import FolderStore, ObjectStore, S3Access, StoreFailed
from relay.telemetry.metrics import Metrics
from tests.helpers.recorded import KEYS, SOUND, put_file
from tests.helpers.until import until

pytestmark = pytest.mark.real

NOW = dt.datetime(2026, 11, 29, 12, tzinfo=UTC)


def _recordings(folder: Path, store: ObjectStore | None) -> tuple[Recordings, MemoryLedger]:
    ledger = MemoryLedger()
    made = Recordings(folder, KEYS, ledger, Metrics(), utc_now=lambda: NOW, store=store)
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
