"""Does the work of `relay listen` and `relay calls export`."""

from __future__ import annotations

from pathlib import Path

from relay.ledger import history
from relay.recordings.cipher import Keys
from relay.recordings.files import Recording
from relay.recordings.listening import NotHeard, Tables, export, play, recordings_of, write_wav_file
from relay.recordings.service import folder_of, store_of
from relay.recordings.stores import FolderStore, StoreUnusable
from relay.settings import Settings


def listen(settings: Settings, url: str, call_sid: str, out: Path | None) -> str:
    """Play the recording of a call, or write it as a WAV. Returns a line for the terminal.

    Raises NotHeard, StoreUnusable, LedgerUnavailable, OSError.
    """
    recordings = _opened(settings, call_sid, history.rows_of_call(url, call_sid))
    if out is None:
        play(recordings)
        return f"{call_sid}: played"
    write_wav_file(out, recordings)
    return f"{out} (caller left, what the caller heard right)"


def export_call(
    settings: Settings, url: str, call_sid: str, out: Path | None
) -> tuple[list[Path], NotHeard | StoreUnusable | None]:
    """Write everything that is stored of a call into one folder. Returns the files, and why there is no recording.wav.

    Raises NotHeard, StoreUnusable if the folder would be empty, and LedgerUnavailable, OSError.
    """
    tables = history.rows_of_call(url, call_sid)
    folder = out or Path(call_sid)
    recordings: list[Recording] = []
    missing: NotHeard | StoreUnusable | None = None
    try:
        recordings = _opened(settings, call_sid, tables)
    except (NotHeard, StoreUnusable) as error:
        if not any(tables.values()):
            raise
        missing = error
    written = export(folder, tables)
    if recordings:
        try:
            written = [_sound(folder, recordings), *written]
        except NotHeard as error:
            missing = error
    return written, missing


def _sound(folder: Path, recordings: list[Recording]) -> Path:
    path = folder / "recording.wav"
    write_wav_file(path, recordings)
    return path


def _opened(settings: Settings, call_sid: str, tables: Tables) -> list[Recording]:
    keys = Keys.parse(settings.recording_key) if settings.recording_key else None
    return recordings_of(call_sid, tables["recordings"], FolderStore(folder_of(settings)), store_of(settings), keys)
