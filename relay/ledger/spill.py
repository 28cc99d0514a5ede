"""Keeps rows in a folder on disk while Postgres is away.

Each file holds a group of rows in order. It is removed when its rows are in Postgres. A file is written with the ending
`.new`, and then renamed. So a file without this ending is complete. Only one relay may use a folder (server/data_dir.py
holds a lock). The slower of two relays would write older rows over newer ones. The files hold callers' words and phone
numbers. So only the operating system's user under which the relay runs can read them. Files are not synced to the disk
(fsync). So rows survive a kill of the process, but perhaps not a power cut.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from relay.ledger.rows import ROW_TYPES, Row

STALE_S = 60.0  # A file that is still incomplete after this time will never be completed.
_DECODERS = {kind.statement: msgspec.json.Decoder(kind) for kind in ROW_TYPES}
_FILE_NAME = re.compile(r"rows-([0-9]{1,20})-.*")


class _Line(msgspec.Struct):
    statement: str
    row: msgspec.Raw
    also: tuple[_Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row, and its JSON, which was made when the row was recorded. `also` holds rows of the same transaction."""

    row: Row
    encoded: bytes
    also: tuple[Entry, ...] = ()

    def all(self) -> tuple[Entry, ...]:
        """The row and the rows that are written with it."""
        return (self, *self.also)

    def line(self) -> bytes:
        """The line that holds this row in a file."""
        return self._json() + b"\n"

    def _json(self) -> bytes:
        also = b',"also":[%b]' % b",".join(entry._json() for entry in self.also) if self.also else b""
        return b'{"statement":"%b","row":%b%b}' % (self.row.statement.encode(), self.encoded, also)


class Spill:
    """The folder of rows that wait.

    All methods except `next_file` block while the disk works, and may raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max((_number(path) for path in self._files()), default=0)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("rows-*.jsonl"))

    def found(self) -> list[tuple[Path, int]]:
        """The files in the folder, oldest first, with the number of rows in each.

        The relay calls this once at its start, before the first phone call.
        """
        return [(path, path.read_bytes().count(b"\n")) for path in self._files()]

    def next_file(self) -> Path:
        """A file name that sorts after all others.

        So the rows of this file go to Postgres after the rows of all other files.
        """
        # The number is the time, so that the files of two relays are in order. But it is always larger than the last
        # number, so that the order is right even if the clock is set back. After a restart, `__init__` reads the last
        # number from the files that are left.
        self._last = max(time.time_ns(), self._last + 1)
        return self._folder / f"rows-{self._last:020d}-{os.getpid()}.jsonl"

    def put(self, path: Path, entries: Iterable[Entry]) -> None:
        """Put rows into a new file. This may run in any thread."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        try:
            _write(fresh, b"".join(entry.line() for entry in entries), os.O_TRUNC)
            fresh.rename(path)
        except OSError:
            with suppress(OSError):  # An incomplete file is never read, so free its disk space.
                fresh.unlink()
            raise

    def read(self, path: Path) -> tuple[list[Entry], list[bytes]]:
        """The rows of a file in order, and the lines that cannot be read as rows.

        There are such lines if a newer relay wrote the file, or if the disk is broken.
        """
        entries, unreadable = [], []
        for text in path.read_bytes().splitlines():
            try:
                entries.append(_entry(msgspec.json.decode(text, type=_Line)))
            except Exception:  # Catch any error of the decoder, so that the other lines are read.
                unreadable.append(text)
        return entries, unreadable

    def remove(self, path: Path) -> None:
        """Remove a file whose rows are in Postgres."""
        path.unlink(missing_ok=True)

    def set_aside(self, lines: Iterable[bytes]) -> None:
        """Keep the lines that Postgres will never take, so that the operator can look at them.

        Each day has a file, `refused-2026-11-29.jsonl` (UTC). So `delete_old` can delete the lines of one day.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"refused-{time.strftime('%Y-%m-%d', time.gmtime(time.time()))}.jsonl"
        _write(path, b"".join(line.rstrip(b"\n") + b"\n" for line in lines), os.O_APPEND)


def set_aside_files(folder: Path) -> list[Path]:
    """The files of the lines that Postgres will never take, oldest first."""
    return sorted(folder.glob("refused*.jsonl"))


def set_aside_lines(folder: Path) -> Iterator[bytes]:
    """The lines that Postgres will never take. A running relay may remove files during the iteration."""
    for path in set_aside_files(folder):
        with suppress(FileNotFoundError):
            yield from path.read_bytes().splitlines()


def delete_old(folder: Path, *, before_s: float) -> int:
    """Delete the files of refused rows, and incomplete files, that were last changed before `before_s`.

    `before_s` is a time in seconds since 1970. Returns the number of deleted files. Raises OSError. Rows that wait are
    not deleted: they get into Postgres, and are deleted there.
    """
    deleted = 0
    for path in [*set_aside_files(folder), *folder.glob("refused*.half"), *folder.glob("rows-*.new")]:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before_s:
                path.unlink()
                deleted += 1
    return deleted


def waiting_lines(folder: Path) -> Iterator[bytes]:
    """The lines of all rows in this folder. A running relay may remove files during the iteration."""
    for path in sorted(folder.glob("rows-*.jsonl")):
        with suppress(FileNotFoundError):
            yield from path.read_bytes().splitlines()


def delete_set_aside(folder: Path, is_theirs: Callable[[bytes], bool], *, now_s: float) -> int:
    """Delete the refused lines for which `is_theirs` is true, and files that a dead process left incomplete.

    `relay erase` passes an `is_theirs` that finds the rows of the caller to erase. `now_s` is the time in seconds since
    1970. Returns the number of deleted lines. Raises OSError.
    """
    for path in folder.glob("rows-*.new"):
        with suppress(FileNotFoundError):
            if now_s - path.stat().st_mtime > STALE_S:
                path.unlink()
    return sum(_delete_lines(path, is_theirs) for path in set_aside_files(folder))


def _delete_lines(path: Path, is_theirs: Callable[[bytes], bool]) -> int:
    try:
        changed_at = path.stat()
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    others = [line for line in lines if not is_theirs(line)]
    if len(others) < len(lines):
        fresh = path.with_suffix(".half")
        _write(fresh, b"".join(others), os.O_TRUNC)
        # `delete_old` must find the age of the other lines.
        os.utime(fresh, ns=(changed_at.st_atime_ns, changed_at.st_mtime_ns))
        fresh.rename(path)
    return len(lines) - len(others)


def _entry(line: _Line) -> Entry:
    row = _DECODERS[line.statement].decode(line.row)
    return Entry(row, bytes(line.row), tuple(_entry(one) for one in line.also))


def _number(path: Path) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _write(path: Path, content: bytes, flags: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb") as file:
        file.write(content)
