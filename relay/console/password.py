"""The hash of the console's one password: argon2id, by argon2-cffi with its own defaults. Blocking: for a thread."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# A shorter password can be guessed: the login is open to the internet.
SHORTEST = 10

_hasher = PasswordHasher()


def hashed(password: str) -> str:
    """The line for CONSOLE_PASSWORD_HASH. Raises ValueError if the password is too short."""
    if len(password) < SHORTEST:
        raise ValueError(f"the password needs {SHORTEST} characters or more")
    return _hasher.hash(password)


def fits(password_hash: str, password: str) -> bool:
    """Whether the password is the one of this hash. Takes about 50 ms on purpose."""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def is_hash(text: str) -> bool:
    """Whether this is a hash that argon2 made."""
    try:
        _hasher.check_needs_rehash(text)
    except InvalidHashError:
        return False
    return True
