"""Holds the rows that Postgres has not taken yet, oldest first.

The oldest rows are in pieces. A piece is a group of rows that are stored together, in memory or in one file. Newer rows
are in the queue in memory.

Rule 1: the pieces keep the order in which the rows were recorded. So a newer version of a row is never written before
        an older version.
Rule 2: a piece gets its file name when it is made. The names sort in the order of the pieces. So the next process knows
        the order even if this process is killed.
Rule 3: memory holds at most the queue, the piece that is being written to Postgres, one piece that the disk
        refused, and CALLS_KNOWN more rows (see there). The number of rows on disk is not limited.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from relay.ledger import rows as r
from relay.ledger.spill import Entry, Spill

# The most rows in the queue, and their most bytes. A call makes about one row a second, so 100 calls fill the queue in
# 40 s. While Postgres is away, the queue is put on disk every second. If the queue is full before that, `add` puts it
# on disk itself. That takes 10 to 60 ms for 2 MiB on a busy disk, and the audio of all calls is delayed by this time.
QUEUE_ROWS = 4_096
QUEUE_BYTES = 2 << 20
# After the disk has refused rows, `add` does not try the disk again for this time. A try at each row would delay the
# audio of all calls.
DISK_PAUSE_S = 1.0
# The log lines ledger.spilled and ledger.spill_failed are repeated only after this time. But a refusal of the disk is
# always logged if the disk has taken rows since the last refusal.
TELL_AGAIN_S = 60.0
# When a stream ends, Twilio asks what comes next in the call. The answer needs the call's CallRow and OutcomeRow. So
# these rows stay in memory after they were put on disk, but at most this many rows.
CALLS_KNOWN = 4_096

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Piece:
    """Rows that are stored together, in order. `left` is the number of rows that Postgres has not taken yet."""

    path: Path
    left: int
    entries: list[Entry] | None  # None: the rows are only on disk.
    on_disk: bool
    since: float = 0.0  # When the oldest row came, by time.monotonic().
    being_put: bool = False  # True while a thread writes the rows to the disk.


class Backlog:
    """The rows that wait for Postgres.

    Make this object before the first call, because the constructor reads the files that an earlier process has left.
    Reading blocks, and may raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder)
        self._pieces = deque(Piece(path, rows, None, on_disk=True) for path, rows in self._spill.found())
        self._queue: list[Entry] = []
        self._queue_bytes = 0
        self._since = 0.0  # The time at which the oldest row of the queue came.
        self._disk = trio.Lock()  # Held while a thread puts pieces on disk.
        self._disk_again_at = 0.0
        self._refusal_told_at = self._spilled_told_at = 0.0
        self.refused = 0
        self._stays = 0  # The number of rows in files that could not be read or removed.
        self._calls: dict[tuple[type[r.Row], str], r.CallRow | r.OutcomeRow] = {}

    # Rows in

    def add(self, entry: Entry) -> bool:
        """Take a row. Returns False if memory is full and the disk refuses rows. The row is then lost."""
        full = len(self._queue) >= QUEUE_ROWS or self._queue_bytes + len(entry.encoded) > QUEUE_BYTES
        if full and (time.monotonic() < self._disk_again_at or not self.put_now()):
            return False
        if not self._queue:
            self._since = time.monotonic()
        self._queue.append(entry)
        self._queue_bytes += len(entry.encoded)
        return True

    @property
    def in_memory(self) -> int:
        """Rows that would be lost if the process were killed."""
        return len(self._queue) + sum(piece.left for piece in self._pieces if not piece.on_disk)

    @property
    def on_disk(self) -> int:
        """Rows in files: rows that are not in Postgres yet, and all rows of files that could not be read or removed."""
        return self._stays + sum(piece.left for piece in self._pieces if piece.on_disk)

    @property
    def waits_s(self) -> float:
        """How long the oldest row in memory has waited without being on disk, in seconds."""
        since = next((piece.since for piece in self._pieces if not piece.on_disk), self._since if self._queue else None)
        return 0.0 if since is None else time.monotonic() - since

    def of_call(self, call_sid: str) -> list[r.CallRow | r.OutcomeRow]:
        """The CallRows and OutcomeRows of a call that may not be in Postgres yet, oldest first.

        Rows in the files of an earlier process are not included.
        """
        known = [row for (_, sid), row in self._calls.items() if sid == call_sid] if self._calls else []
        waiting = [entry.row for piece in self._pieces for entry in piece.entries or ()]
        waiting += [entry.row for entry in self._queue]
        return known + [
            row for row in waiting if isinstance(row, r.CallRow | r.OutcomeRow) and row.call_sid == call_sid
        ]

    # To disk

    def put_now(self) -> bool:
        """Put all rows from memory on disk, in this thread, except those that another thread is putting there.

        Returns False if the disk refuses rows. These rows then stay in memory.
        """
        for piece in self._pieces:
            if not piece.on_disk and not piece.being_put and not self._try_to_put(piece):
                return False
        if not self._queue:
            return True
        piece = self._sealed()
        if not self._try_to_put(piece):
            return False
        self._take_queue(piece)
        return True

    def _try_to_put(self, piece: Piece) -> bool:
        try:
            self._spill.put(piece.path, piece.entries or ())
        except OSError as error:
            self._disk_refused(error, piece)
            return False
        self._is_on_disk(piece)
        return True

    def forget(self) -> None:
        """Drop the rows in memory. For the end of the process, when neither Postgres nor the disk took them."""
        self._pieces = deque(piece for piece in self._pieces if piece.on_disk)
        self._queue, self._queue_bytes = [], 0

    async def put(self) -> None:
        """Put all rows from memory on disk in another thread, so that no call waits for the disk."""
        async with self._disk:
            for piece in [piece for piece in self._pieces if not piece.on_disk]:
                if not await self._put_in_thread(piece):
                    return
            if self._queue:
                piece = self._sealed()
                self._take_queue(piece)
                await self._put_in_thread(piece)

    async def _put_in_thread(self, piece: Piece) -> bool:
        piece.being_put = True
        try:
            await trio.to_thread.run_sync(self._spill.put, piece.path, tuple(piece.entries or ()))
        except OSError as error:
            self._disk_refused(error, piece)
            return False
        finally:
            piece.being_put = False
        self._is_on_disk(piece)
        return True

    def _sealed(self) -> Piece:
        """Make a piece of the rows in the queue. Its file name sorts after the names of all other pieces."""
        return Piece(self._spill.next_file(), len(self._queue), self._queue, on_disk=False, since=self._since)

    def _take_queue(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._queue, self._queue_bytes = [], 0

    def _is_on_disk(self, piece: Piece) -> None:
        piece.on_disk = True
        self._disk_again_at = self._refusal_told_at = 0.0
        if self._is_time_to_tell("_spilled_told_at"):
            log.warning("ledger.spilled", rows=self.on_disk, do="nothing: the rows are written when Postgres is back")
        for entry in piece.entries or ():
            row = entry.row
            if isinstance(row, r.CallRow | r.OutcomeRow):
                known = self._calls.pop((type(row), row.call_sid), None)
                self._calls[type(row), row.call_sid] = row if known is None else r.merge(known, row)  # type: ignore[type-var]  # the key has the type, so both rows have the same type
        while len(self._calls) > CALLS_KNOWN:
            del self._calls[next(iter(self._calls))]
        piece.entries = None

    def _disk_refused(self, error: OSError, piece: Piece) -> None:
        self._disk_again_at = time.monotonic() + DISK_PAUSE_S
        if self._is_time_to_tell("_refusal_told_at"):
            do = (
                "let the relay write to DATA_DIR (see error), or bring Postgres back: rows are lost when memory is full"
            )
            log.error("ledger.spill_failed", rows=piece.left, error=error.strerror, do=do)

    def _is_time_to_tell(self, told_at: str) -> bool:
        now = time.monotonic()
        if getattr(self, told_at) and now - getattr(self, told_at) < TELL_AGAIN_S:
            return False
        setattr(self, told_at, now)
        return True

    # Rows out

    async def first(self) -> tuple[Piece, deque[Entry]] | None:
        """The oldest piece and its rows. None if no rows wait.

        If the rows are only on disk, the piece's file is read. Lines of the file that are not rows are set aside.
        """
        while True:
            async with self._disk:  # If a thread is putting pieces on disk, wait until it has finished.
                if not self._pieces and self._queue:
                    self._take_queue(self._sealed())
            if not self._pieces:
                return None
            piece = self._pieces[0]
            if piece.entries is not None:
                return piece, deque(piece.entries)
            entries = await self._read(piece)
            if entries is not None:
                return piece, deque(entries)

    async def _read(self, piece: Piece) -> list[Entry] | None:
        try:
            entries, unreadable = await trio.to_thread.run_sync(self._spill.read, piece.path)
        except FileNotFoundError:  # Another relay that uses this folder has written the rows, and removed the file.
            self._pieces.remove(piece)
            return None
        except OSError as error:
            log.error(
                "ledger.spill_unreadable",
                error=error.strerror,
                do="let this user read DATA_DIR/ledger-spill (see error), and start again",
            )
            self._stays += piece.left
            self._pieces.remove(piece)
            return None
        if unreadable:
            self.set_aside(unreadable, "unreadable")
        piece.left = len(entries)
        return entries

    async def written(self, piece: Piece, rows: int) -> None:
        """Record that the next `rows` rows of the piece are in Postgres, or were set aside."""
        async with self._disk:
            piece.left -= rows
            if piece.entries is not None:
                del piece.entries[:rows]

    async def finish(self, piece: Piece, rows: int) -> None:
        """Record that all rows of the piece are in Postgres, or were set aside. Remove its file."""
        async with self._disk:
            self._pieces.remove(piece)
            if not piece.on_disk:
                return
        if not any(one.on_disk for one in self._pieces):
            self._calls.clear()
        try:
            self._spill.remove(piece.path)
        # If the file cannot be removed, the next start writes its rows a second time. That changes nothing in Postgres.
        except OSError as error:
            self._stays += rows
            log.error("ledger.spill_stays", error=error.strerror, do="check that the relay may write to DATA_DIR")
            return
        log.info("ledger.spill_shipped", rows=rows)

    def set_aside(self, lines: list[bytes], words: str) -> None:
        """Keep lines that cannot be written to Postgres, so that the operator can look at them. Log and count them."""
        self.refused += len(lines)
        log.error(
            "ledger.row_refused", rows=len(lines), error=words, do="see the refused-*.jsonl in DATA_DIR/ledger-spill"
        )
        with suppress(OSError):  # If the disk refuses the lines, they are lost. They are still counted and logged.
            self._spill.set_aside(lines)
