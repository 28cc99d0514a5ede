"""The commands from outside: their exit codes, and one sentence for each failure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from relay.cli import main, not_rendered
from relay.settings import REQUIRED
from relay.standin.model.script import Faults
from relay.standin.ports import free_port
from tests.helpers.environment import GOOD


def _clean(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    for name in (*REQUIRED, "database_url", "port", "data_dir", "openai_realtime_url", "functions"):
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_serving_without_settings_names_all_of_them_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["serve"]) == 2
    told = capsys.readouterr().err
    assert all(name.upper() in told for name in REQUIRED)


def test_a_live_demo_without_a_key_says_that_the_key_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["demo", "--live"]) == 2
    assert (
        capsys.readouterr().err == "relay demo: --live needs OPENAI_API_KEY in the environment: a demo reads no .env\n"
    )


def test_the_error_for_an_unknown_scenario_is_one_sentence_with_the_names_of_the_shipped_scenarios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["demo", "--scenario", "no_such_call"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("relay demo: there is no scenario 'no_such_call'")
    assert "good_call" in told
    assert told.count("\n") == 1


def test_the_fallback_document_dials_the_human_and_has_no_url_of_the_relay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch, **GOOD)
    assert main(["fallback-twiml"]) == 0
    document = ET.fromstring(capsys.readouterr().out)
    assert [child.tag for child in document] == ["Say", "Dial", "Hangup"]
    assert document.findtext("Dial") == "+12125550102"
    dial = document.find("Dial")
    assert dial is not None
    assert dial.attrib["callerId"] == GOOD["TWILIO_PHONE_NUMBER"]  # a caller over SIP has no number


def test_the_fallback_document_without_a_human_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["fallback-twiml"]) == 2
    assert "HUMAN_TRANSFER_NUMBER" in capsys.readouterr().err


def test_invalid_faults_for_the_stand_in_model_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["standin", "model", "--faults", "explode"]) == 2
    assert "explode" in capsys.readouterr().err


def test_the_help_of_the_stand_in_model_explains_each_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["standin", "model", "--help"])
    told = capsys.readouterr().out
    for each in dataclasses.fields(Faults):
        assert any(line.split()[0].partition("=")[0] == each.name for line in told.splitlines() if line.split()), (
            each.name
        )
        assert each.metadata["says"] in told


def test_a_call_without_a_url_is_reported_as_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    _clean(monkeypatch, TWILIO_AUTH_TOKEN="x")
    assert main(["call", "relay.example.com"]) == 2


@pytest.mark.real
def test_a_call_to_an_address_without_a_relay_exits_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    _clean(monkeypatch, TWILIO_AUTH_TOKEN="x")
    assert main(["call", "http://127.0.0.1:9", "--scenario", "hangup_during_greeting"]) == 3


@pytest.mark.real
def test_a_taken_port_stops_the_start_with_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {**GOOD, "PORT": str(port), "DATA_DIR": str(tmp_path), "LOG_FORMAT": "json"}
        _clean(monkeypatch, **environ)
        done = subprocess.run([sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (words,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert words.startswith(f"relay serve: the port {port} cannot be used")


@pytest.mark.real
def test_a_second_relay_with_the_same_data_dir_does_not_start_and_one_with_its_own_does(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _clean(monkeypatch, **{**GOOD, "DATABASE_URL": database_url, "LOG_FORMAT": "json"})

    def serve(folder: str, port: int) -> tuple[subprocess.Popen[str], str]:
        """Start a relay. Return it, and what it has printed until it serves or ends."""
        environ = {**os.environ, "DATA_DIR": str(tmp_path / folder), "PORT": str(port)}
        command = [sys.executable, "-m", "relay", "serve"]
        process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ))
        stack.callback(process.kill)
        assert process.stderr is not None
        printed = ""
        while line := process.stderr.readline():
            printed += line
            if '"relay.serving"' in line:
                break
        return process, printed

    with ExitStack() as stack:
        first, printed = serve("data", free_port())
        assert '"relay.serving"' in printed
        lock = tmp_path / "data" / "serve.lock"
        assert lock.stat().st_mode & 0o777 == 0o600, "another user could hold the lock"
        second, printed = serve("data", free_port())
        assert second.wait(20) == 1
        (words,) = [line for line in printed.splitlines() if not line.startswith("{")]
        assert words.startswith("relay serve: another relay uses the folder")
        assert "DATA_DIR" in words
        assert '"relay.serving"' in serve("other", free_port())[1]
        first.kill()  # the folder of a killed relay is free at once
        first.wait(20)
        assert '"relay.serving"' in serve("data", free_port())[1]


@pytest.mark.real
def test_broken_prompts_stop_the_start_and_name_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _clean(monkeypatch, **GOOD, DATA_DIR=str(tmp_path), BUSINESS_NAME="x")
    code = (
        "import pathlib, relay.phrases.prompts as p, sys; from relay.cli import main\n"
        f"p.PROMPTS_DIR = pathlib.Path({str(tmp_path)!r})\n"
        "sys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "relay serve: these files in prompts/ are wrong" in done.stderr
    assert "system.md cannot be read" in done.stderr


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [["standin", "model", "--port"], ["standin", "caller", "--port"], ["call", GOOD["PUBLIC_URL"], "--rest-port"]],
)
def test_a_taken_port_of_a_stand_in_gives_one_sentence(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _clean(monkeypatch, TWILIO_AUTH_TOKEN="x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "relay", *options, port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert (done.stdout + done.stderr).count("\n") == 1
    assert f"the port {port} cannot be used" in (done.stdout + done.stderr).lower()


@pytest.mark.real
def test_a_rehearsal_can_be_repeated_against_the_same_stand_in_business(monkeypatch: pytest.MonkeyPatch) -> None:
    _clean(monkeypatch)
    command = [sys.executable, "-m", "relay", "standin", "business"]
    days = [dt.datetime.now(dt.UTC).date() + dt.timedelta(days=ahead) for ahead in (2, 3)]
    day = next(each for each in days if (each.month, each.day) != (12, 25))  # it is closed on Christmas
    wish = {"name": "Jane Doe", "phone": "+12125550101", "service": "table for two", "start": f"{day}T19:00:00-05:00"}
    statuses: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as standin:
        assert standin.stdout is not None
        try:
            url = standin.stdout.readline().partition("=")[2].strip()
            for number in range(20):
                headers = {"Idempotency-Key": f"call-{number}"}
                got = httpx.post(f"{url}/appointments", json=wish, headers=headers, trust_env=False, timeout=20)
                statuses.append(got.status_code)
            standin.send_signal(signal.SIGINT)  # while it works on the last request
            _, told = standin.communicate(timeout=20)
        finally:
            standin.kill()
    assert statuses == [201] * 20
    assert (standin.returncode, told) == (130, "")


@pytest.mark.real
def test_ctrl_c_ends_a_stand_in_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _clean(monkeypatch)
    command = [sys.executable, "-m", "relay", "standin", "model"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as standin:
        assert standin.stdout is not None
        assert "OPENAI_REALTIME_URL" in standin.stdout.readline()
        standin.send_signal(signal.SIGINT)
        _, told = standin.communicate(timeout=20)
    assert (standin.returncode, told) == (130, "")


def test_a_script_that_is_not_text_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _clean(monkeypatch)
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    assert main(["standin", "model", "--script", str(tmp_path / "own.toml")]) == 2
    assert "the script or the faults cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["calls"], ["calls", "CA1"], ["migrate"], ["greet"]])
def test_a_missing_postgres_gives_one_sentence(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _clean(monkeypatch, DATABASE_URL=GOOD["DATABASE_URL"], DATA_DIR=str(tmp_path))
    assert main(command) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"relay {command[0]}: ")
    assert "Connection refused" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["calls"], ["calls", "export", "CA1"], ["listen", "CA1"], ["outbox"]], ids=" ".join
)
def test_a_command_that_only_reads_makes_no_database_in_a_folder_without_one(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    _clean(monkeypatch)
    assert main(command) == 1
    told = capsys.readouterr().err
    assert told == (
        f"relay {command[0]}: there are no rows here, because there is no folder data: "
        "run this command in the folder of your .env\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_an_unknown_call_is_reported_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    _clean(monkeypatch, DATABASE_URL=database_url)
    assert main(["calls", "CA1"]) == 1
    assert capsys.readouterr().err == "relay calls: there is no call CA1 in Postgres\n"


@pytest.mark.real
def test_relay_greet_also_names_functions_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, database_url: str
) -> None:
    _clean(monkeypatch, DATABASE_URL=database_url, DATA_DIR=str(tmp_path), FUNCTIONS="no_such_package")
    assert main(["greet"]) == 1
    assert capsys.readouterr().err.startswith("relay greet: no_such_package cannot be imported")


@pytest.mark.real
def test_relay_greet_without_a_connection_says_so_once_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str
) -> None:
    address = {"OPENAI_REALTIME_URL": "ws://127.0.0.1:9", "OPENAI_API_KEY": GOOD["OPENAI_API_KEY"]}
    _clean(monkeypatch, **address, DATABASE_URL=database_url, DATA_DIR=str(tmp_path))
    code = (
        "import relay.phrases.phrase_book as book, sys; from relay.cli import main\n"
        "book.TRIES = 1\n"  # Otherwise each phrase takes 6 s.
        "sys.exit(main(['greet']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (words,) = [line for line in done.stderr.splitlines() if line.startswith("not rendered")]
    assert words.startswith("not rendered: 25 phrases: no connection: all attempts to connect to 127.0.0.1:9 failed")
    assert "Run `relay greet` again" in words
    assert "0 of 25 phrases are kept" in done.stdout


def test_if_phrases_are_missing_for_different_reasons_each_reason_has_its_phrases_in_full() -> None:
    long = "Hello, thank you for calling Harbor Table. This is Robin, the virtual assistant."
    lines = not_rendered({long: "the model said other words", "Goodbye.": "it is late", "Hello.": "it is late"})
    assert len(lines) == 5
    assert lines[0].startswith("not rendered: 1 phrase: the model said other words")
    assert lines[1] == f"  {long}"
    assert lines[2].startswith("not rendered: 2 phrases: it is late")
    assert lines[3:] == ["  Goodbye.", "  Hello."]


def test_unreadable_rows_of_earlier_calls_are_named_at_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ledger-spill" / "rows-1.jsonl").mkdir(parents=True)  # a folder cannot be read as a file
    _clean(monkeypatch, **GOOD, DATA_DIR=str(tmp_path))
    assert main(["serve"]) == 1
    assert f"{tmp_path / 'ledger-spill' / 'rows-1.jsonl'} cannot be read" in capsys.readouterr().err


def test_a_process_that_ends_because_of_a_bug_logs_it_without_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = "the words of a caller"

    async def broken(*_: object) -> None:
        raise ValueError(words)

    monkeypatch.setattr("relay.server.app.run", broken)
    _clean(monkeypatch, **GOOD, DATA_DIR=str(tmp_path), LOG_FORMAT="json")
    assert main(["serve"]) == 1
    told = capsys.readouterr().err
    assert "relay.crashed" in told
    assert "relay serve: the relay ended because of a bug" in told
    assert words not in told


@pytest.mark.parametrize("command", [["migrate"], ["greet"], ["calls"], ["calls", "CA1"]])
def test_the_commands_of_a_deployed_relay_without_a_database_do_not_use_the_embedded_database(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUBLIC_URL", "https://relay.example.com")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(command) == 2
    assert "DATABASE_URL is not set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_test_of_the_notices_fails_if_no_channel_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _clean(monkeypatch)
    assert main(["notify", "--test"]) == 1
    assert "NOTIFY_EMAIL" in capsys.readouterr().out
