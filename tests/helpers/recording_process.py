"""A process that records calls in real time, for tests that kill it.

Start it with `python -m tests.helpers.recording_process FOLDER KEY N`. It records N calls. The bytes of each frame
contain the call's number and the frame's number, so a test knows where in a recording a frame belongs. The file
FOLDER.progress holds two figures for each call: how many frames were recorded, and by how many ms the latest frame was
late, because the machine was busy.
"""

from __future__ import annotations

import datetime as dt
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

from relay.call.consent import Consent
from relay.ledger.memory import MemoryLedger
from relay.recordings.cipher import Keys
from relay.recordings.service import Recordings
from relay.telemetry.metrics import Metrics

FRAME_S = 0.02
BURST = 10  # the agent's frames are written this many at a time, 200 ms before they are played


@dataclass(frozen=True)
class Frame:
    """A frame from the caller."""

    mulaw: bytes
    media_ms: int


def sound(call: int, number: int, side: int) -> bytes:
    """The 20 ms of audio of one frame. Side 0 is the caller, side 1 the agent. No other frame has the same bytes."""
    return (bytes([1 + side, call, number >> 7 & 0x7F, number & 0x7F]) + b"\x55\x2a\x55\x2a") * 20


async def _call(recordings: Recordings, number: int, progress: int) -> None:
    began = trio.current_time()
    recorder = recordings.recorder(f"CA{number:032d}", began, dt.datetime.now(dt.UTC), Consent())
    frame, late_s = 0, 0.0
    while True:
        due = began + (frame + 1) * FRAME_S
        await trio.sleep_until(due)
        now = trio.current_time()
        late_s = max(late_s, now - due)
        recorder.caller([Frame(sound(number, frame, 0), 100 + frame * 20)], now)
        if frame % BURST == 0:
            for burst in (0, 1) if frame == 0 else (frame // BURST + 1,):
                mulaw = b"".join(sound(number, burst * BURST + each, 1) for each in range(BURST))
                recorder.played(mulaw, str(burst), now)
            if frame:
                recorder.marked(str(frame // BURST - 1), now)
        frame += 1
        os.pwrite(progress, struct.pack(">II", frame, int(late_s * 1000)), 8 * number)


async def _main(folder: Path, key: str, calls: int) -> None:
    utc_now = lambda: dt.datetime.now(dt.UTC)  # noqa: E731
    recordings = Recordings(folder, Keys.parse(key), MemoryLedger(), Metrics(), utc_now=utc_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(recordings.run)
        progress = os.open(folder.with_suffix(".progress"), os.O_CREAT | os.O_WRONLY)
        for number in range(calls):
            nursery.start_soon(_call, recordings, number, progress)
        print("recording", flush=True)


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
