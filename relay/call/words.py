"""Decides what a transcript means: an emergency, the wish for a person, anger, "go on", a hello, or nothing at all.

Each language has a file of phrases in `prompts/words/`. This file reads them and judges sentences by them. A word alone
proves nothing: "It's not an emergency", "a crane operator" and "are you a human?" have such words and mean something
else. So a phrase does not count if it is denied or part of another expression. An emergency does not count either if
the sentence asks about it or speaks of the past. Unclear sentences have no effect here: the model has heard them, too.

A phrase is written as a pattern, a row of words: `a|b` is one of several words, `word?` may be missing, `{name}` is one
expression of a set, `...` is up to three words, `^` and `$` are the beginning and the end of a clause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain

# "not" denies the phrases up to this many words after it: "I do not think that it is an emergency".
DENIES_WORDS = 6
# "no" denies a phrase up to this many words after it: "no real emergency".
DENIES_NEXT_WORDS = 2
GAP_WORDS = 3

# A sentence is judged for a dozen meanings in each language. The results of `plain` are cached for this many texts.
PLAIN_TEXTS = 32

_NOTHING = r"[^\s\S]"  # This expression never matches.
_BETWEEN = r"(?: [,.])* "  # Punctuation between two words is skipped, because each transcriber sets it differently.
_WORD = r"[^\s,.]+"
# Signs that are part of a letter, but that `\w` does not match.
_MARKS = "\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f"
# mm, hmm, mhm, um, uh, huh, hum, ah, oh, aha, in all spellings of transcribers.
_HUM = r"(?:[hm]+|u+[hm]+|h+u+[hm]+|[aeo]+h+|a+h+a+)"
# How a transcriber writes a noise: [music], (coughs), *click*.
_NOISE = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|<[^>]*>|【[^】]*】|[♪♫]+(?:[^♪♫]*[♪♫]+)?")
# A backchannel or a hello has at most this many words.
_BACKCHANNEL_WORDS = 4
_HELLO_WORDS = 4

KINDS = ("emergency", "human", "angry", "misunderstood", "repeat")
_LISTS = ("backchannels", "not_backchannels", "hellos", "farewells", "nothing", "credits", "beside_nothing")
_GRAMMAR = ("denials", "denials_of_the_next", "answers", "no_denials", "turns", "past", "now", "questions")
# Questions and the past are excluded only for an emergency. "Can I talk to a person?" is a question and a wish.
_OF_NOW = frozenset({"emergency"})


class WordsInvalid(ValueError):
    """A file of words cannot be used. The message names all its mistakes, but only the first missing set."""


@lru_cache(maxsize=PLAIN_TEXTS)
def plain(text: str, contractions: Contractions | None = None) -> str:
    """The text in small letters, with one blank between words. A comma becomes the word `,`.

    The end of a sentence, a colon and a dash become the word `.`. Other punctuation is dropped. A number is one
    word, even if it is grouped: 9-1-1 becomes 911. But a price such as $1,911 becomes `_`.
    """
    spelled = _spelled(text)
    return _bare(spelled if contractions is None else contractions.written_out(spelled))


def _spelled(text: str) -> str:
    """The first step of `plain`, which is the same in every language. Apostrophes stay."""
    text = re.sub(
        "[\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}`]", "'", text.casefold().replace("i\u0307", "i")
    )
    text = re.sub(r"(?<=\d)[-,.](?=\d)", "", text.replace("_", " "))
    text = re.sub(r"[$£€]\s?\d+", " _ ", text)  # A price is not a phone number.
    text = re.sub(r"[.!?;:…。！？¡¿]+|\s[-–—]+\s", " . ", text)
    return " ".join(re.findall(rf"[\w'{_MARKS}]+|[,.]", re.sub(r"[,،、，]+", " , ", text)))


def _bare(spelled: str) -> str:
    return " ".join(spelled.replace("'", "").split())


class Contractions:
    """Short forms and their full forms.

    A short form is a whole word ("dont"), an end ("n't", "'s") or a beginning ("l'").
    """

    def __init__(self, long_of: Mapping[str, str]) -> None:
        self._long_of = dict(long_of)
        words = "|".join(re.escape(short) for short in long_of if "'" not in (short[0], short[-1]) and short != "n't")
        ends = "|".join(re.escape(short) for short in long_of if short.startswith("'") or short == "n't")
        begins = "|".join(re.escape(short) for short in long_of if short.endswith("'"))
        self._pattern = re.compile(
            rf"(?<!\S)(?:{words or _NOTHING})(?!\S)|(?:{ends or _NOTHING})(?!\S)|(?<!\S)(?:{begins or _NOTHING})"
        )

    def written_out(self, text: str) -> str:
        """The text with full forms in place of the short forms."""
        return self._pattern.sub(lambda match: self._long_of[match.group()], text)


class Sets:
    """The sets of expressions of a language, as regular expressions, and the words with which each can begin."""

    def __init__(self, gap: str = "") -> None:
        self.gap = gap  # A regular expression for words that `...` must not skip.
        self._compiled: dict[str, str] = {}
        self._first: dict[str, frozenset[str]] = {}

    def add(self, name: str, patterns: Iterable[str]) -> None:
        """Add a set. The sets that its patterns use must have been added before."""
        rows = sorted(patterns, key=len, reverse=True)
        self._compiled[name] = "|".join(self.compiled(row) for row in rows) or _NOTHING
        self._first[name] = frozenset[str]().union(*(self.first_words(row) for row in rows))

    def add_numbers(self, name: str, phrases: Iterable[str]) -> None:
        """Add a set of numbers as they are said. Digits inside a longer number do not match: 000 in 0400 000 123."""
        rows = [plain(phrase) for phrase in phrases if plain(phrase)]
        alone = [rf"(?<!\d\d\d ){row}(?: {row})*(?! \d\d\d)" if row.isdecimal() else re.escape(row) for row in rows]
        self._compiled[name] = "|".join(alone) or _NOTHING
        self._first[name] = frozenset(row.split()[0] for row in rows)

    def compiled(self, pattern: str) -> str:
        """A pattern as a regular expression for `plain` text.

        Raises KeyError if the pattern uses a set that does not exist.
        """
        out, is_first = "", True
        for part in pattern.split():
            if part == "^":
                out += r"(?:^|(?<=[,.] ))"
            elif part == "$":
                out += r"(?= [,.]|$)"
            elif part == "...":
                out += rf"(?: {self.gap}{_WORD}){{0,{GAP_WORDS}}}?"
            else:
                one_of = "|".join(self._compiled[w[1:-1]] if w[0] == "{" else re.escape(w) for w in _words(part))
                word = rf"(?<!\S)(?:{one_of})(?!\S)"
                if not part.endswith("?"):
                    out += word if is_first else _BETWEEN + word
                    is_first = False
                else:
                    out += rf"(?:{word}{_BETWEEN})?" if is_first else rf"(?:{_BETWEEN}{word})?"
        return out

    def first_words(self, pattern: str) -> frozenset[str]:
        """The words with which the pattern can begin."""
        first: set[str] = set()
        for part in pattern.split():
            if part == "^":
                continue
            for word in _words(part):
                first |= self._first[word[1:-1]] if word[0] == "{" else {word}
            if not part.endswith("?"):
                break
        return frozenset(first)


def _words(part: str) -> list[str]:
    return part.removesuffix("?").split("|")


class Expression:
    """A regular expression that is compiled at its first use. Compiling those of all eight languages takes a second."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self._text)


