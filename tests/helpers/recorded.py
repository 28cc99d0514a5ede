"""Closed recordings for the tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from relay.recordings.cipher import CHUNK_BYTES, Header, Keys, new_key
from relay.recordings.files import FileInProgress

KEY = new_key()
KEYS = Keys.parse(KEY)
SOUND = bytes(range(250)) * (CHUNK_BYTES // 250)


def put_file(folder: Path, begun_at: dt.datetime, call_sid: str = "CA" + "1" * 32, chunks: int = 3) -> str:
    """Write a closed recording, and return its name."""
    file = begin_file(folder, begun_at, call_sid)
    for _ in range(chunks):
        file.append(SOUND)
    return file.close(SOUND[:100]).name


def begin_file(folder: Path, begun_at: dt.datetime, call_sid: str) -> FileInProgress:
    """A recording that is being written."""
    header = Header.fresh(KEYS, call_sid, 8_000, round(begun_at.timestamp() * 1000))
    file = FileInProgress(folder, f"{begun_at:%Y-%m-%d/%H%M%S}-{call_sid}-{header.salt[:4].hex()}.rec", KEYS, header)
    file.open()
    return file
