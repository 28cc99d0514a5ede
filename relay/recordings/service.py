"""Opens the recordings of a process, writes their rows, and uploads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from relay.call.consent import Consent
from relay.ledger import rows
from relay.ledger.port import Ledger
from relay.recordings.cipher import Header, KeyMissing, Keys, RecordingRefused
from relay.recordings.files import FileInProgress, Finished, close_left_over, finished_of, left_over, name_of
from relay.recordings.recorder import Recorder
from relay.recordings.stores import FolderStore, ObjectStore, S3Access, StoreFailed, begun_at
from relay.recordings.timeline import RATE_HZ
from relay.recordings.writer import FileTape, Writer
from relay.settings import Settings
from relay.telemetry.metrics import Metrics

log = structlog.get_logger()

# A failed upload is tried again after this time, or when the next file is closed.
UPLOAD_AGAIN_S = 60.0
# When the process ends, uploads go on for at most this long, because the disk may be lost with the machine.
LAST_UPLOADS_S = 10.0
# At each start, the rows of this many of the newest files are written again. A process that was killed directly after a
# call may not have written them.
ROWS_AGAIN = 20


class Recordings:
    """The recordings of a process.

    While `run` does not run, each job is done at once, in the thread that asks for it. Tests on a fake clock need this.
    """

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        ledger: Ledger,
        metrics: Metrics,
        *,
        utc_now: Callable[[], dt.datetime],
        store: ObjectStore | None = None,
    ) -> None:
        self._folder, self._keys, self._ledger, self._metrics = folder, keys, ledger, metrics
        self.utc_now = utc_now
        self._disk, self._store = FolderStore(folder), store
        self._writer = Writer()
        self._closed = trio.Event()  # Set when a file was closed, so that it is uploaded.
        # Held while a finished file is read and its row is written. Otherwise relay/retention could delete the file in
        # between, and the row with its peaks would be written after the row that says "deleted".
        self.file_and_row = trio.Lock()

    # For a call

    def recorder(self, call_sid: str, call_began_s: float, now_utc: dt.datetime, consent: Consent) -> Recorder:
        """The recorder of a stream that begins now.

        `call_began_s` is the beginning of the call's time line (Trio's clock). If the notice must be heard first, the
        recorder waits for `begin`. If the caller has refused, the recorder records nothing.
        """
        now = trio.current_time()
        began_at = now_utc - dt.timedelta(seconds=now - call_began_s)

        def open_tape(first_sample: int) -> FileTape:
            header = Header.fresh(self._keys, call_sid, first_sample, round(began_at.timestamp() * 1000))
            name = name_of(header, began_at + dt.timedelta(seconds=first_sample / RATE_HZ))
            file = FileInProgress(self._folder, name, self._keys, header)
            return FileTape(self._writer, file, partial(self._done, call_sid))

        def paused(from_ms: int, to_ms: int | None, why: str) -> None:
            self._ledger.record(rows.RecordingPauseRow(call_sid=call_sid, from_ms=from_ms, to_ms=to_ms, why=why))

        recorder = Recorder(call_began_s, open_tape, paused)
        recorder.start(now, consented=consent.may_keep, refused=consent.refused)
        return recorder

    def _done(self, call_sid: str, finished: Finished | None, why: str) -> None:
        """A file was closed, or could not be written. Runs in Trio's thread."""
        if why:
            self._metrics.recordings.labels("stopped").inc()
            log.error(
                "recording.stopped",
                call_sid=call_sid,
                words=why,
                caller_hears="no change: the call goes on, but is not recorded any more",
                do=f"see `words`: the disk of {self._folder} is full, too slow, or may not be written to",
            )
        if finished is not None:
            if not why:
                self._metrics.recordings.labels("whole").inc()
            self._write_row(finished)
            self._closed.set()

    def _write_row(self, finished: Finished, stored_in: str = "disk") -> None:
        header = finished.header
        self._ledger.record(
            rows.RecordingRow(
                call_sid=header.call_sid,
                started_ms=finished.started_ms,
                length_ms=finished.samples * 1000 // RATE_HZ,
                name=finished.name,
                stored_in=stored_in,
                n_bytes=finished.n_bytes,
                key_id=header.key_id.hex(),
                ended=finished.ended,
                peaks_step_ms=finished.peaks_step_ms,
                peaks=f"\\x{finished.peaks.hex()}",
                created_at=begun_at(finished.name),
            )
        )

    # The process

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled: write in a thread, close the files of dead processes, and upload."""
        self._writer.start()
        try:
            task_status.started()
            await self._tidy()
        finally:
            await self._writer.stop()
            if self._store is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_UPLOADS_S):
                    await self._upload_all()

    async def _tidy(self) -> None:
        try:
            await self._close_left_over()
        except OSError as error:
            log.error("recording.folder_unreadable", words=error.strerror, do=f"give {self._folder} to this user")
        while True:
            self._closed = trio.Event()
            if self._store is not None:
                await self._upload_all()
            with trio.move_on_after(UPLOAD_AGAIN_S):
                await self._closed.wait()

    async def _close_left_over(self) -> None:
        for path in await trio.to_thread.run_sync(left_over, self._folder):
            try:
                finished = await trio.to_thread.run_sync(close_left_over, self._folder, path, self._keys)
            except (OSError, RecordingRefused, KeyMissing) as error:
                words = "the file of a call that was cut off cannot be closed"
                log.error(
                    "recording.left_over",
                    file=path.name,
                    words=f"{words}: {error}",
                    do="the file cannot be played in this state: correct what `words` says, and start the relay again",
                )
                continue
            if finished is None:
                continue
            self._metrics.recordings.labels("after_a_crash").inc()
            seconds = finished.samples // RATE_HZ
            log.warning("recording.closed_after_crash", call_sid=finished.header.call_sid, seconds=seconds)
            self._write_row(finished)
        newest = await trio.to_thread.run_sync(lambda: list(self._disk.names())[-ROWS_AGAIN:])
        for name in newest:
            async with self.file_and_row:
                try:
                    self._write_row(await trio.to_thread.run_sync(finished_of, self._folder, name, self._keys))
                except FileNotFoundError:
                    continue  # The file was deleted by age after the folder was listed.
                except (OSError, RecordingRefused, KeyMissing) as error:
                    log.warning("recording.unreadable", file=name, words=str(error))

    # The store

    async def _upload_all(self) -> None:
        """Upload all closed files, oldest first. Stop at the first file that the store does not take."""
        assert self._store is not None
        waiting = 0
        for name in await trio.to_thread.run_sync(lambda: list(self._disk.names())):
            waiting += 1
            async with self.file_and_row:
                try:
                    finished = await trio.to_thread.run_sync(finished_of, self._folder, name, self._keys)
                    await trio.to_thread.run_sync(self._store.put, name, self._folder / name, abandon_on_cancel=True)
                except (StoreFailed, OSError) as error:
                    if not (self._folder / name).exists():  # The file was deleted by age after the folder was listed.
                        waiting -= 1
                        continue
                    log.warning("recording.not_uploaded", file=name, words=str(error), do="nothing: it is tried again")
                    self._metrics.recordings_waiting.set(waiting)
                    return
                except (RecordingRefused, KeyMissing) as error:
                    log.error(
                        "recording.unreadable",
                        file=name,
                        words=str(error),
                        do="nothing: the file stays on this machine's disk",
                    )
                    continue
                # Write the row before removing the file, so that the recording can always be found.
                self._write_row(finished, self._store.where)
                await trio.to_thread.run_sync(self._disk.delete, [name])
            waiting -= 1
        self._metrics.recordings_waiting.set(waiting)


def open_recordings(settings: Settings, ledger: Ledger, metrics: Metrics) -> Recordings:
    """Make the Recordings object of a process. Raises StoreUnusable."""
    return Recordings(
        folder_of(settings),
        Keys.parse(settings.recording_key),
        ledger,
        metrics,
        utc_now=lambda: dt.datetime.now(dt.UTC),
        store=store_of(settings),
    )


def folder_of(settings: Settings) -> Path:
    """The folder of recordings on this machine."""
    return settings.data_dir / "recordings"


def store_of(settings: Settings) -> ObjectStore | None:
    """The store that RECORDINGS_URL names. None if the setting is empty. Raises StoreUnusable."""
    if not settings.recordings_url:
        return None
    return ObjectStore(
        S3Access(
            settings.recordings_url,
            settings.aws_endpoint_url_s3 or settings.aws_endpoint_url,
            settings.aws_region,
            settings.aws_access_key_id,
            settings.aws_secret_access_key,
            settings.aws_session_token,
        )
    )
