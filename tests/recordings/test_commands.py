"""`relay listen`, `relay calls export` and `relay key` with a real Postgres. Also the settings that RECORD=on needs."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import stat
import sys
import wave
from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
import trio

import dsp
from relay import settings
from relay.cli import main
from relay.ledger import rows
from relay.ledger.store import PostgresLedger
from relay.recordings.cipher import CHUNK_BYTES, Header, Keys, new_key
from relay.recordings.files import FileInProgress, Finished
from relay.recordings.listening import NotHeard, export, recordings_of, stereo, write_wav
from relay.recordings.service import Recordings
from relay.recordings.stores import FolderStore
from relay.settings import SettingsInvalid
from relay.telemetry.metrics import Metrics
from tests.helpers.play import ENVIRONMENT

KEY = new_key()
KEYS = Keys.parse(KEY)
SID = "CA" + "0123456789abcdef" * 2
NOON = dt.datetime(2026, 11, 29, 12, tzinfo=UTC)


def _sound(seed: int, samples: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 255, 2 * samples, np.uint8).tobytes()


def _record(folder: Path, started_ms: int, both: bytes, call_sid: str = SID) -> Finished:
    header = Header.fresh(KEYS, call_sid, started_ms * 8, round(NOON.timestamp() * 1000))
    begun = NOON + timedelta(milliseconds=started_ms)
    file = FileInProgress(folder, f"{begun:%Y-%m-%d/%H%M%S}-{call_sid}-{header.salt[:4].hex()}.rec", KEYS, header)
    file.open()
    while len(both) >= CHUNK_BYTES:
        file.append(both[:CHUNK_BYTES])
        both = both[CHUNK_BYTES:]
    return file.close(both)


def _write(url: str, folder: Path, finished: Sequence[Finished]) -> None:
    """Write the rows of a call as a relay does."""

    async def run() -> None:
        ledger = PostgresLedger(url, spill_dir=folder / "spill")
        recordings = Recordings(folder, KEYS, ledger, Metrics(), utc_now=lambda: NOON, store=None)
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            ledger.record(rows.CallRow(call_sid=SID, started_at=NOON, from_number="+12125550101"))
            agent = rows.TranscriptRow(call_sid=SID, seq=0, role="agent", said="Hello.", heard="He", started_ms=500)
            ledger.record(agent)
            ledger.record(rows.TranscriptRow(call_sid=SID, seq=1, role="caller", said="Hi, um.", started_ms=501))
            for one in finished:
                recordings._write_row(one)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()

    trio.run(run)


@pytest.fixture
def call(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes, bytes]:
    """A call of two streams with its rows, in the environment of a relay: its SID and the audio of both streams."""
    first, second = _sound(1, 5_000), _sound(2, 2_500)
    folder = tmp_path / "data" / "recordings"
    _write(database_url, folder, [_record(folder, 1_000, first), _record(folder, 3_000, second)])
    for name in list(os.environ):
        if name.startswith(("AWS_", "RECORD")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RECORDING_KEY", KEY)
    return SID, first, second


def _pcm(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def _check_wav(path: Path, first: bytes, second: bytes) -> None:
    samples = _pcm(path)
    assert len(samples) == 3_000 * 8 + 2_500
    expected = np.zeros_like(samples)
    expected[8_000 : 8_000 + 5_000] = dsp.decode(first).reshape(-1, 2)
    expected[24_000:] = dsp.decode(second).reshape(-1, 2)
    assert np.array_equal(samples, expected)


@pytest.mark.real
def test_listen_writes_both_streams_of_a_call_at_their_times_into_a_file_that_only_the_user_can_read(
    call: tuple[str, bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sid, first, second = call
    out = tmp_path / "heard" / "call.wav"
    assert main(["listen", sid, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    _check_wav(out, first, second)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.real
def test_export_writes_sound_and_words_and_rows_into_a_folder_that_only_the_user_can_read(
    call: tuple[str, bytes, bytes], tmp_path: Path
) -> None:
    sid, first, second = call
    folder = tmp_path / "export"
    assert main(["calls", "export", sid, "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "recording.wav", "rows.json", "transcript.json", "transcript.txt",
    ]  # fmt: skip
    _check_wav(folder / "recording.wav", first, second)
    assert (folder / "transcript.txt").read_text().splitlines() == [
        "00:00.5  agent   Hello. [heard: He]",
        "00:00.5  caller  Hi, um.",
    ]
    tables = json.loads((folder / "rows.json").read_text())
    assert [row["call_sid"] for row in tables["calls"]] == [sid]
    assert len(bytes.fromhex(tables["recordings"][0]["peaks"])) == 2 * 13
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())


@pytest.mark.real
def test_a_recording_that_cannot_be_heard_is_reported_in_one_sentence(
    call: tuple[str, bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sid, _, _ = call
    out = ["--out", str(tmp_path / "x.wav")]

    def says(*words: str) -> str:
        assert main(["listen", *words]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    assert "not recorded" in says("CA" + "f" * 32, *out)
    monkeypatch.setenv("PATH", "")
    assert "--out" in says(sid)
    monkeypatch.setenv("RECORDING_KEY", new_key())
    assert "RECORDING_KEY does not hold" in says(sid, *out)
    monkeypatch.delenv("RECORDING_KEY")
    assert "RECORDING_KEY is not set" in says(sid, *out)
    monkeypatch.setenv("RECORDING_KEY", KEY)
    (path, *_) = sorted((tmp_path / "data" / "recordings").glob("*/*.rec"))
    data = bytearray(path.read_bytes())
    data[3_000] ^= 1
    path.write_bytes(data)
    assert "damaged" in says(sid, *out)
    assert list(tmp_path.glob("*x.wav*")) == []  # a file is written whole or not at all
    path.unlink()
    assert "cannot be reached here" in says(sid, *out)


@pytest.mark.real
@pytest.mark.parametrize("command", [["listen", SID], ["serve"]])
def test_a_missing_package_for_the_bucket_is_reported_in_one_sentence(
    command: list[str],
    call: tuple[str, bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**ENVIRONMENT, "RECORD": "on", "RECORDINGS_URL": "s3://calls"}.items():
        if name != "DATABASE_URL":
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "pip install 'relay[s3]'" in said.splitlines()[-1]
    assert "Traceback" not in said


Recorded = tuple[str, bytes, bytes]
Says = pytest.CaptureFixture[str]


def _export(tmp_path: Path, capsys: Says, sid: str = SID) -> tuple[int, list[str], str]:
    """Export a call. Returns the exit code, the files in the folder, and what the command said."""
    code = main(["calls", "export", sid, "--out", str(tmp_path / "e")])
    said = capsys.readouterr()
    return code, sorted(path.name for path in (tmp_path / "e").glob("*")), said.out + said.err


WORDS = ["rows.json", "transcript.json", "transcript.txt"]


def _damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.real
@pytest.mark.parametrize("at", [-1, 3_000], ids=["its end", "its middle"])
@pytest.mark.parametrize("has_row", [True, False])
def test_an_export_without_a_recording_that_is_damaged_has_the_words_and_says_what_is_missing_and_fails(
    call: Recorded, database_url: str, tmp_path: Path, capsys: Says, at: int, has_row: bool
) -> None:
    (path, *_) = sorted((tmp_path / "data" / "recordings").glob("*/*.rec"))
    _damage(path, at)
    if not has_row:
        with psycopg.connect(database_url) as connection:
            connection.execute("delete from recordings")
    code, files, said = _export(tmp_path, capsys)
    assert (code, files) == (1, WORDS)
    assert f"recording.wav of {SID} was not written" in said
    assert "damaged" in said
    assert str(tmp_path / "e" / "rows.json") in said


@pytest.mark.real
def test_an_export_without_the_key_has_the_words_and_names_the_setting_and_fails(
    call: Recorded, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from recordings")
    monkeypatch.delenv("RECORDING_KEY")
    code, files, said = _export(tmp_path, capsys)
    assert (code, files) == (1, WORDS)
    assert "RECORDING_KEY is not set" in said


@pytest.mark.real
def test_an_export_of_a_call_whose_recording_was_deleted_by_age_has_the_words_and_says_so(
    call: Recorded, database_url: str, tmp_path: Path, capsys: Says
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update recordings set deleted_at = now()")
    code, files, said = _export(tmp_path, capsys)
    assert (code, files) == (0, WORDS)
    assert "it was deleted, by age or on request" in said


@pytest.mark.real
def test_an_export_of_a_call_that_was_not_recorded_needs_no_key_and_says_that_it_has_no_sound(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    _write(database_url, tmp_path, [])
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("RECORDING_KEY", raising=False)
    code, files, said = _export(tmp_path, capsys)
    assert (code, files) == (0, WORDS)
    assert "it was not recorded" in said


@pytest.mark.real
def test_an_export_of_an_unknown_call_writes_nothing_and_fails(call: Recorded, tmp_path: Path, capsys: Says) -> None:
    assert _export(tmp_path, capsys, "CA" + "f" * 32)[:2] == (1, [])


@pytest.mark.real
def test_peaks_and_pauses_are_exported_as_rows(call: tuple[str, bytes, bytes], database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select peaks_step_ms, peaks, length_ms from recordings where call_sid = %s order by started_ms", [SID]
        ).fetchall()
    (step_ms, peaks, length_ms), _ = found
    assert (step_ms, len(peaks), length_ms) == (50, 2 * 13, 625)
    assert max(peaks) > 120


def test_a_wav_can_be_written_into_a_pipe_that_cannot_be_rewound(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(data)  # type: ignore[arg-type]

    both = _sound(3, 4_321)
    _record(tmp_path, 0, both)
    pipe = Pipe()
    write_wav(pipe, recordings_of(SID, [], FolderStore(tmp_path), None, KEYS))  # type: ignore[arg-type]
    with wave.open(io.BytesIO(pipe.data), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.array_equal(samples, dsp.decode(both))


def test_audio_that_two_machines_recorded_at_the_same_time_is_written_once(tmp_path: Path) -> None:
    first, second = _sound(4, 4_000), _sound(5, 4_000)
    _record(tmp_path, 0, first)
    _record(tmp_path, 250, second)
    heard = b"".join(stereo(recordings_of(SID, [], FolderStore(tmp_path), None, KEYS)))
    assert heard == first + second[2 * 2_000 :]


def test_a_deleted_recording_cannot_be_heard_again(tmp_path: Path) -> None:
    row: dict[str, object] = {"name": "2026-11-01/1-x-1.rec", "stored_in": "disk", "deleted_at": NOON}
    with pytest.raises(NotHeard, match="deleted"):
        recordings_of(SID, [row], FolderStore(tmp_path), None, KEYS)


def test_on_a_file_system_without_modes_an_export_is_written_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(fd: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refused)
    before = os.listdir("/dev/fd")
    written = export(tmp_path, {"calls": [{"call_sid": SID}], "transcripts": []})
    assert all(path.read_bytes() or path.suffix == ".txt" for path in written)
    assert os.listdir("/dev/fd") == before


def test_an_export_of_rows_can_have_values_that_json_does_not_know(tmp_path: Path) -> None:
    export(tmp_path, {"calls": [{"call_sid": SID, "started_at": NOON, "raw": b"\x01"}], "transcripts": []})
    assert json.loads((tmp_path / "rows.json").read_text())["calls"][0]["started_at"] == str(NOON)


# Settings


def _mistakes(**environ: str) -> str:
    with pytest.raises(SettingsInvalid) as refused:
        settings.load({**ENVIRONMENT, **environ}, serving=True)
    return str(refused.value)


def test_record_on_without_a_key_is_a_mistake_at_start() -> None:
    assert "RECORDING_KEY is not set" in _mistakes(RECORD="on")
    assert settings.load({**ENVIRONMENT, "RECORD": "on", "RECORDING_KEY": KEY}, serving=True).records
    assert not settings.load({**ENVIRONMENT}, serving=True).records
    settings.load({"RECORD": "on"}, serving=False)  # a rehearsal needs no key


@pytest.mark.parametrize("key", ["short", "x" * 43 + ",", "x" * 43 + " " + "x" * 43, "x" * 44])
def test_an_invalid_key_setting_is_named_and_its_value_is_not_shown(key: str) -> None:
    said = _mistakes(RECORD="on", RECORDING_KEY=key)
    assert "RECORDING_KEY must be" in said
    assert key not in said
    assert said.count("RECORDING_KEY") == 1


def test_several_keys_are_accepted_and_masked() -> None:
    loaded = settings.load({**ENVIRONMENT, "RECORD": "on", "RECORDING_KEY": f"{new_key()}, {KEY}"}, serving=True)
    assert KEY not in repr(loaded) + str(loaded.masked())


@pytest.mark.parametrize("url", ["https://bucket", "s3://", "s3://A_B", "bucket", "s3://bucket?x=1"])
def test_a_store_url_that_is_not_a_bucket_is_refused(url: str) -> None:
    assert "RECORDINGS_URL must be" in _mistakes(RECORD="on", RECORDING_KEY=KEY, RECORDINGS_URL=url)


def test_a_store_without_credentials_is_refused() -> None:
    said = _mistakes(RECORD="on", RECORDING_KEY=KEY, RECORDINGS_URL="s3://bucket/calls")
    assert "AWS_ACCESS_KEY_ID" in said


def test_relay_key_prints_a_valid_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key"]) == 0
    name, _, key = capsys.readouterr().out.strip().partition("=")
    assert name == "RECORDING_KEY"
    Keys.parse(key)
