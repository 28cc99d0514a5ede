"""Signs webhooks as Standard Webhooks asks for (pure): an HMAC-SHA256 over `id.timestamp.body`, for each secret.

While the operator changes the secret, there are two secrets and two signatures. The receiver accepts a request if one
of the signatures fits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from relay.settings.webhook_secret import keys_of


def headers(message_id: str, timestamp_s: int, body: bytes, secrets: str) -> dict[str, str]:
    """The headers of a signed request. `secrets` is NOTIFY_WEBHOOK_SECRET. Raises SecretUnreadable."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    signatures = []
    for key in keys_of(secrets):
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        signatures.append("v1," + base64.b64encode(digest).decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }
