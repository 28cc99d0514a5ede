"""Holds the rules for when a human takes a call, and when the harder model does (OPENAI_MODEL_HARD).

The relay applies these rules without asking the model. `prompts/escalation.toml` has the numbers and the operator's own
phrases. `prompts/words/` has the phrases of each language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from relay.call.words import Language, Patterns, Sets, Words, plain


class RulesInvalid(ValueError):
    """The operator's file cannot be used. The message names all mistakes in it."""


# If the agent ends an answer with one of these, it has promised to do something now.
PROMISE_WORDS = (
    "one moment", "one second", "just a moment", "just a second", "a moment please", "hold on", "bear with me",
    "let me check", "let me look", "let me see", "let me find", "let me book", "i'll check", "i will check",
    "i'm checking", "i'll look", "i will look", "i'm looking", "i'll find out", "i'm booking", "i'll book",
)  # fmt: skip
# What the caller's words may mean -> the list in `Rules` with the operator's own phrases for it.
CALLER_SAYS = {
    "emergency": "emergency_words",
    "human": "human_words",
    "angry": "angry_words",
    "misunderstood": "misunderstood_words",
    "topics_hard": "topics_hard",
}
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's rules: when a human or the harder model takes the call.

    The phrases in these lists count in addition to the phrases of the `languages`.
    """

    human_words: tuple[str, ...] = ()
    emergency_words: tuple[str, ...] = ()
    angry_words: tuple[str, ...] = ()
    topics_hard: tuple[str, ...] = ()
    misunderstood_words: tuple[str, ...] = ()
    repeat_words: tuple[str, ...] = ()  # Phrases of the agent: it asks the caller to repeat something.
    promise_words: tuple[str, ...] = PROMISE_WORDS  # Phrases of the agent: it promises to do something now.
    hard_after_misunderstandings: int = 2
    human_after_misunderstandings: int = 3
    human_after_failures: int = 2
    human_digit: str = "0"
    emergency_number: str = "the emergency number"  # How the agent says the emergency number.
    numbers: tuple[str, ...] = ()  # How callers say the emergency number.
    languages: tuple[Language, ...] = field(default=(), repr=False)
    # Judges texts with the phrases of the languages and of the operator.
    words: Words = field(init=False, compare=False, repr=False)
    _patterns: dict[str, Patterns | None] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        own = {kind: self._own(name) for kind, name in CALLER_SAYS.items()}
        object.__setattr__(self, "words", Words(self.languages, own))

    @property
    def clerks(self) -> tuple[str, ...]:
        """The operator's phrases in `human_words` that are one word, such as "receptionist".

        Each language judges them like the word "agent": not every sentence with such a word asks for a person.
        """
        return tuple(phrase for phrase in self.human_words if len(plain(phrase).split()) == 1)

    def says(self, name: str, text: str) -> bool:
        """True if the text has a phrase of the list `name` ("human_words", ...), or of the languages with this meaning.

        words.py says which phrases count.
        """
        return self.words.says(name.removesuffix("_words"), text, self._own(name))

    def _own(self, name: str) -> Patterns | None:
        if name not in self._patterns:
            self._patterns[name] = self._compiled(name)
        return self._patterns[name]

    def _compiled(self, name: str) -> Patterns | None:
        phrases = [plain(phrase) for phrase in getattr(self, name)]
        if name == "human_words" and self.languages:
            phrases = [phrase for phrase in phrases if phrase not in map(plain, self.clerks)]
        sets = Sets()
        sets.add_numbers("number", self.numbers if name == "emergency_words" and not self.languages else ())
        return Patterns([*filter(None, phrases), "{number}"], sets)

    def listening_for(self, languages: tuple[Language, ...]) -> Rules:
        """The same rules, with the phrases of these languages."""
        return replace(self, languages=languages, _patterns={})

    def promises(self, text: str) -> bool:
        """True if the agent's last sentence promises to do something now, and is no question."""
        ends = list(_SENTENCE_END.finditer(text.strip()))
        before = [end.end() for end in ends if end.end() < len(text.strip())]
        last = text.strip()[before[-1] :] if before else text.strip()
        return "?" not in last and self.says("promise_words", last)

    @classmethod
    def from_table(cls, table: Mapping[str, object], country: str = "US") -> Rules:
        """Read the rules from a parsed TOML table. Raises RulesInvalid with all keys that are unknown or wrong.

        `country` is two letters. Its emergency numbers become emergency words.
        """
        mistakes: list[str] = []
        values: dict[str, object] = {}
        for key, value in table.items():
            if key == "emergency_numbers":
                continue
            mistake = _mistake(key, value)
            if mistake:
                mistakes.append(mistake)
            else:
                values[key] = tuple(value) if isinstance(value, list) else value
        said = _emergency_numbers(table.get("emergency_numbers", {}), country, mistakes)
        if mistakes:
            raise RulesInvalid("; ".join(mistakes))
        if said:
            values["numbers"] = tuple(said)
            values["emergency_number"] = said[0]
        # `_mistake` has checked each value.
        return cls(**values)  # type: ignore[arg-type]


_LISTS = frozenset(k for k in Rules.__dataclass_fields__ if k.endswith("_words") or k.startswith("topics"))
_NUMBERS = frozenset(k for k in Rules.__dataclass_fields__ if "_after_" in k)


def _mistake(key: str, value: object) -> str:
    """What is wrong with this line of the operator's file. "" if nothing is."""
    if key in _LISTS:
        return "" if _phrases(value) else f"{key} must be a list of phrases"
    if key in _NUMBERS:
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return "" if is_number else f"{key} must be a whole number from 1"
    if key == "human_digit":
        is_key = isinstance(value, str) and re.fullmatch(r"[0-9*#]?", value)
        return "" if is_key else "human_digit must be one key of a phone, or empty"
    return f"{key} is not known here"


def _phrases(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and plain(v) for v in value)


def _emergency_numbers(table: object, country: str, mistakes: list[str]) -> list[str]:
    """How the emergency number of this country is said. Empty if the operator's file has no such numbers."""
    if not isinstance(table, dict) or not all(_phrases(said) and said for said in table.values()):
        mistakes.append('emergency_numbers must be a table like US = ["nine one one", "911"]')
        return []
    if table and country.upper() not in table:
        mistakes.append(f"emergency_numbers has no line for BUSINESS_COUNTRY={country}: add the ways to say its number")
        return []
    return list(table.get(country.upper(), []))
