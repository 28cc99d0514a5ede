"""Signs webhooks as Standard Webhooks asks for (pure): an HMAC-SHA256 over `id.timestamp.body`, for each secret.

While the operator changes the secret, there are two secrets and two signatures. The receiver accepts a request if one
of the signatures fits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac


class SecretUnreadable(ValueError):
    """NOTIFY_WEBHOOK_SECRET does not have the form of a secret."""


def key_of(secret: str) -> bytes:
    """The key in a secret like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw. Raises SecretUnreadable."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise SecretUnreadable("must be whsec_ and the base64 of 24 to 64 random bytes") from None
    if not 24 <= len(key) <= 64:
        raise SecretUnreadable("must be whsec_ and the base64 of 24 to 64 random bytes")
    return key


def headers(message_id: str, timestamp_s: int, body: bytes, secrets: str) -> dict[str, str]:
    """The headers of a signed request. `secrets` is one secret, or several with commas between them."""
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
