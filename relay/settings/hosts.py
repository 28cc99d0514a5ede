"""Checks the host of a URL (pure). A host that passes here can be looked up and used without any other error."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult

import idna

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
    if host.lower().startswith("xn--"):
        try:
            idna.decode(host.lower())  # httpx does so with a host that begins like this (httpx 0.28, URL.host).
        except UnicodeError:  # idna.IDNAError is one.
            return False
    return all(_LABEL.fullmatch(label) for label in labels)


def is_listenable(text: str) -> bool:
    """True for what the relay can listen on: a name, an IPv6 address in brackets or not, or any form of IPv4 address.

    The system also reads the short forms of IPv4 addresses: 0 is 0.0.0.0, and 127.1 is 127.0.0.1.
    """
    if is_host(text):
        return True
    try:
        return ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text).version == 6
    except ValueError:
        pass
    try:
        return bool(socket.inet_aton(text)) and " " not in text  # inet_aton ignores what stands after a space.
    except OSError:
        return False
