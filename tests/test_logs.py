"""The log is JSON with one line for each event. It has no words, numbers or keys of a caller."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog
from trio.testing import MockClock

from relay.ledger import rows
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.telemetry import logs
from tests.helpers.play import ENVIRONMENT, perform, stage


@pytest.fixture
def json_log(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    before = structlog.get_config()
    logs.configure("json")
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no answer from +12125550101.", "no answer from +…01."),
        ("GET /callers/%2B12125550101 failed", "GET /callers/+…01 failed"),
        ("Incorrect API key provided: sk-abcdef123456", "Incorrect API key provided: [key]"),
        ("Authorization: Bearer abcdef.123456", "Authorization: [key]"),
        ("postgresql://me:secret@db.example.com/relay", "postgresql://…@db.example.com/relay"),
        ("https://me:p@ss@api.example.com/v1", "https://…@api.example.com/v1"),
        ("wss://x.example.com/realtime?api-key=abc123&v=2", "wss://x.example.com/realtime?api-key=…&v=2"),
        ("no customer with +1 (212) 555-0101 here", "no customer with +…01 here"),
        ("it is 2026-11-24T19:00:00+01:00", "it is 2026-11-24T19:00:00+01:00"),
        ("call 12 of 40", "call 12 of 40"),
    ],
)
def test_numbers_and_keys_in_a_text_are_hidden(text: str, shown: str) -> None:
    assert logs.mask(text) == shown


PRIVATE = "what time do you open, +12125550101, sk-abcdef123456"


def _fail() -> None:
    words = PRIVATE
    try:
        dict[str, str]()[words]
    except KeyError as error:
        raise ExceptionGroup(words, [ValueError(words), TypeError("a bug of ours")]) from error


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_is_logged_with_its_type_and_place_and_never_with_its_values(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(form)
    try:
        _fail()
    except* (ValueError, TypeError) as group:
        structlog.get_logger().error("call.broke", exc_info=group)
    try:
        int(PRIVATE)
    except ValueError:
        structlog.get_logger().exception("call.broke")
    told = capsys.readouterr().err
    for part in ("KeyError", "ValueError", "TypeError: a bug of ours", "test_logs.py", "in _fail", "()[words]"):
        assert part in told
    for private in ("what time", "12125550101", "sk-abcdef", "\x1b["):
        assert private not in told


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_librarys_log_line_has_the_same_form_as_ours(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []  # as in a new process
    try:
        logs.configure(form)
        try:
            int(PRIVATE)
        except ValueError:
            logging.getLogger("a.library").exception("no answer from %s", "+12125550101")
    finally:
        root.handlers = before
    told = capsys.readouterr().err
    assert "library.said" in told
    assert "no answer from +" in told
    assert "12125550101" not in told
    assert "what time" not in told
    assert form == "text" or [json.loads(line)["level"] for line in told.splitlines()] == ["error"]


async def test_the_sentence_with_which_a_function_refuses_is_not_logged(
    autojump_clock: MockClock, json_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = '{ action = "the words of a caller", appointment_id = "x" }'
    text = f"""
title = "t"
[caller]
steps = [{{ listen = true }}, {{ say = "ask_hours" }}, {{ silent_s = 3 }}, {{ hang_up = true }}]
[[model.reaction]]
clip = "ask_hours"
call = "cancel_or_move_appointment"
arguments = {arguments}
"""
    scenario = parse(text, "refused")
    async with stage(script=Script.from_table(scenario.model)) as play:
        await run_scenario(scenario, play.exchange)
        (row,) = play.ledger.of(rows.FunctionCallRow)
    assert "the words of a caller" in str(row.output)
    told = capsys.readouterr().err
    assert "function.refused" in told
    assert "the words of a caller" not in told


async def test_the_log_of_a_whole_call_is_json_without_words_numbers_or_keys(
    autojump_clock: MockClock, json_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { say = "ask_human" }, { until = "bridged" }'
    scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}, {{ hang_up = true }}]\n', "logged")
    async with stage() as play:
        got = await run_scenario(scenario, play.exchange)
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines() if line]
    events = [line["event"] for line in lines]
    assert events.count("call.ended") == 1
    for name in ("call.rang", "call.started", "function.done", "human.dialled"):
        (first, *_) = [line for line in lines if line["event"] == name]
        assert first["call_sid"] == got.call_sid
        assert first["level"] == "info"
    for private in (
        "+12125550101",
        "12125550101",
        ENVIRONMENT["HUMAN_TRANSFER_NUMBER"],
        ENVIRONMENT["OPENAI_API_KEY"],
        ENVIRONMENT["TWILIO_AUTH_TOKEN"],
        "what time do you open",
        "talk to a human",
        "We are open",
    ):
        assert private not in text, private


@pytest.mark.parametrize(
    "name",
    [
        "model_dies_for_good",
        "model_dead",
        "model_deaf",
        "model_stalls",
        "model_fails_once",
        "model_empty_answer",
        "model_hangs_at_connect",
    ],
)
async def test_each_log_line_about_a_failing_model_names_the_call_and_what_its_caller_hears(
    name: str, autojump_clock: MockClock, json_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await perform(name)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line]
    trouble = [line for line in lines if line["event"].startswith("model.") and line["level"] != "info"]
    assert trouble
    for line in trouble:
        assert line["call_sid"]
        assert line["caller_hears"]


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_call_goes_on_when_its_log_lines_cannot_be_written(
    json_log: None, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }'
    async with stage() as play:
        monkeypatch.setattr(sys, "stderr", FullDisk())
        got = await run_scenario(parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "full"), play.exchange)
        monkeypatch.undo()
    assert any("We are open tomorrow" in text for text in got.heard)


def test_an_error_in_a_listener_does_not_reach_the_code_that_logs(
    json_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def saw(_: object) -> None:
        raise ZeroDivisionError

    with logs.listening(saw):
        structlog.get_logger().error("webhook.broke")
    assert json.loads(capsys.readouterr().err)["listener_broke"] == "ZeroDivisionError"
