"""The log: JSON off a terminal, one line an event, never audio, keys, words or phone numbers in clear."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

# A phone number in a text that came from elsewhere (an error, a URL): all but its last two digits are hidden.
_PHONE = re.compile(r"(?:\+|%2[Bb])[1-9]\d{4,12}(\d\d)")
_KEY = re.compile(r"\b(?:sk-|Bearer )[A-Za-z0-9_\-.]{6,}")


class _Stderr:
    """Whatever `sys.stderr` is at the moment of a line: loggers are kept for good, streams may be exchanged."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def mask(text: str) -> str:
    """The text without phone numbers and keys."""
    return _KEY.sub("[key]", _PHONE.sub(r"+…\1", text))


def _masked(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


def configure(log_format: str) -> None:
    """Set up the log of this process: "json", "text", or "" (text on a terminal only)."""
    text = log_format == "text" or (not log_format and sys.stderr.isatty())
    transformer = ExceptionDictTransformer(show_locals=False)  # locals hold keys and numbers
    tail: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if text
        else [
            structlog.processors.ExceptionRenderer(transformer),
            _masked,
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _masked,
            *tail,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,  # lines are few; a test may configure the log anew
    )
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # their INFO lines hold phone numbers in URLs
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
