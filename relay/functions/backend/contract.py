"""What the business backend may answer (DESIGN 6), as types; and what it means when it answers otherwise (pure).

Keys beyond these are fine. Wrong types, missing keys and times without offset are a `BackendFault` in words.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar
from urllib.parse import quote

import msgspec

from relay.functions.results import at_a_word

Aware = Annotated[dt.datetime, msgspec.Meta(tz=True)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | int
T = TypeVar("T")
WORDS_LIMIT: Final = 300  # characters of a backend's own sentence
_LONG_NUMBER = re.compile(r"\+?\d{7,}")
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class BackendFault(Exception):
    """The backend gave no usable answer.

    `words` are for the operator and hold no phone number, `told` is for the model. `may_have_happened`: a write whose
    answer is lost; only a repeat with the same Idempotency-Key can tell. `passing`: a second attempt may succeed.
    """

    def __init__(
        self,
        words: str,
        *,
        told: str = "The booking system did not answer.",
        may_have_happened: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(words)
        self.words = words
        self.told = told
        self.may_have_happened = may_have_happened
        self.passing = passing


class Refused(BackendFault):
    """The backend understood and said no (4xx): nothing was done, and asking again changes nothing.

    `told`: the reason in words that the caller can be told, where the backend gives one; then nothing is broken.
    """

    def __init__(self, words: str, status: int, told: str = "") -> None:
        super().__init__(words, told=told or "The booking system refused this.")
        self.status = status
        self.is_explained = bool(told)


class Taken(Exception):
    """409: the time is not free; `alternatives` are. `why` is a sentence for the caller, "" where there is none."""

    def __init__(self, alternatives: list[dt.datetime], why: str = "") -> None:
        super().__init__("the time is taken")
        self.alternatives = alternatives
        self.why = why


class Hours(msgspec.Struct):
    """One day. `open` and `close` as the backend writes them: a time with offset, or a bare local `11:00`."""

    timezone: str = ""
    open: str | None = None
    close: str | None = None
    closed: bool = False
    notes: str | None = None

    def __post_init__(self) -> None:
        for text in (self.open, self.close):
            if text is not None:
                clock(text)  # msgspec turns its ValueError into a fault that names the place
        if not self.closed and not (self.open and self.close):
            raise ValueError("a day that is not closed needs `open` and `close`")


def clock(text: str, tz: dt.tzinfo | None = None) -> dt.time:
    """The time of day in `11:00` or `2026-11-24T16:00:00Z`; one with an offset is told in `tz`. Raises ValueError."""
    text = re.sub(r"(^|T)24:00", r"\g<1>00:00", text)  # ISO 8601's end of a day, which Python does not read
    if "T" not in text:
        return dt.time.fromisoformat(text)
    at = dt.datetime.fromisoformat(text)
    return at.time() if tz is None or at.tzinfo is None else at.astimezone(tz).time()


class Appointment(msgspec.Struct):
    """An appointment on the books; `with` whom, where that is a person."""

    id: Id
    start: Aware
    service: str = ""
    who: str = msgspec.field(default="", name="with")
    name: str | None = None  # in which it was booked, where the backend tells it


class Caller(msgspec.Struct):
    """What the business knows of a number. `verified`: it vouches for who calls from there."""

    name: str | None = None
    verified: bool = False
    notes: str | None = None


class Slots(msgspec.Struct):
    """Starts that are free."""

    slots: list[Aware]


class Alternatives(msgspec.Struct):
    """Starts that are free instead, and why the one asked for is not."""

    alternatives: list[Aware] = []
    why: str = ""


class Appointments(msgspec.Struct):
    """All coming appointments of one number."""

    appointments: list[Appointment]


class _Error(msgspec.Struct):
    error: str = ""
    told: str = ""


@dataclass(frozen=True)
class Answer:
    """A status and its bounded body, to a request that `writes` or not."""

    route: str
    status: int
    body: bytes
    writes: bool

    def raise_for_fault(self) -> None:
        """Raises BackendFault for 5xx, 3xx, and what asks for patience."""
        if self.status >= 500 or self.status in (408, 425, 429):
            words = f"{self.route} answered {self.status}: {self.error()}"
            raise BackendFault(words, may_have_happened=self.writes and self.status >= 500, passing=True)
        if not (200 <= self.status < 300 or 400 <= self.status < 500):
            words = f"{self.route} answered {self.status}, which is not followed: correct BUSINESS_API_BASE"
            raise BackendFault(words, may_have_happened=self.writes)

    def accept(self) -> None:
        """Raises Taken for a write's 409, Refused for any other 4xx."""
        if self.status == 409 and self.writes:
            instead = self._alternatives()
            raise Taken(instead.alternatives, at_a_word(instead.why, WORDS_LIMIT))
        if self.status >= 400:
            raise Refused(f"{self.route} answered {self.status}: {self.error()}", self.status, self._told())

    def typed(self, kind: type[T]) -> T:
        """The accepted body as `kind`."""
        self.accept()
        try:
            return msgspec.json.decode(self.body, type=kind)
        except _UNREADABLE as error:
            words = f"{self.route} answered {self.status}, but not as agreed: {at_a_word(str(error), 200)}"
            raise BackendFault(words, may_have_happened=self.writes) from None

    def _alternatives(self) -> Alternatives:
        """The free times that a 409 names. It is a no whatever its body is, and nothing that broke."""
        try:
            return msgspec.json.decode(self.body, type=Alternatives)
        except _UNREADABLE:
            return Alternatives()

    def _told(self) -> str:
        """The backend's words for the caller, if it gave any."""
        try:
            return at_a_word(msgspec.json.decode(self.body, type=_Error).told, WORDS_LIMIT)
        except _UNREADABLE:
            return ""

    def error(self) -> str:
        """The backend's own words, if it gave any; a number that may be a caller's is no matter for the log."""
        try:
            words = msgspec.json.decode(self.body, type=_Error).error
            return at_a_word(_LONG_NUMBER.sub("<number>", words), 200) or "no words"
        except _UNREADABLE:
            return "no words"


def segment(text: str) -> str:
    """A phone number or id as one path segment. Raises BackendFault for what no escaping can make safe."""
    if text in ("", ".", ".."):
        raise BackendFault(f"{text!r} cannot stand in a path")
    return quote(text, safe="", errors="replace")
