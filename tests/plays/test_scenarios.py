"""Every shipped scenario as a play: relay, exchange, model, business and ledger in one Trio run on a fake clock."""

from __future__ import annotations

import pytest
import trio

from relay.ledger import rows
from relay.standin.scenario.scenario_file import load, shipped
from tests.helpers.play import perform

NAMES = shipped()
pytestmark = pytest.mark.usefixtures("same_order")


@pytest.mark.parametrize("name", NAMES)
async def test_a_shipped_scenario_passes(name: str, autojump_clock: trio.testing.MockClock) -> None:
    got, wrong, _ = await perform(name)
    assert wrong == [], f"{got.heard}\n{got.evidence}"


WITHOUT = (
    "good_call backchannel cough cough_with_words barge_in_twice barge_in_late barge_in_function key_zero "
    "misunderstands function_without_words model_dies_in_answer muted_line rough_network emergency "
    "hangup_during_function"
).split()


@pytest.mark.parametrize("name", WITHOUT)
async def test_a_shipped_scenario_passes_without_early_answers(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    got, wrong, _ = await perform(name, settings={"ANSWER_EARLY": "off"})
    assert wrong == [], f"{got.heard}\n{got.evidence}"


# A tenth of the scenarios, chosen for their turns and phrases. They run with a voice other than the model's.
SPOKEN = (
    "backchannel", "backend_slow", "barge_in_early", "barge_in_function", "barge_in_twice", "cough_with_words",
    "emergency_over_the_goodbye", "good_call", "goodbye", "misunderstood", "model_dies_in_answer", "model_two_messages",
    "transfer_declined",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SPOKEN else pytest.mark.deep) for name in NAMES]
)
async def test_a_shipped_scenario_passes_with_another_voice(name: str, autojump_clock: trio.testing.MockClock) -> None:
    got, wrong, play = await perform(name, another_voice=True)
    assert wrong == [], f"{got.heard}\n{got.evidence}"
    outcomes = play.ledger.of(rows.OutcomeRow, got.call_sid)
    is_lost = any(outcome.voice_fault for outcome in outcomes)
    assert is_lost == bool((load(name).voice or {}).get("faults"))


def test_at_least_25_scenarios_are_shipped_and_a_tenth_of_them_run_with_another_voice() -> None:
    assert len(NAMES) >= 25
    assert len(SPOKEN) * 10 >= len(NAMES)
    assert set(SPOKEN) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_says_how_its_call_must_end(name: str) -> None:
    expect = load(name).expect
    assert expect.ended_by is not None
    assert expect.heard or expect.read_out or expect.dialled is not None or expect.bridged is not None
