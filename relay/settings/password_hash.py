"""Checks the form of CONSOLE_PASSWORD_HASH (pure). Argon2 can compare a password with each hash that passes here."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

# The smallest salt of argon2 has 8 bytes, which are 11 characters. A hash of less than 12 bytes is too easy to guess.
_FORM = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>[1-9][0-9]{0,9}),t=(?P<t>[1-9][0-9]{0,9}),p=(?P<p>[1-9][0-9]{0,7})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,})\$(?P<hash>[A-Za-z0-9+/]{16,})"
)
_MOST, _MOST_LANES = 2**32, 2**24  # RFC 9106 3.1: memory and passes have 32 bits, and parallelism has 24 bits.


def is_password_hash(text: str) -> bool:
    """True if this is an argon2id hash. Many hashes that were cut off are refused, because their end is not base64."""
    match = _FORM.fullmatch(text)
    if match is None:
        return False
    memory, passes, lanes = int(match["m"]), int(match["t"]), int(match["p"])
    is_possible = 8 * lanes <= memory < _MOST and passes < _MOST and lanes < _MOST_LANES
    return is_possible and _is_base64(match["salt"]) and _is_base64(match["hash"])


def _is_base64(text: str) -> bool:
    """True for base64 without "=" whose unused last bits are 0. Argon2 reads no other."""
    if len(text) % 4 == 1:
        return False
    padded = text + "=" * (-len(text) % 4)
    return b64encode(b64decode(padded)).decode() == padded
