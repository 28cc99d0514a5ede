"""Fits a scenario to the relay that is rehearsed: fills in the relay's names, sentences, and humans' numbers and hours.

A scenario has placeholders like `{AGENT_NAME}` and `{greeting}` where relays differ, and `{another_day}` for a weekday
that is not today. Most values come from the relay's settings and from `prompts/`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from relay.phrases.prompts import PHRASES, Prompts
from relay.phrases.prompts import load as load_prompts
from relay.settings import Settings, check_hours
from relay.settings import load as load_settings
from relay.standin.scenario.scenario_file import ANY_NUMBER, Expect, Scenario, ScenarioError, Step

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NAMES: Final = ("AGENT_NAME", "BUSINESS_NAME", "HUMAN_TRANSFER_NUMBER")
NUMBERS_ALSO: Final = "HUMAN_NUMBERS_ALSO"
# The placeholder in [relay] for a weekday that is not today, yesterday or tomorrow, in any time zone.
ANOTHER_DAY: Final = "another_day"
_SPOKEN: Final = ("greeting", "notice", "question", "closed_greeting", "closed_question", *PHRASES)
KNOWN: Final = frozenset({*_NAMES, NUMBERS_ALSO, "CALLER", *_SPOKEN})
_MEETING_A_HUMAN: Final = ("bridged", "dialled", "dial_ended", "whisper", "human_answered", "human_pressed",
                           "human_leg_ended")  # fmt: skip
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class OwnWords:
    """The values that belong to one relay. `words` has the value of each placeholder.

    None means that the value is not known here. `human_is_there` is False outside HUMAN_HOURS.
    """

    words: Mapping[str, str | None]
    numbers_also: tuple[str, ...]
    human_is_there: bool

    @property
    def spoken(self) -> tuple[str, ...]:
        """The known sentences that the relay says by itself. `speech/clip_recogniser.py` must recognise them."""
        return tuple(text for key in _SPOKEN if (text := self.words.get(key)))


def own_words(
    settings: Settings,
    prompts: Prompts,
    utc_now: dt.datetime,
    given: Container[str] | None = None,
    *,
    is_closed: bool = False,
) -> OwnWords:
    """The values of a relay with these settings and prompts, at this time. Raises PromptsInvalid.

    If `is_closed`, the business is closed now, and its greeting is another one. `given` are the names of the known
    settings. None means that all are known. Of a relay on another machine, only the settings that are set here count as
    known.
    """
    notice = prompts.notice or load_prompts(dataclasses.replace(settings, record="transcripts")).notice
    names: dict[str, str | None] = {
        name: str(getattr(settings, name.lower())) if given is None or name in given else None for name in _NAMES
    }
    greeting, question = prompts.greeting(announces=False, closed=is_closed)
    prompted = {"greeting": greeting, "notice": notice, "question": question, **prompts.phrases}
    if prompts.closed_greeting is not None:
        prompted |= dict(zip(("closed_greeting", "closed_question"), prompts.closed_greeting, strict=True))
    hidden = [str(getattr(settings, name.lower())) for name in ("AGENT_NAME", "BUSINESS_NAME") if names[name] is None]
    words = names | {key: None if any(one in text for one in hidden) else text for key, text in prompted.items()}
    return OwnWords(words, settings.human_numbers_also, _is_there(settings, utc_now))


def _is_there(settings: Settings, utc_now: dt.datetime) -> bool:
    rows, at = check_hours(settings.human_hours), utc_now.astimezone(settings.tz)
    clock = f"{at:%H:%M}"
    return rows is None or any(day == at.weekday() and opens <= clock < closes for day, opens, closes in rows)


def settings_of(scenario: Scenario, utc_now: dt.datetime) -> dict[str, str]:
    """The settings of a scenario's [relay] table, with {another_day} filled in."""
    day = _DAYS[(utc_now.weekday() + 3) % 7]
    return {name: value.replace(f"{{{ANOTHER_DAY}}}", day) for name, value in scenario.relay.items()}


