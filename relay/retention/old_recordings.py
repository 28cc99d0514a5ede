"""Deletes recordings that are older than RETENTION_DAYS.

It also deletes them while RECORD is not `on`, because earlier calls may have been recorded.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import islice

import structlog
import trio

from relay.ledger import rows
from relay.ledger.port import Ledger
from relay.recordings.files import call_of
from relay.recordings.stores import FolderStore, ObjectStore, begun_at
from relay.telemetry.metrics import Metrics

log = structlog.get_logger()

GROUP = 50  # At most this many recordings are deleted at once.


class OldRecordings:
    """The recordings on this disk and in the store, if there is one."""

    def __init__(
        self,
        disk: FolderStore,
        store: ObjectStore | None,
        ledger: Ledger,
        metrics: Metrics,
        *,
        keep_days: int,
        utc_now: Callable[[], dt.datetime],
        file_and_row: trio.Lock,
    ) -> None:
        """`file_and_row` is the lock of the process's `Recordings`."""
        self.stores: tuple[FolderStore | ObjectStore, ...] = (disk,) if store is None else (disk, store)
        self._ledger, self._metrics = ledger, metrics
        self._keep = dt.timedelta(days=keep_days)
        self._utc_now = utc_now
        self._file_and_row = file_and_row

    async def delete_next(self, store: FolderStore | ObjectStore) -> bool:
        """Delete a small group of old recordings, and return True.

        If there is no old recording, set the metric for the age of the oldest recording, and return False. Raises
        StoreFailed, OSError.
        """
        before = f"{self._utc_now() - self._keep:%Y-%m-%d/%H%M%S}"
        group = await trio.to_thread.run_sync(lambda: list(islice(store.names(before), GROUP)))
        if not group:
            await self._report(store)
            return False
        async with self._file_and_row:
            await trio.to_thread.run_sync(store.delete, group)
            for name in group:
                row = rows.RecordingRow(name=name, call_sid=call_of(name), peaks="\\x", deleted_at=self._utc_now())
                self._ledger.record(row)
        self._metrics.recordings_deleted.inc(len(group))
        log.info("recording.deleted_by_age", files=len(group), stored_in=store.where)
        return True

    async def _report(self, store: FolderStore | ObjectStore) -> None:
        oldest = await trio.to_thread.run_sync(lambda: min(store.names(), default=None))
        begun = begun_at(oldest) if oldest is not None else None
        age_s = 0.0 if begun is None else (self._utc_now() - begun).total_seconds()
        where = "disk" if isinstance(store, FolderStore) else "store"
        self._metrics.recordings_oldest_s.labels(where).set(age_s)
