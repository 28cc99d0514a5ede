"""The thread that writes recordings. A disk that stalls ends the recording, but not the call. Memory has a limit."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import trio

from relay.recordings.cipher import TAG_BYTES, Header, Keys, new_key
from relay.recordings.files import FileInProgress, Finished, close_left_over, left_over, open_file
from relay.recordings.timeline import CHUNK_SAMPLES
from relay.recordings.writer import WAITING_LIMIT, FileTape, Writer

KEYS = Keys.parse(new_key())
CHUNK = bytes(CHUNK_SAMPLES)

Told = list[tuple[Finished | None, str]]


def _tape(writer: Writer, folder: Path, told: Told) -> FileTape:
    header = Header.fresh(KEYS, "CA1", 0, 0)
    file = FileInProgress(folder, "2026-11-29/120000-CA1-1.rec", KEYS, header)
    return FileTape(writer, file, lambda finished, why: told.append((finished, why)))


@pytest.mark.real
async def test_a_disk_that_stalls_ends_the_recording_and_the_written_part_is_kept(tmp_path: Path) -> None:
    writer, told = Writer(), Told()
    writer.start()
    stalls = threading.Event()

    def stall() -> None:
        stalls.wait(30)

    writer.do(stall)
    tape = _tape(writer, tmp_path, told)
    for _ in range(10 * WAITING_LIMIT):
        tape.write(CHUNK, CHUNK)
    assert writer._jobs.qsize() <= WAITING_LIMIT + 4
    stalls.set()
    await writer.stop()
    ((finished, why),) = told
    assert "took nothing" in why
    assert finished is not None
    assert finished.samples == (WAITING_LIMIT + 1) * CHUNK_SAMPLES
    assert open_file(tmp_path / finished.name, KEYS).samples == finished.samples


@pytest.mark.real
async def test_results_of_the_writer_thread_are_reported_in_trios_thread_and_no_job_is_left_at_the_end(
    tmp_path: Path,
) -> None:
    writer, told = Writer(), Told()
    writer.start()
    tape = _tape(writer, tmp_path, told)
    for _ in range(8):
        tape.write(CHUNK, CHUNK)
    tape.close(CHUNK[:10], CHUNK[:10])
    await writer.stop()
    ((finished, why),) = told
    assert why == ""
    assert finished is not None
    assert finished.samples == 8 * CHUNK_SAMPLES + 10


@pytest.mark.real
async def test_an_error_in_one_job_does_not_end_the_others(tmp_path: Path) -> None:
    writer, told = Writer(), Told()
    writer.start()
    writer.do(lambda: [][0])
    tape = _tape(writer, tmp_path, told)
    tape.close(b"", b"")
    with trio.fail_after(30):
        await writer.stop()
    assert told[0][0] is not None


class _Filling:
    """Replaces os.write on a disk that fills up: after `left` bytes it raises an error, until `left` is set again."""

    def __init__(self, left: int) -> None:
        self.left, self._write = left, os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self._write(fd, bytes(data)[: self.left])
        self.left -= count
        return count


def test_a_recording_that_a_full_disk_stopped_in_the_middle_of_a_chunk_can_be_played_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileInProgress(tmp_path, "2026-11-29/120000-CA1-1.rec", KEYS, Header.fresh(KEYS, "CA1", 0, 0))
    file.open()
    file.append(bytes(2 * CHUNK_SAMPLES))
    disk = _Filling(100)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(OSError, match="No space"):
        file.append(bytes(2 * CHUNK_SAMPLES))
    disk.left = TAG_BYTES  # the incomplete chunk is removed, which makes room for the end of the file
    finished = file.give_up("stopped")
    assert finished is not None
    assert finished.samples == CHUNK_SAMPLES
    assert open_file(tmp_path / finished.name, KEYS).read(0, 2 * CHUNK_SAMPLES) == bytes(2 * CHUNK_SAMPLES)


def test_after_a_failed_last_chunk_nothing_is_encrypted_again_and_the_next_start_closes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileInProgress(tmp_path, "2026-11-29/120000-CA1-1.rec", KEYS, Header.fresh(KEYS, "CA1", 0, 0))
    file.open()
    file.append(bytes(2 * CHUNK_SAMPLES))
    disk = _Filling(10)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(OSError, match="No space"):
        file.close(b"abcd")
    disk.left = 1 << 20
    assert file.give_up("stopped") is None
    (left,) = left_over(tmp_path)
    finished = close_left_over(tmp_path, left, KEYS)
    assert finished is not None
    assert finished.samples == CHUNK_SAMPLES


async def test_a_folder_that_cannot_be_written_to_is_reported_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "2026-11-29").write_text("a file where the folder of the day should be")
    told = Told()
    tape = _tape(Writer(), tmp_path, told)
    tape.write(CHUNK, CHUNK)
    tape.close(b"", b"")
    assert [finished for finished, _ in told] == [None]
    assert told[0][1]