class Patterns:
    """A set of patterns.

    Only the patterns that can begin with a word of the text are tried, so that Trio's loop is not blocked for long.
    """

    def __init__(self, rows: Iterable[str], sets: Sets) -> None:
        self._at: dict[str, list[Expression]] = {}
        for row in rows:
            expression = Expression(sets.compiled(row))
            for word in sets.first_words(row):
                self._at.setdefault(word, []).append(expression)

    def expressions(self) -> Iterator[Expression]:
        """All expressions of these patterns."""
        return chain.from_iterable(self._at.values())

    def found(self, text: str) -> Iterator[re.Match[str]]:
        """All matches in a `plain` text, in the order of the text."""
        if self._at.keys().isdisjoint(text.split()):
            return  # Usual case: no pattern can begin with a word of this text.
        for word in re.finditer(_WORD, text):
            for pattern in self._at.get(word.group(), ()):
                match = pattern.regex.match(text, word.start())
                if match is not None:
                    yield match

    def is_in(self, text: str) -> bool:
        """True if one of the patterns matches somewhere in the text."""
        return next(self.found(text), None) is not None

    def begins(self, text: str) -> bool:
        """True if one of the patterns matches at the beginning of the text."""
        return any(pattern.regex.match(text) for pattern in self._at.get(text.split(" ", 1)[0], ()))

    def can_begin_with(self, words: frozenset[str]) -> bool:
        """False if no pattern begins with one of these words. Then no pattern matches a text of these words."""
        return not self._at.keys().isdisjoint(words)

    def masked(self, text: str) -> str:
        """The text with `_` in place of every word that a pattern matches."""
        for start, end in {match.span() for match in self.found(text)}:
            text = text[:start] + re.sub(r"[^\s,._]", "_", text[start:end]) + text[end:]
        return text


