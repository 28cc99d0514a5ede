"""Makes a WAV file of a call's recording: stereo, 8 kHz, PCM16. Answers requests for the file or for a range of it.

The bytes are read and decrypted in a thread, at most AT_ONCE_BYTES at a time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import structlog
import trio
from quart import Response

import dsp
from relay.console.reads import Row
from relay.recordings.cipher import Keys, RecordingRefused
from relay.recordings.files import Recording
from relay.recordings.listening import SILENCE, NoRecording, NotHeard, names_of, recordings_of
from relay.recordings.service import folder_of, store_of
from relay.recordings.stores import FolderStore, StoreFailed, StoreUnusable
from relay.recordings.timeline import RATE_HZ
from relay.settings import Settings

log = structlog.get_logger()

HEADER_BYTES = 44
FRAME_BYTES = 4  # Bytes of one moment in the WAV file: two samples of 16 bits.
AT_ONCE_BYTES = 1 << 20
# The server drops a browser that does not take a piece within 5 s (SEND_LIMIT_S in relay/server/http.py). With this
# size a browser on a line of 110 kbit/s still gets the sound.
PIECE_BYTES = 64 << 10
# One range of the Range header (RFC 9110 14.1.2). The name of the unit may have capital letters.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)


class Sound(Protocol):
    """A call's recording as a WAV file."""

    n_bytes: int

    async def read(self, first: int, count: int) -> bytes:
        """Up to `count` bytes of the file, from byte `first`. Raises NotHeard."""


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


def asked_bytes(header: str, n_bytes: int) -> range | None:
    """The bytes that a Range header asks for. It is empty if the file has no such bytes.

    None if the whole file must be sent, because the header is missing, has several ranges, or is not understood
    (RFC 9110 14.2).
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, from_end = match.groups()
    if from_end is not None:
        return range(max(0, n_bytes - int(from_end)), n_bytes)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else n_bytes, n_bytes))


async def sound_response(sound: Sound, asked: range | None, call_sid: str) -> Response:
    """The whole file if `asked` is None. Otherwise the bytes asked for, or the first of them. Raises NotHeard.

    A browser asks for all bytes from a place on, plays what it gets, and asks again later. So a range is cut to
    AT_ONCE_BYTES.
    """
    span = range(sound.n_bytes) if asked is None else asked[:AT_ONCE_BYTES]
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(len(span))}
    if asked is not None:
        headers["Content-Range"] = f"bytes {span[0]}-{span[-1]}/{sound.n_bytes}"
    # The first bytes are read now. If they cannot be read, the response can still say so.
    begin = await sound.read(span.start, min(len(span), AT_ONCE_BYTES))
    body = _pieces(sound, span, begin, call_sid)
    response = Response(body, 200 if asked is None else 206, headers, content_type="audio/wav")
    response.timeout = None  # Quart's limit of 60 s is too short for the recording of an hour.
    return response


async def _pieces(sound: Sound, span: range, begin: bytes, call_sid: str) -> AsyncIterator[bytes]:
    data, rest = begin, span[len(begin) :]
    while data:
        for at in range(0, len(data), PIECE_BYTES):
            yield data[at : at + PIECE_BYTES]
        try:
            data = await sound.read(rest.start, min(len(rest), AT_ONCE_BYTES)) if rest else b""
        except NotHeard as error:
            log.error(
                "console.sound_cut", call_sid=call_sid, words=str(error), caller_hears="no change",
                do="see words: the browser got only the sound before it",
            )  # fmt: skip
            raise  # The server closes the connection, so the browser sees that bytes are missing.
        rest = rest[len(data) :]


class HeardCalls:
    """The recordings of this relay, on disk and in S3."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def has_sound(self, call_sid: str, tables: dict[str, list[Row]]) -> bool:
        """True if the call has a recording, with a row in Postgres or only on this disk, that was not deleted."""
        disk = FolderStore(folder_of(self._settings))
        return bool(await trio.to_thread.run_sync(names_of, call_sid, tables["recordings"], disk))

    async def sound(self, call_sid: str, tables: dict[str, list[Row]]) -> CallSound | None:
        """The recording of a call. None if the call has none. Raises NotHeard if it cannot be played."""
        try:
            return CallSound(await trio.to_thread.run_sync(self._open, call_sid, tables["recordings"]))
        except NoRecording:
            return None

    def _open(self, call_sid: str, rows: list[Row]) -> list[Recording]:
        settings = self._settings
        keys = Keys.parse(settings.recording_key) if settings.recording_key else None
        try:
            store = store_of(settings)
        except StoreUnusable as error:
            raise NotHeard(str(error)) from None
        return recordings_of(call_sid, rows, FolderStore(folder_of(settings)), store, keys)
