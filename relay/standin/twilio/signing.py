"""Computes X-Twilio-Signature as Twilio does (docs/protocol/twilio.md 2.1). Pure.

It shares no code with the relay's own check, so that a mistake in one of the two is found.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit


def signed_url(url: str) -> str:
    """The URL in the form that Twilio signs: without fragment and user, and with TLS also without port."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("https", "wss"):
        head, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            host = head
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def signature(auth_token: str, url: str, fields: Mapping[str, str] | None = None) -> str:
    """Sign a request. The signed text is the URL, then the name and value of each form field, sorted by name.

    A field with an empty value is part of the text too.

    `fields` are the fields of a POST body. A GET and a WebSocket handshake have no fields.
    """
    text = signed_url(url) + "".join(name + value for name, value in sorted((fields or {}).items()))
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
