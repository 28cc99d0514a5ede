"""`relay call` from outside: every option reaches the call, and the exit code gives the result."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.cli import main
from relay.standin.commands.call import UNREACHABLE, USAGE
from relay.standin.scenario.scenario_file import ScenarioError, parse

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "x")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 800)
    return path


@pytest.mark.real
def test_relay_call_writes_a_report_in_json_for_each_call_and_a_wav(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "call.wav"
    options = ["--scenario", "hangup_during_greeting", "--n", "2", "--json", "--out", str(out), "--rest-port", "0"]
    assert main(["call", NOBODY, *options]) == UNREACHABLE
    reports = json.loads(capsys.readouterr().out)
    assert [report["scenario"] for report in reports] == ["hangup_during_greeting"] * 2
    assert len({report["call_sid"] for report in reports}) == 2
    assert all(report["complaints"] and report["wrong"] for report in reports)
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)


@pytest.mark.real
def test_a_recording_is_played_as_a_scenario(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", NOBODY, "--wav", str(wav)]) == UNREACHABLE
    told = capsys.readouterr().out
    assert "1 call, in" in told
    assert "The relay cannot be reached: is `relay serve` running, and is this its address?" in told


@pytest.mark.parametrize(
    "options", [["--wav", "no_such.wav"], ["--scenario", "no_such"], ["--scenario", "no_such.toml"]]
)
def test_a_scenario_or_recording_that_cannot_be_played_is_reported_as_wrong_use(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["call", NOBODY, *options]) == USAGE
    assert "no_such" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["call", NOBODY], ["standin", "caller", "--relay", NOBODY]])
def test_without_the_relays_token_no_request_can_be_signed_and_no_call_is_made(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    assert main(command) == USAGE
    assert "TWILIO_AUTH_TOKEN is needed" in "".join(capsys.readouterr())


def test_a_recording_together_with_a_scenario_is_reported_as_wrong_use(
    wav: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["call", NOBODY, "--wav", str(wav), "--scenario", "cough"])
    assert refused.value.code == USAGE
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("relay_dead", "relay_dead needs relay_dies: only relay demo --scenario makes that"),
        ("goodbye_rest_fails", "needs rest_fails: only relay demo --scenario makes that (or serve the REST API, with"),
    ],
)
def test_a_scenario_with_a_fault_that_cannot_be_caused_from_outside_makes_no_call(
    scenario: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["call", NOBODY, "--scenario", scenario]) == USAGE
    told = capsys.readouterr().out
    assert words in told
    assert "rings" not in told


@pytest.mark.real
def test_a_fault_of_the_rest_api_can_be_caused_where_the_stand_in_serves_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", NOBODY, "--scenario", "goodbye_rest_fails", "--rest-port", "0"]) == UNREACHABLE
    told = capsys.readouterr().out
    assert "Twilio's REST API is on http://127.0.0.1:" in told
    assert "cannot be made here" not in told


def _header(wav: Path, offset: int, value: bytes) -> bytes:
    data = wav.read_bytes()
    return data[:offset] + value + data[offset + len(value) :]


BROKEN: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda wav: b"",
    "renamed": lambda wav: b"ID3\x04" + bytes(1000),
    "without_a_sample": lambda wav: wav.read_bytes()[:40] + struct.pack("<I", 0),
    "8_bit": lambda wav: _header(wav, 32, struct.pack("<HH", 1, 8)),
    "mu_law": lambda wav: _header(wav, 20, struct.pack("<H", 7)),
    "no_channel": lambda wav: _header(wav, 22, struct.pack("<H", 0)),
    "no_rate": lambda wav: _header(wav, 24, struct.pack("<I", 0)),
    "one_sample_a_second": lambda wav: _header(wav, 24, struct.pack("<I", 1)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_recording_that_cannot_be_played_is_refused_before_a_call_is_made(
    how: str, wav: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = wav.with_name(f"{how}.wav")
    broken.write_bytes(BROKEN[how](wav))
    assert main(["call", NOBODY, "--wav", str(broken)]) == USAGE
    told = capsys.readouterr().out
    assert f"{how}.wav cannot be played: " in told
    assert "rings" not in told
    with pytest.raises(ScenarioError, match=f"step 1: .*{how}.wav cannot be played"):
        parse(f'title = "t"\n[caller]\nsteps = [{{ play = "{broken}" }}]', "own")


@pytest.mark.real
def test_a_recording_with_a_missing_end_is_played_as_far_as_it_goes(
    wav: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav.write_bytes(wav.read_bytes()[:-501])
    assert main(["call", NOBODY, "--wav", str(wav)]) == UNREACHABLE


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:abc", "http://127.0.0.1:99999", "http://127.0.0.1:0"])
def test_a_wrong_url_is_reported_as_wrong_use(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["call", url], ["standin", "caller", "--relay", url]):
        assert main(command) == USAGE
        assert url in "".join(capsys.readouterr())


@pytest.mark.parametrize("options", [["--n", "0"], ["--n", "-2"], ["--n", "x"], ["--rest-port", "99999"]])
def test_a_number_that_makes_no_sense_is_reported_as_wrong_use(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["call", NOBODY, *options])
    assert refused.value.code == USAGE
    assert options[1] in capsys.readouterr().err


def test_when_the_wav_cannot_be_written_no_call_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "call.wav"):
        assert main(["call", NOBODY, "--out", str(out)]) == USAGE
        told = capsys.readouterr().out
        assert f"cannot be written to {out}" in told
        assert "rings" not in told


@pytest.mark.real
def test_each_call_has_a_call_sid_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    sids = set()
    for _ in range(2):
        main(["call", NOBODY, "--scenario", "hangup_during_greeting", "--json"])
        sids.add(json.loads(capsys.readouterr().out)[0]["call_sid"])
    assert len(sids) == 2


@pytest.mark.real
def test_a_call_is_printed_as_it_happens_and_a_closed_pipe_causes_no_traceback() -> None:
    command = [sys.executable, "-m", "relay", "call", NOBODY, "--scenario", "hangup_during_greeting"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as call:
        assert call.stdout is not None
        assert call.stderr is not None
        assert "rings" in call.stdout.readline()
        call.stdout.close()
        told = call.stderr.read()
    assert (call.returncode, told) == (130, "")
