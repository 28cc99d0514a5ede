"""The texts in `prompts/`: what the model is told, and what the agent says. Filled in and checked at the start.

A mistake is reported at start, so that no caller hears it.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from relay.call.escalation import Rules, RulesInvalid
from relay.call.words import Language, WordsInvalid
from relay.settings import Settings
from relay.settings.shipped import folder

PROMPTS_DIR = folder("prompts")

# Placeholders are filled in at the start, except these two. They are filled in when a call begins, at the end of the
# part that can be cached.
_OF_THE_CALL = {"TODAY", "CALLER"}
# The place for the facts of the business. They are only for the model.
_BUSINESS = "{BUSINESS}"
_NOTICES = {"transcripts": "notice", "on": "notice_recorded"}
PHRASES = (
    "one_moment",
    "one_moment_again",
    "holding",
    "holding_again",
    "still_there",
    "nobody_there",
    "goodbye",
    "limit",
    "trouble",
    "trouble_message",
    "connecting",
    "emergency",
    "nobody_answered",
    "resumed",
)


class PromptsInvalid(ValueError):
    """Files under prompts/ that cannot be used. The message names every mistake."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """All texts. `opening` is the greeting up to its notice. `notice` is "" if nothing is recorded."""

    system: str
    opening: str
    notice: str
    question: str
    phrases: dict[str, str]
    rules: Rules
    # What is said while the business is closed. None: the usual greeting.
    closed_greeting: tuple[str, str] | None = None

    def instructions(self, today: dt.date, caller: str) -> str:
        """The model's instructions for one call."""
        day = f"{today:%A}, {today:%B} {today.day}, {today.year}"
        return self.system.replace("{TODAY}", day).replace("{CALLER}", caller or "not shown")

    def greeting(self, announces: bool, closed: bool = False) -> tuple[str, str]:
        """The two parts of the greeting: the part that cannot be interrupted, and the part that can.

        `closed`: the business is closed now.
        """
        opening, question = self.closed_greeting if closed and self.closed_greeting else (self.opening, self.question)
        return f"{opening} {self.notice}".strip() if announces else opening, question

    @property
    def version(self) -> str:
        """A hash of everything that the model is told.

        The row of a call has this hash, to show under which prompt the call ran.
        """
        return hashlib.sha256(self.system.encode()).hexdigest()[:12]


def load(
    settings: Settings,
    folder: Path = PROMPTS_DIR,
    *,
    business: str = "",
    closed_greeting: tuple[str, str] | None = None,
) -> Prompts:
    """Read and check the folder. Raises PromptsInvalid with every file and mistake.

    `business`: the facts for the model. `closed_greeting`: its two parts, from the business file. If the second part is
    missing, the usual question is asked.
    """
    wrong: list[str] = []

    def text_of(name: str) -> str:
        try:
            # Windows puts a byte order mark at the start. It would be spoken.
            return (folder / name).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            wrong.append(f"{name} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
            return ""

    rules = _rules(text_of("escalation.toml"), settings.business_country, wrong)
    rules = rules.listening_for(_languages(folder, rules, wrong))
    values = {
        "AGENT_NAME": settings.agent_name,
        "BUSINESS_NAME": settings.business_name,
        "EMERGENCY_NUMBER": rules.emergency_number,
    }

    def fill(name: str, text: str, later: set[str]) -> str:
        for placeholder in sorted(set(re.findall(r"\{([A-Za-z_]\w*)\}", text)) - set(values) - later):
            known = ", ".join(f"{{{key}}}" for key in sorted({*values, *later}))
            wrong.append(f"{name}: {{{placeholder}}} is not known; there are {known}")
        for key, value in values.items():
            text = text.replace(f"{{{key}}}", value)
        return text.strip()

    def speak(name: str, text: str) -> str:
        spoken = fill(name, text, set())
        if re.search(r"[{}]", re.sub(r"\{[A-Za-z_]\w*\}", "", spoken)):  # Unknown placeholders are reported already.
            wrong.append(f"{name}: a brace that is no placeholder would be read out")
        return spoken

    system = fill("system.md", text_of("system.md"), {*_OF_THE_CALL, "BUSINESS"})
    system = system.replace(_BUSINESS, business or "Ask the functions about it.")
    greeting = speak("greeting.md", text_of("greeting.md"))
    opening, *questions = (part.strip() for part in re.split(r"(?m)^---\s*$", greeting))
    question = "".join(questions)
    if not opening and not wrong:
        wrong.append("greeting.md: it is empty, or it has no text above ---")
    if len(questions) > 1:
        wrong.append("greeting.md: it has more than one line ---")
    closed = tuple(speak(f"{settings.business_file.name}, after_hours", part) for part in closed_greeting or ())
    before = len(wrong)
    table = _toml("phrases.toml", text_of("phrases.toml"), wrong)
    phrases = _phrases(table, speak, wrong) if len(wrong) == before else {}  # One report is enough.
    if not system and not wrong:
        wrong.append("system.md: it is empty")
    if wrong:
        raise PromptsInvalid("these files in prompts/ are wrong:\n" + "\n".join(f"  - {line}" for line in wrong))
    notice = phrases.get(_NOTICES.get(settings.record, ""), "")
    spoken = {key: phrases[key] for key in PHRASES}
    question = " ".join(question.split())
    return Prompts(system, " ".join(opening.split()), notice, question, spoken, rules, _with_question(closed, question))


def _with_question(closed: tuple[str, ...], question: str) -> tuple[str, str] | None:
    return (closed[0], closed[1] or question) if closed else None


def _toml(name: str, text: str, wrong: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        wrong.append(f"{name}: {error}")
        return {}


def _phrases(table: dict[str, object], speak: Callable[[str, str], str], wrong: list[str]) -> dict[str, str]:
    wanted = (*PHRASES, *_NOTICES.values())
    phrases: dict[str, str] = {}
    for key in wanted:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            wrong.append(f"phrases.toml: {key} must be a sentence")
        else:
            phrases[key] = speak("phrases.toml", value)
    for key in sorted(set(table) - set(wanted)):
        wrong.append(f"phrases.toml: {key} is not known here")
    return phrases


def _languages(folder: Path, rules: Rules, wrong: list[str]) -> tuple[Language, ...]:
    """The words that are listened for: one file for each language. English is first, for the operator's own phrases."""
    languages = []
    files = sorted((folder / "words").glob("*.toml"), key=lambda path: (path.stem != "en", path.stem))
    if not files:
        wrong.append("words/ holds no language: an emergency would not be heard")
    for file in files:
        try:
            languages.append(_language(file.stem, file.read_text("utf-8-sig"), rules.numbers, rules.clerks))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, WordsInvalid) as error:
            wrong.append(f"words/{file.name}: {error}")
    return tuple(languages)


@functools.lru_cache(maxsize=64)  # So each of its many hundred patterns is compiled once.
def _language(name: str, text: str, numbers: tuple[str, ...], clerks: tuple[str, ...]) -> Language:
    return Language.from_table(name, tomllib.loads(text), numbers, clerks)


def _rules(text: str, country: str, wrong: list[str]) -> Rules:
    try:
        return Rules.from_table(_toml("escalation.toml", text, wrong), country)
    except RulesInvalid as error:
        wrong.append(f"escalation.toml: {error}")
        return Rules()
