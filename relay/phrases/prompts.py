"""Reads the texts in `prompts/`: the instructions of the model, and the agent's own sentences.

The texts are read when the relay starts, and again when a file changes (relay/server/briefings.py). Each time, the
placeholders are filled in and the texts are checked. So a mistake is found before a caller hears it.
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

# These two placeholders are filled in for each call, and all others when the files are read.
_OF_THE_CALL = ("TODAY", "CALLER")
# The placeholder for the facts of the business. Only the model's instructions may have it.
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
    """Files in prompts/ cannot be used. The message names the mistakes.

    A mistake that may only be a consequence of another mistake is not named.
    """


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts of `prompts/` after the placeholders of the settings were filled in.

    `opening` is the greeting before its notice. `notice` is "" if RECORD=off.
    """

    system: str
    opening: str
    notice: str
    question: str
    phrases: dict[str, str]
    rules: Rules
    # The greeting while the business is closed. None if the usual greeting is used then.
    closed_greeting: tuple[str, str] | None = None

    def instructions(self, today: dt.date, caller: str) -> str:
        """The model's instructions for one call."""
        day = f"{today:%A}, {today:%B} {today.day}, {today.year}"
        return self.system.replace("{TODAY}", day).replace("{CALLER}", caller or "not shown")

    @property
    def too_early(self) -> list[str]:
        """The placeholders of the call that stand in the first half of the instructions.

        The model's input is cached from its beginning to the first difference from another call
        (docs/protocol/openai.md 5). So what stands after these placeholders costs the full price in each call.
        """
        half = len(self.system) // 2
        return [f"{{{name}}}" for name in _OF_THE_CALL if f"{{{name}}}" in self.system[:half]]

    def greeting(self, announces: bool, closed: bool = False) -> tuple[str, str]:
        """The two parts of the greeting. If the first part has a notice, the caller cannot interrupt it.

        `announces`: the first part has the notice. `closed`: the business is closed now.
        """
        opening, question = self.closed_greeting if closed and self.closed_greeting else (self.opening, self.question)
        return f"{opening} {self.notice}".strip() if announces else opening, question

    @property
    def version(self) -> str:
        """A hash of the model's instructions, before the placeholders for the call are filled in.

        The row of a call has this hash, so that one can see which prompt the call used.
        """
        return hashlib.sha256(self.system.encode()).hexdigest()[:12]


def load(
    settings: Settings,
    folder: Path = PROMPTS_DIR,
    *,
    business: str = "",
    closed_greeting: tuple[str, str] | None = None,
) -> Prompts:
    """Read and check the folder. Raises PromptsInvalid, which names the files and mistakes.

    `business`: the facts of the business for the model. `closed_greeting`: two parts, from the business file. If the
    second part is "", the usual question is asked.
    """
    wrong: list[str] = []

    def text_of(name: str) -> str:
        try:
            # Windows may write a byte order mark at the beginning of a file. "utf-8-sig" removes this mark, so that the
            # agent does not speak it.
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
        # An unknown placeholder has been reported already.
        if re.search(r"[{}]", re.sub(r"\{[A-Za-z_]\w*\}", "", spoken)):
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
    # If the file cannot be read, only that is reported, and not each missing phrase.
    phrases = _phrases(table, speak, wrong) if len(wrong) == before else {}
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
    """The languages in which the caller's words are understood. Each language has a file in words/.

    English comes first, because the operator's own phrases are checked by the rules of the first language.
    """
    languages = []
    files = sorted((folder / "words").glob("*.toml"), key=lambda path: (path.stem != "en", path.stem))
    if not files:
        wrong.append("words/ has no language, so no emergency would be noticed")
    for file in files:
        try:
            languages.append(_language(file.stem, file.read_text("utf-8-sig"), rules.numbers, rules.clerks))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, WordsInvalid) as error:
            wrong.append(f"words/{file.name}: {error}")
    return tuple(languages)


@functools.lru_cache(maxsize=64)  # So the patterns of unchanged files are compiled only once.
def _language(name: str, text: str, numbers: tuple[str, ...], clerks: tuple[str, ...]) -> Language:
    return Language.from_table(name, tomllib.loads(text), numbers, clerks)


def _rules(text: str, country: str, wrong: list[str]) -> Rules:
    try:
        return Rules.from_table(_toml("escalation.toml", text, wrong), country)
    except RulesInvalid as error:
        wrong.append(f"escalation.toml: {error}")
        return Rules()
