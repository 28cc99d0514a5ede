"""Checks the host of a URL (pure). A host that passes here can be looked up and used without any other error."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult

HOST = "must have a host of letters, digits and hyphens, with points between, or a valid IP address"
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
# URL libraries read a host as an IPv4 address if its last part is a number (WHATWG URL 3.5, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def names_host(parts: SplitResult) -> bool:
    """True if the URL has an IP address or a valid DNS name as its host."""
    host = parts.hostname or ""
    if "[" not in parts.netloc:
        return is_host(host)
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def is_host(host: str) -> bool:
    """True for a valid DNS name, with an underscore or not, and for an IPv4 address.

    A name with an empty or a long part makes the look-up raise UnicodeError instead of an OSError.
    """
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ipaddress.ip_address(host).version == 4
        except ValueError:
            return False
    try:
        host.encode("ascii").decode("idna")  # Refuses a part xn--… that stands for no letters.
    except UnicodeError:
        return False
    return all(_LABEL.fullmatch(label) for label in labels)
