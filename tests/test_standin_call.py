"""`relay call` from outside: every option reaches the call, and the exit code says how it went."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from relay.cli import main
from relay.standin.call import UNREACHABLE, USAGE

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
def test_a_script_gets_one_report_for_each_call_as_json_and_a_wav(
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
def test_a_recording_is_a_scenario_of_its_own(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", NOBODY, "--wav", str(wav)]) == UNREACHABLE
    told = capsys.readouterr().out
    assert "1 call, in" in told
    assert "The relay cannot be reached." in told


@pytest.mark.parametrize(
    "options", [["--wav", "no_such.wav"], ["--scenario", "no_such"], ["--scenario", "no_such.toml"]]
)
def test_what_cannot_be_played_is_wrong_use(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", NOBODY, *options]) == USAGE
    assert "no_such" in capsys.readouterr().out


def test_without_the_token_of_the_relay_nothing_can_be_signed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    assert main(["call", NOBODY]) == USAGE
    assert "TWILIO_AUTH_TOKEN" in capsys.readouterr().out