def fitted(scenario: Scenario, own: OwnWords) -> Scenario:
    """The scenario for this relay. Raises ScenarioError for an unknown placeholder."""
    words = {**own.words, "CALLER": " ".join(scenario.caller.number.removeprefix("+"))}

    def fill(text: str) -> str | None:
        """Fill in the placeholders of a text. Returns None if the value of one of them is not known here."""
        for name in _PLACEHOLDER.findall(text):
            if name not in KNOWN:
                raise ScenarioError(f"scenario {scenario.name}: {{{name}}} is unknown; there are: {_listed()}")
        if any(words.get(name) is None for name in _PLACEHOLDER.findall(text)):
            return None
        return _PLACEHOLDER.sub(lambda found: str(words[found[1]]), text)

    def filled(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for each in texts if (text := fill(each)))

    expect, dialled = scenario.expect, scenario.expect.dialled
    if dialled is not None:
        numbers = [
            own.numbers_also if each == f"{{{NUMBERS_ALSO}}}" else (fill(each) or ANY_NUMBER,) for each in dialled
        ]
        dialled = tuple(number for some in numbers for number in some)
        # Each further human is expected to do the same as the scenario's last human.
        if expect.human_legs and len(dialled) > len(expect.human_legs):
            legs = (*expect.human_legs, *(len(dialled) - len(expect.human_legs)) * expect.human_legs[-1:])
            expect = msgspec.structs.replace(expect, human_legs=legs)
    told = None if expect.whisper_contains is None else fill(expect.whisper_contains)
    expect = msgspec.structs.replace(
        expect,
        dialled=dialled,
        answered_beside=None if expect.answered_beside is None else filled(expect.answered_beside),
        whisper_contains=told,
        **{name: filled(getattr(expect, name)) for name in ("heard", "not_heard", "read_out", "said", "not_said")},
    )
    bin_ = fill(scenario.number.fallback_twiml) or ""
    number = msgspec.structs.replace(scenario.number, fallback_twiml=bin_)
    scenario = msgspec.structs.replace(scenario, expect=expect, number=number)
    needs_no_change = own.human_is_there or "HUMAN_HOURS" in scenario.relay or not dialled
    return scenario if needs_no_change else _without_a_human(scenario)


def _listed() -> str:
    return ", ".join(sorted(f"{{{name}}}" for name in KNOWN))


def _without_a_human(scenario: Scenario) -> Scenario:
    """Change the scenario for a time outside HUMAN_HOURS: no human is rung, and the caller hangs up where a human would
    have come."""
    if scenario.expect.end_reason == "emergency":
        return scenario  # An emergency is put through even outside HUMAN_HOURS.
    steps: list[Step] = []
    for step in scenario.caller.steps:
        if step.until in _MEETING_A_HUMAN:
            steps += [Step(listen=True), Step(hang_up=True)]
            break
        steps.append(step)
    expect: Expect = msgspec.structs.replace(
        scenario.expect, dialled=(), bridged=False, human_legs=None, whisper_contains=None, transfer=None,
        read_out=(), ended_by=None, end_reason=None, outcome=None, functions=None, streams=None,
    )  # fmt: skip
    caller = msgspec.structs.replace(scenario.caller, steps=tuple(steps))
    return msgspec.structs.replace(scenario, caller=caller, expect=expect)


def other_settings(scenario: Scenario, settings: Settings, utc_now: dt.datetime) -> list[str]:
    """The settings that a scenario needs and that this relay does not have, as NAME=value. Raises SettingsInvalid."""
    table = settings_of(scenario, utc_now)
    wanted = load_settings(table, serving=False)
    own = ["BUSINESS_FILE=the scenario's own"] if scenario.business.file else []
    return own + [f"{name}={value}" for name, value in table.items()
            if getattr(wanted, name.lower()) != getattr(settings, name.lower())]  # fmt: skip
