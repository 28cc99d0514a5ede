"""Joins the recordings of a call to one sound, to play it or to write it. Exports the call's transcript and rows.

These functions block. Commands use them directly. The console uses `recordings_of` in a thread.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import dsp
from relay.recordings.cipher import KeyMissing, Keys, RecordingRefused
from relay.recordings.files import Recording
from relay.recordings.stores import FolderStore, ObjectStore, StoreFailed
from relay.recordings.timeline import CHUNK_SAMPLES, RATE_HZ

# Players that read a WAV from their standard input, so that no unencrypted sound is written to the disk.
PLAYERS = (("paplay",), ("aplay", "-q"), ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-"))
SILENCE = b"\xff\xff"  # Silence in mu-law, for both channels.

Tables = dict[str, list[dict[str, object]]]


class NotHeard(Exception):
    """There is no recording to play, or it cannot be played. The message says why."""


class NoRecording(NotHeard):
    """The call has no recording: it was not recorded, or its recording was deleted."""


def names_of(call_sid: str, rows: Sequence[dict[str, object]], disk: FolderStore) -> dict[str, str]:
    """The names of a call's recordings that were not deleted, and where each is stored ("" if not known).

    A file on this disk is found even if it has no row: its process may have been killed before it wrote the row.
    """
    deleted = {str(row["name"]) for row in rows if row.get("deleted_at") is not None}
    names = {str(row["name"]): str(row.get("stored_in") or "") for row in rows}
    names |= dict.fromkeys(disk.names_of(call_sid), "disk")
    return {name: stored_in for name, stored_in in names.items() if name not in deleted}


def recordings_of(
    call_sid: str, rows: Sequence[dict[str, object]], disk: FolderStore, store: ObjectStore | None, keys: Keys | None
) -> list[Recording]:
    """The recordings of a call in order, on disk and in S3. `rows` are the call's rows in the table `recordings`.

    `keys` is None if RECORDING_KEY is not set.

    Raises NotHeard, and NoRecording if there is none.
    """
    found: list[Recording] = []
    for name, stored_in in sorted(names_of(call_sid, rows, disk).items()):
        if keys is None:
            raise NotHeard("RECORDING_KEY is not set, and no recording can be opened without it: set it")
        places = [disk] if stored_in == "disk" else [store, disk]
        recording = next((one for place in places if place and (one := _open(place, name, keys))), None)
        if recording is None:
            raise NotHeard(f"{name} was kept in {stored_in or 'no known place'}. It is gone, or cannot be reached here")
        found.append(recording)
    if not found:
        why = "it was deleted, by age or on request" if rows else "it was not recorded"
        raise NoRecording(f"there is no recording of {call_sid}: {why}")
    return sorted(found, key=lambda one: one.first_sample)


def _open(place: FolderStore | ObjectStore, name: str, keys: Keys) -> Recording | None:
    try:
        return place.open(name, keys)
    except FileNotFoundError:
        return None
    except (RecordingRefused, KeyMissing, StoreFailed) as error:
        raise NotHeard(f"{name}: {error}") from None


def stereo(recordings: Sequence[Recording]) -> Iterator[bytes]:
    """The sound of a call from its start, as mu-law: left byte, right byte and so on.

    It has silence where nothing was recorded.

    Raises RecordingRefused, StoreFailed.
    """
    at = 0
    for recording in recordings:
        while (missing := recording.first_sample - at) > 0:
            step = min(missing, CHUNK_SAMPLES)
            yield SILENCE * step
            at += step
        # If two machines have recorded the same moment, the first recording is used.
        skip = at - recording.first_sample
        for chunk in recording.chunks():
            piece = chunk[2 * skip :]
            skip = max(0, skip - len(chunk) // 2)
            at += len(piece) // 2
            yield piece


def write_wav(file: IO[bytes], recordings: Sequence[Recording]) -> None:
    """Write a WAV: stereo, 8 kHz, PCM16. The caller is left, and what the caller heard is right.

    Raises NotHeard, OSError.

    The header comes first and gives the length, because a pipe to a player cannot be rewound.
    """
    n_bytes = 4 * max(one.first_sample + one.samples for one in recordings)
    form = struct.pack("<IHHIIHH", 16, 1, 2, RATE_HZ, 4 * RATE_HZ, 4, 16)
    file.write(struct.pack("<4sI4s4s", b"RIFF", 36 + n_bytes, b"WAVE", b"fmt ") + form)
    file.write(struct.pack("<4sI", b"data", n_bytes))
    try:
        for mulaw in stereo(recordings):
            file.write(dsp.decode(mulaw).astype("<i2").tobytes())
    except (RecordingRefused, StoreFailed) as error:
        raise NotHeard(str(error)) from None


def write_wav_file(path: Path, recordings: Sequence[Recording]) -> None:
    """Write a WAV file. If that fails, no file is left. Raises NotHeard, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    try:
        with _private(half) as file:
            write_wav(file, recordings)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _private(path: Path) -> IO[bytes]:
    """Open a file for writing that only this user may read, because it has a caller's words or sound."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with suppress(OSError):  # Some file systems have no modes.
        os.fchmod(fd, 0o600)  # The file may exist already, with another mode.
    return os.fdopen(fd, "wb")


def play(recordings: Sequence[Recording]) -> None:
    """Play the call with one of PLAYERS. Raises NotHeard."""
    player = next((one for one in PLAYERS if shutil.which(one[0])), None)
    if player is None:
        names = ", ".join(one[0] for one in PLAYERS)
        raise NotHeard(f"there is no player here ({names}): write it with --out FILE.wav")
    process = subprocess.Popen(player, stdin=subprocess.PIPE)  # noqa: S603 -- one of the names above
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # The player was closed.
        write_wav(process.stdin, recordings)
        process.stdin.close()
    if process.wait() != 0:
        raise NotHeard(f"{player[0]} could not play it: write it with --out FILE.wav")


def export(folder: Path, tables: Tables) -> list[Path]:
    """Write words and rows of a call into one folder: transcript.txt, transcript.json, rows.json. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    turns = [_shown(row) for row in tables.get("transcripts", [])]
    rows = {name: [_shown(row) for row in found] for name, found in tables.items()}
    texts = {
        "transcript.txt": "".join(f"{line}\n" for line in transcript_lines(turns)),
        "transcript.json": json.dumps(turns, indent=2, ensure_ascii=False) + "\n",
        "rows.json": json.dumps(rows, indent=2, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        with _private(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in texts]


def transcript_lines(turns: Sequence[dict[str, object]]) -> Iterator[str]:
    """The transcript as text: for each turn the moment in the recording, the speaker and the words."""
    for turn in turns:
        ms = turn.get("started_ms")
        at = f"{ms // 60_000:02d}:{ms % 60_000 / 1000:04.1f}" if isinstance(ms, int) else "  :    "
        said, heard = turn.get("said") or "", turn.get("heard")
        cut = f" [heard: {heard}]" if heard is not None and heard != said else ""
        yield f"{at}  {turn.get('role'):<6}  {said or '(no words)'}{cut}"


def _shown(row: dict[str, object]) -> dict[str, object]:
    """A row in a form that JSON can hold."""
    return {name: _plain(value) for name, value in row.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value if isinstance(value, str | int | float | bool | dict | list) else str(value)
