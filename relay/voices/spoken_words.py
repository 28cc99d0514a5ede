"""Writes a text as it is read aloud: numbers, dates, times, prices and addresses in words, and no markdown.

The rules are for English only. ElevenLabs can do the same, but on its fast models only for large accounts (its API
reference, apply_text_normalization). If ElevenLabs did this, the relay would not know which place of the model's text
is spoken when.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relay.voices.number_words import LARGEST, cardinal, digits, ordinal, year

MONTHS = ("January February March April May June July August September October November December").split()
# A month must begin with a capital letter: in "a table for 5 may be free", "may" is no month.
_MONTH = "(?-i:" + "|".join(f"{name}|{name[:3]}\\.?" for name in MONTHS) + r"|Sept\.?)"
_CURRENCIES = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny")}
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}
_STOPS = ".,;:!?…"
# These kinds of tokens have a blank before and after them when they are spoken.
_APART = ("blank", "line", "sign", "range", "hyphen")
_SIGNS = {"&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "°": "degrees"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text, and the words that are spoken for it. `end` is where it ends in the text."""

    spoken: str
    end: int
    is_apart: bool  # True if a blank comes before it in the spoken text (see `joint`).


def tokens(text: str) -> Iterator[Token]:
    """Cut the whole text into pieces, without the blanks. If nothing is spoken for a piece, its `spoken` is ""."""
    apart, before = True, ""
    for match in _TOKENS.finditer(text):
        kind = match.lastgroup or ""
        says = _SAYS[kind](match.group())
        if kind == "line" and before and before[-1] not in _STOPS:
            says = "."  # After a heading or a line of a list, the voice must pause.
        elif kind == "stop" and before.endswith("."):
            says = says.lstrip(".")  # "p.m." has a point already.
        if kind != "blank":
            yield Token(says, match.end(), apart or kind in _APART)
        apart = kind in _APART or (apart and not says) or (not says and kind not in ("mark", "stop"))
        before = says or before


def spoken(text: str) -> str:
    """The whole text as it is read aloud."""
    out = ""
    for token in tokens(text):
        out += joint(out, token) + token.spoken
    return out.strip()


def joint(before: str, token: Token) -> str:
    """What comes between the spoken text so far and the next piece: a blank, or ""."""
    if not before or not token.spoken or before.endswith(" "):
        return ""
    return " " if token.is_apart and token.spoken[0] not in _STOPS else ""


def _number(text: str) -> str:
    """A number, with or without commas and decimals."""
    whole, point, decimals = text.replace(",", "").partition(".")
    if point:
        return f"{_integer(whole, grouped=True)} point {digits(decimals)}"
    return _integer(whole, grouped="," in text)


def _integer(text: str, *, grouped: bool) -> str:
    number = int(text)
    if number > LARGEST or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    if grouped or len(text) < 4:
        return cardinal(number)
    if len(text) == 4:
        return year(number) if 1100 <= number < 2100 else cardinal(number)
    return digits(text)  # A postcode or an order number. People say its digits one by one.


def _price(text: str) -> str:
    match = _PRICE.fullmatch(text)
    assert match is not None
    sign, amount, scale = match.groups()
    name, part = _CURRENCIES[sign]
    if scale:
        return f"{_number(amount)} {scale} {name}s"
    whole, _, cents = amount.replace(",", "").partition(".")
    words = []
    if int(whole) or not int(cents or 0):
        words.append(f"{_integer(whole, grouped=True)} {name}{'' if int(whole) == 1 else 's'}")
    if number := int((cents or "0").ljust(2, "0")[:2]):
        plural = "pence" if part == "penny" else f"{part}s"
        words.append(f"{cardinal(number)} {part if number == 1 else plural}")
    return " and ".join(words)


def _clock(text: str) -> str:
    match = _CLOCK.fullmatch(text)
    assert match is not None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower().strip().replace(".", "")
    if hour > 23 or minute > 59:
        return f"{cardinal(hour)} {cardinal(minute)}"
    if not half and (hour > 12 or hour == 0):
        half = "pm" if hour > 12 else "am"
    words = cardinal(hour % 12 or 12)
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    elif not half:
        words += " o'clock"
    return f"{words} {half[0]}.m." if half else words


def _phone(text: str) -> str:
    """A phone number, in the groups in which it is written.

    A number without groups gets groups of three digits. Its last four digits are one group.
    """
    groups = re.findall(r"\d+", text)
    if len(groups) == 1:
        run = groups[0]
        head, groups = run[:-4], [run[-4:]]
        while head:
            head, groups = head[:-3], [head[-3:], *groups]
    return ("plus " if text.startswith("+") else "") + ", ".join(digits(group) for group in groups)


def _day(month: int, day: int, year_text: str = "") -> str:
    words = f"{MONTHS[month - 1]} {ordinal(day)}"
    if not year_text:
        return words
    number = int(year_text) + (2000 if len(year_text) == 2 else 0)
    return f"{words}, {_integer(str(number), grouped=False)}"


def _iso(text: str) -> str:
    year_text, month, day = text.split("-")
    return _day(int(month), int(day), year_text) if 1 <= int(month) <= 12 and 1 <= int(day) <= 31 else digits(text)


