"""Defines the answers of the business's backend as types, and decides what any other answer means.

Unknown keys are ignored. A wrong type, a missing key or a time without offset is a `BackendFault` that says so. In a
list, an element with such a mistake is left out. The times in `Hours` need no offset.
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
WORDS_LIMIT: Final = 300  # A sentence of the backend is shortened to this many characters.
_LONG_NUMBER = re.compile(r"\+\d[\d ().-]{5,}\d|\d{7,}|\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# An error code is a number, words with underscores in small or in capital letters, or the name of an exception. A text
# in any other form may be a name ("jean-luc", "McDonald", "Missing.JohnSmith").
_CODE = re.compile(
    r"\d{1,6}|[a-z]+(?:_[a-z0-9]+)+|[A-Z]+(?:_[A-Z0-9]+)+|(?:[A-Z][A-Za-z0-9]*)?(?:Error|Exception|Failure|Fault)"
)
_CODE_CHARS = 60  # Longer codes are not logged.
_CODE_DIGITS = 6  # A code with more digits may have a phone number in it.
_WHY = ("message", "error", "errors", "detail", "details", "msg", "title", "description", "error_description", "reason")
_DEPTH = 4
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class BackendFault(Exception):
    """The backend gave no usable answer.

    `words`: for the operator, without phone numbers. `told`: for the model. `may_have_happened`: the answer to a write
    was lost, and only a repeat with the same Idempotency-Key can show whether it was done. `passing`: another attempt
    may succeed, after `retry_after_s` if the backend names a time. `reason`: the backend's own words. They may quote a
    caller. So they go to the model and into rows that may hold the caller's words, but never into the log.
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
    """The backend has understood the request and refused it (4xx). Nothing was done.

    The same request would be refused again. `told`: the reason in words for the caller, if the backend gives one. A
    refusal is not counted as a fault of the backend.
    """

    def __init__(self, words: str, status: int, told: str = "", reason: str = "") -> None:
        super().__init__(words, told=told or "The booking system refused this.", reason=reason)
        self.status = status
        self.is_explained = bool(told)


class Taken(Exception):
    """409: this time is not free. `alternatives`: times that are free. `why`: a sentence for the caller, or ""."""

    def __init__(self, alternatives: list[dt.datetime], why: str = "") -> None:
        super().__init__("the time is taken")
        self.alternatives = alternatives
        self.why = why


class Hours(msgspec.Struct):
    """The hours of one day. `open` and `close` have the backend's form: a time with offset, or a local `11:00`."""

    timezone: str = ""
    open: str | None = None
    close: str | None = None
    closed: bool = False
    notes: str | None = None

    def __post_init__(self) -> None:
        for text in (self.open, self.close):
            if text is not None:
                clock(text)  # `clock` raises ValueError, and msgspec makes a ValidationError of it.
        if not self.closed and not (self.open and self.close):
            raise ValueError("a day that is not closed needs `open` and `close`")


# "9:00", "09:00:00", "9 AM", "9:30pm", "16:00Z", "16:00+00:00"
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::\d{2}(?:\.\d+)?)?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?|(?P<offset>Z|[+-]\d{2}:?\d{2}))?",
    re.IGNORECASE,
)


