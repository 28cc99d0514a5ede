"""A process that is killed while it records: at most the last second is lost, and no audio is on disk unencrypted."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from relay.recordings.cipher import HEADER_BYTES, SEALED_BYTES, Header, KeyMissing, Keys, new_key
from relay.recordings.files import (
    AFTER_A_CRASH,
    CLOSING,
    PART,
    SUFFIX,
    FileInProgress,
    close_left_over,
    left_over,
    open_file,
)
from relay.recordings.timeline import CHUNK_SAMPLES, RATE_HZ
from tests.helpers.recording_process import sound

KEY = new_key()
KEYS = Keys.parse(KEY)
CALLS = 3
TOGETHER = 4  # processes at the same time; more processes would wait for a core instead of recording


def _start(folder: Path, stack: ExitStack) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.helpers.recording_process", str(folder), KEY, str(CALLS)]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "recording\n"
    return process


def _closed(folder: Path) -> list[Path]:
    """Close the files as the next start of the relay does. Return the closed recordings."""
    for path in left_over(folder):
        close_left_over(folder, path, KEYS)
    assert not list(folder.glob(f"*/*{PART}")) + list(folder.glob(f"*/*{CLOSING}"))
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def _check(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or b"\x55\x2a\x55\x2a" not in path.read_bytes(), "audio is on disk unencrypted"
    progress = folder.with_suffix(".progress").read_bytes()
    had = {call: struct.unpack_from(">II", progress, 8 * call) for call in range(CALLS)}
    due = {call: (frames * 20 - 1_000 - late_ms) * 8 for call, (frames, late_ms) in had.items()}
    for path in _closed(folder):
        recording = open_file(path, KEYS)
        call = int(recording.header.call_sid[2:])
        assert recording.samples >= due.pop(call)
        stereo = recording.read(0, recording.samples)
        for side in (0, 1):
            heard = stereo[side::2].replace(b"\xff", b"")  # on a busy machine there are gaps of silence between frames
            whole = b"".join(sound(call, number, side) for number in range(recording.samples // 160 + 20))
            assert heard in whole
            assert len(heard) > recording.samples - RATE_HZ // 2
    assert all(samples <= 0 for samples in due.values()), ("a file is missing", due, had)


@pytest.mark.real
@pytest.mark.parametrize("processes", [8, pytest.param(200, marks=pytest.mark.deep)])
def test_a_killed_process_loses_at_most_one_second(processes: int, tmp_path: Path) -> None:
    rng = random.Random(time.monotonic_ns())
    for begun in range(0, processes, TOGETHER):
        with ExitStack() as stack:
            folders = [tmp_path / str(number) for number in range(begun, min(begun + TOGETHER, processes))]
            started = [(folder, _start(folder, stack)) for folder in folders]
            for folder, process in started:
                time.sleep(rng.uniform(0.0, 1.5))
                process.kill()
                process.wait()
                _check(folder)


# Files that the next start finds


def _part(folder: Path, chunks: int, tail: bytes = b"") -> Path:
    """A file whose process died after this many chunks, in the middle of the next one."""
    header = Header.fresh(KEYS, "CA1", 16_000, 0)
    file = FileInProgress(folder, f"2026-11-29/120000-CA1-{header.salt[:4].hex()}{SUFFIX}", KEYS, header)
    file.open()
    for number in range(chunks):
        file.append(bytes([number]) * 2 * CHUNK_SAMPLES)
    file._release()
    path = folder / file.name.replace(SUFFIX, PART)
    with path.open("ab") as out:
        out.write(tail)
    return path


@pytest.mark.parametrize("tail", [b"", b"\x00", bytes(SEALED_BYTES - 1), bytes(SEALED_BYTES + 7)])
def test_complete_chunks_are_kept_with_a_new_key_and_the_incomplete_one_is_dropped(tail: bytes, tmp_path: Path) -> None:
    path = _part(tmp_path, 3, tail)
    before = path.read_bytes()
    finished = close_left_over(tmp_path, path, KEYS)
    assert finished is not None
    assert (finished.ended, finished.samples, finished.started_ms) == (AFTER_A_CRASH, 3 * CHUNK_SAMPLES, 2_000)
    after = (tmp_path / finished.name).read_bytes()
    assert after[:HEADER_BYTES] != before[:HEADER_BYTES]
    chunks = {before[at : at + SEALED_BYTES] for at in range(HEADER_BYTES, len(before), SEALED_BYTES)}
    assert not any(chunk in after for chunk in chunks if len(chunk) == SEALED_BYTES and any(chunk))
    sound = open_file(tmp_path / finished.name, KEYS).read(0, 3 * CHUNK_SAMPLES)
    assert sound == b"".join(bytes([number]) * 2 * CHUNK_SAMPLES for number in range(3))
    assert [p.name for p in tmp_path.glob("*/*")] == [finished.name.split("/")[1]]


@pytest.mark.parametrize("n_bytes", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 100])
def test_a_file_without_a_complete_chunk_is_deleted(n_bytes: int, tmp_path: Path) -> None:
    path = _part(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert close_left_over(tmp_path, path, KEYS) is None
    assert not list(tmp_path.glob("*/*"))


def test_a_file_of_a_process_that_was_killed_before_the_rename_is_kept_whole(tmp_path: Path) -> None:
    header = Header.fresh(KEYS, "CA1", 0, 0)
    file = FileInProgress(tmp_path, f"2026-11-29/120000-CA1-1{SUFFIX}", KEYS, header)
    file.open()
    file.append(bytes(2 * CHUNK_SAMPLES))
    finished = file.close(b"ab")
    path = tmp_path / finished.name
    path.rename(path.with_suffix(PART))
    (left,) = left_over(tmp_path)
    again = close_left_over(tmp_path, left, KEYS)
    assert again == finished
    assert path.exists()


def test_a_process_that_was_killed_while_it_closed_a_file_leaves_only_one_recording(tmp_path: Path) -> None:
    path = _part(tmp_path, 3)
    data = path.read_bytes()
    finished = close_left_over(tmp_path, path, KEYS)
    path.write_bytes(data)  # one process was killed before it deleted this file
    (path.parent / f"120000-CA1-x{CLOSING}").write_bytes(data[:2_000])  # killed in the middle of closing
    (left,) = left_over(tmp_path)
    assert close_left_over(tmp_path, left, KEYS) == finished
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_a_file_that_a_running_process_writes_is_not_touched(tmp_path: Path) -> None:
    header = Header.fresh(KEYS, "CA1", 0, 0)
    file = FileInProgress(tmp_path, f"2026-11-29/120000-CA1-1{SUFFIX}", KEYS, header)
    file.open()
    assert left_over(tmp_path) == []
    file._release()
    assert len(left_over(tmp_path)) == 1


def test_a_file_whose_key_is_missing_is_not_changed(tmp_path: Path) -> None:
    path = _part(tmp_path, 2)
    with pytest.raises(KeyMissing):
        close_left_over(tmp_path, path, Keys.parse(new_key()))
    assert path.exists()
