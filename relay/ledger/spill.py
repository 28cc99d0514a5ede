"""The folder where rows wait on disk while Postgres is away.

Each file holds a group of rows in order. It is removed when its rows are in Postgres. A file is written with the ending
`.new`, and then renamed. So under its real name it is complete. Two relays may share a folder: if both write a file's
rows to Postgres, this does no harm, because rows are idempotent. The files hold words and phone numbers. So only the
operating system's user under which the relay runs can read them. There is no fsync. So rows survive an absence of
Postgres and a kill of the process, but perhaps not a power cut.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from relay.ledger.rows import ROW_TYPES, Row

_DECODERS = {kind.statement: msgspec.json.Decoder(kind) for kind in ROW_TYPES}
_FILE_NAME = re.compile(r"rows-([0-9]{1,20})-.*")


class _Line(msgspec.Struct):
    statement: str
    row: msgspec.Raw
    also: tuple[_Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row, and its JSON from the time when it was recorded. `also` is written in the same transaction."""

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
    """The folder of rows that wait. Its methods block until the disk is done, and may raise OSError.

    Only `next_file` does neither.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max((_number(path) for path in self._files()), default=0)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("rows-*.jsonl"))

    def found(self) -> list[tuple[Path, int]]:
        """The files that are there, oldest first, with the number of rows in each.

        The relay uses this once, at its start, before the first phone call.
        """
        return [(path, path.read_bytes().count(b"\n")) for path in self._files()]

    def next_file(self) -> Path:
        """A name that sorts after all others. So this file's rows go to Postgres after those of all other files."""
        # The time keeps the files of two relays in order. But a number is always larger than the last one. So the order
        # is right even if the clock was set back, and also after a restart: `__init__` reads the last number from the
        # files that are left.
        self._last = max(time.time_ns(), self._last + 1)
        return self._folder / f"rows-{self._last:020d}-{os.getpid()}.jsonl"

    def put(self, path: Path, entries: Iterable[Entry]) -> None:
        """Put rows into a new file. May run in a thread."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        try:
            _write(fresh, b"".join(entry.line() for entry in entries), os.O_TRUNC)
            fresh.rename(path)
        except OSError:
            with suppress(OSError):  # Nothing reads an incomplete file, and its disk space is needed.
                fresh.unlink()
            raise

    def read(self, path: Path) -> tuple[list[Entry], list[bytes]]:
        """The rows of a file in order, and the lines that cannot be read as rows.

        A newer relay wrote such lines, or the disk is broken.
        """
        entries, unreadable = [], []
        for text in path.read_bytes().splitlines():
            try:
                entries.append(_entry(msgspec.json.decode(text, type=_Line)))
            except Exception:  # If the decoder fails at one line, the other lines are still read.
                unreadable.append(text)
        return entries, unreadable

    def remove(self, path: Path) -> None:
        """Remove a file whose rows are in Postgres."""
        path.unlink(missing_ok=True)

    def set_aside(self, lines: Iterable[bytes]) -> None:
        """Keep lines that cannot be written to Postgres in `refused.jsonl`, so that the operator can look at them."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._folder / "refused.jsonl", b"".join(line.rstrip(b"\n") + b"\n" for line in lines), os.O_APPEND)


def _entry(line: _Line) -> Entry:
    row = _DECODERS[line.statement].decode(line.row)
    return Entry(row, bytes(line.row), tuple(_entry(one) for one in line.also))


def _number(path: Path) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _write(path: Path, content: bytes, flags: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb") as file:
        file.write(content)
