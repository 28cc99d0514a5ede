"""The log: one line for each event. A line is JSON, except on a terminal.

It never holds audio, keys, words or phone numbers.
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

# A phone number in a text from elsewhere, such as an error or a URL. Only its last two digits are shown.
_PHONE = re.compile(r"(?:\+|%2[Bb])[1-9](?:[ ().-]{0,2}\d){4,12}[ ().-]{0,2}(\d)[ ().-]?(\d)")
_KEY = re.compile(r"\b(?:sk-|Bearer )[A-Za-z0-9_\-.]{6,}")
_PASSWORD = re.compile(r"(?<=://)[^/\s]+@")
_IN_QUERY = re.compile(r"([?&][\w-]*(?:key|token|secret|password)=)[^&\s]+", re.IGNORECASE)

# The messages of these errors come from the system, or name parts of the code. Any other message may quote a caller, as
# KeyError and ValueError do. For such errors, the log shows only the type and the place.
_TELL_NO_TALES = (AssertionError, AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
_WITHHELD = "(the message is left out, because it may quote a caller)"
# After an endless recursion, the last calls are enough.
_FRAMES = 30


class _Stderr:
    """`sys.stderr` as it is when a line is written. Loggers live long, and tests replace the stream.

    If the disk is full, or nobody reads the pipe, the line is lost and calls go on.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _FromLibraries(logging.Handler):
    """Writes what libraries log in the form of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        tell = structlog.get_logger().error if record.levelno >= logging.ERROR else structlog.get_logger().warning
        error = record.exc_info[1] if record.exc_info else None
        tell("library.said", logger=record.name, words=record.getMessage(), **({"exc_info": error} if error else {}))


def mask(text: str) -> str:
    """The text with phone numbers, keys, and passwords in URLs hidden."""
    return _IN_QUERY.sub(r"\1…", _PASSWORD.sub("…@", _KEY.sub("[key]", _PHONE.sub(r"+…\1\2", text))))


def _masked(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


def _with_trace(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write the error of a line as text."""
    error = event.pop("exc_info", None)
    error = sys.exc_info()[1] if error is True else error
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_told(error, set()))
    return event


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    """The place and the type of an error, without values.

    The message is added only if it cannot hold a caller's words.
    """
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "and then:"
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
    yield f"{type(error).__name__}: {error if isinstance(error, _TELL_NO_TALES) else _WITHHELD}"
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, 1):
            yield f"error {number} of this group:"
            yield from (f"  {line}" for line in _told(inner, seen))


_listeners: list[Callable[[Mapping[str, object]], None]] = []


@contextmanager
def listening(saw: Callable[[Mapping[str, object]], None]) -> Iterator[None]:
    """While the block runs, `saw` gets each line as it is written."""
    _listeners.append(saw)
    try:
        yield
    finally:
        _listeners.remove(saw)


def _listened(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for saw in _listeners:
        saw(line)
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
        cache_logger_on_first_use=False,  # There are few lines, and a test may configure the log again.
    )
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # INFO lines of these loggers hold phone numbers in URLs.
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()])