def _compile(expressions: Iterable[Expression]) -> None:
    for expression in expressions:
        expression.regex  # noqa: B018 -- reading the property compiles it


def _only(rows: Iterable[str], sets: Sets, also: str = "") -> Expression | None:
    """An expression for a text that consists of nothing but these patterns."""
    parts = [sets.compiled(row) for row in sorted(rows, key=len, reverse=True)] + ([also] if also else [])
    one = "|".join(parts)
    return Expression(rf"(?:[,.] )*(?:{one})(?:{_BETWEEN}(?:{one}))*(?: [,.])*") if parts else None


@dataclass(frozen=True, slots=True)
class _Kind:
    """The phrases with one meaning (`says`), and the phrases that have their words but not their meaning (`unless`)."""

    says: Patterns
    unless: Patterns


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as one language reads it: its words in a row, as `plain` makes them, and as a set."""

    words: str
    each: frozenset[str]


@dataclass(frozen=True, slots=True)
class Language:
    """The phrases of one language, and its words for denials, questions and the past."""

    name: str
    contractions: Contractions
    kinds: Mapping[str, _Kind]
    grammar: Mapping[str, Patterns]
    lists: Mapping[str, Expression | None]
    credits: Patterns

    def says(self, kind: str, said: Reading, own: Patterns | None = None) -> bool:
        """True if the text has a phrase of this kind, or one of the operator's `own`, that counts.

        `_is_off` says which do not count.
        """
        rule = self.kinds[kind]
        possible = [patterns for patterns in (rule.says, own) if patterns and patterns.can_begin_with(said.each)]
        if not possible:
            return False  # Usual case: a call is in one language, and the other seven have no phrase here.
        kept = self.grammar["no_denials"].masked(rule.unless.masked(said.words))
        return any(
            not self._is_off(kept, match, kind in _OF_NOW) for patterns in possible for match in patterns.found(kept)
        )

    def _is_off(self, words: str, match: re.Match[str], of_now: bool) -> bool:
        """True if the phrase is denied. With `of_now`, also True if it is in a question or about the past."""
        before = words[: match.start()]
        clause = re.split(r"[,.] ", before)[-1]
        for turn in self.grammar["turns"].found(clause):
            clause = " " * turn.end() + clause[turn.end() :]
        denials = self.grammar["denials"]
        if denials.is_in(" ".join(clause.split()[-DENIES_WORDS:])) or self._denies_next(clause, match.group()):
            return True
        if not of_now:
            return False
        sentence = before.rsplit(". ", 1)[-1] + words[match.start() :].split(" .", 1)[0]
        is_past = self.grammar["past"].is_in(sentence) and not self.grammar["now"].is_in(sentence)
        return is_past or self.grammar["questions"].is_in(clause.lstrip() + match.group().split(" ", 1)[0])

    def _denies_next(self, clause: str, match: str) -> bool:
        """True if "no" stands directly before the phrase and denies it. In "no there is a fire", "no" is an answer."""
        near = clause.split()[-DENIES_NEXT_WORDS:]
        for at, word in enumerate(near):
            following = (*near[at + 1 :], *match.split())[0]
            if self.grammar["denials_of_the_next"].is_in(word) and not self.grammar["answers"].is_in(following):
                return True
        return False

    def is_only(self, name: str, said: Reading) -> bool:
        """True for a text that consists of nothing but expressions of this list."""
        pattern = self.lists[name]
        return bool(pattern and pattern.regex.fullmatch(said.words))

    def is_credits(self, said: Reading) -> bool:
        """True for a text that begins like the credits of a film. Transcribers write such words for a noise."""
        return self.credits.begins(said.words)

    def compile_all(self) -> None:
        lists = [*self.grammar.values(), self.credits, *(p for k in self.kinds.values() for p in (k.says, k.unless))]
        _compile(chain(filter(None, self.lists.values()), *(patterns.expressions() for patterns in lists)))

    @classmethod
    def from_table(
        cls, name: str, table: Mapping[str, object], numbers: Iterable[str] = (), clerks: Iterable[str] = ()
    ) -> Language:
        """Make a language from a parsed TOML table. Raises WordsInvalid.

        `numbers`: the ways to say the emergency number. `clerks`: the operator's own words for a person.
        """
        mistakes: list[str] = []
        reader = _Reader(table, mistakes)
        contractions = {key: value for key, value in reader.table("contractions").items() if isinstance(value, str)}
        rows = reader.lists("sets")
        grammar = reader.lists("grammar", _GRAMMAR)
        listening = reader.lists("listening", _LISTS)
        kinds = {kind: reader.lists(kind, ("says", "unless")) for kind in KINDS}
        known = {"contractions", "sets", "grammar", "listening", *KINDS}
        mistakes += [f"{key} is not known here" for key in table if key not in known]
        if mistakes:
            raise WordsInvalid("; ".join(mistakes))
        try:
            sets = _sets(rows, grammar, numbers, clerks)
            return cls(
                name,
                Contractions(contractions),
                {
                    kind: _Kind(Patterns(each["says"], sets), Patterns(each["unless"], sets))
                    for kind, each in kinds.items()
                },
                {key: Patterns(patterns, sets) for key, patterns in grammar.items()},
                _texts(listening, sets),
                Patterns(listening["credits"], sets),
            )
        except KeyError as error:
            raise WordsInvalid(f"there is no set {error.args[0]!r}") from None


def _sets(
    rows: Mapping[str, tuple[str, ...]],
    grammar: Mapping[str, tuple[str, ...]],
    numbers: Iterable[str],
    clerks: Iterable[str],
) -> Sets:
    sets = Sets()
    sets.add("denials", (*grammar["denials"], *grammar["denials_of_the_next"]))
    if any(grammar.values()):
        sets.gap = rf"(?!{sets.compiled('{denials}')})"
    sets.add_numbers("number", numbers)
    sets.add("own", tuple(filter(None, map(plain, clerks))))
    for key, patterns in rows.items():
        sets.add(key, patterns)
    return sets


def _texts(listening: Mapping[str, tuple[str, ...]], sets: Sets) -> dict[str, Expression | None]:
    """For each list, an expression that matches a whole text which has nothing else."""
    return {
        "backchannels": _only(listening["backchannels"], sets, _HUM),
        "not_backchannels": _only(listening["not_backchannels"], sets),
        "hellos": _only(listening["hellos"], sets),
        "farewells": _only((*listening["farewells"], *listening["backchannels"]), sets, _HUM),
        "nothing": _only((*listening["nothing"], *listening["beside_nothing"]), sets),
        "beside_nothing": _only(listening["beside_nothing"], sets),
    }


class _Reader:
    """A table of lists of patterns, and the mistakes in it."""

    def __init__(self, table: Mapping[str, object], mistakes: list[str]) -> None:
        self._table, self._mistakes = table, mistakes

    def table(self, key: str) -> Mapping[str, object]:
        value = self._table.get(key, {})
        if not isinstance(value, dict):
            self._mistakes.append(f"{key} must be a table")
            return {}
        return value

    def lists(self, key: str, known: tuple[str, ...] | None = None) -> dict[str, tuple[str, ...]]:
        lists: dict[str, tuple[str, ...]] = dict.fromkeys(known or (), ())
        for name, value in self.table(key).items():
            if known is not None and name not in known:
                self._mistakes.append(f"{key}.{name} is not known here")
            elif not isinstance(value, list) or not all(isinstance(row, str) and row.strip() for row in value):
                self._mistakes.append(f"{key}.{name} must be a list of expressions")
            else:
                lists[name] = tuple(value)
        return lists


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the words of a turn mean."""

    says: frozenset[str] = frozenset()  # The kinds that were found: "emergency", "human", "angry" and so on.
    is_nothing: bool = False  # True if a transcriber writes such words for a noise.
    is_backchannel: bool = False  # True if the words may only mean "go on", such as "mm-hmm".
    is_hello: bool = False  # True if the words are only a greeting, such as "Hello?".
    is_farewell: bool = False  # True if the words end a call, or agree to its end.
    is_goodbye: bool = False  # True if the words end a call and are more than a yes or a hello.


