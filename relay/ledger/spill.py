"""Where rows wait on disk when Postgres takes none: one file a spill, oldest first, gone when its rows are written.

A file is written once, beside its place, and moved there: it is whole or it is not there. Shipping one twice does no
harm (rows are idempotent), so two relays on one folder do none either. It holds words and numbers: for our eyes only.
No fsync: the rows it saves are those of a Postgres that is away, not of a power cut; that is the journal's duty.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from relay.ledger.rows import ROW_TYPES, Row

_DECODERS = {kind.statement: msgspec.json.Decoder(kind) for kind in ROW_TYPES}


class _Line(msgspec.Struct):
    statement: str
    row: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Entry:
    """A row and its JSON, as it was when it was recorded."""

    row: Row
    encoded: bytes

    def line(self) -> bytes:
        return b'{"statement":"%b","row":%b}\n' % (self.row.statement.encode(), self.encoded)


class Spill:
    """The folder of spilled rows. Its methods do disk I/O at once and may raise OSError; `next_file` does none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._skipped: set[Path] = set()
        # What an earlier run left. Counted once, here, before any call.
        self.rows = sum(path.read_bytes().count(b"\n") for path in self._files())

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("rows-*.jsonl"))

    def oldest(self) -> Path | None:
        """The file to ship next."""
        return next((path for path in self._files() if path not in self._skipped), None)

    def skip(self, path: Path) -> None:
        """Leave a file that cannot be read to the next start (or to the relay that has shipped it meanwhile)."""
        self._skipped.add(path)

    def next_file(self) -> Path:
        """A name behind all others: what is put there is shipped after all that lies there already."""
        self._made += 1
        # Names sort by time; within one tick of a coarse clock by number.
        return self._folder / f"rows-{time.time_ns():020d}-{self._made:06d}-{os.getpid()}.jsonl"

    def put(self, path: Path, entries: list[Entry]) -> None:
        """Put rows into a new file. May run in a thread; the one who calls it counts the rows."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        try:
            _write(fresh, b"".join(entry.line() for entry in entries), os.O_TRUNC)
            fresh.rename(path)
        except OSError:
            with suppress(OSError):  # half a file is read by nobody, and takes what room is left
                fresh.unlink()
            raise

    def read(self, path: Path) -> tuple[list[Entry], list[bytes]]:
        """The rows of a file in order, and the lines that are no rows (of a newer relay, or of a broken disk)."""
        entries, unreadable = [], []
        for text in path.read_bytes().splitlines():
            try:
                line = msgspec.json.decode(text, type=_Line)
                entries.append(Entry(_DECODERS[line.statement].decode(line.row), bytes(line.row)))
            except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
                unreadable.append(text)
        return entries, unreadable

    def remove(self, path: Path, rows: int) -> None:
        """The file's rows are in Postgres."""
        path.unlink(missing_ok=True)
        self.rows = max(0, self.rows - rows)

    def set_aside(self, lines: Iterable[bytes]) -> None:
        """Keep for a human what Postgres will never take."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._folder / "refused.jsonl", b"".join(line.rstrip(b"\n") + b"\n" for line in lines), os.O_APPEND)


def _write(path: Path, content: bytes, flags: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb") as file:
        file.write(content)
