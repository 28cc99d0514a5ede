"""Writes recordings in a thread. A call gives its chunks to a tape, and the tape gives them to the thread.

While the thread does not run, each job is done at once, in the thread that asks for it. Tests on a fake clock need
this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog
import trio

from relay.recordings.cipher import CHUNK_BYTES
from relay.recordings.files import WHOLE, FileInProgress, Finished

log = structlog.get_logger()

# If more than this many chunks of a stream wait for the disk, the recording of the stream stops. 32 chunks are 8 s, or
# 128 kB of memory.
WAITING_LIMIT = 32
# At its end the process waits at most this long until the remaining chunks are written.
STOP_LIMIT_S = 5.0

Job = Callable[[], None]


class Writer:
    """Does jobs in order, in a thread of its own between `start` and `stop`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._tell: Callable[[Job], None] | None = None

    def do(self, job: Job) -> None:
        """Give a job to the thread. This never blocks. If there is no thread, do the job at once."""
        if self._thread is None:
            job()
        else:
            self._jobs.put(job)

    def tell(self, news: Job) -> None:
        """Called by a job: run a function in Trio's thread."""
        if self._tell is None:
            news()
            return
        try:
            self._tell(news)
        except trio.RunFinishedError:
            pass  # Trio has ended. The next start of the relay finds the file.

    def start(self) -> None:
        """Start the thread. Call it in Trio's thread."""
        self._tell = trio.lowlevel.current_trio_token().run_sync_soon
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread after the jobs that wait."""
        thread = self._thread
        if thread is None:
            return
        self._jobs.put(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, STOP_LIMIT_S)
            if not thread.is_alive():
                self._thread = self._tell = None
            await trio.lowlevel.checkpoint()  # Run the functions that the thread has given to `tell`.

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("recording.bug", caller_hears="nothing: the call goes on")


class FileTape:
    """The tape that writes one recording to the disk. `done` is called in Trio's thread with the result."""

    def __init__(self, writer: Writer, file: FileInProgress, done: Callable[[Finished | None, str], None]) -> None:
        self._writer, self._file, self._done = writer, file, done
        # The number of chunks that were given to the thread, and the number that it has taken. Only one thread changes
        # each number.
        self._sent = self._taken = 0
        self._over = False
        self._failed = False
        writer.do(self._open)

    # In Trio's thread

    def write(self, left: bytes, right: bytes) -> None:
        if self._over or self._failed:
            return
        if self._sent - self._taken > WAITING_LIMIT:
            self._over = True
            self._writer.do(lambda: self._stop(f"the disk took nothing for {WAITING_LIMIT // 4} s"))
            return
        self._sent += 1
        self._writer.do(lambda: self._append(left, right))

    def close(self, left: bytes, right: bytes) -> None:
        if not self._over:
            self._over = True
            self._writer.do(lambda: self._close(left, right))

    # In the writer's thread

    def _open(self) -> None:
        try:
            self._file.open()
        except OSError as error:
            self._stop(_words(error))

    def _append(self, left: bytes, right: bytes) -> None:
        self._taken += 1
        if self._failed:
            return
        try:
            self._file.append(interleaved(left, right))
        except OSError as error:
            self._stop(_words(error))

    def _close(self, left: bytes, right: bytes) -> None:
        if self._failed:
            return
        try:
            finished = self._file.close(interleaved(left, right), WHOLE)
        except OSError as error:
            self._stop(_words(error))
            return
        self._writer.tell(lambda: self._done(finished, ""))

    def _stop(self, why: str) -> None:
        """Stop this recording. The call goes on."""
        if self._failed:
            return
        self._failed = True
        finished = self._file.give_up(f"stopped: {why}") if self._file.is_open else None
        self._writer.tell(lambda: self._done(finished, why))


def interleaved(left: bytes, right: bytes) -> bytes:
    """Join two channels: left byte, right byte and so on."""
    stereo = bytearray(2 * len(left))
    stereo[0::2], stereo[1::2] = left, right
    assert len(stereo) <= CHUNK_BYTES
    return bytes(stereo)


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
