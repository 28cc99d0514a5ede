"""Random calls in which the model, the business and the line fail. No caller is left in silence; nothing stays open.

Each call has a seed, which is printed when the call fails. A thousand calls run under `deep`.
"""

from __future__ import annotations

import gc
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from relay.call.actions import Action, DialBeside, DialModel, SwitchModel
from relay.call.machine import Machine
from relay.call.vocabulary import EndReason, Event, ModelLost, ModelReady, MoveFailed, NextModelReady
from relay.ledger import rows
from relay.standin.business.faults import Faults as BusinessFaults
from relay.standin.model.script import Faults, Script
from relay.standin.scenario.report import CallReport, Turn
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, parse
from tests.helpers.play import stage

LONGEST_S = 6.0
# If the agent still speaks this many seconds after the caller's words, it goes on with what it said before them.
GOES_ON_S = 1.0
# A sentence that asks the caller to wait is no answer, so the caller still waits after it.
PATIENCE = ("one moment", "still checking", "still looking", "thank you for waiting")
QUESTIONS = ["ask_hours", "can_you_hear", "ask_booking", "ask_friday", "message", "off_topic"]
REACTIONS = """
[[model.reaction]]
told = "Continue the conversation where it stopped"
say = "We are open from eleven in the morning until ten at night."
[[model.reaction]]
clip = "ask_hours"
call = "lookup_hours"
arguments = { date = "{tomorrow}" }
then = "We are open from eleven in the morning until ten at night."
"""
MODEL_FAULTS: list[dict[str, Any]] = [
    {},
    {"connect_refused": True},
    {"silent_after_connect": True},
    {"connect_error": "server_error"},
    {"refuse_update": True},
    {"deaf_after_turns": 0},
    {"transcription_failed": True},
    {"stall_after_deltas": 0},
    {"stall_after_deltas": 2},
    {"stall_after_deltas": 3, "stall_s": 4.0},
    {"odd_deltas": True},
    {"empty_response": True},
    {"response_failed": "server_error"},
    {"response_failed": "rate_limit_exceeded"},
    {"close_after_deltas": 1},
    {"close_after_deltas": 3, "close_code": 1011},
    {"broken_arguments": True},
    {"duplicate_ids": True},
    {"two_messages": True},
    {"swap_done": True},
    {"null_usage": True},
    {"unknown_events": True},
    {"pace": 1.0},
]
BUSINESS_FAULTS: list[dict[str, Any]] = [
    {},
    {},
    {"*": {"kind": "slow", "ms": 1_800}},
    {"*": {"kind": "500", "times": 1}},
    {"*": "500"},
    {"*": "hang"},
    {"*": "garbage"},
    {"*": "wrong_types"},
]


@dataclass
class Orders:
    """Counts, for each call, the machine's orders to dial or switch a session, and the answers to them."""

    ordered: dict[int, int] = field(default_factory=dict)
    answered: dict[int, int] = field(default_factory=dict)
    calls: dict[int, object] = field(default_factory=dict)  # kept alive, so that no later call gets the same id()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Begin to count."""
        handle = Machine.handle

        def counted(machine: Machine, event: Event, now: float) -> list[Action]:
            key = id(machine.call)
            self.calls[key] = machine.call
            self.ordered.setdefault(key, 1)  # the first session is dialled while the phone rings, without an order
            is_answer = isinstance(event, ModelReady | NextModelReady | MoveFailed)
            is_answer = is_answer or (isinstance(event, ModelLost) and event.code == 0)
            self.answered[key] = self.answered.get(key, 0) + is_answer
            actions = handle(machine, event, now)
            self.ordered[key] += sum(isinstance(each, DialModel | DialBeside | SwitchModel) for each in actions)
            return actions

        patch.setattr(Machine, "handle", counted)

    def wrong(self) -> list[str]:
        """Calls whose orders have too many answers or too few. At the end of a call, one answer may be missing."""
        counts = [(self.ordered[key], self.answered.get(key, 0)) for key in self.ordered]
        return [
            f"{ordered} orders, {answered} answers" for ordered, answered in counts if ordered - answered not in (0, 1)
        ]


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    """Count all orders of the test."""
    counts = Orders()
    counts.watch(monkeypatch)
    yield counts
    assert counts.wrong() == []


def scenario_of(rng: random.Random) -> Scenario:
    """A scenario: a patient caller asks once or twice, on a random line."""
    steps = ["{ silent_s = 9 }"]
    for _ in range(rng.choice([1, 1, 2])):
        steps += [f'{{ say = "{rng.choice(QUESTIONS)}" }}', "{ silent_s = 17 }"]
    steps.append("{ hang_up = true }")
    network = {"delay_ms": rng.choice([0, 0, 40, 150]), "jitter_ms": rng.choice([0, 0, 30])}
    text = f'title = "t"\n[caller]\nsteps = [{", ".join(steps)}]\n[network]\n'
    text += "\n".join(f"{name} = {value}" for name, value in network.items())
    if rng.random() < 0.15:
        text += f'\n[[trouble]]\ndoes = "socket_cut"\nupon = "stream_started"\nafter_s = {rng.randint(10, 20)}\n'
    if rng.random() < 0.1:
        text += '\n[[trouble]]\ndoes = "rest_fails"\nupon = "ringing"\n'
    return parse(text + REACTIONS, "t")


