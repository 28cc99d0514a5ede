"""Writes and reads recordings on disk. A file is written chunk by chunk, and renamed when it is closed.

These functions block, so call them in a thread.

    DATA_DIR/recordings/2026-11-29/140512-CA0123...-4f2a9c1b.rec          (.rec.part while the call lasts)

If a process dies, its .part file stays, with all complete chunks. If the last chunk is missing, `close_left_over`
writes the complete chunks into a new file with a new key, and deletes the old file. If nothing is missing,
`close_left_over` only renames the file. A new key is needed, because the incomplete last chunk has used its nonce, and
no nonce may be used twice with one key.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from relay.recordings.cipher import HEADER_BYTES, SEALED_BYTES, TAG_BYTES, ChunkCipher, Header, Keys, RecordingRefused
from relay.recordings.peaks import Peaks
from relay.recordings.timeline import CHUNK_SAMPLES, RATE_HZ

# The suffixes of a closed file, of a file that is written, of the new file that `close_left_over` writes, and of a file
# that may not be locked yet.
SUFFIX, PART, CLOSING, NEW = ".rec", ".rec.part", ".rec.closing", ".rec.new"
# A `.rec.new` file that is younger than this is not deleted. Another process may have made it and not locked it yet.
STALE_S = 60.0
WHOLE, AFTER_A_CRASH = "whole", "closed after a crash"


@dataclass(frozen=True, slots=True)
class Finished:
    """The facts about a closed file that its row in Postgres holds."""

    name: str  # The file's name below the folder, and in S3.
    header: Header
    samples: int
    n_bytes: int
    ended: str  # WHOLE, AFTER_A_CRASH, or a text that says why recording stopped.
    peaks_step_ms: int
    peaks: bytes = field(repr=False)

    @property
    def started_ms(self) -> int:
        """Where the file starts on the call's time line, in ms."""
        return self.header.first_sample * 1000 // RATE_HZ


def name_of(header: Header, begun_at: datetime) -> str:
    """The name of a recording's file, below the folder and in S3."""
    begun_at = begun_at.astimezone(UTC)
    return f"{begun_at:%Y-%m-%d/%H%M%S}-{header.call_sid}-{header.salt[:4].hex()}{SUFFIX}"


def is_of(name: str, call_sid: str) -> bool:
    """True if this is the name of a recording of this call."""
    return Path(name).name.partition("-")[2].rpartition("-")[0] == call_sid


class FileInProgress:
    """A recording that is being written. All methods except `give_up` may raise OSError."""

    def __init__(self, folder: Path, name: str, keys: Keys, header: Header, meanwhile: str = PART) -> None:
        """`meanwhile` is the file's suffix until it is closed. Before `open` nothing is on disk. Raises KeyMissing."""
        self.name, self.header = name, header
        self._path = folder / name
        self._part = self._path.with_suffix(meanwhile)
        self._cipher = ChunkCipher(keys, header)
        self._peaks = Peaks()
        self._fd = -1
        self._chunks = 0
        self._written = 0  # The bytes of the header and of all complete chunks.
        self._is_last_sealed = False

    @property
    def is_open(self) -> bool:
        """True from `open` to `close`."""
        return self._fd >= 0

    def open(self) -> None:
        """Make the file and lock it.

        The file gets the suffix `.rec.part` after it is locked. So no other process takes it for the file of a dead
        process.
        """
        self._part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_suffix(NEW)
        self._fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write(self.header.encode())
        new.rename(self._part)

    def append(self, stereo: bytes) -> None:
        """Write a full chunk."""
        sealed = self._cipher.seal(self._chunks, stereo, last=False)
        self._chunks += 1  # Count the chunk even if the write fails, because its nonce was used.
        self._write(sealed)
        self._peaks.add(stereo)

    def close(self, stereo: bytes, ended: str = WHOLE) -> Finished:
        """Write the last chunk, which is shorter, and give the file its final name."""
        self._is_last_sealed = True
        self._write(self._cipher.seal(self._chunks, stereo, last=True))
        self._peaks.add(stereo)
        os.fsync(self._fd)
        self._part.rename(self._path)
        self._release()
        step_ms, pairs = self._peaks.result()
        samples = (self._written - HEADER_BYTES) // SEALED_BYTES * CHUNK_SAMPLES + len(stereo) // 2
        return Finished(self.name, self.header, samples, self._written, ended, step_ms, pairs)

    def give_up(self, why: str) -> Finished | None:
        """The disk takes no more bytes, or is too slow. Try to close the file with its complete chunks.

        If this fails, the next start of the relay closes the file. If `close` has failed before, `give_up` does not
        try: the nonce of the last chunk was used, and must not be used again.
        """
        try:
            if self._is_last_sealed:
                raise OSError
            os.ftruncate(self._fd, self._written)
            os.lseek(self._fd, self._written, os.SEEK_SET)  # ftruncate does not move the place of the next write.
            # A chunk whose write failed may have used this number. The last chunk may have the same number, because the
            # flag in its nonce differs.
            self._chunks = max(0, self._written - HEADER_BYTES) // SEALED_BYTES
            return self.close(b"", why)
        except OSError:
            self._release()
            return None

    def discard(self) -> None:
        """Delete the unfinished file."""
        self._release()
        self._part.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            n = os.write(self._fd, rest)
            if n == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._part))
            rest = rest[n:]
        self._written += len(data)


