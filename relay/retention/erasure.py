"""Finds and deletes all data of one caller, or of one call. It blocks, and only a command uses it.

Recordings are deleted first. Then one transaction deletes the rows and the caller's number. So if the command is
killed, a second run still finds the remaining data by the number, and deletes it. For the same reason, a call keeps its
number in the table `calls` if some of its data may still come, or cannot be reached.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phonenumbers
import psycopg

from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import Connection, connect, transaction, words_of
from relay.ledger.spill import delete_set_aside, set_aside_lines, waiting_lines
from relay.recordings.files import call_of, files_of, is_being_written
from relay.recordings.stores import FolderStore, ObjectStore
from relay.retention.old_words import OF_A_CALL, STATEMENTS, delete

TABLES = ("appointments", "notes_of_others", "recordings", *OF_A_CALL)
# The limit for one SQL statement. It is long, because a search for a number in all texts reads whole tables.
STATEMENT_LIMIT_S = 600
_SID = re.compile(rb"CA[0-9a-f]{32}")
# What may be between the digits of a number, as people and models write it.
_BETWEEN = "[ ()./\u00a0\u2010-\u2015-]{0,3}"
SHORT_DIGITS = 7  # A national number with fewer digits is only searched for together with its country code.


@dataclass(frozen=True, slots=True)
class Whom:
    """Whom to erase: a caller by the number in E.164, or one call by its SID."""

    number: str | None = None
    call_sid: str | None = None

    @property
    def written(self) -> str | None:
        """A regular expression, for Postgres and for Python, that finds the number as people and models write it."""
        if self.number is None:
            return None
        try:
            parsed = phonenumbers.parse(self.number, None)
        except phonenumbers.NumberParseException:  # No country has this code, but a network may show such a number.
            return rf"(?<![0-9]){_BETWEEN.join(self.number[1:])}(?![0-9])"
        national = phonenumbers.national_significant_number(parsed)
        code = rf"(?:(?:\+|00)?{_BETWEEN.join(str(parsed.country_code))}{_BETWEEN})"
        maybe = "?" if len(national) >= SHORT_DIGITS else ""
        return rf"(?<![0-9]){code}{maybe}0?{_BETWEEN}{_BETWEEN.join(national)}(?![0-9])"


@dataclass(frozen=True, slots=True)
class Places:
    """Where callers' data is stored, as this machine sees it."""

    url: str
    disk: FolderStore
    store: ObjectStore | None
    spill_dir: Path
    machine: str
    keep_recordings_days: int


@dataclass(frozen=True, slots=True)
class Traces:
    """The data of a caller that was found."""

    calls: tuple[str, ...]  # The SIDs of the caller's calls, oldest first, without the calls in `running`.
    first_at: dt.datetime | None  # When the oldest of these calls began.
    last_at: dt.datetime | None  # When the newest of these calls began.
    running: tuple[str, ...]  # Calls that run, or have just ended. Nothing of them is deleted.
    rows: dict[str, int]  # For each table, how many rows are deleted or changed.
    of_others: tuple[str, ...]  # Calls from other numbers in which this number is named.
    files: tuple[Path, ...]
    objects: tuple[str, ...]  # Names in the store.
    coming: tuple[tuple[str, dt.datetime], ...]  # Future appointments: service and start.
    sounds: tuple[str, ...]  # URLs of spoken messages at Twilio.
    refused: int  # Rows on this disk that Postgres has refused.
    # Calls whose data may still come, or cannot be reached.
    waiting: frozenset[str]  # Rows wait on this disk, because Postgres was away.
    uploading: frozenset[str]  # A recording was perhaps just being uploaded.
    elsewhere: dict[str, str]  # The name of a recording that is on no disk here -> its call.
    endless: dict[str, str]  # A call without an end in Postgres -> the machine that had it.

    @property
    def recordings(self) -> int:
        """How many recordings are on this disk and in the store."""
        return len(
            {path.name.partition(".")[0] for path in self.files} | {n.rpartition("/")[2][:-4] for n in self.objects}
        )

    @property
    def is_nothing(self) -> bool:
        return not (self.running or self.waiting or self.can_be_deleted)

    @property
    def can_be_deleted(self) -> int:
        """How many recordings and rows can be deleted or changed now."""
        return self.recordings + sum(self.rows.values()) + self.refused

    @property
    def later(self) -> frozenset[str]:
        """The calls whose number must stay."""
        return self.waiting | self.uploading | {*self.elsewhere.values()} | {*self.endless}


