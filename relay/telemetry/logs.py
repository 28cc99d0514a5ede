"""Writes the log: one line for each event. LOG_FORMAT chooses JSON or text. By default, only a terminal gets text.

No line contains audio, keys, words of callers, or whole phone numbers.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog

# Finds a phone number in a text that we did not write, such as an error or a URL. Only the last two digits of the
# number are shown.
_PHONE = re.compile(r"(?:\+|%2[Bb])[1-9](?:[ ().-]{0,2}\d){4,12}[ ().-]{0,2}(\d)[ ().-]?(\d)")
_KEY = re.compile(r"\b(?:sk-|Bearer )[A-Za-z0-9_\-.]{6,}")
_PASSWORD = re.compile(r"(?<=://)[^/\s]+@")
_IN_QUERY = re.compile(r"([?&][\w-]*(?:key|token|secret|password)=)[^&\s]+", re.IGNORECASE)

# Errors whose messages are logged, because they come from the system or name parts of the code. The message of any
# other error may quote a caller, as KeyError and ValueError do. Of any other error, the log shows only the type and the
# traceback.
_SAFE_MESSAGES = (AssertionError, AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
_WITHHELD = "(the message is left out, because it may quote a caller)"
# The most frames of a traceback. After an endless recursion there would be a thousand.
_FRAMES = 30


class _Stderr:
    """Looks up `sys.stderr` at each write, because tests replace `sys.stderr` while loggers stay the same.

    If the disk is full, or the reader of the pipe has ended, the line is lost and calls go on.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _FromLibraries(logging.Handler):
    """Writes the log lines of libraries in the form of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        tell = structlog.get_logger().error if record.levelno >= logging.ERROR else structlog.get_logger().warning
        error = record.exc_info[1] if record.exc_info else None
        tell("library.said", logger=record.name, words=record.getMessage(), **({"exc_info": error} if error else {}))


def mask(text: str) -> str:
    """The text without whole phone numbers, keys, and passwords in URLs."""
    return _IN_QUERY.sub(r"\1…", _PASSWORD.sub("…@", _KEY.sub("[key]", _PHONE.sub(r"+…\1\2", text))))


def _masked(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


def _with_trace(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the error of a log line by its text."""
    error = event.pop("exc_info", None)
    error = sys.exc_info()[1] if error is True else error
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_as_text(error, set()))
    return event


def _as_text(error: BaseException, seen: set[int]) -> Iterator[str]:
    """The lines of an error: its traceback without values, and its type.

    The message is added only if it cannot contain a caller's words.
    """
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _as_text(before, seen)
        yield "and then:"
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
    yield f"{type(error).__name__}: {error if isinstance(error, _SAFE_MESSAGES) else _WITHHELD}"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, 1):
            yield f"error {number} of this group:"
            yield from (f"  {line}" for line in _as_text(inner, seen))


_listeners: list[Callable[[Mapping[str, object]], None]] = []


@contextmanager
def listening(saw: Callable[[Mapping[str, object]], None]) -> Iterator[None]:
    """While the block runs, `saw` is called with each log line."""
    _listeners.append(saw)
    try:
        yield
    finally:
        _listeners.remove(saw)


def _listened(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for saw in _listeners:
        try:
            saw(line)
        except Exception as error:  # A bug in a listener must not become an error of the code that logs.
            line["listener_broke"] = type(error).__name__
    return line


def configure(log_format: str) -> None:
    """Set up the log of this process: "json", "text", or "" (text on a terminal only)."""
    on_terminal = sys.stderr.isatty()
    text = log_format == "text" or (not log_format and on_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_trace,
            _masked,
            _listened,
            structlog.dev.ConsoleRenderer(colors=on_terminal) if text else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr())),
        # The loggers are not cached, because a test may configure the log again. A call writes few lines, so this costs
        # little time.
        cache_logger_on_first_use=False,
    )
    for noisy in ("httpx", "httpcore"):
        # INFO lines of these loggers contain URLs with phone numbers.
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()])