def clock(text: str, tz: dt.tzinfo | None = None, day: dt.date | None = None) -> dt.time:
    """The time of day in a text such as `11:00`, `9 AM`, `16:00Z` or `2026-11-24T16:00:00Z`.

    A time with offset is converted to `tz`; if it has no date, `day` is its date. Raises ValueError, which does not
    quote the text.
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
        hour = 0  # In ISO 8601, 24:00 is the end of a day. Python cannot read it.
    offset = (match["offset"] or "").upper().replace("Z", "+00:00")
    return dt.datetime.fromisoformat(f"{day.isoformat()}T{hour:02}:{minute:02}{offset}")


class Appointment(msgspec.Struct):
    """A booked appointment. `who` (`with` in the JSON) is the person who does the work, if the backend names one."""

    id: Id
    start: Aware
    service: str = ""
    who: str = msgspec.field(default="", name="with")
    name: str | None = None  # The name on the booking, if the backend gives it.


class Caller(msgspec.Struct):
    """What the business knows about a number.

    `verified`: the business is sure who calls from this number. `id`: the id of that person.
    """

    id: Id | None = None
    name: str | None = None
    verified: bool = False
    notes: str | None = None


class Alternatives(msgspec.Struct):
    """Other times that are free, and why the wanted time is not."""

    alternatives: list[Any] | None = None
    why: str = ""


class _Error(msgspec.Struct):
    told: str = ""


@dataclass(frozen=True)
class Answer:
    """The status and the body of an answer. The body's size is limited.

    `writes`: the request was a write. `was_lost`: an earlier attempt of this write got no answer and may have been
    done. Then a 4xx does not count as a refusal, because the earlier attempt may have caused it.
    """

    route: str
    status: int
    body: bytes
    writes: bool
    was_lost: bool = False
    retry_after_s: float | None = None

    def raise_for_fault(self) -> None:
        """Raise BackendFault for 5xx, for 3xx, and for 408, 425 and 429."""
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
        """Raise Taken for a 409 of a write, and Refused for any other 4xx.

        If the answer to an earlier attempt was lost, any 4xx raises BackendFault.
        """
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
        """Check the answer to a DELETE.

        An earlier attempt whose answer was lost may have deleted the appointment. Then a 404 or 410 is a success.
        """
        if not (self.was_lost and self.status in (404, 410)):
            self.accept()

    def typed(self, kind: type[T]) -> T:
        """The body as this type, if the answer is a success."""
        self.accept()
        try:
            return msgspec.json.decode(self.body, type=kind)
        except _UNREADABLE as error:
            raise self._not_agreed(str(error)) from None

    def caller(self) -> Caller | None:
        """What the business knows about this number. The backend may say "nobody" by 404, 204, null, [] or {}."""
        if self.status == 404 or self._is_nothing():
            return None
        return self.typed(Caller)

    def appointments(self) -> tuple[list[Appointment], int]:
        """The appointments of a number, and how many of them could not be read.

        The backend may say "none" in the same ways as in `caller`.
        """
        if self.status == 404 or self._is_nothing():
            return [], 0
        raw = self.typed(object)
        listed = raw.get("appointments", ()) if isinstance(raw, dict) else raw
        return self._each([] if listed is None else listed, Appointment, "appointments")

    def slots(self) -> tuple[list[dt.datetime], int]:
        """Free times, and how many of them could not be read."""
        raw = self.typed(object)
        read, odd = self._each(raw.get("slots") if isinstance(raw, dict) else None, Aware, "slots")
        return read, odd

    def _each(self, listed: object, kind: Any, name: str) -> tuple[list[Any], int]:
        """The elements of a list that can be read. The others are left out.

        Raises BackendFault if `listed` is no list, or if it has elements and none of them can be read.
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
        """The exception for a 409, with the free times in it. A 409 is a refusal even if its body cannot be read."""
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
        """What happened, for the log.

        The text has no words of the backend, because these may quote a caller. Only an error code is repeated.
        """
        code = error_code(self.body)
        return f"{self.route} answered {self.status}" + (f" ({code})" if code else "")

    def reason(self) -> str:
        """The backend's own words, without phone numbers and e-mail addresses. "" if there are none."""
        words = _ADDRESS.sub("<address>", _LONG_NUMBER.sub("<number>", " ".join(error_words(self.body).split())))
        return at_a_word(words, 200)


def _read(listed: list[Any], kind: Any) -> tuple[list[Any], str]:
    """The elements that can be read as this type, and the error of the last one that cannot be read."""
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
        if not known and depth:  # Laravel writes {field: ["…"]}.
            for value in list(said.values())[:5]:
                yield from _words_of(value, depth + 1) if isinstance(value, list) else ()


def error_code(body: bytes) -> str:
    """The code of an error, such as `validation_error`.

    "other" if the backend's code may hold a caller's words. "" if there is no code.
    """
    try:
        said = msgspec.json.decode(body)
    except _UNREADABLE:
        return ""
    tables = [table for table in (said, said.get("error")) if isinstance(table, dict)] if isinstance(said, dict) else []
    codes = [str(table[name]) for table in tables for name in ("code", "type") if table.get(name)]
    return next(filter(_is_code, codes), "other" if codes else "")


def _is_code(text: str) -> bool:
    """True if this can only be a code. Otherwise it may be a caller's words, such as a name or a phone number."""
    digits = sum(each.isdigit() for each in text)
    return len(text) <= _CODE_CHARS and digits <= _CODE_DIGITS and bool(_CODE.fullmatch(text))


def segment(text: str) -> str:
    """A phone number or an id as one segment of a path. Raises BackendFault if no escaping makes it safe."""
    if text in ("", ".", ".."):
        raise BackendFault(f"{text!r} cannot stand in a path")
    return quote(text, safe="", errors="replace")
