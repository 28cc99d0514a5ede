"""The log: JSON, one line an event, and nothing in it that is a caller's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from trio.testing import MockClock

from relay import logs
from relay.standin.run import run_scenario
from relay.standin.scenario import parse
from tests.play import ENVIRONMENT, stage


@pytest.fixture
def json_log(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    before = structlog.get_config()
    logs.configure("json")
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no answer from +15550100001.", "no answer from +…01."),
        ("GET /callers/%2B15550100001 failed", "GET /callers/+…01 failed"),
        ("Incorrect API key provided: sk-abcdef123456", "Incorrect API key provided: [key]"),
        ("Authorization: Bearer abcdef.123456", "Authorization: [key]"),
        ("call 12 of 40", "call 12 of 40"),
    ],
)
def test_numbers_and_keys_in_a_text_are_hidden(text: str, shown: str) -> None:
    assert logs.mask(text) == shown


async def test_a_whole_call_leaves_lines_of_json_without_words_numbers_or_keys(
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
        "+15550100001",
        "15550100001",
        ENVIRONMENT["HUMAN_TRANSFER_NUMBER"],
        ENVIRONMENT["OPENAI_API_KEY"],
        ENVIRONMENT["TWILIO_AUTH_TOKEN"],
        "what time do you open",
        "talk to a human",
        "We are open",
    ):
        assert private not in text, private