class Recording:
    """A closed recording, to be played. `read_at(offset, count)` reads its bytes, from disk or from S3."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes], keys: Keys) -> None:
        """Read the header and the last chunk. Raises RecordingRefused, KeyMissing, and what `read_at` raises."""
        self._read_at = read_at
        self.header = Header.decode(read_at(0, HEADER_BYTES))
        self._cipher = ChunkCipher(keys, self.header)
        self._full, rest = divmod(size - HEADER_BYTES, SEALED_BYTES)
        if rest < TAG_BYTES:
            raise RecordingRefused("the recording is damaged: its end is missing")
        self._last = rest
        self.samples = self._full * CHUNK_SAMPLES + (rest - TAG_BYTES) // 2
        self.chunk(self._full)  # Decrypting the last chunk proves that nothing was cut off.

    @property
    def first_sample(self) -> int:
        """The place of the file's first sample on the call's time line."""
        return self.header.first_sample

    def chunk(self, number: int) -> bytes:
        """One chunk: left byte, right byte, ... Raises RecordingRefused."""
        last = number == self._full
        sealed = self._read_at(HEADER_BYTES + number * SEALED_BYTES, self._last if last else SEALED_BYTES)
        return self._cipher.open(number, sealed, last=last)

    def read(self, first: int, count: int) -> bytes:
        """Up to `count` samples of both channels from sample `first` on. 0 is the first sample of the file."""
        end = min(first + count, self.samples)
        if first >= end:
            return b""
        numbers = range(first // CHUNK_SAMPLES, (end - 1) // CHUNK_SAMPLES + 1)
        stereo = b"".join(self.chunk(number) for number in numbers)
        skip = 2 * (first - numbers.start * CHUNK_SAMPLES)
        return stereo[skip : skip + 2 * (end - first)]

    def chunks(self) -> Iterator[bytes]:
        """All chunks of the recording, in order. Raises RecordingRefused."""
        for number in range(self._full + 1):
            yield self.chunk(number)


def open_file(path: Path, keys: Keys) -> Recording:
    """Open a recording on disk. Raises OSError, RecordingRefused, KeyMissing."""

    def read_at(offset: int, count: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(count)

    return Recording(path.stat().st_size, read_at, keys)


def peaks_of(recording: Recording) -> tuple[int, bytes]:
    """The peaks of a closed recording."""
    peaks = Peaks()
    for stereo in recording.chunks():
        peaks.add(stereo)
    return peaks.result()


def finished_of(folder: Path, name: str, keys: Keys, ended: str = WHOLE) -> Finished:
    """Read the facts about a closed file from the file. Raises OSError, RecordingRefused, KeyMissing."""
    path = folder / name
    recording = open_file(path, keys)
    step_ms, pairs = peaks_of(recording)
    return Finished(name, recording.header, recording.samples, path.stat().st_size, ended, step_ms, pairs)


def call_of(name: str) -> str:
    """The call's SID in the name of a file, with or without its folder. "" if it is not the name of a recording."""
    parts = name.rpartition("/")[2].split("-")
    return parts[1] if len(parts) == 3 else ""


def files_of(folder: Path, call_sids: Collection[str]) -> list[Path]:
    """All files of these calls: closed files, files that are being written, and files of dead processes."""
    return [path for path in sorted(folder.glob("*/*")) if call_of(path.name) in call_sids]


def is_being_written(path: Path) -> bool:
    """True if a living process writes this file, because its call runs."""
    return path.suffix != SUFFIX and not _is_free(path)


def left_over(folder: Path) -> list[Path]:
    """The `.rec.part` files that no process has locked, because their process is dead.

    Also deletes the `.rec.closing` files and old `.rec.new` files of dead processes.
    """
    for path in [*folder.glob(f"*/*{CLOSING}"), *folder.glob(f"*/*{NEW}")]:
        with suppress(OSError):
            if _is_free(path) and (path.suffix != ".new" or time.time() - path.stat().st_mtime > STALE_S):
                path.unlink()
    return [path for path in sorted(folder.glob(f"*/*{PART}")) if _is_free(path)]


def _is_free(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def close_left_over(folder: Path, path: Path, keys: Keys) -> Finished | None:
    """Close the file of a dead process. Returns None if the file had no complete chunk.

    Raises OSError, KeyMissing, RecordingRefused.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        path.unlink()
        return None
    header = Header.decode(head)
    time_and_call = path.name.rsplit("-", 1)[0]
    # If the process died after the last chunk and before the rename, nothing is missing.
    with suppress(RecordingRefused):
        open_file(path, keys)
        closed = path.with_name(path.name.removesuffix(PART) + SUFFIX)
        path.rename(closed)
        return finished_of(folder, str(closed.relative_to(folder)), keys)
    # An earlier `close_left_over` may have died after it had written the new file and before it deleted the old file.
    for closed in path.parent.glob(f"{time_and_call}-*{SUFFIX}"):
        if open_file(closed, keys).first_sample == header.first_sample:
            path.unlink()
            return finished_of(folder, str(closed.relative_to(folder)), keys, AFTER_A_CRASH)
    fresh = Header.fresh(keys, header.call_sid, header.first_sample, header.call_started_ms)
    name = path.relative_to(folder).parent / f"{time_and_call}-{fresh.salt[:4].hex()}{SUFFIX}"
    rewritten = FileInProgress(folder, str(name), keys, fresh, CLOSING)
    finished = None
    try:
        for stereo in _whole_chunks(path, ChunkCipher(keys, header)):
            if not rewritten.is_open:
                rewritten.open()
            rewritten.append(stereo)
        if rewritten.is_open:
            finished = rewritten.close(b"", AFTER_A_CRASH)
    except OSError:
        rewritten.discard()
        raise
    path.unlink()
    return finished


def _whole_chunks(path: Path, cipher: ChunkCipher) -> Iterator[bytes]:
    """All chunks before the first incomplete one."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for number in itertools.count():
            try:
                yield cipher.open(number, file.read(SEALED_BYTES), last=False)
            except RecordingRefused:
                return
