"""A rehearsal of a relay with its own settings and words: a scenario adapts to them, or says why it cannot."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from trio.testing import MockClock

from relay import settings
from relay.phrases import prompts
from relay.standin.commands.rehearsed import Rehearsed, judged
from relay.standin.model.script import Faults, Script
from relay.standin.scenario.fitting import OwnWords, fitted, own_words, settings_of
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, ScenarioError, load, of_recording, parse, shipped
from relay.standin.speech.audio_files import write_stereo
from relay.standin.speech.voice import clips
from tests.helpers import play
from tests.helpers.play import EPOCH, perform, stage

LONDON = {
    "BUSINESS_NAME": "Bella's Barbershop",
    "AGENT_NAME": "Marco",
    "BUSINESS_TZ": "Europe/London",
    "HUMAN_TRANSFER_NUMBER": "+442079460123",
    "HUMAN_NUMBERS_ALSO": "+442079460124",
}
# A scenario for each kind of text that an owner may change: greeting, notice, question, phrases, numbers, hours and
# days.
KINDS = [
    "good_call", "barge_in_notice", "barge_in_function", "one_party_state", "record_off", "dormant", "cap_duration",
    "emergency", "misunderstands", "transfer_busy", "transfer_second_number", "socket_cut_while_booking", "relay_dead",
    "model_dead",
]  # fmt: skip


@pytest.fixture
def own_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the relay use a folder of prompts in which every sentence that callers hear is changed."""
    shutil.copytree(prompts.PROMPTS_DIR, tmp_path, dirs_exist_ok=True)
    (tmp_path / "greeting.md").write_text(
        "Welcome to {BUSINESS_NAME}! {AGENT_NAME} speaking.\n---\nWhat shall it be?\n"
    )
    lines = (tmp_path / "phrases.toml").read_text().replace(' = "', ' = "Well then. ')
    (tmp_path / "phrases.toml").write_text(lines)
    monkeypatch.setattr(prompts.load, "__defaults__", (tmp_path,))
    monkeypatch.setattr(prompts, "PROMPTS_DIR", tmp_path)


