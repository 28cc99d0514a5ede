"""Deletes recordings and words by age, in a task of the process. Threads do the blocking work, so no call waits."""

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
WORDS_AGAIN_S = 3_600.0  # If Postgres could not be reached, the next try comes after this time.
GROUP_PAUSE_S = 1.0


class Words(Protocol):
    """Deletes callers' words (old_words.py). `delete_next` and `oldest` ask Postgres, and raise LedgerUnavailable."""

    async def delete_files(self, before: dt.datetime) -> int:
        """Delete the files of rows that Postgres refused before this time. Returns how many. Raises OSError."""

    async def delete_next(self, before: dt.datetime) -> int | None:
        """Delete the words of the next group of calls that are older than `before`. Returns how many calls had words.

        After the last group, it deletes old appointments and news (and returns 0). When nothing is left, it returns
        None, and the next run begins again at the oldest phone call.
        """

    async def oldest(self, since: dt.datetime) -> dt.datetime | None:
        """When the oldest call that has words began. None if no call has words.

        Calls that began before `since` are left out, because their words were deleted.
        """

    async def close(self) -> None:
        """Close the connection."""


class Retention:
    """Runs the two loops that delete by age: one for recordings, and one for words."""

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
        # `_age_s` is called at each request for the metrics. So the age also grows while nothing can be deleted.
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
            await self._delete_old_files()
            try:
                await self._delete_old_words()
            except LedgerUnavailable as error:
                pause_s = WORDS_AGAIN_S
                log.warning("words.not_deleted", words=str(error), do="nothing: it is tried again in an hour")
            await self._words.close()
            await trio.sleep(pause_s)

    async def _delete_old_files(self) -> None:
        try:
            if files := await self._words.delete_files(self._utc_now() - self._keep_words):
                log.info("words.files_deleted_by_age", files=files)
        except OSError as error:
            do = "let this user delete files in DATA_DIR/ledger-spill"
            log.error("words.files_not_deleted", words=error.strerror, do=do)

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
