"""Makes and checks the hash of the console's password: argon2id, with the defaults of argon2-cffi.

These functions block, so call them in a thread.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# The least number of characters. Anybody on the internet can try passwords, and could guess a shorter password.
SHORTEST = 10

_hasher = PasswordHasher()


def hashed(password: str) -> str:
    """The line for CONSOLE_PASSWORD_HASH. Raises ValueError if the password is too short."""
    if len(password) < SHORTEST:
        raise ValueError(f"the password needs {SHORTEST} characters or more")
    return _hasher.hash(password)


def fits(password_hash: str, password: str) -> bool:
    """Whether the hash belongs to this password. Takes about 50 ms, so that guessing is slow."""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
