"""Does the work of `relay listen` and `relay calls export`."""

from __future__ import annotations

from pathlib import Path

from relay.ledger import history
from relay.recordings.cipher import Keys
from relay.recordings.files import Recording
from relay.recordings.listening import NotHeard, Tables, export, play, recordings_of, write_wav_file
from relay.recordings.service import folder_of, store_of
from relay.recordings.stores import FolderStore
from relay.settings import Settings


def listen(settings: Settings, url: str, call_sid: str, out: Path | None) -> str:
    """Play the recording of a call, or write it as a WAV. Returns a line for the terminal.

    Raises NotHeard, LedgerUnavailable.
    """
    recordings = _opened(settings, call_sid, history.rows_of_call(url, call_sid))
    if out is None:
        play(recordings)
        return f"{call_sid}: played"
    write_wav_file(out, recordings)
    return f"{out} (caller left, what the caller heard right)"


def export_call(settings: Settings, url: str, call_sid: str, out: Path | None) -> list[Path]:
    """Write the rows and the recording of a call into one folder. Returns the files.

    Raises NotHeard if nothing is stored of the call, or if a recording that has a row cannot be opened.
    """
    tables = history.rows_of_call(url, call_sid)
    try:
        recordings = _opened(settings, call_sid, tables)
    except NotHeard:
        if not any(tables.values()) or tables["recordings"]:
            raise
        recordings = []  # No row names a recording, so only the rows are written.
    return export(out or Path(call_sid), tables, recordings)


def _opened(settings: Settings, call_sid: str, tables: Tables) -> list[Recording]:
    if not settings.recording_key:
        raise NotHeard("RECORDING_KEY is not set, and no recording can be opened without it: set it")
    keys = Keys.parse(settings.recording_key)
    return recordings_of(call_sid, tables["recordings"], FolderStore(folder_of(settings)), store_of(settings), keys)
