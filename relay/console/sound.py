"""Makes a WAV file of a call's recording: stereo, 8 kHz, PCM16. Any range of its bytes can be read.

Each range is read and decrypted in a thread.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import trio

import dsp
from relay.console.reads import Row
from relay.recordings.cipher import Keys, RecordingRefused
from relay.recordings.files import Recording
from relay.recordings.listening import SILENCE, NotHeard, recordings_of
from relay.recordings.service import folder_of, store_of
from relay.recordings.stores import FolderStore, StoreFailed
from relay.recordings.timeline import RATE_HZ
from relay.settings import Settings

HEADER_BYTES = 44
FRAME_BYTES = 4  # Bytes of one moment in the WAV file: two samples of 16 bits.


class CallSound:
    """The sound of one call from its start. It has silence where nothing was recorded."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings
        self._frames = max(one.first_sample + one.samples for one in recordings)
        self.n_bytes = HEADER_BYTES + self._frames * FRAME_BYTES

    async def read(self, first: int, count: int) -> bytes:
        """Bytes of the file from `first` on. Raises NotHeard."""
        return await trio.to_thread.run_sync(self._read, first, count)

    def _read(self, first: int, count: int) -> bytes:
        head = wav_header(self._frames)[first : first + count] if first < HEADER_BYTES else b""
        start, end = max(0, first - HEADER_BYTES), max(0, first + count - HEADER_BYTES)
        first_frame, last_frame = start // FRAME_BYTES, -(-end // FRAME_BYTES)
        try:
            mulaw = self._mulaw(first_frame, last_frame - first_frame)
        except (RecordingRefused, StoreFailed, OSError) as error:
            raise NotHeard(str(error)) from None
        pcm = dsp.decode(mulaw).astype("<i2").tobytes()
        skip = start - first_frame * FRAME_BYTES
        return head + pcm[skip : skip + end - start]

    def _mulaw(self, first: int, count: int) -> bytes:
        """Mu-law of both channels: left byte, right byte and so on. Where two recordings overlap, the first is used."""
        found = bytearray(SILENCE * count)
        for one in reversed(self._recordings):
            begin = max(first, one.first_sample)
            end = min(first + count, one.first_sample + one.samples)
            if begin < end:
                found[2 * (begin - first) : 2 * (end - first)] = one.read(begin - one.first_sample, end - begin)
        return bytes(found)


def wav_header(frames: int) -> bytes:
    """The 44 bytes of the WAV file before its samples."""
    size = frames * FRAME_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 2, RATE_HZ, RATE_HZ * FRAME_BYTES, FRAME_BYTES, 16, b"data", size,
    )  # fmt: skip


class HeardCalls:
    """The recordings of this relay, on disk and in S3."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def sound(self, tables: dict[str, list[Row]]) -> CallSound | None:
        """The recording of a call. None if the call has none. Raises NotHeard if it cannot be played."""
        rows = [row for row in tables["recordings"] if row.get("deleted_at") is None]
        if not rows:
            return None
        return CallSound(await trio.to_thread.run_sync(self._open, str(rows[0]["call_sid"]), rows))

    def _open(self, call_sid: str, rows: list[Row]) -> list[Recording]:
        settings = self._settings
        if not settings.recording_key:
            raise NotHeard("RECORDING_KEY is not set, and no recording can be opened without it: set it")
        keys = Keys.parse(settings.recording_key)
        return recordings_of(call_sid, rows, FolderStore(folder_of(settings)), store_of(settings), keys)
