"""X-Twilio-Signature as Twilio computes it (docs/protocol/twilio.md 2.1).

Pure. It shares no code with the relay's own check, so that a test finds a mistake in either of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit


def signed_url(url: str) -> str:
    """The form of a URL that Twilio signs: no fragment, no user, no port over TLS. The rest is as written."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("https", "wss"):
        head, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            host = head
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def signature(auth_token: str, url: str, fields: Mapping[str, str] | None = None) -> str:
    """The signature of a request: the URL, then the name and value of each form field, sorted by name, empty ones too.

    `fields` are those of a POST body. A GET and a WebSocket handshake have none.
    """
    text = signed_url(url) + "".join(name + value for name, value in sorted((fields or {}).items()))
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