def script_of(rng: random.Random, scenario: Scenario) -> Script:
    """The model of that call, with one fault or two."""
    table = dict(scenario.model)
    faults = dict(rng.choice(MODEL_FAULTS))
    if rng.random() < 0.3:
        faults |= rng.choice(MODEL_FAULTS)
    faults["response"] = rng.choice([0, 1, 1, 2])
    faults["connections"] = rng.choice([0, 1, 1, 2])
    Faults.from_table(faults)
    return Script.from_table(table | {"faults": faults, "seed": rng.randint(1, 10_000)})


def _waits_after(turn: Turn, waits_from: float) -> float | None:
    """The time since which the caller waits after these words of the agent. None if they were an answer."""
    last = re.split(r"(?<=[.!?]) ", turn.text.casefold().strip())[-1]
    return max(waits_from, turn.to_s) if any(words in last for words in PATIENCE) else None


def dead_air_s(got: CallReport) -> list[float]:
    """Each silence in which the caller waited for an answer. It ends with the answer, or when a human is dialled.

    From then on the caller hears the human's phone ring.
    """
    silences: list[float] = []
    dialled = [event.at_s - got.events[0].at_s for event in got.events if event.kind == "dialled"]
    over_s = min([*dialled, got.duration_s])
    waits_from: float | None = None
    agents = [turn for turn in got.turns if turn.who == "agent"]
    for turn in sorted(got.turns, key=lambda turn: turn.from_s):
        if waits_from is not None and turn.from_s > waits_from:
            silences.append(min(turn.from_s, over_s) - waits_from)
        if turn.who == "caller":
            # An agent that stops while the caller speaks, and goes on afterwards, has only one turn in the report.
            goes_on = [each for each in agents if each.from_s < turn.from_s and each.to_s > turn.to_s + GOES_ON_S]
            waits_from = _waits_after(goes_on[0], turn.to_s) if goes_on else turn.to_s
        elif waits_from is not None:
            waits_from = _waits_after(turn, waits_from)
    if waits_from is not None:
        silences.append(over_s - waits_from)
    return silences


async def one_call(seed: int) -> list[str]:
    """Play the call with this seed. Return what went wrong, as sentences."""
    rng = random.Random(seed)
    scenario = scenario_of(rng)
    script = script_of(rng, scenario)
    business = BusinessFaults.from_table(rng.choice(BUSINESS_FAULTS))
    wrong: list[str] = []
    async with stage(script=script, faults=business) as play:
        got = await run_scenario(scenario, play.exchange, stagehand=play.make)
        await trio.sleep(75.0)  # for late words, functions, and a session that was dialled for a call that has ended
        longest = max(dead_air_s(got), default=0.0)
        if longest > LONGEST_S:
            said = [(turn.who, round(turn.from_s, 1), round(turn.to_s, 1), turn.text[:40]) for turn in got.turns]
            wrong.append(f"{longest:.1f} s of dead air: {said}")
        outcomes = play.ledger.of(rows.OutcomeRow, got.call_sid)
        if not outcomes or outcomes[-1].end_reason not in set(EndReason):
            wrong.append(f"no end reason: {outcomes}")
        left = {"sessions": len(play.model_scopes), "warm": len(play.daemon.desk.warm)}
        left["calls"] = play.daemon.desk.live_calls
        wrong += [f"{count} {what} are left" for what, count in left.items() if count]
    return [f"seed {seed}, {script.faults}: {each}" for each in wrong]


async def play_all(seeds: range) -> None:
    wrong: list[str] = []
    for seed in seeds:
        wrong += await one_call(seed)
    gc.collect()
    assert not wrong, f"{len(wrong)} of {len(seeds)} calls:\n" + "\n".join(wrong)


@pytest.mark.parametrize("block", range(4))
async def test_a_call_with_random_faults_has_no_dead_air_and_leaves_nothing_open(
    block: int, orders: Orders, autojump_clock: object
) -> None:
    await play_all(range(block * 6, block * 6 + 6))


@pytest.mark.deep
@pytest.mark.parametrize("block", range(50))
async def test_a_thousand_calls_with_random_faults_have_no_dead_air_and_leave_nothing_open(
    block: int, orders: Orders, autojump_clock: object
) -> None:
    await play_all(range(1_000 + block * 20, 1_000 + block * 20 + 20))