def _slashed(text: str) -> str:
    if text in _FRACTIONS:
        return _FRACTIONS[text]
    month, day, *years = text.split("/")
    if 1 <= int(month) <= 12 and 1 <= int(day) <= 31 and (years or int(day) > 4):
        return _day(int(month), int(day), years[0] if years else "")
    return " ".join(cardinal(int(each)) for each in (month, day, *years))


def _month_of(name: str) -> int:
    return next(n for n, month in enumerate(MONTHS, 1) if month.lower().startswith(name[:3].lower()))


def _named(text: str) -> str:
    match = _NAMED.fullmatch(text)
    assert match is not None
    return _day(_month_of(match[1]), int(match[2]), match[3] or "") if 1 <= int(match[2]) <= 31 else text


def _day_first(text: str) -> str:
    match = _DAY_FIRST.fullmatch(text)
    assert match is not None
    return f"the {ordinal(int(match[1]))} of {MONTHS[_month_of(match[2]) - 1]}"


def _link(text: str) -> str:
    return spoken(text[text.index("[") + 1 : text.rindex("](")])


def _site(text: str) -> str:
    host, _, page = re.sub(r"^(https?://)?(www\.)?", "", text).partition("/")
    return _spell_out(host) + (f" slash {_spell_out(page.split('?')[0].strip('/'))}" if page.strip("/") else "")


_NAMES_OF_SIGNS = {".": " dot ", "@": " at ", "-": " dash ", "_": " underscore ", "+": " plus ", "/": " slash "}


def _spell_out(text: str) -> str:
    out = "".join(_NAMES_OF_SIGNS.get(c, f" {digits(c)} " if c.isdecimal() and c.isascii() else c) for c in text)
    return " ".join(out.split())


def _code(text: str) -> str:
    """A code of letters and digits. Each letter and each digit is said by itself.

    In a code like A12 (one or two letters, then one or two digits), the digits are said as one number.
    """
    match = re.fullmatch(r"([A-Za-z]{1,2})-?(\d{1,2})", text)
    if match:
        return f"{' '.join(match[1])} {cardinal(int(match[2]))}"
    return " ".join(digits(c) if c.isdecimal() else c for c in text if c.isalnum())


def _other(text: str) -> str:
    return text if unicodedata.category(text)[0] in "LMN" else ""


# The functions above use these patterns to read the parts of a price, a time or a date.
_PRICE = re.compile(r"([$€£])\s?(\d[\d,]*(?:\.\d+)?)(?: (thousand|million|billion))?", re.IGNORECASE)
_HALF = r"[ap]\.?m\b\.?"
_CLOCK = re.compile(rf"(\d{{1,2}})(?::(\d{{2}}))?(\s?{_HALF})?", re.IGNORECASE)
_NAMED = re.compile(rf"({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"(?:the )?(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})", re.IGNORECASE)

_RULES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("line", r"\s*\n\s*(?:[-*•+] +|#+ +|> +)*", lambda _: ""),
    ("blank", r"\s+", lambda _: ""),
    ("picture", r"!\[[^\]\n]*\]\([^)\n]*\)", lambda _: ""),
    ("link", r"\[[^\]\n]*\]\([^)\n]*\)", _link),
    ("mail", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", _spell_out),
    ("site", r"(?:https?://|www\.)[^\s)>\]]*[^\s)>\].,;:!?*_]", _site),
    ("phone", r"\+\d{8,15}\b|(?:\+?\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b", _phone),
    ("iso", r"\b\d{4}-\d{2}-\d{2}\b", _iso),
    ("named", rf"\b(?:{_MONTH}) \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?", _named),
    ("day_first", rf"\b(?:the )?\d{{1,2}}(?:st|nd|rd|th)? (?:of )?(?:{_MONTH})(?!\w)", _day_first),
    ("price", r"[$€£]\s?\d+(?:,\d{3})*(?:\.\d+)?(?: (?:thousand|million|billion)\b)?", _price),
    ("clock", rf"\b\d{{1,2}}:\d{{2}}(?!\d)(?:\s?{_HALF})?|\b\d{{1,2}}\s?{_HALF}", _clock),
    ("slashed", r"\b\d{1,2}/\d{1,2}(?:/(?:\d{4}|\d{2}))?\b", _slashed),
    ("range", r"(?<=[\dmM.])\s?[–-]\s?(?=[$€£]?\d)|(?<=\w)–(?=\w)", lambda _: "to"),
    ("ordinal", r"\b\d{1,9}(?:st|nd|rd|th)\b", lambda text: ordinal(int(text[:-2]))),
    ("code", r"\b(?=[A-Za-z-]*\d)(?=[\d-]*[A-Za-z])[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\b", _code),
    ("number", r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", _number),
    ("hash", r"#(?=\d)", lambda _: "number "),
    ("word", r"[^\W\d_]+(?:['’-][^\W\d_]+)*", lambda text: text.replace("’", "'")),
    ("stop", r"[.,;:!?…]+", lambda text: text),
    ("dash", r"[—–]+|(?<=\s)-+(?=\s)", lambda _: ","),
    ("sign", r"[&+=@%°]", _SIGNS.__getitem__),
    ("hyphen", r"(?<=\w)[-/_](?=\w)", lambda _: ""),
    ("mark", r"[*_`~#>|\"“”()\[\]{}<\\^/'’‘-]", lambda _: ""),
    ("other", r".", _other),
)
_SAYS = {name: says for name, _, says in _RULES}
_TOKENS = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern, _ in _RULES), re.IGNORECASE | re.DOTALL)
