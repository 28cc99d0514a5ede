"""Defines the answers of the business backend as types, and decides what a different answer means (pure).

Additional keys are allowed. Wrong types, missing keys and times without offset are a `BackendFault` that says so.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from relay.functions.outcome import at_a_word

Aware = Annotated[dt.datetime, msgspec.Meta(tz=True)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | int
T = TypeVar("T")
WORDS_LIMIT: Final = 300  # Characters of a sentence of the backend.
_LONG_NUMBER = re.compile(r"\+\d[\d ().-]{5,}\d|\d{7,}|\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# A code is one word. The word cannot be a person's name: it has an underscore, a point, a digit, or a capital inside.
_CODE = re.compile(r"\d{1,6}|[a-z]+(?:[_.-][a-z0-9]+)+|[A-Z]+(?:_[A-Z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+")
_WHY = ("message", "error", "errors", "detail", "details", "msg", "title", "description", "error_description", "reason")
_DEPTH = 4
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class BackendFault(Exception):
    """The backend gave no usable answer.

    `words` are for the operator and hold no phone number. `told` is for the model. `may_have_happened`: the answer to a
    write was lost, and only a repeat with the same Idempotency-Key can tell whether it was done. `passing`: another
    attempt may succeed, after `retry_after_s` if the backend names a time. `reason` has the backend's own words. These
    words may quote a caller. So they go to the model and into rows that may hold words, never into the log.
    """

    def __init__(
        self,
        words: str,
        *,
        told: str = "The booking system did not answer.",
        may_have_happened: bool = False,
        passing: bool = False,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(words)
        self.words = words
        self.told = told
        self.may_have_happened = may_have_happened
        self.passing = passing
        self.reason = reason
        self.retry_after_s = retry_after_s


class Refused(BackendFault):
    """The backend understood, and refused (4xx). Nothing was done, and the same request would be refused again.

    `told` is the reason in words for the caller, if the backend gives one. A refusal with a reason is not a fault.
    """

    def __init__(self, words: str, status: int, told: str = "", reason: str = "") -> None:
        super().__init__(words, told=told or "The booking system refused this.", reason=reason)
        self.status = status
        self.is_explained = bool(told)


class Taken(Exception):
    """409: the time is not free. `alternatives` are times that are free. `why` is a sentence for the caller, or ""."""

    def __init__(self, alternatives: list[dt.datetime], why: str = "") -> None:
        super().__init__("the time is taken")
        self.alternatives = alternatives
        self.why = why


class Hours(msgspec.Struct):
    """One day. `open` and `close` are as the backend writes them: a time with offset, or a local `11:00`."""

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


# "9:00", "09:00:00", "9 AM", "9:30pm", "16:00Z", "16:00+00:00"
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::\d{2}(?:\.\d+)?)?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?|(?P<offset>Z|[+-]\d{2}:?\d{2}))?",
    re.IGNORECASE,
)


def clock(text: str, tz: dt.tzinfo | None = None, day: dt.date | None = None) -> dt.time:
    """The time of day in `11:00`, `9 AM`, `16:00Z` or `2026-11-24T16:00:00Z`. With an offset it is converted to `tz`.

    `day` is used to convert a time with an offset but without a date. Raises a ValueError that does not quote the text.
    """
    date, separator, time = text.strip().rpartition("T") if "T" in text else ("", "", text.strip())
    match = _CLOCK.fullmatch(time)
    if match is None or not (match["minute"] or match["half"]):
        raise ValueError("is no time of day")
    try:
        at = _moment(match, dt.date.fromisoformat(date) if separator else day or dt.date(2000, 1, 1))
    except ValueError:
        raise ValueError("is no time of day") from None
    return at.time() if tz is None or at.tzinfo is None else at.astimezone(tz).time()


def _moment(match: re.Match[str], day: dt.date) -> dt.datetime:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    if (hour, minute) == (24, 0):
        hour = 0  # 24:00 is the end of a day in ISO 8601. Python does not read it.
    offset = (match["offset"] or "").upper().replace("Z", "+00:00")
    return dt.datetime.fromisoformat(f"{day.isoformat()}T{hour:02}:{minute:02}{offset}")


class Appointment(msgspec.Struct):
    """A booked appointment. `with` is the person who does it, if the backend gives one."""

    id: Id
    start: Aware
    service: str = ""
    who: str = msgspec.field(default="", name="with")
    name: str | None = None  # the name on the booking, if the backend gives it


class Caller(msgspec.Struct):
    """What the business knows of a number. `verified`: it is sure who calls from this number. `id` names the person."""

    id: Id | None = None
    name: str | None = None
    verified: bool = False
    notes: str | None = None


class Alternatives(msgspec.Struct):
    """Times that are free, and why the time that was asked for is not."""

    alternatives: list[Any] | None = None
    why: str = ""


class _Error(msgspec.Struct):
    told: str = ""


@dataclass(frozen=True)
class Answer:
    """A status and its body (limited in size). `writes`: the request was a write.

    `was_lost`: an earlier attempt of this write got no answer and may have been done. Then a 4xx does not count as a
    refusal: it may say that there is nothing left to do.
    """

    route: str
    status: int
    body: bytes
    writes: bool
    was_lost: bool = False
    retry_after_s: float | None = None

    def raise_for_fault(self) -> None:
        """Raises BackendFault for 5xx, 3xx, and answers that ask to wait."""
        if self.status >= 500 or self.status in (408, 425, 429):
            raise BackendFault(
                self._words(),
                may_have_happened=self.writes and self.status >= 500,
                passing=True,
                reason=self.reason(),
                retry_after_s=self.retry_after_s,
            )
        if not (200 <= self.status < 300 or 400 <= self.status < 500):
            words = f"{self.route} answered {self.status}, which is not followed: correct BUSINESS_API_BASE"
            raise BackendFault(words, may_have_happened=self.writes)

    def accept(self) -> None:
        """Raises Taken for a write's 409, Refused for any other 4xx. After a lost attempt: BackendFault."""
        if self.status < 400:
            return
        if self.was_lost:
            words = f"{self._words()}, after an attempt whose answer was lost"
            told = "It is not known whether the first attempt was carried out."
            raise BackendFault(words, told=told, may_have_happened=True)
        if self.status == 409 and self.writes:
            raise self._taken()
        raise Refused(self._words(), self.status, self._told(), self.reason())

    def gone(self) -> None:
        """Accept the answer to a request that ends something.

        The thing may have ended already, by an attempt whose answer was lost.
        """
        if not (self.was_lost and self.status in (404, 410)):
            self.accept()

    def typed(self, kind: type[T]) -> T:
        """The accepted body as `kind`."""
        self.accept()
        try:
            return msgspec.json.decode(self.body, type=kind)
        except _UNREADABLE as error:
            raise self._not_agreed(str(error)) from None

    def caller(self) -> Caller | None:
        """The person that the business knows by this number. "Nobody" may be 404, 204, null, [] or {}."""
        if self.status == 404 or self._is_nothing():
            return None
        return self.typed(Caller)

    def appointments(self) -> tuple[list[Appointment], int]:
        """The appointments of a number, and how many of them could not be read.

        No appointments may be written in the forms that `caller` accepts.
        """
        if self.status == 404 or self._is_nothing():
            return [], 0
        raw = self.typed(object)
        listed = raw.get("appointments", ()) if isinstance(raw, dict) else raw
        return self._each([] if listed is None else listed, Appointment, "appointments")

    def slots(self) -> tuple[list[dt.datetime], int]:
        """Free starts, and how many of them could not be read."""
        raw = self.typed(object)
        read, odd = self._each(raw.get("slots") if isinstance(raw, dict) else None, Aware, "slots")
        return read, odd

    def _each(self, listed: object, kind: Any, name: str) -> tuple[list[Any], int]:
        """The elements of a list that can be read. Wrong elements are left out.

        A list with only wrong elements is a fault.
        """
        if not isinstance(listed, list):
            raise self._not_agreed(f"no list of `{name}`")
        read, why = _read(listed, kind)
        if listed and not read:
            raise self._not_agreed(f"`{name}`: {why}")
        return read, len(listed) - len(read)

    def _is_nothing(self) -> bool:
        return self.status < 300 and self.body.strip() in (b"", b"null", b"[]", b"{}")

    def _not_agreed(self, why: str) -> BackendFault:
        words = f"{self.route} answered {self.status}, but not as agreed: {at_a_word(why, 200)}"
        return BackendFault(words, may_have_happened=self.writes)

    def _taken(self) -> Taken:
        """The exception for a 409, with the free times that it names.

        A 409 is a refusal, even if its body cannot be read. A 409 is never a fault.
        """
        try:
            instead = msgspec.json.decode(self.body, type=Alternatives)
            return Taken(_read(instead.alternatives or [], Aware)[0], at_a_word(instead.why, WORDS_LIMIT))
        except _UNREADABLE:
            return Taken([])

    def _told(self) -> str:
        """The backend's words for the caller. "" if there are none."""
        try:
            return at_a_word(msgspec.json.decode(self.body, type=_Error).told, WORDS_LIMIT)
        except _UNREADABLE:
            return ""

    def _words(self) -> str:
        """What happened, for the log. The text has none of the backend's words, because they may quote a caller.

        Only a code of one word is allowed.
        """
        code = error_code(self.body)
        return f"{self.route} answered {self.status}" + (f" ({code})" if code else "")

    def reason(self) -> str:
        """The backend's own words without numbers and addresses of people. "" if there are none."""
        words = _ADDRESS.sub("<address>", _LONG_NUMBER.sub("<number>", " ".join(error_words(self.body).split())))
        return at_a_word(words, 200)


