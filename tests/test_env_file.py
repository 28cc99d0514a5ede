"""`.env`: it is read as it is written, the environment has precedence, and typing errors are reported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay.settings import SettingsInvalid
from relay.settings.env_file import Environment, read


def _read(folder: Path, text: str, **environ: str) -> Environment:
    (folder / ".env").write_bytes(text.encode())
    return read(environ, folder)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("BUSINESS_NAME=Bella's Barbershop", "Bella's Barbershop"),
        ('BUSINESS_NAME="Bella\'s Barbershop"', "Bella's Barbershop"),
        ("BUSINESS_NAME='Joe & Sons'  # the shop", "Joe & Sons"),
        ("export BUSINESS_NAME = Harbor", "Harbor"),
        ("BUSINESS_NAME=pa$HOME${PATH}word", "pa$HOME${PATH}word"),
        ('BUSINESS_NAME="costs $5 `now` $(id)"', "costs $5 `now` $(id)"),
        ("BUSINESS_NAME='one$TWO'", "one$TWO"),
        ("BUSINESS_NAME=half#way", "half#way"),
        ("BUSINESS_NAME=Café Zoë\r", "Café Zoë"),
        ("\ufeffBUSINESS_NAME=Harbor", "Harbor"),
        ("BUSINESS_NAME=", ""),
    ],
)
def test_a_value_in_the_env_file_is_read_as_it_is_written(tmp_path: Path, line: str, value: str) -> None:
    got = _read(tmp_path, f"{line}\n# a comment\n\nAGENT_NAME=Ann\n")
    assert dict(got.values) == {"BUSINESS_NAME": value, "AGENT_NAME": "Ann"}
    assert got.hints == ()


def test_the_environment_has_precedence_over_the_env_file(tmp_path: Path) -> None:
    got = _read(tmp_path, "PORT=1\nAGENT_NAME=Ann\nBUSINESS_TZ=Europe/London\n", PORT="2", BUSINESS_TZ="")
    assert dict(got.values) == {"PORT": "2", "AGENT_NAME": "Ann", "BUSINESS_TZ": ""}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A_KEY=1\nBUSINESS_NAME='Bella's Barbershop'\nAGENT_NAME=Ann\n", [2]),
        ("\n\n\nBUSINESS_NAME Bella\n\nPORT=1\nwhat is this\n", [4, 7]),
        ('PORT=1\nBUSINESS_NAME="Bella\nAGENT_NAME=Ann\n', [2]),
        ("PORT=1\nBUSINESS_NAME\n", [2]),
        ("PORT=1\nBUSINESS_NAME='two\nlines'\n", [2]),
        ("PORT=1\n=2\n", [2]),
    ],
)
def test_a_broken_line_is_reported_with_its_number(tmp_path: Path, text: str, lines: list[int]) -> None:
    with pytest.raises(SettingsInvalid) as wrong:
        _read(tmp_path, text)
    assert [int(number) for number in re.findall(r"line (\d+)", str(wrong.value))] == lines
    assert "Bella" not in str(wrong.value), "a broken line is quoted, and may have half a key"


def test_a_name_that_is_nearly_a_setting_is_pointed_out(tmp_path: Path) -> None:
    got = _read(tmp_path, "BUISNESS_NAME=Bella\nopenai_api_key=x\nAWS_REGION=eu\n", OPENAI_APIKEY="x", HOSTNAME="h")
    assert got.hints == (
        "BUISNESS_NAME in .env is not a setting: do you mean BUSINESS_NAME?",
        "openai_api_key in .env is not a setting: do you mean OPENAI_API_KEY?",
        "OPENAI_APIKEY is not a setting: do you mean OPENAI_API_KEY?",
    )


def test_a_name_that_is_set_twice_is_pointed_out(tmp_path: Path) -> None:
    got = _read(tmp_path, "PORT=1\nAGENT_NAME=Ann\nPORT=2\n")
    assert got.values["PORT"] == "2"
    assert got.hints == ("PORT is set twice in .env, in lines 1 and 3: the last one counts",)


def test_a_missing_env_file_is_allowed_and_another_one_can_be_named(tmp_path: Path) -> None:
    assert read({"PORT": "1"}, tmp_path) == Environment({"PORT": "1"})
    (tmp_path / ".env").write_text("PORT=1\n")
    (tmp_path / "staging.env").write_text("PORT=2\n")
    assert read({"RELAY_ENV_FILE": "staging.env"}, tmp_path).values["PORT"] == "2"
    assert "PORT" not in read({"RELAY_ENV_FILE": ""}, tmp_path).values
    with pytest.raises(SettingsInvalid, match=r"names prod\.env, and there is no such file"):
        read({"RELAY_ENV_FILE": "prod.env"}, tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsInvalid, match=r"\.env cannot be read: Is a directory"):
        read({}, tmp_path)
    (tmp_path / "b.env").write_bytes(b"BUSINESS_NAME=Caf\xe9\n")
    with pytest.raises(SettingsInvalid, match=r"b\.env cannot be read: it is not UTF-8"):
        read({"RELAY_ENV_FILE": "b.env"}, tmp_path)


@pytest.mark.real
def test_a_command_reads_the_env_file_of_its_folder_and_names_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HUMAN_TRANSFER_NUMBER='+12125550102'\nBUISNESS_NAME=Bella\n")
    command = [sys.executable, "-m", "relay", "fallback-twiml"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "+12125550102" in done.stdout
    assert "do you mean BUSINESS_NAME?" in done.stderr
    (tmp_path / ".env").write_text("PORT=1\nHUMAN_TRANSFER_NUMBER='+1212'5550102'\n")
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "line 2 cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("TIMEZONE=Europe/London", "BUSINESS_TZ"),
        ("BUSINESS_TIMEZONE=Europe/London", "BUSINESS_TZ"),
        ("TWILIO_SID=AC1", "TWILIO_ACCOUNT_SID"),
        ("HUMAN_NUMBER=+12125550100", "HUMAN_TRANSFER_NUMBER"),
        ("DB_URL=postgres://h/d", "DATABASE_URL"),
    ],
)
def test_another_programs_name_for_a_setting_is_pointed_out(tmp_path: Path, line: str, meant: str) -> None:
    name = line.partition("=")[0]
    assert _read(tmp_path, line).hints == (f"{name} in .env is not a setting: do you mean {meant}?",)
    assert _read(tmp_path, f"{line}\n{meant}=x\n").hints == ()
    assert _read(tmp_path, "PORT=1", **{name: "x"}).hints == ()  # another program's variable


@pytest.mark.parametrize("value", ["\u201cBella\u201d", "\u2018Bella\u2019"])
def test_typographic_quotes_around_a_value_are_pointed_out(tmp_path: Path, value: str) -> None:
    got = _read(tmp_path, f"BUSINESS_NAME={value}\n")
    assert got.values["BUSINESS_NAME"] == value
    assert "typographic quote" in got.hints[0]
    assert _read(tmp_path, "BUSINESS_NAME=Bella\u2019s \u201cBarbershop\u201d\n").hints == ()
