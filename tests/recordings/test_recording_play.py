"""When a call may be recorded, as plays: after the notice, in pauses, over streams, and when the disk fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from relay.ledger import rows
from relay.recordings import files
from relay.recordings.cipher import Keys, new_key
from relay.recordings.files import open_file
from relay.recordings.listening import recordings_of, stereo
from relay.recordings.stores import FolderStore
from relay.recordings.timeline import RATE_HZ
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import load, parse
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import find
from tests.helpers.play import Play, stage

pytestmark = pytest.mark.usefixtures("same_order")

KEY = new_key()
KEYS = Keys.parse(KEY)


def _settings(folder: Path, **more: str) -> Mapping[str, str]:
    return {"RECORD": "on", "RECORDING_KEY": KEY, "DATA_DIR": str(folder), **more}


def _sound(folder: Path, call_sid: str) -> tuple[bytes, bytes]:
    """Both channels of a call, from its start on."""
    found = recordings_of(call_sid, [], FolderStore(folder / "recordings"), None, KEYS)
    both = b"".join(stereo(found))
    return both[0::2], both[1::2]


def _clip(name: str) -> bytes:
    clip = find(name)
    assert clip is not None
    return clip.mulaw


def _pauses(play: Play) -> list[tuple[int, int | None, str | None]]:
    return [(row.from_ms, row.to_ms, row.why) for row in play.ledger.of(rows.RecordingPauseRow)]


async def _call(steps: str, play: Play) -> CallReport:
    got = await run_scenario(parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "t"), play.exchange)
    await trio.sleep(5)
    return got


# The notice


async def test_words_before_the_notice_was_heard_are_not_recorded(tmp_path: Path, autojump_clock: MockClock) -> None:
    steps = (
        '{ silent_s = 0.5 }, { say = "hello" }, { silent_s = 10 }, { say = "ask_hours" }, { listen = true },'
        " { hang_up = true }"
    )
    async with stage(settings=_settings(tmp_path)) as play:
        got = await _call(steps, play)
        left, _ = _sound(tmp_path, got.call_sid)
        ((from_ms, to_ms, why),) = _pauses(play)
    assert _clip("ask_hours")[800:4_000] in left
    assert _clip("hello")[800:1_600] not in left
    assert to_ms is not None
    assert to_ms - from_ms > 5_000
    assert "notice" in (why or "")
    assert left[: to_ms * 8 - 8].strip(b"\xff") == b""


async def test_a_caller_who_hangs_up_during_the_notice_leaves_no_file(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with stage(settings=_settings(tmp_path)) as play:
        await _call('{ silent_s = 2 }, { say = "hello" }, { hang_up = true }', play)
        assert play.ledger.of(rows.RecordingRow) == []
        assert [why for _, _, why in _pauses(play)] == ["the notice had not been heard"]
    assert not (tmp_path / "recordings").exists()


async def test_without_a_notice_the_call_is_recorded_from_its_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    scenario = load("one_party_state")
    async with stage(
        script=Script.from_table(scenario.model), settings={**scenario.relay, **_settings(tmp_path)}
    ) as play:
        got = await run_scenario(scenario, play.exchange)
        await trio.sleep(5)
        assert _pauses(play) == []
        (row,) = play.ledger.of(rows.RecordingRow, got.call_sid)
    assert row.started_ms == 0


@pytest.mark.parametrize("record", ["off", "transcripts"])
async def test_without_record_on_no_sound_is_recorded(record: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with stage(settings=_settings(tmp_path, RECORD=record)) as play:
        await _call('{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }', play)
        assert play.ledger.of(rows.RecordingRow) == []
        assert play.ledger.of(rows.RecordingPauseRow) == []
    assert not (tmp_path / "recordings").exists()


# The time line


async def test_each_turn_is_in_the_recording_at_its_time_also_after_a_lost_stream(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    scenario = load("socket_cut")
    async with stage(script=Script.from_table(scenario.model), settings=_settings(tmp_path)) as play:
        got = await run_scenario(scenario, play.exchange, stagehand=play.make)
        await trio.sleep(5)
        files = play.ledger.of(rows.RecordingRow, got.call_sid)
        turns = [t for t in play.ledger.of(rows.TranscriptRow, got.call_sid) if t.role == "caller" and t.said]
    assert len(files) == 2
    assert files[1].started_ms is not None
    assert files[1].started_ms > (files[0].started_ms or 0) + (files[0].length_ms or 0)
    left, _ = _sound(tmp_path, got.call_sid)
    said = [turn for turn in got.turns if turn.who == "caller"]
    stream_s = next(event.at_s for event in got.events if event.kind == "stream_started")
    for turn in said:  # times by the stand-in's clock
        begin = round((turn.from_s - stream_s) * RATE_HZ)
        assert any(code not in b"\xff\x7f" for code in left[begin : begin + 800]), turn
    for row in turns:  # times by the transcript
        assert row.started_ms is not None
        stretch = left[row.started_ms * 8 : row.started_ms * 8 + 4_000]
        assert stretch.strip(b"\xff\x7f"), row.said


# Pauses


CARD = {
    "reaction": [
        {"clip": "ask_card", "call": "take_card", "then": "Let me book that for you."},
        {"clip": "ask_booking", "call": "card_taken", "then": "Let me book that for you."},
    ]
}


async def test_a_function_can_pause_the_recording_and_continue_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    steps = (
        '{ listen = true }, { say = "ask_card" }, { listen = true }, { say = "ask_friday" }, { silent_s = 2 },'
        ' { say = "ask_booking" }, { listen = true }, { say = "no_thanks" }, { silent_s = 2 }, { hang_up = true }'
    )
    settings = _settings(tmp_path, FUNCTIONS="tests.helpers.card_functions")
    async with stage(script=Script.from_table(CARD), settings=settings) as play:
        got = await _call(steps, play)
        assert {"take_card", "card_taken"} <= {row.name for row in play.ledger.of(rows.FunctionCallRow) if row.ok}
        pauses = _pauses(play)
    left, right = _sound(tmp_path, got.call_sid)
    (from_ms, to_ms, why) = pauses[-1]
    assert why == "card number"
    assert to_ms is not None
    assert left[from_ms * 8 + 8 : to_ms * 8].strip(b"\xff") == b""
    assert right[from_ms * 8 + 8 : to_ms * 8].strip(b"\xff") == b""
    assert _clip("ask_card")[800:4_000] in left
    assert _clip("ask_friday")[800:1_600] not in left
    assert _clip("no_thanks")[800:4_000] in left


async def test_a_pause_that_is_not_ended_lasts_to_the_end_of_the_call(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    steps = '{ listen = true }, { say = "ask_card" }, { listen = true }, { say = "no_thanks" }, { hang_up = true }'
    settings = _settings(tmp_path, FUNCTIONS="tests.helpers.card_functions")
    async with stage(script=Script.from_table(CARD), settings=settings) as play:
        got = await _call(steps, play)
        (from_ms, to_ms, _) = _pauses(play)[-1]
    left, right = _sound(tmp_path, got.call_sid)
    assert to_ms is not None
    assert abs(to_ms * 8 - len(left)) <= 160
    assert (left + right)[from_ms * 8 + 8 : len(left)].strip(b"\xff") == b""


# The disk


async def test_if_the_disk_is_full_the_recording_ends_with_a_report_and_the_call_goes_on(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left_bytes = os.write, 60_000

    def full(fd: int, data: bytes) -> int:
        nonlocal left_bytes
        if left_bytes <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left_bytes -= len(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    async with stage(settings=_settings(tmp_path)) as play:
        steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { say = "no_thanks" }, { listen = true }'
        got = await _call(steps, play)
        text = play.daemon.desk.metrics.text().decode()
        outcome = play.ledger.of(rows.OutcomeRow, got.call_sid)[-1]
    assert 'relay_recordings_total{how="stopped"} 1.0' in text
    assert outcome.fault is None
    assert len(got.heard) >= 2
    left_bytes = 1_000_000
    folder = tmp_path / "recordings"
    (left_over,) = files.left_over(folder)
    finished = files.close_left_over(folder, left_over, KEYS)
    assert finished is not None
    assert 3 < finished.samples / RATE_HZ < 5
    assert open_file(folder / finished.name, KEYS).samples == finished.samples


# The caller's wish


async def test_a_refusal_of_the_caller_stops_the_recording(tmp_path: Path, autojump_clock: MockClock) -> None:
    steps = (
        '{ listen = true }, { say = "ask_hours" }, { listen = true }, { say = "Please don\'t record this call." },'
        ' { silent_s = 8 }, { say = "ask_booking" }, { listen = true }, { hang_up = true }'
    )
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "t")
    async with stage(settings=_settings(tmp_path)) as play:
        play.model.recogniser = ClipRecogniser(also=scenario.sayings())
        got = await run_scenario(scenario, play.exchange)
        await trio.sleep(5)
        (from_ms, to_ms, why) = _pauses(play)[-1]
        consents = play.ledger.of(rows.ConsentRow, got.call_sid)
    left, right = _sound(tmp_path, got.call_sid)
    assert why == "the caller does not want to be recorded"
    assert to_ms is not None
    assert abs(to_ms * 8 - len(left)) <= 160
    assert left[from_ms * 8 + 8 :].strip(b"\xff") == right[from_ms * 8 + 8 :].strip(b"\xff") == b""
    assert _clip("ask_hours")[800:4_000] in left
    assert any(row.refused_at is not None for row in consents)