async def _goes_as_expected(name: str, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    monkeypatch.setattr(play, "ENVIRONMENT", play.ENVIRONMENT | environ)
    got, wrong, _ = await perform(name, dt.datetime(2027, 6, 10, 15, 0, tzinfo=dt.UTC))
    assert wrong == [], f"{got.heard}\n{got.evidence}"


@pytest.mark.parametrize("name", KINDS)
async def test_a_scenario_follows_the_settings_and_the_prompts(
    name: str, own_prompts: None, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _goes_as_expected(name, monkeypatch, LONDON)


@pytest.mark.deep
@pytest.mark.parametrize("name", shipped())
async def test_every_scenario_follows_the_settings_and_the_prompts(
    name: str, own_prompts: None, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _goes_as_expected(name, monkeypatch, LONDON)


@pytest.mark.parametrize("name", ["good_call", "transfer_accepted", "key_zero", "emergency"])
async def test_outside_the_humans_hours_the_scenario_expects_a_human_only_in_an_emergency(
    name: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _goes_as_expected(name, monkeypatch, {"HUMAN_HOURS": "mon-fri 03:00-04:00"})


async def test_a_relay_that_dials_another_number_than_the_expected_one_fails_the_scenario(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = _own(play.ENVIRONMENT | LONDON)
    scenario = fitted(load("transfer_accepted"), own)
    async with stage() as here:  # this relay has the settings of the tests
        got = await run_scenario(scenario, here.exchange, known_words=own.spoken)
    assert got.check(scenario.expect.without_ledger()) == [
        f"dialled ['{play.ENVIRONMENT['HUMAN_TRANSFER_NUMBER']}'], not ['+442079460123']"
    ]


def _own(environ: dict[str, str]) -> OwnWords:
    loaded = settings.load(environ, serving=False)
    return own_words(loaded, prompts.load(loaded), EPOCH)


# Rehearsals of a relay whose settings are known only in part


def _relay(**environ: str) -> Rehearsed:
    open_at = EPOCH + dt.timedelta(hours=3)  # one o'clock on a Monday in New York
    return Rehearsed(settings.load(environ, serving=False), frozenset(environ), lambda: open_at)


def test_a_rehearsal_checks_nothing_that_depends_on_settings_that_it_does_not_know() -> None:
    fit, _ = _relay().fit(load("good_call"))
    assert fit.expect.dialled == ("?",)
    assert not any("Robin" in text for text in fit.expect.heard)
    known = _relay(AGENT_NAME="Ann", BUSINESS_NAME="Smith", HUMAN_TRANSFER_NUMBER="+442079460123")
    fit, own = known.fit(load("good_call"))
    assert fit.expect.dialled == ("+442079460123",)
    assert fit.expect.heard[0] == "Hello, thank you for calling Smith. This is Ann, the virtual assistant."
    assert fit.expect.heard[0] in own


def test_a_scenario_that_needs_other_settings_is_refused_before_a_call_is_made() -> None:
    with pytest.raises(ScenarioError, match="cap_duration needs a relay with MAX_CALL_S=30"):
        _relay().fit(load("cap_duration"))
    assert _relay(MAX_CALL_S="30").fit(load("cap_duration"))[0].name == "cap_duration"


def test_callers_who_ring_at_the_same_time_have_different_numbers() -> None:
    rung = {_relay().fit(load("good_call"), number)[0].caller.number for number in range(200)}
    assert len(rung) == 200
    assert all(number.startswith("+1") and len(number) == 12 for number in rung)
    assert _relay().fit(load("anonymous"), 5)[0].caller.number == "anonymous"


def test_an_unknown_placeholder_is_named() -> None:
    own = _own({})
    scenario = parse('title = "t"\n[caller]\nsteps = [{ hang_up = true }]\n[expect]\nheard = ["{agent}"]', "own")
    with pytest.raises(ScenarioError, match=r"\{agent\} is unknown; there are: \{AGENT_NAME\}"):
        fitted(scenario, own)


@pytest.mark.parametrize("day", range(7))
def test_the_day_that_the_scenarios_use_for_human_hours_is_never_near_today(day: int) -> None:
    now = EPOCH + dt.timedelta(days=day)
    hours = settings_of(load("transfer_out_of_hours"), now)["HUMAN_HOURS"]
    near = {f"{now + dt.timedelta(days=off):%a}".lower() for off in (-1, 0, 1)}
    assert hours.split()[0] not in near


async def _call(scenario: Scenario, script: Script | None = None) -> CallReport:
    environ = settings.load(play.ENVIRONMENT, serving=False)
    fit, own = Rehearsed(environ, frozenset(play.ENVIRONMENT)).fit(scenario)
    async with stage(script=script) as here:
        got = await run_scenario(fit, here.exchange, known_words=own)
    got.failures += judged(got, fit.expect.without_ledger())[0]
    return got


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    mulaw = clips()["ask_hours"].mulaw
    write_stereo(path, mulaw, mulaw)
    return path


async def test_a_recording_that_is_answered_passes(recording: Path, autojump_clock: MockClock) -> None:
    assert (await _call(of_recording(recording))).failures == []


@pytest.mark.parametrize(
    "faults",
    [
        Faults(connect_refused=True),
        Faults(silent_after_connect=True),
        Faults(connect_error="invalid_api_key"),
        Faults(empty_response=True),
        Faults(response_failed="server_error"),
        Faults(close_after_deltas=1),
    ],
    ids=str,
)
async def test_a_recording_that_a_dead_model_does_not_answer_fails(
    faults: Faults, recording: Path, autojump_clock: MockClock
) -> None:
    got = await _call(of_recording(recording), Script(faults=faults))
    assert got.failures, (got.turns, got.dialled)


OWN = """
title = "Asks for something that nobody recorded"
[caller]
steps = [{ listen = true }, { say = "Do you have gluten free pizza?" }, { listen = true }, { hang_up = true }]
[expect]
ended_by = "caller"
"""


async def test_words_of_the_caller_without_a_clip_are_played_as_babble_and_listed(autojump_clock: MockClock) -> None:
    got = await _call(parse(OWN, "own"))
    assert got.failures == []
    assert got.babbled == ["Do you have gluten free pizza?"]
    assert [turn.text for turn in got.turns if turn.who == "caller"] == ["Do you have gluten free pizza?"]
    assert got.heard[-1] == "Sorry, could you repeat that?"


async def test_if_the_voice_is_not_known_its_words_are_not_checked(autojump_clock: MockClock) -> None:
    got = await _call(load("goodbye"))
    assert got.failures == []
    expect = fitted(load("goodbye"), _own(play.ENVIRONMENT)).expect
    got.turns = [dataclasses.replace(turn, text="" if turn.who == "agent" else turn.text) for turn in got.turns]
    wrong, note = judged(got, expect.without_ledger())
    assert (wrong, note) == ([], "The agent's voice is not one of the stand-ins': what it said was not checked.")
    got.turns = got.turns[:1]
    got.greeting_ms = None
    late = msgspec.structs.replace(expect.without_ledger(), greeting_within_ms=500)
    assert judged(got, late)[0] == ["there was no sign of the greeting"]


async def test_the_wav_of_a_transfer_has_ringing_until_the_human_is_there(autojump_clock: MockClock) -> None:
    got = await _call(load("transfer_accepted"))
    assert got.failures == []
    at = {event.kind: int(event.at_s * 8_000) for event in got.events}
    quiet = re.findall(b"\xff+", got.heard_mulaw[at["dialled"] : at["bridged"]])
    assert at["bridged"] - at["dialled"] > 6 * 8_000
    assert max(map(len, quiet)) <= 4.1 * 8_000
