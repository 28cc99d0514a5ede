"""The WAV file that the console makes of recordings on this disk."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.console.sound import HeardCalls
from relay.recordings.listening import NotHeard
from tests.helpers.console_app import LOCAL
from tests.helpers.recorded import KEY, put_file

pytestmark = pytest.mark.real
SID = "CA" + "1" * 32
NOON = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)


def tables(*names: str, **columns: Any) -> dict[str, list[dict[str, Any]]]:
    return {"recordings": [{"call_sid": SID, "name": name, "stored_in": "disk", **columns} for name in names]}


def heard(data_dir: Path, **changes: Any) -> HeardCalls:
    return HeardCalls(replace(LOCAL, data_dir=data_dir, recording_key=KEY, **changes))


async def test_each_range_of_a_recording_has_the_bytes_that_the_whole_file_has_there(tmp_path: Path) -> None:
    sound = await heard(tmp_path).sound(SID, tables(put_file(tmp_path / "recordings", NOON)))
    assert sound is not None
    whole = await sound.read(0, sound.n_bytes)
    assert len(whole) == sound.n_bytes
    for first in (0, 1, 43, 44, 45, 46, 47, 48, 32_043, 40_001):
        for count in (1, 3, 5, 16_001, sound.n_bytes - first):
            assert await sound.read(first, count) == whole[first : first + count], (first, count)


async def test_a_deleted_recording_whose_file_is_still_on_disk_is_not_played_with_another_of_the_call(
    tmp_path: Path,
) -> None:
    gone = put_file(tmp_path / "recordings", NOON, chunks=9)
    assert await heard(tmp_path).sound(SID, tables(gone, deleted_at=NOON)) is None
    kept = put_file(tmp_path / "recordings", NOON + dt.timedelta(minutes=1), chunks=3)
    rows = tables(gone, deleted_at=NOON)["recordings"] + tables(kept)["recordings"]
    sound = await heard(tmp_path).sound(SID, {"recordings": rows})
    (tmp_path / "recordings" / gone).unlink()
    expected = await heard(tmp_path).sound(SID, tables(kept))
    assert sound is not None
    assert expected is not None
    assert sound.n_bytes == expected.n_bytes


async def test_a_missing_package_for_the_bucket_is_a_reason_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(NotHeard, match="pip install"):
        await heard(tmp_path, recordings_url="s3://calls").sound(SID, tables("2026-11-29/1-x-1.rec"))


async def test_a_recording_whose_row_was_lost_in_a_crash_is_heard_in_the_console_as_by_relay_listen(
    tmp_path: Path,
) -> None:
    name = put_file(tmp_path / "recordings", NOON)
    calls = heard(tmp_path)
    assert await calls.has_sound(SID, tables())
    without_row, with_row = await calls.sound(SID, tables()), await calls.sound(SID, tables(name))
    assert without_row is not None
    assert with_row is not None
    assert without_row.n_bytes == with_row.n_bytes
    assert not await calls.has_sound(SID, tables(name, deleted_at=NOON))


async def test_a_request_for_a_range_looks_once_through_the_folder_and_only_for_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recordings"
    name = put_file(folder, NOON)
    put_file(folder, NOON, "CA" + "2" * 32)
    patterns: list[str] = []

    class Watched(type(folder)):  # type: ignore[misc]
        def glob(self, pattern: str, **options: Any) -> Any:
            patterns.append(pattern)
            return super().glob(pattern, **options)

    monkeypatch.setattr("relay.console.sound.folder_of", lambda settings: Watched(folder))
    assert await heard(tmp_path).sound(SID, tables(name)) is not None
    assert len(patterns) == 1
    assert SID in patterns[0]


@pytest.mark.parametrize(
    "call_sid", ["*", "?" * 34, "[C]*", "../*", "", "CA" + "2" * 32, "11", "CA", "CA" + "1" * 31, "120000"]
)
async def test_a_call_without_a_recording_is_not_given_the_recording_of_another_call(
    call_sid: str, tmp_path: Path
) -> None:
    put_file(tmp_path / "recordings", NOON)
    assert await heard(tmp_path).sound(call_sid, tables()) is None
    assert not await heard(tmp_path, recordings_url="s3://calls").has_sound(call_sid, tables())