NO_WORDS = Meaning(is_nothing=True)


class _Said:
    """A text, and how each language reads it."""

    def __init__(self, text: str, languages: Iterable[Language]) -> None:
        spelled = _spelled(text)
        self.text = text
        self.plain = _bare(spelled)
        self.read: list[tuple[Language, Reading]] = []
        for language in languages:
            words = _bare(language.contractions.written_out(spelled))
            self.read.append((language, Reading(words, frozenset(words.split()))))

    def is_only(self, name: str) -> bool:
        return any(language.is_only(name, reading) for language, reading in self.read)


@dataclass(frozen=True, slots=True)
class Words:
    """All languages that are listened for.

    Each text is judged in all of them, because the caller's language is not known. `own`: for each kind, the operator's
    own phrases.
    """

    languages: tuple[Language, ...] = ()
    own: Mapping[str, Patterns | None] = field(default_factory=dict)

    def compile_all(self) -> None:
        """Compile every expression now, so that no call waits for one. Takes about a second."""
        for language in self.languages:
            language.compile_all()
        _compile(chain.from_iterable(phrases.expressions() for phrases in self.own.values() if phrases))

    def judge(self, text: str) -> Meaning:
        """What a caller's words mean."""
        if not text:
            return NO_WORDS
        said = _Said(text, self.languages)
        is_farewell, is_backchannel = said.is_only("farewells"), self._is_backchannel(said)
        is_hello = 0 < _length(text) <= _HELLO_WORDS and said.is_only("hellos")
        return Meaning(
            frozenset(kind for kind, phrases in self.own.items() if self._says(kind, said, phrases)),
            self._is_nothing(said),
            is_backchannel,
            is_hello,
            is_farewell,
            is_farewell and not is_backchannel and not is_hello,
        )

    def says(self, kind: str, text: str, own: Patterns | None = None) -> bool:
        """True if the text has a phrase of this kind that counts. `own`: the operator's phrases."""
        if kind not in KINDS:
            return own is not None and own.is_in(plain(text))  # No language has words for this kind.
        return self._says(kind, _Said(text, self.languages), own)

    def _says(self, kind: str, said: _Said, own: Patterns | None) -> bool:
        if kind not in KINDS or not self.languages:
            return own is not None and own.is_in(said.plain)
        return any(
            language.says(kind, reading, own if at == 0 else None) for at, (language, reading) in enumerate(said.read)
        )

    def _is_backchannel(self, said: _Said) -> bool:
        is_hum = bool(_HUMS.fullmatch(said.plain))
        if is_hum and said.text.rstrip().endswith("?"):
            return False  # "Huh?" asks something.
        if not 0 < _length(said.text) <= _BACKCHANNEL_WORDS or said.is_only("not_backchannels"):
            return False
        if is_hum or said.is_only("backchannels"):
            return True
        once = _TWICE.sub(r"\1", said.text)
        return once != said.text and _Said(once, self.languages).is_only("backchannels")

    def _is_nothing(self, said: _Said) -> bool:
        text = _NOISE.sub(" ", said.text)
        if not re.search(r"\w", text):
            return True  # There is no word at all.
        heard = said if text == said.text else _Said(text, self.languages)
        if any(language.is_credits(reading) for language, reading in heard.read):
            return True
        return heard.is_only("nothing") and not heard.is_only("beside_nothing")


# Languages without blanks write a repeated yes as one word: はいはい, 네네.
_TWICE = re.compile(r"([\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]{1,2})\1+")
_HUMS = re.compile(rf"(?:[,.] )*{_HUM}(?:{_BETWEEN}{_HUM})*(?: [,.])*")


def _length(text: str) -> int:
    return len(re.findall(r"[\w']+", text))
