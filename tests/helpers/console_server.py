"""Serves a console for a browser: `python -m tests.helpers.console_server DATABASE_URL DATA_DIR [PASSWORD_HASH]`.

It prints its address. The database has calls. One of them has a recording of 20 s, with a tone in each channel.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import hypercorn.config
import hypercorn.trio
import numpy as np
import psycopg
import trio
from hypercorn.typing import ASGIFramework

import dsp
from relay.console.sound import HeardCalls
from relay.recordings.cipher import Header, Keys, new_key
from relay.recordings.files import FileInProgress
from relay.recordings.service import folder_of
from relay.recordings.timeline import CHUNK_SAMPLES
from relay.settings import Settings
from tests.helpers.console_app import LOCAL, console_app
from tests.helpers.owner_data import NOW, fill, sid

SECONDS = 20
RECORDED = 24  # the number of the recorded call; there is one call an hour, so it was 24 hours ago


def tones() -> bytes:
    """The audio of both channels. Their bytes alternate: left, right, left and so on."""
    at = np.arange(SECONDS * 8000) / 8000
    left = dsp.encode((8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16))
    right = dsp.encode((8000 * np.sin(2 * np.pi * 880 * at)).astype(np.int16))
    return np.stack([np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)], 1).tobytes()


def add_recording(url: str, settings: Settings, call_sid: str) -> None:
    """Add a closed recording of this call on disk, and its row."""
    keys = Keys.parse(settings.recording_key)
    header = Header.fresh(keys, call_sid, 0, round(NOW.timestamp() * 1000))
    file = FileInProgress(folder_of(settings), f"2026-11-28/180000-{call_sid}-00000001.rec", keys, header)
    file.open()
    sound = tones()
    whole = len(sound) // (2 * CHUNK_SAMPLES)
    for number in range(whole):
        file.append(sound[number * 2 * CHUNK_SAMPLES : (number + 1) * 2 * CHUNK_SAMPLES])
    done = file.close(sound[whole * 2 * CHUNK_SAMPLES :])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into recordings (name, call_sid, started_ms, length_ms, stored_in, ended, peaks_step_ms, peaks,"
            " created_at) values (%s, %s, 0, %s, 'disk', 'whole', %s, %s, %s)",
            (done.name, call_sid, SECONDS * 1000, done.peaks_step_ms, done.peaks, NOW),
        )


async def main(url: str, data_dir: str, password_hash: str) -> None:
    """Fill the database, and serve until the process is ended."""
    settings = replace(
        LOCAL, data_dir=Path(data_dir), recording_key=new_key(), console_password_hash=password_hash, record="on"
    )
    fill(url, 60)
    add_recording(url, settings, sid(RECORDED))
    app = console_app(url, settings, recordings=HeardCalls(settings))
    config = hypercorn.config.Config()
    config.bind, config.loglevel = ["127.0.0.1:0"], "WARNING"
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(hypercorn.trio.serve, cast("ASGIFramework", app), config)
        print(address, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
