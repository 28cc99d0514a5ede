"""Reads NOTIFY_WEBHOOK_SECRET (pure): one secret, or several with commas between them while it is changed."""

from __future__ import annotations

import base64

SHAPE = "must be whsec_ and the base64 of 24 to 64 random bytes, or two such secrets with a comma between them"


class SecretUnreadable(ValueError):
    """NOTIFY_WEBHOOK_SECRET cannot be used. The message continues the sentence "NOTIFY_WEBHOOK_SECRET …"."""


def keys_of(secrets: str) -> list[bytes]:
    """The keys in secrets like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw. Raises SecretUnreadable."""
    return [_key_of(one.strip()) for one in secrets.split(",")]


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:  # binascii.Error is a ValueError. Text that is not ASCII raises ValueError itself.
        raise SecretUnreadable(SHAPE) from None
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise SecretUnreadable(SHAPE)
    return key
