"""Reads SMTP_URL (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from relay.settings.hosts import names_host

SHAPE = "must be like smtps://user:password@mail.example.com, special characters percent-encoded (@ is %40)"


class SmtpUrlUnclear(ValueError):
    """SMTP_URL cannot be used. The message continues the sentence "SMTP_URL …". It quotes no part of the URL."""


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server. smtps:// means TLS from the start, and smtp:// means STARTTLS."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Server:
        """Read SMTP_URL. Raises SmtpUrlUnclear."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # The port or the IPv6 address is invalid.
            raise SmtpUrlUnclear(SHAPE) from None
        if not re.fullmatch(r"[\x21-\x7e]+", url) or not _is_plain(parts) or port == 0:
            raise SmtpUrlUnclear(SHAPE)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():
            raise SmtpUrlUnclear(
                "has a user or a password with a letter that is not ASCII, which the relay cannot send: choose another"
            )
        if password and not user:
            raise SmtpUrlUnclear("has a password without a user: write user:password before the @")
        tls = parts.scheme == "smtps"
        return cls(parts.hostname or "", port or (465 if tls else 587), tls, user, password)


def _is_plain(parts: SplitResult) -> bool:
    """True if the URL has nothing but a scheme, one user and password, a host and a port."""
    if parts.scheme not in ("smtp", "smtps") or parts.netloc.count("@") > 1 or not names_host(parts):
        return False
    return parts.path in ("", "/") and not parts.query and not parts.fragment
