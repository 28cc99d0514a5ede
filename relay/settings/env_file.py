"""Reads `.env`: the file with settings that a command uses in addition to the environment. A demo does not read it.

A variable of the environment replaces the value in the file. Nothing is interpolated: a `$` in a password stays a `$`.
A line that cannot be read is an error that names the line's number. If the line were skipped, a default would be used,
and nobody would notice.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from dotenv.parser import parse_stream

from relay.settings import Settings, SettingsInvalid

# The variable that names another file to read instead of `.env`. If the variable is set and empty, no file is read.
CHOICE = "RELAY_ENV_FILE"
DEFAULT = ".env"
# If difflib's ratio between a name and the name of a setting is at least this, the name is probably a typing error. Two
# exchanged letters give 0.92. The limits are higher than the ratios of variables of other programs: the most similar
# one is HOSTNAME (0.67 to HOST).
ALIKE_IN_FILE, ALIKE_IN_ENVIRONMENT = 0.8, 0.85

# Names that other programs use for the same settings. Most of them are not similar enough for the ratio above.
_MEANT = {
    "TIMEZONE": "BUSINESS_TZ",
    "TIME_ZONE": "BUSINESS_TZ",
    "BUSINESS_TIMEZONE": "BUSINESS_TZ",
    "BUSINESS_TIME_ZONE": "BUSINESS_TZ",
    "TWILIO_SID": "TWILIO_ACCOUNT_SID",
    "ACCOUNT_SID": "TWILIO_ACCOUNT_SID",
    "AUTH_TOKEN": "TWILIO_AUTH_TOKEN",
    "TWILIO_NUMBER": "TWILIO_PHONE_NUMBER",
    "TWILIO_FROM_NUMBER": "TWILIO_PHONE_NUMBER",
    "DB_URL": "DATABASE_URL",
    "POSTGRES_URL": "DATABASE_URL",
    "POSTGRES_DSN": "DATABASE_URL",
    "DATABASE_URI": "DATABASE_URL",
    "HUMAN_NUMBER": "HUMAN_TRANSFER_NUMBER",
    "TRANSFER_NUMBER": "HUMAN_TRANSFER_NUMBER",
    "HUMAN_PHONE_NUMBER": "HUMAN_TRANSFER_NUMBER",
    "SERVER_URL": "PUBLIC_URL",
    "BASE_URL": "PUBLIC_URL",
    "PUBLIC_HOST": "PUBLIC_URL",
    "BUSINESS_API_URL": "BUSINESS_API_BASE",
}
# Typographic quotes. A word processor puts them around a value. In `.env` they do not count as quotes, so they become
# part of the value.
_PROSE_QUOTES = (
    "\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)

_KNOWN = frozenset(one.name.upper() for one in fields(Settings))


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment together with the file's values.

    `hints` are sentences about settings that are probably mistakes.
    """

    values: Mapping[str, str]
    hints: tuple[str, ...] = ()


def read(environ: Mapping[str, str], folder: Path = Path()) -> Environment:
    """Read `.env` of this folder, and add the environment. Raises SettingsInvalid, which names every wrong line."""
    name = environ.get(CHOICE, DEFAULT)
    path = folder / name
    if not name:
        return Environment(environ, tuple(_misspelt(environ, "", ALIKE_IN_ENVIRONMENT)))
    try:
        text = path.read_text("utf-8-sig")  # utf-8-sig removes the byte order mark that Windows writes.
    except FileNotFoundError:
        if CHOICE in environ:
            raise SettingsInvalid(f"{CHOICE} names {name}, and there is no such file") from None
        return Environment(environ, tuple(_misspelt(environ, "", ALIKE_IN_ENVIRONMENT)))
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsInvalid(f"{name} cannot be read: {words}") from None
    found, hints = _parse(name, text)
    ours = {key: value for key, value in environ.items() if key not in found}
    hints += [*_misspelt(found, f" in {name}", ALIKE_IN_FILE), *_misspelt(ours, "", ALIKE_IN_ENVIRONMENT)]
    return Environment({**found, **environ}, tuple(hints))


def _parse(name: str, text: str) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    wrong: list[str] = []
    hints: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        key, value = binding.key, binding.value
        if binding.error or (key is not None and value is None):
            # The parser's message is not shown, because it may contain a part of a key.
            wrong.append(f"line {line} cannot be read")
        elif key is not None and value is not None:
            if "\n" in value:
                wrong.append(f"line {line}: the value of {key} does not end on its line")
            if value[:1] in tuple(_PROSE_QUOTES):
                hints.append(
                    f"{key} in {name} begins with a typographic quote, which becomes part of the value: "
                    "write ' or \" instead"
                )
            if key in found:
                hints.append(f"{key} is set twice in {name}, in lines {lines[key]} and {line}: the last one counts")
            found[key], lines[key] = value, line
    if wrong:
        raise SettingsInvalid(
            f"{name} has mistakes (write NAME=value; if the value has a quote in it, use the other kind of quotes):\n"
            + "\n".join(f"  - {words}" for words in wrong)
        )
    return found, hints


def _misspelt(names: Mapping[str, str], where: str, alike: float) -> list[str]:
    """A hint for each unknown name that is similar to the name of a setting, unless that setting is set too."""
    told = []
    for name in names:
        # In the environment, the names of _MEANT may belong to other programs. So only names in the file are looked up.
        meant = [_MEANT[name]] if where and name in _MEANT else []
        near = (meant or difflib.get_close_matches(name.upper(), _KNOWN, 1, alike)) if name not in _KNOWN else []
        if near and near[0] not in names:
            told.append(f"{name}{where} is not a setting: do you mean {near[0]}?")
    return told