class Erasure:
    """Finds and deletes the data of a caller. Its methods raise LedgerUnavailable, StoreFailed, OSError."""

    def __init__(self, places: Places, whom: Whom) -> None:
        self._at, self._whom = places, whom
        self._written = re.compile(whom.written) if whom.written else None

    def look(self) -> Traces:
        """Find the caller's data. The rows are counted by deleting them in a transaction that is rolled back."""
        with self._postgres() as connection:
            found = _rows(connection, "calls_of", number=self._whom.number, call_sid=self._whom.call_sid)
            everyone = [sid for sid, *_ in found]
            files = files_of(self._at.disk.folder, everyone)
            written_now = {call_of(path.name) for path in files if is_being_written(path)}
            running = [sid for sid, _, _, _, may_run in found if may_run or sid in written_now]
            sids = [sid for sid in everyone if sid not in running]
            files = [path for path in files if call_of(path.name) in sids]
            objects = [name for name in self._at.store.names() if call_of(name) in sids] if self._at.store else []
            named = {*objects, *(str(path.relative_to(self._at.disk.folder)) for path in files)}
            elsewhere = self._elsewhere(_rows(connection, "recordings_of", sids=sids), named)
            values: dict[str, Any] = {"sids": sids, "number": self._whom.number, "written": self._whom.written}
            values["running"] = running
            coming = _rows(connection, "coming_appointments", **values)
            sounds = _rows(connection, "sounds_at_twilio", **values)
            with connection.transaction(force_rollback=True):
                changed = delete(connection, TABLES, **values)
        times = [started_at for sid, started_at, *_ in found if started_at is not None and sid in sids]
        return Traces(
            calls=tuple(sids),
            first_at=min(times, default=None),
            last_at=max(times, default=None),
            running=tuple(running),
            rows={table: len(rows) for table, rows in changed.items()},
            of_others=_others(changed, everyone),
            files=tuple(files),
            objects=tuple(objects),
            coming=tuple(coming),
            sounds=tuple(url for (url,) in sounds),
            refused=sum(self._is_theirs(line, sids) for line in set_aside_lines(self._at.spill_dir)),
            waiting=self._waiting(everyone),
            uploading=frozenset(call_of(path.name) for path in files if self._at.store is not None),
            elsewhere=elsewhere,
            endless=self._endless(found, sids),
        )

    def erase(self) -> Traces:
        """Delete everything that can be deleted now. Returns what was found before."""
        found = self.look()
        with self._postgres() as connection:
            names = [*found.objects, *(str(path.relative_to(self._at.disk.folder)) for path in found.files)]
            connection.execute(STATEMENTS["mark_recordings"], {"names": names})
        self._at.disk.delete(str(path.relative_to(self._at.disk.folder)) for path in found.files)
        if self._at.store is not None:
            self._at.store.delete(found.objects)
        delete_set_aside(self._at.spill_dir, lambda line: self._is_theirs(line, found.calls), now_s=time.time())
        with self._postgres() as connection:
            delete(
                connection,
                TABLES,
                sids=list(found.calls),
                number=self._whom.number,
                written=self._whom.written,
                running=list(found.running),
                later=list(found.later),
                elsewhere=list(found.elsewhere),
            )
            what = "erased a call" if self._whom.number is None else f"erased a caller, calls: {len(found.calls)}"
            connection.execute(STATEMENTS["erased"], {"what": what})
        return found

    @contextmanager
    def _postgres(self) -> Iterator[Connection]:
        try:
            with connect(self._at.url) as connection, transaction(connection):
                connection.execute(f"set local statement_timeout = '{STATEMENT_LIMIT_S}s'")
                yield connection
        except psycopg.Error as error:
            raise LedgerUnavailable(words_of(error)) from error

    def _elsewhere(self, kept: Sequence[tuple[Any, ...]], named: Collection[str]) -> dict[str, str]:
        """Recordings that were not deleted, but are neither on this disk nor in the store.

        Recordings that are older than RETENTION_DAYS are left out. Their own machine has deleted them, or the machine
        does not exist any more.
        """
        young = dt.datetime.now(dt.UTC) - dt.timedelta(days=self._at.keep_recordings_days + 1)
        store = self._at.store
        return {
            name: sid
            for name, sid, stored_in, created_at in kept
            if name not in named
            and not (store is not None and stored_in == store.where)
            and (created_at is None or created_at > young)
        }

    def _endless(self, found: Sequence[tuple[Any, ...]], sids: Collection[str]) -> dict[str, str]:
        """Calls of another machine that have no end in Postgres: their rows may wait on the disk of that machine."""
        young = dt.datetime.now(dt.UTC) - dt.timedelta(days=self._at.keep_recordings_days)
        return {
            sid: machine
            for sid, started_at, machine, has_end, _ in found
            if sid in sids
            and not has_end
            and machine not in (None, self._at.machine)
            and started_at is not None
            and started_at > young
        }

    def _waiting(self, call_sids: Collection[str]) -> frozenset[str]:
        """The calls that have rows waiting on this disk. "" stands for calls that Postgres does not know yet."""
        found: set[str] = set()
        for line in waiting_lines(self._at.spill_dir):
            if self._is_theirs(line, call_sids):
                found |= {sid.decode() for sid in _SID.findall(line)} & {*call_sids} or {""}
        return frozenset(found)

    def _is_theirs(self, line: bytes, call_sids: Collection[str]) -> bool:
        return any(sid.encode() in line for sid in call_sids) or (
            self._written is not None and self._written.search(line.decode(errors="replace")) is not None
        )


def _rows(connection: Connection, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(STATEMENTS[statement], values).fetchall()


def _others(changed: dict[str, list[str | None]], sids: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({sid for rows in changed.values() for sid in rows if sid is not None and sid not in sids}))
