"""Rows that Postgres does not take are on disk within a second, and in their order, even if the clock is set back.

Rows that Postgres refuses are on disk until they are too old.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay.ledger import rows as r
from relay.ledger.backlog import Backlog
from relay.ledger.spill import Entry, Spill, delete_old, delete_set_aside, set_aside_files

# A relay whose Postgres is away. It records rows, prints "on disk", and waits until it is killed.
AWAY = """
import pathlib, sys, trio
from relay.ledger import rows as r
from relay.ledger.store import PostgresLedger

async def main():
    url = "postgresql://postgres@/postgres?host=/nonexistent&port=5432"
    ledger = PostgresLedger(url, spill_dir=pathlib.Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        for part in range(2):
            for seq in range(500):
                ledger.record(r.MessageRow(call_sid=f"CA{part}", seq=seq, name="Jane", text="call me"))
            while ledger.counts().queued:
                await trio.sleep(0.01)
            print("on disk", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.real
def test_a_relay_killed_while_postgres_is_away_leaves_its_rows_on_disk(tmp_path: Path) -> None:
    relay = subprocess.Popen([sys.executable, "-c", AWAY, tmp_path], stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    with relay.stdout:
        # The first write that fails puts its rows on disk. Later rows are on disk within a second.
        for _ in range(2):
            assert "on disk\n" in iter(relay.stdout.readline, "")
    relay.kill()
    relay.wait()
    backlog = Backlog(tmp_path)
    assert (backlog.on_disk, backlog.in_memory) == (1_000, 0)


def put(spill: Spill, said: str) -> Path:
    row = r.TranscriptRow(call_sid="CA1", seq=1, role="agent", said=said)
    path = spill.next_file()
    spill.put(path, [Entry(row, r.encode(row))])
    return path


@pytest.mark.parametrize("restarted", [False, True])
def test_spills_keep_their_order_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    now = 1_764_000_000_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: now)
    spill = Spill(tmp_path)
    paths = [put(spill, "first")]
    now -= 5_000_000_000
    paths.append(put(Spill(tmp_path) if restarted else spill, "corrected"))
    assert [path for path, _ in Spill(tmp_path).found()] == paths


async def test_the_rows_of_a_call_on_disk_are_found_while_postgres_is_away(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path)
    for sid in ("CA1", "CA2"):
        row = r.CallRow(call_sid=sid, resumed=1)
        backlog.add(Entry(row, r.encode(row)))
    await backlog.put()
    assert backlog.in_memory == 0
    seen = r.seen("CA2", None, backlog.of_call("CA2"))
    assert seen is not None
    assert seen.resumed == 1
    assert backlog.of_call("CA3") == []


async def test_rows_that_come_while_the_disk_cannot_be_written_to_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = Backlog(tmp_path)

    def add(said: str) -> None:
        row = r.TranscriptRow(call_sid="CA1", seq=1, role="agent", said=said)
        assert backlog.add(Entry(row, r.encode(row)))

    add("first")
    with monkeypatch.context() as patched:
        patched.setattr(Spill, "put", _full)
        await backlog.put()
    add("second")
    assert backlog.put_now()  # a full queue calls this
    add("third")
    await backlog.put()
    assert [Spill(tmp_path).read(path)[0][0].row for path, _ in Spill(tmp_path).found()] == [
        r.TranscriptRow(call_sid="CA1", seq=1, role="agent", said=said) for said in ("first", "second", "third")
    ]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_refused_rows_of_each_day_have_a_file_so_that_old_ones_can_be_deleted_while_new_ones_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = Spill(tmp_path)
    for now_s in (0.0, 86_399.0, 86_400.0):
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
        spill.set_aside([b"%d" % now_s])
    found = {path.name: path.read_bytes() for path in set_aside_files(tmp_path)}
    assert found == {"refused-1970-01-01.jsonl": b"0\n86399\n", "refused-1970-01-02.jsonl": b"86400\n"}


def test_files_with_words_that_nobody_changed_for_too_long_are_deleted_but_not_rows_that_wait(tmp_path: Path) -> None:
    old = ["refused.jsonl", "refused-2025-01-01.jsonl", "refused-2025-01-01.half", "rows-1-1.new", "rows-1-1.jsonl"]
    young = ["refused-2026-01-01.jsonl", "rows-2-1.new"]
    for n, name in enumerate([*old, *young]):
        (tmp_path / name).write_text("words")
        os.utime(tmp_path / name, (0, 999 if n < len(old) else 1_000))
    assert delete_old(tmp_path, before_s=1_000.0) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"rows-1-1.jsonl", *young}
    assert delete_old(tmp_path / "none", before_s=1_000.0) == 0


def test_refused_rows_do_not_become_younger_when_a_caller_is_erased_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "refused-2025-01-01.jsonl"
    path.write_text("theirs\nothers\n")
    os.utime(path, (0, 999))
    assert delete_set_aside(tmp_path, lambda line: line == b"theirs\n", now_s=0.0) == 1
    assert (path.read_text(), path.stat().st_mtime) == ("others\n", 999)
