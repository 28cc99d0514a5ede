"""What `relay call` knows of the relay that it calls. Only expectations about known settings can be checked.

The settings come from the environment and from `.env` in the folder where the command is started. A relay on another
machine may have other settings. What is unknown is not checked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from relay.business.owner_files import read
from relay.phrases.phrase_book import shipped_texts
from relay.phrases.prompts import PromptsInvalid
from relay.settings import Settings, SettingsInvalid
from relay.standin.scenario.fitting import fitted, other_settings, own_words
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.scenario_file import Expect, Scenario, ScenarioError
from relay.standin.speech.voice import words
from relay.standin.twilio.numbers import fictional_number

# If `relay call` makes several calls at the same time, the callers after the first get the fictional numbers above this
# index. The other callers of a scenario (`calls_meanwhile`) get the numbers below it.
OTHERS = 100


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What is known of a relay. `given` are the names of the known settings."""

    settings: Settings
    given: frozenset[str] = frozenset()
    utc_now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def fit(self, scenario: Scenario, number: int = 0) -> tuple[Scenario, tuple[str, ...]]:
        """The scenario for this relay and for caller `number`, and the sentences that the relay says by itself.

        Raises ScenarioError if the scenario needs other settings, or if the owner's files have a mistake.
        """
        now = self.utc_now()
        try:
            found = read(self.settings)
            filed = {name.upper() for name in ("business_name", "business_tz", "agent_name")
                     if getattr(found.settings, name) != getattr(self.settings, name)}  # fmt: skip
            others = other_settings(scenario, found.settings, now)
            own = own_words(found.settings, found.prompts, now, self.given | filed, is_closed=found.is_closed(now))
        except (PromptsInvalid, SettingsInvalid) as error:
            raise ScenarioError(f"{scenario.name} cannot be fitted to this relay: {error}") from None
        if others:
            raise ScenarioError(
                f"{scenario.name} needs a relay with {', '.join(others)}, and the settings here are others: "
                f"relay demo --scenario {scenario.name} starts such a one"
            )
        if number and scenario.caller.number.startswith("+"):
            caller = msgspec.structs.replace(scenario.caller, number=fictional_number(OTHERS + number))
            scenario = msgspec.structs.replace(scenario, caller=caller)
        return fitted(scenario, own), own.spoken


def judged(got: CallReport, expect: Expect) -> tuple[list[str], str]:
    """What was not as expected, and what could not be checked because the agent's voice is unknown."""
    agents = [turn.text for turn in got.turns if turn.who == "agent" and not turn.cut]
    shipped = {words(text) for text in shipped_texts().values()}
    known = [text for text in agents if text and words(text) not in shipped]
    wanted = expect.heard or expect.not_heard
    if known or not agents or all(agents) or not wanted:
        return got.check(expect), ""
    without = msgspec.structs.replace(expect, heard=(), not_heard=())
    return got.check(without), "The agent's voice is not one of the stand-ins': what it said was not checked."
