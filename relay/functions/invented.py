"""Finds values that a model invents when the caller has said nothing: "John Doe", "[NAME]", 555-1234.

Such a value is refused, and the agent asks the caller. If the model sends the same value after the caller has answered,
it is accepted, because some people are called John Doe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from relay.functions.arguments import Phone

# Names that are placeholders, in several languages. Jane Doe is not among them, because our stand-in callers use this
# name.
_NOBODY: Final = """
    john doe|johnny doe|john q public|joe bloggs|john smith|john public|jane roe|richard roe
    joe schmoe|max mustermann|erika mustermann|juan perez|juan pérez|fulano de tal|jean dupont|mario rossi|jan jansen
    test|test test|test user|test name|test customer|tester|customer|the customer|caller|the caller|user|the user|guest
    client|the client|patient|unknown|unknown caller|unnamed|anonymous|name|your name|my name|full name|first last
    first name|last name|first name last name|firstname lastname|customer name|caller name|user name|client name
    guest name|patient name|sample|sample name|example|example name|placeholder|foo|foo bar|foobar|asdf|abc|xyz|xxx|tbd
    n/a|na|none|null|nil|undefined|not provided|not given|not specified|not known|not available|to be confirmed
    to be determined|someone|somebody|mr x|mr. x
"""
_NOBODIES: Final = frozenset(" ".join(name.split()) for name in re.split(r"[|\n]", _NOBODY) if name.strip())
# A placeholder that was not filled in: "[NAME]", "<name>", "{{name}}", "___", "XXXX".
_BLANK: Final = re.compile(
    r"\[[A-Za-z][\w '/-]{0,40}\]|<[A-Za-z][\w '/-]{0,40}>|\{\{?[A-Za-z][\w '/-]{0,40}\}?\}|_{3,}|\bX{3,}\b|\?{3,}|"
    r"\b(?:insert|enter) (?:your |the )?(?:full )?(?:name|number|phone)\b",
    re.IGNORECASE,
)
# A phone number looks invented if its last seven digits go up, go down or are all equal. The area code 555 and some
# numbers as in films, such as 555-1234, look invented, too. 555-0100 to 555-0199 with a real area code are accepted,
# because documentation and our stand-ins use them.
_FILM: Final = re.compile(r"(?:\+?1)?(?:555\d{7}|\d{3}555(?:1212|1234|5555|4321|6789|9999)|\d{3}1234567)")
_IN_A_ROW: Final = ("0123456789", "1234567890", "9876543210", "0987654321")
_MAIL: Final = re.compile(r"@(?:example\.(?:com|org|net)|test\.com|email\.com|domain\.com)$", re.IGNORECASE)


def invented(arguments: Mapping[str, Any], caller_number: str) -> Iterator[tuple[str, str]]:
    """The arguments with values that look invented: pairs of name and value."""
    for name, value in arguments.items():
        if not isinstance(value, str) or not value:
            continue
        if isinstance(value, Phone):
            if value != caller_number and _is_no_number(value):
                yield name, str(value)
        elif _BLANK.search(value) or _MAIL.search(value) or (_is_name(name) and _plain(value) in _NOBODIES):
            yield name, value


def _is_name(argument: str) -> bool:
    return argument == "name" or argument.endswith("_name") or argument in ("customer", "caller", "guest", "patient")


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("-", " ").split()).strip(" .")


def _is_no_number(phone: str) -> bool:
    digits = phone.lstrip("+")
    national = digits[1:] if digits.startswith("1") else digits
    if _FILM.fullmatch(digits) or len(set(national[-7:])) == 1:
        return True
    return any(national in run or national[-7:] in run for run in _IN_A_ROW)
