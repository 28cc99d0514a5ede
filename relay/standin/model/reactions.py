"""Chooses the reaction of the script that fits. Pure.

The choice depends on the caller's words, the instructions, and the outputs of functions. Only the items after the
assistant's last message count. Sentences that the relay says for the agent, such as a greeting or a holding phrase, are
messages of the assistant too.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.standin.model.items import Item
from relay.standin.model.script import Reaction, Script
from relay.standin.speech.voice import clips, words

SAY_EXACTLY = re.compile(r"say exactly(?: the following)?\s*:\s*(.+)", re.IGNORECASE | re.DOTALL)
_BEFORE_OFFSET = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?)?\{offset\}")
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»"}


@dataclass(frozen=True)
class Plan:
    """What a response will contain: a message, a function call, both, or nothing."""

    say: str = ""
    call: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""  # The text to say when the function has answered.


def literal(text: str) -> str:
    """The words that an instruction like `Say exactly: "Hello."` asks for. "" if there is no such instruction."""
    match = SAY_EXACTLY.search(text)
    wanted = match[1].strip() if match else ""
    if not wanted:
        return ""
    closing = QUOTES.get(wanted[0])
    end = wanted.find(closing, 1) if closing else -1
    return wanted[1:end] if end > 0 else wanted.strip("\"'“”")


class Director:
    """Chooses the reactions of one session, and counts how often each was used."""

    def __init__(self, script: Script, now: datetime.datetime) -> None:
        self._script, self._now = script, now
        self._used: Counter[int] = Counter()
        self._then: dict[str, str] = {}  # Call id -> the text to say when the function has answered.
        self.notes: list[str] = []  # Mistakes of the script's calls, as sentences.

    def calls(self, call_id: str, plan: Plan) -> None:
        """Remember the function call of a plan."""
        self._then[call_id] = plan.then

    def choose(
        self,
        items: list[Item],
        instructions: str,
        turn: int,
        declared: list[dict[str, Any]],
        *,
        must_call: bool = False,
    ) -> Plan:
        """The plan for a response to these items. `declared` are the tools that the model may call.

        With `must_call` the model must call one of them. If the reaction calls none, the plan only calls the first
        function.
        """
        plan = self._choose(items, instructions, turn, declared)
        functions = [each for each in declared if each["type"] == "function"]
        if must_call and functions and not plan.call:
            return Plan(call=functions[0]["name"], arguments=_least(functions[0].get("parameters") or {}))
        return plan

    def _choose(self, items: list[Item], instructions: str, turn: int, declared: list[dict[str, Any]]) -> Plan:
        text = literal(instructions) or next((literal(each.text) for each in items[-1:]), "")
        if text:
            return Plan(text)
        recent = _behind_last(items, lambda each: each.role == "assistant")
        if text := next((literal(each.text) for each in recent if each.role == "system" and literal(each.text)), ""):
            return Plan(text)  # The client asked for these words while the caller spoke.
        output = next((each for each in reversed(recent) if _counts(each)), None)
        if output is not None and output.type == "function_call_output":
            return self._answered(output, items, turn)
        # Earlier items were the reason for the function call, so only later items count.
        new = _behind_last(recent, lambda each: each.type != "message")
        heard = " ".join(each.text for each in new if each.role == "user")
        told = " ".join([instructions, *(each.text for each in recent if each.role == "system")])
        reaction = self._first(lambda each: not each.after and _fits(each, heard, told, turn))
        if reaction is None:
            opening = not items and not heard
            return Plan(self._script.opening if opening else self._script.default)
        plan = Plan(reaction.say, reaction.call, self._filled(reaction.arguments), reaction.then)
        return self._allowed(plan, declared)

    def _answered(self, output: Item, items: list[Item], turn: int) -> Plan:
        call = next((each for each in items if each.type == "function_call" and each.call_id == output.call_id), None)
        name = call.name if call else ""
        reaction = self._first(
            lambda each: bool(name) and each.after == name and each.output in output.output and each.turn in (0, turn)
        )
        if reaction is not None:
            plan = Plan(
                fill(reaction.say, output.output), reaction.call, self._filled(reaction.arguments), reaction.then
            )
            return plan if reaction.say or reaction.call else Plan()
        return Plan(fill(self._then.get(output.call_id, "") or self._script.default, output.output))

    def _allowed(self, plan: Plan, declared: list[dict[str, Any]]) -> Plan:
        """The plan as the declared tools allow it.

        A call of an undeclared function is removed. Arguments that the function does not have are removed. A call
        without a required argument stays. An undeclared function and a missing argument are mistakes of the script, and
        go into `notes`.
        """
        tool = next((each for each in declared if each.get("name") == plan.call), None)
        if not plan.call:
            return plan
        if tool is None:
            self.notes.append(f"the script calls {plan.call}, which the session does not declare")
            return Plan(plan.say or self._script.default)
        parameters = tool.get("parameters") or {}
        known = parameters.get("properties")
        arguments = {key: value for key, value in plan.arguments.items() if known is None or key in known}
        if missing := set(parameters.get("required", ())) - arguments.keys():
            self.notes.append(f"the script calls {plan.call} without {', '.join(sorted(missing))}")
        return Plan(plan.say, plan.call, arguments, plan.then)

    def _first(self, fits: Callable[[Reaction], bool]) -> Reaction | None:
        for index, reaction in enumerate(self._script.reactions):
            if fits(reaction) and (not reaction.times or self._used[index] < reaction.times):
                self._used[index] += 1
                return reaction
        return None

    def _filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Fill {today}, {tomorrow} and {offset} in arguments. {offset} becomes the UTC offset of the time that
        is written before it, or else of the present time."""
        here = self._now.astimezone(self._script.zone)
        known = {
            "{today}": here.date().isoformat(),
            "{tomorrow}": (here.date() + datetime.timedelta(days=1)).isoformat(),
        }

        def with_offset(match: re.Match[str]) -> str:
            at = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=here.tzinfo) if match[1] else here
            return (match[1] or "") + at.isoformat()[len(at.replace(tzinfo=None).isoformat()) :]

        def fill_in(value: Any) -> Any:
            if isinstance(value, str):
                for name, text in known.items():
                    value = value.replace(name, text)
                value = _BEFORE_OFFSET.sub(with_offset, value)
            return value

        return {key: fill_in(value) for key, value in arguments.items()}


