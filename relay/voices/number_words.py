"""Writes numbers in English words, as people say them.

It uses no library: num2words needs a package without wheels, and inflect needs four packages. tests/voices compares the
results with inflect.
"""

from __future__ import annotations

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_GROUPS = ("", " thousand", " million", " billion", " trillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
LARGEST = 10 ** (3 * len(_GROUPS)) - 1


def cardinal(number: int) -> str:
    """0 to 999,999,999,999,999: "one hundred twenty-three thousand four hundred five"."""
    if number < 1000:
        return _below_thousand(number)
    words, group = [], 0
    while number:
        number, rest = divmod(number, 1000)
        if rest:
            words.append(_below_thousand(rest) + _GROUPS[group])
        group += 1
    return " ".join(reversed(words))


def _below_thousand(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred" + (f" {_below_thousand(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """An ordinal number: "first", "twenty-ninth", "one hundredth"."""
    head, dash, last = (words := cardinal(number)).rpartition("-" if "-" in words.split()[-1] else " ")
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return head + dash + _ORDINALS.get(last, regular)


def digits(text: str) -> str:
    """The digits one by one: "four zero two"."""
    return " ".join(_ONES[int(each)] for each in text if each.isdecimal())


def year(number: int) -> str:
    """A year from 1100 to 2099: "nineteen eighty-four", "nineteen oh five", "two thousand five"."""
    hundreds, rest = divmod(number, 100)
    if 2000 <= number < 2010 or number % 1000 == 0:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(hundreds)} hundred"
    return f"{cardinal(hundreds)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"
