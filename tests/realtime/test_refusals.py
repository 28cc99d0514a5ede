"""A permanent refusal names its setting and is tried only once. After a temporary refusal the relay tries again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from relay.ledger.memory import MemoryLedger
from relay.phrases import prompts
from relay.phrases.phrase_book import PhraseBook, by_model
from relay.realtime.client import ModelAccess, ModelUnreachable, Realtime, Wanted
from relay.realtime.refusals import remedy, remedy_of_status
from relay.settings import Settings
from relay.standin.model.script import Faults, Script
from relay.standin.model.server import StandInModel
from tests.helpers.model_door import MODEL, ModelDoor


@pytest.mark.parametrize(
    ("code", "param", "name"),
    [
        ("invalid_api_key", "", "OPENAI_API_KEY"),
        ("invalid_request_error.invalid_api_key", "", "OPENAI_API_KEY"),
        ("account_deactivated", "", "OPENAI_API_KEY"),
        ("insufficient_quota", "", "OPENAI_API_KEY"),
        ("model_not_found", "", "OPENAI_MODEL"),
        ("invalid_model", "", "OPENAI_MODEL"),
        ("invalid_value", "session.audio.output.voice", "OPENAI_VOICE"),
        ("invalid_value", "session.audio.input.transcription.model", "OPENAI_TRANSCRIBE_MODEL"),
        ("model_not_found", "session.audio.input.transcription.model", "OPENAI_TRANSCRIBE_MODEL"),
        ("server_error", "", ""),
        ("rate_limit_exceeded", "", ""),
        ("session_expired", "", ""),
        ("invalid_value", "session.tools", ""),
    ],
)
def test_the_error_for_a_permanent_refusal_names_its_setting_but_for_a_temporary_refusal_it_names_none(
    code: str, param: str, name: str
) -> None:
    assert name in remedy(code, param)
    assert bool(remedy(code, param)) == bool(name)


@pytest.mark.parametrize(
    ("status", "name"), [(401, "OPENAI_API_KEY"), (404, "OPENAI_REALTIME_URL"), (503, ""), (429, "")]
)
def test_the_error_for_a_refused_upgrade_also_names_its_setting(status: int, name: str) -> None:
    assert name in remedy_of_status(status)
    assert bool(remedy_of_status(status)) == bool(name)


@pytest.mark.parametrize(
    ("script", "voice", "transcribes", "name"),
    [
        (Script(api_key="sk-other"), "marin", "gpt-transcribe", "OPENAI_API_KEY"),
        (Script(faults=Faults(connect_error="model_not_found")), "marin", "gpt-transcribe", "OPENAI_MODEL"),
        (Script(), "no-such-voice", "gpt-transcribe", "OPENAI_VOICE"),
        (Script(), "marin", "no-such-model", "OPENAI_TRANSCRIBE_MODEL"),
    ],
)
async def test_if_the_service_refuses_a_connection_the_log_names_the_setting(
    script: Script, voice: str, transcribes: str, name: str, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, script)
        realtime = Realtime(ModelAccess("ws://model/v1/realtime", "sk-mine", voice, transcribes), door.realtime._dial)
        with pytest.raises(ModelUnreachable) as refused:
            await realtime.open(Wanted(MODEL, "You speak."))
        assert name in refused.value.do
        assert "sk-mine" not in str(refused.value)
        nursery.cancel_scope.cancel()


def _book(folder: Path) -> PhraseBook:
    return PhraseBook(prompts.load(Settings()), "marin", MODEL, folder, MemoryLedger())


async def test_with_a_bad_key_the_rendering_ends_at_once_and_the_log_has_one_report(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    book = _book(tmp_path)
    with structlog.testing.capture_logs() as told:
        async with trio.open_nursery() as nursery:
            door = ModelDoor(nursery, Script(faults=Faults(connect_error="invalid_api_key")))
            nursery.start_soon(book.keep, by_model(door.realtime, MODEL))
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
    assert len(door.urls) <= 4  # those that were opened at the same time
    assert [line["do"] for line in told if "OPENAI_API_KEY" in str(line.get("do"))] == [
        "set OPENAI_API_KEY to a key of your OpenAI project that is in force"
    ]
    assert not any("if it passes" in str(line.get("do")) for line in told)


async def test_after_a_temporary_refusal_the_relay_tries_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, Script(faults=Faults(connect_error="server_error", connections=1)))
        assert await _book(tmp_path).fill(by_model(door.realtime, MODEL)) == {}
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_relay_greet_reports_a_bad_key_in_one_sentence(
    tmp_path: Path, database_url: str, nursery: trio.Nursery
) -> None:  # fmt: skip
    port = await nursery.start(StandInModel(Script(api_key="sk-other")).serve, 0)
    environ = {
        "OPENAI_API_KEY": "sk-mine",
        "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{port}/v1/realtime",
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "relay", "greet"]
    done = await trio.run_process(
        command, env={**os.environ, **environ}, capture_stdout=True, capture_stderr=True, check=False
    )
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 1, told
    assert told.count("OPENAI_API_KEY") == 1
    assert told.count("\n") == 2  # the reason, and how many phrases are kept
    nursery.cancel_scope.cancel()