def fill(text: str, output: str) -> str:
    """Fill `{field}` and `{a.b}` with values of a function's JSON answer, also from inside its `result`.

    Unknown fields are left as they are.
    """
    try:
        answer = json.loads(output)
    except ValueError:
        return text

    def value(match: re.Match[str]) -> str:
        for start in (answer, answer.get("result") if isinstance(answer, dict) else None):
            found: Any = start
            for key in match[1].split("."):
                found = found.get(key) if isinstance(found, dict) else None
            if found is not None:
                return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
        return match[0]

    return re.sub(r"\{([\w.]+)\}", value, text)


def _least(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Invented values for all required arguments of a function."""
    return {name: _any_of(parameters.get("properties", {}).get(name)) for name in parameters.get("required", ())}


def _any_of(schema: Any) -> Any:
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 0)
        case {"type": "boolean"}:
            return False
        case {"type": "array"}:
            return []
        case {"type": "object"}:
            return {}
    return ""


def _behind_last(items: list[Item], ends: Callable[[Item], bool]) -> list[Item]:
    last = max((at for at, each in enumerate(items) if ends(each)), default=-1)
    return items[last + 1 :]


def _counts(item: Item) -> bool:
    """True if a response can answer this item: it has words of the caller, or is a function's answer.

    A cough, for example, has no words.
    """
    return item.type == "function_call_output" or (item.role == "user" and bool(item.text))


def _fits(reaction: Reaction, heard: str, told: str, turn: int) -> bool:
    clip = clips().get(reaction.clip)
    if reaction.clip and (clip is None or words(clip.text) not in words(heard)):
        return False
    return (
        (not reaction.heard or words(reaction.heard) in words(heard))
        and (not reaction.told or words(reaction.told) in words(told))
        and reaction.turn in (0, turn)
    )
