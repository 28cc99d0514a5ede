"""`relay demo`: the troubles that it can make. One of them is made with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import typing
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import trio

from relay import settings
from relay.settings.env_file import CHOICE
from relay.standin.commands import demo_stage
from relay.standin.commands.demo import DemoFailed, bugs, lacking, run, settings_of
from relay.standin.commands.demo_stage import NOT_HERE, TroubleMaker, serving
from relay.standin.model.server import StandInModel
from relay.standin.own_environment import only_own_environment
from relay.standin.scenario.scenario_file import Trouble, load, shipped
from tests.helpers.model_peer import BOOKING, listening
from tests.helpers.realtime_line import Line
from tests.helpers.until import until


def test_each_trouble_that_the_demo_cannot_make_is_a_trouble_of_the_scenario_format() -> None:
    known = set(typing.get_args(typing.get_type_hints(Trouble)["does"]))
    assert known > NOT_HERE
    refused = {name for name in shipped() if {trouble.does for trouble in load(name).trouble} & NOT_HERE}
    assert refused == {"drained"}


def test_a_scenario_that_cannot_be_played_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="drained needs relay_drains, which takes minutes"):
        run(settings.load({"DATA_DIR": str(tmp_path)}, serving=False), "drained", tmp_path / "out.wav", live=False)


def test_a_bug_that_is_only_in_the_log_fails_the_demo(tmp_path: Path) -> None:
    log = tmp_path / "relay.log"
    refused = json.dumps({"statement": "keep_messages", "event": "ledger.row_refused", "level": "error"})
    log.write_text(f"{refused}\nno JSON\n{json.dumps({'event': 'call.started'})}\n{refused}\n")
    assert bugs(log) == [f"a bug of the relay's own: ledger.row_refused, 2 times; see {log}"]
    assert bugs(tmp_path / "none.log") == []


def test_missing_clips_and_functions_of_the_stand_in_model_are_reported() -> None:
    model, line = StandInModel(), Line(BOOKING)
    model.sessions.append(line.peer)
    line.configure(audio=listening(), tools=[])
    line.caller("ask_hours")
    model.voice.say("Let me book that for you. We close at nine.")
    assert lacking(model) == [
        "babbled   We close at nine. (no recorded clip)",
        "script    the script calls lookup_hours, which the session does not declare",
    ]


@pytest.mark.real
def test_when_the_relay_is_killed_before_the_call_the_caller_reaches_the_human(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    loaded = settings.load({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url}, serving=False)
    assert run(loaded, "relay_dead", tmp_path / "out.wav", live=False) == 0
    told = capsys.readouterr().out
    assert "demo: killed process" in told
    assert "as expected" in told
    assert (tmp_path / "out.wav").stat().st_size > 50_000


@pytest.mark.real
async def test_no_connection_is_passed_on_to_a_relay_that_is_being_killed(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    reached = 0

    async def dying(stream: trio.SocketStream) -> None:
        nonlocal reached
        reached += 1
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, dying, listeners)
    hands = TroubleMaker({"relay_dies", "relay_starts"}, ExitStack(), nursery, tmp_path / "log")
    edge = await hands.public_port(listeners[0].socket.getsockname()[1])
    hands._killed = True
    async with await trio.open_tcp_stream("127.0.0.1", edge) as near:
        with trio.move_on_after(0.3) as waits:
            await near.receive_some()
        assert waits.cancelled_caught
        assert reached == 0
        hands._killed = False
        assert await near.receive_some() == b""
    assert reached == 1
    nursery.cancel_scope.cancel()


@pytest.mark.real
def test_a_demo_that_is_stopped_leaves_no_relay_running(open_folder: Path) -> None:
    command = [sys.executable, "-m", "relay", "demo", "--out", str(open_folder / "out.wav")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        pid = 0
        for line in demo.stdout:
            if found := re.search(r"relay serve is process (\d+)", line):
                pid = int(found[1])
            if "it takes calls" in line:
                break
        demo.send_signal(signal.SIGTERM)
        _, told = demo.communicate(timeout=60)
    assert (demo.returncode, told) == (130, "")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.real
async def test_a_relay_that_does_not_stop_when_told_is_gone_when_the_stage_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\necho deaf\nexec sleep 60\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr(demo_stage, "STOP_LIMIT_S", 0.1)
    log = tmp_path / "relay.log"
    with serving({}, log) as process:
        await until(lambda: log.read_text() == "deaf\n")
    assert process.returncode == -signal.SIGKILL


@pytest.mark.real
def test_a_broken_function_is_named_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    body = "from relay.functions import function\n\n@function()\nasync def dish_left(call): ...\n"
    (tmp_path / "broken_dish.py").write_text(body)
    (tmp_path / "own.toml").write_text(
        'title = "t"\n[caller]\nsteps = [{ hang_up = true }]\n[relay]\nFUNCTIONS = "broken_dish"\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    loaded = settings.load({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url}, serving=False)
    with pytest.raises(DemoFailed, match="relay serve: function dish_left in broken_dish: it has no docstring"):
        run(loaded, str(tmp_path / "own.toml"), tmp_path / "out.wav", live=False)


@pytest.mark.real
def test_a_demo_does_not_use_the_exported_settings_of_a_real_business(
    open_folder: Path, empty_database_url: str
) -> None:
    live, here = open_folder / "live", open_folder / "here"
    for folder in (live, here):
        folder.mkdir(mode=0o755)
    (here / ".env").write_text("BUSINESS_NAME='Bella's Barbershop'\n")  # reading this file fails
    with socket.create_server(("127.0.0.1", 0)) as taken:
        business = {
            "DATABASE_URL": empty_database_url,
            "DATA_DIR": str(live),
            "PORT": str(taken.getsockname()[1]),
            "PUBLIC_URL": "https://bella.example.com",
            "OPENAI_API_KEY": "sk-live",
            "OPENAI_REALTIME_URL": "ws://127.0.0.1:9/v1/realtime",
            "OPENAI_VOICE": "no-such-voice",
            "TWILIO_API_KEY": "SK1",
            "HUMAN_HOURS": "no hours at all",
            "BUSINESS_TZ": "Asia/Kolkata",
            "BUSINESS_NAME": "Bella's Barbershop",
            "RECORD": "off",
            "MAX_CALLS": "0",
            "FUNCTIONS": "no_such_package",
            "FLY_APP_NAME": "bella",
            "PGOPTIONS": "-c default_transaction_read_only=on",
            "PGDATABASE": "bella",
        }
        environ = {**{name: value for name, value in os.environ.items() if name != CHOICE}, **business}
        command = [sys.executable, "-m", "relay", "demo", "--scenario", "hangup_during_greeting"]
        done = subprocess.run(command, cwd=here, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as expected" in done.stdout
    assert "Harbor Table" in (here / "out" / "demo" / "demo-relay.log").read_text()
    assert sorted(path.name for path in here.iterdir()) == [".env", "out"]
    assert list(live.iterdir()) == []
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
        assert found.fetchone() == (0,)


def test_a_live_demo_uses_only_the_models_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"OPENAI_API_KEY": "sk-1", "OPENAI_VOICE": "cedar", "BUSINESS_NAME": "Bella"}.items():
        monkeypatch.setenv(name, value)
    live = settings_of(tmp_path / "a.wav", live=True)
    assert (live.openai_api_key, live.openai_voice, live.business_name) == ("sk-1", "cedar", "our office")
    played = settings_of(tmp_path / "a.wav", live=False)
    assert (played.openai_api_key, played.openai_voice) == ("", "marin")
    assert played.data_dir == tmp_path / "a"
    with only_own_environment():
        assert "OPENAI_API_KEY" not in os.environ
        assert "PATH" in os.environ
    assert os.environ["OPENAI_API_KEY"] == "sk-1"