def _read(listed: list[Any], kind: Any) -> tuple[list[Any], str]:
    """The elements of this type, and why the last wrong one is wrong."""
    read: list[Any] = []
    why = ""
    for each in listed:
        try:
            read.append(msgspec.convert(each, kind))
        except (msgspec.ValidationError, RecursionError) as error:
            why = str(error)
    return read, why


def error_words(body: bytes) -> str:
    """The reason in an error body, in the forms of several frameworks. "" if there is none.

    {"error": "…"} (ours)   {"detail": "…"} and {"detail": [{"loc", "msg"}]} (FastAPI)   {"message", "errors": {field:
    ["…"]}} (Laravel)   {"error": {"code", "message"}} (Cal.com)   {"title", "detail"} (RFC 9457)   {"errors": [{…}]}.
    """
    try:
        said = msgspec.json.decode(body)
    except _UNREADABLE:
        return ""
    return "; ".join(dict.fromkeys(_words_of(said)))


def _words_of(said: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(said, str):
        yield from filter(None, [said.strip()])
    elif depth < _DEPTH and isinstance(said, list):
        for each in said[:5]:
            yield from _words_of(each, depth + 1)
    elif depth < _DEPTH and isinstance(said, dict):
        known = [said[name] for name in _WHY if said.get(name)]
        field = said.get("loc")
        for words in (each for value in known for each in _words_of(value, depth + 1)):
            yield f"{field[-1]}: {words}" if isinstance(field, list) and field else words
        if not known and depth:  # Laravel's {field: ["…"]}
            for value in list(said.values())[:5]:
                yield from _words_of(value, depth + 1) if isinstance(value, list) else ()


def error_code(body: bytes) -> str:
    """The code of an error, such as `validation_error`. "" if there is none."""
    try:
        said = msgspec.json.decode(body)
    except _UNREADABLE:
        return ""
    tables = [table for table in (said, said.get("error")) if isinstance(table, dict)] if isinstance(said, dict) else []
    codes = (
        str(table[name]) for table in tables for name in ("code", "type") if isinstance(table.get(name), str | int)
    )
    return next((code for code in codes if _CODE.fullmatch(code)), "")


def segment(text: str) -> str:
    """A phone number or id as one part of a path. Raises BackendFault if escaping cannot make it safe."""
    if text in ("", ".", ".."):
        raise BackendFault(f"{text!r} cannot stand in a path")
    return quote(text, safe="", errors="replace")
