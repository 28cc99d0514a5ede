"""Signatures by Standard Webhooks (pure): an HMAC-SHA256 over `id.timestamp.body` for each secret.

While a secret is being changed, there are two secrets. The receiver accepts either of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac


class SecretUnreadable(ValueError):
    """NOTIFY_WEBHOOK_SECRET does not have the form of such a secret."""


def key_of(secret: str) -> bytes:
    """The key of one secret, like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw. Raises SecretUnreadable."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise SecretUnreadable("must be whsec_ and the base64 of 24 to 64 random bytes") from None
    if not 24 <= len(key) <= 64:
        raise SecretUnreadable("must be whsec_ and the base64 of 24 to 64 random bytes")
    return key


def headers(message_id: str, timestamp_s: int, body: bytes, secrets: str) -> dict[str, str]:
    """The headers of a signed request. `secrets` may be several, separated by commas."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    signatures = []
    for secret in secrets.split(","):
        digest = hmac.new(key_of(secret.strip()), signed, hashlib.sha256).digest()
        signatures.append("v1," + base64.b64encode(digest).decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }
