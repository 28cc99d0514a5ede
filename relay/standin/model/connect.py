"""Decides whether a connection is accepted. The upgrade succeeds in both cases, and a refusal comes after it.

Source: docs/protocol/openai.md 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from relay.standin.model import errors
from relay.standin.model.errors import Refusal
from relay.standin.model.settings import MODELS


def asked_model(path: str) -> str:
    """The `model` in the request's query. Empty if there is none."""
    return (parse_qs(urlsplit(path).query).get("model") or [""])[0]


def refusal(path: str, headers: Mapping[str, str], only_key: str) -> tuple[int, Refusal] | None:
    """The close code and the error for a refused connection. None if it is accepted.

    The names in `headers` are in lower case. If `only_key` is "", any key is accepted.
    """
    key, model = offered_key(headers), asked_model(path)
    if not key:
        return errors.NO_KEY
    if only_key and key != only_key:
        return errors.bad_key(key)
    if "openai-beta" in headers:
        return errors.BETA
    if not model:
        return errors.NO_MODEL
    return None if model in MODELS else errors.unknown_model(model)


def offered_key(headers: Mapping[str, str]) -> str:
    """The key of the Authorization header, or of a browser's subprotocol (docs/protocol/openai.md 1.1)."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "basic"):
        return key.strip()
    offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
    prefix = "openai-insecure-api-key."
    return next((each.removeprefix(prefix) for each in offered if each.startswith(prefix)), "")
