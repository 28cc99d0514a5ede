"""The task that deletes by age. It never runs on the path of a call: files and Postgres are used in threads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from relay.ledger.port import LedgerUnavailable
from relay.recordings.stores import StoreFailed
from relay.retention.old_recordings import OldRecordings
from relay.telemetry.metrics import Metrics

log = structlog.get_logger()

RECORDINGS_EVERY_S = 3_600.0
# Once a day, so that a database that sleeps while nobody uses it is not woken every hour.
WORDS_EVERY_S = 86_400.0
WORDS_AGAIN_S = 3_600.0  # If Postgres is away.
GROUP_PAUSE_S = 1.0


class Words(Protocol):
    """Where callers' words are. Each method raises LedgerUnavailable."""

    async def delete_next(self, before: dt.datetime) -> int | None:
        """Look at the next group, and delete what is older than `before`. Returns how many calls had words.

        None: everything that is old has been looked at. The next call begins anew.
        """

    async def oldest(self, since: dt.datetime) -> dt.datetime | None:
        """When the oldest call that has words began. None if there is none.

        Calls that began before `since` are not looked at. They have no words any more.
        """

    async def close(self) -> None:
        """Close the connection."""


class Retention:
    """What a process deletes by age."""

    def __init__(
        self,
        recordings: OldRecordings,
        words: Words,
        metrics: Metrics,
        *,
        keep_words_days: int,
        utc_now: Callable[[], dt.datetime],
    ) -> None:
        self._recordings, self._words, self._metrics = recordings, words, metrics
        self._keep_words = dt.timedelta(days=keep_words_days)
        self._utc_now = utc_now
        self._oldest: dt.datetime | None = None
        # Read at each request for the metrics. So the age also grows while nothing can be deleted.
        metrics.words_oldest_s.set_function(self._age_s)

    def _age_s(self) -> float:
        return 0.0 if self._oldest is None else (self._utc_now() - self._oldest).total_seconds()

    async def run(self) -> None:
        """Delete by age until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_recordings_young)
            nursery.start_soon(self._keep_words_young)

    async def _keep_recordings_young(self) -> None:
        while True:
            for store in self._recordings.stores:
                try:
                    while await self._recordings.delete_next(store):  # noqa: ASYNC110 -- a pause between groups
                        await trio.sleep(GROUP_PAUSE_S)
                except (StoreFailed, OSError) as error:
                    log.warning("recording.not_deleted", words=str(error), do="nothing: it is tried again in an hour")
            await trio.sleep(RECORDINGS_EVERY_S)

    async def _keep_words_young(self) -> None:
        while True:
            pause_s = WORDS_EVERY_S
            try:
                await self._delete_old_words()
            except LedgerUnavailable as error:
                pause_s = WORDS_AGAIN_S
                log.warning("words.not_deleted", words=str(error), do="nothing: it is tried again in an hour")
            await self._words.close()
            await trio.sleep(pause_s)

    async def _delete_old_words(self) -> None:
        """Delete in small groups what is older than RETENTION_DAYS_WORDS. Then ask how old the oldest words are."""
        before, calls = self._utc_now() - self._keep_words, 0
        while (deleted := await self._words.delete_next(before)) is not None:
            if deleted:
                calls += deleted
                self._metrics.words_deleted.inc(deleted)
                await trio.sleep(GROUP_PAUSE_S)
        if calls:
            log.info("words.deleted_by_age", calls=calls)
        self._oldest = await self._words.oldest(before)
