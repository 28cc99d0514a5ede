"""Turns the query of a URL into a search for calls, and a search into SQL conditions or into a link. Pure.

A field of the query that cannot be understood (a day, a number of cents, the place of the next page) is ignored, and
the console shows a text about it. So an old or mistyped link still shows calls.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import urlencode

from psycopg.sql import SQL, Composed

from relay.console.wording import SLOW_MS

PAGE = 25
_SID = re.compile(r"(?:CA|TC)[0-9a-fA-F]{4,32}")  # The SID, or its beginning, of a phone call (CA) or a test call (TC)
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
OUTCOME_WORDS = ("booked", "moved", "cancelled", "message_taken", "informed", "talked", "unverified")


@dataclass(frozen=True)
class Question:
    """What to search for. A search with only empty fields finds all calls except test calls.

    `after` is the last call of the previous page.
    """

    q: str = ""
    day: str = ""
    outcome: str = ""
    end: str = ""
    function: str = ""
    slow: str = ""
    cost: str = ""
    heard: str = ""
    tests: str = ""  # "yes" finds only test calls from the page "Talk to it".
    after: str = ""
    odd: tuple[str, ...] = field(default=(), compare=False)  # Texts about fields that were not understood.

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Question:
        """Make a Question from the values in the URL's query."""
        values = {name: asked.get(name, "").strip()[:200] for name in _NAMES}
        odd = []
        if values["day"] and _day(values["day"]) is None:
            odd.append(f"“{values.pop('day')}” is not a day")
        if values["cost"] and _cents(values["cost"]) is None:
            odd.append(f"“{values.pop('cost')}” is not a number of cents")
        if values["after"] and _after(values["after"]) is None:
            odd.append(f"“{values.pop('after')}” is not a page")
        return cls(**values, odd=tuple(odd))

    @property
    def is_everything(self) -> bool:
        """True if no field limits the search."""
        return not any(getattr(self, name) for name in _NAMES if name != "after")

    def link(self, **changes: str) -> str:
        """The query string of this search, with some fields changed. It starts with "?".

        The link leads to the first page of the list. With `after` in `changes`, it leads to the page after that call.
        """
        asked = {name: getattr(self, name) for name in _NAMES} | {"after": ""} | changes
        return "?" + urlencode({name: value for name, value in asked.items() if value})

    def conditions(self, tz: dt.tzinfo) -> tuple[Composed, dict[str, object]]:
        """SQL conditions for the tables calls (c), call_outcomes (o) and reviews (r), and the values of their
        parameters."""
        # Test calls are left out, except in a search by SID and in a search for test calls.
        is_one = bool(_SID.fullmatch(self.q))
        tests = SQL("true" if is_one else "c.is_test" if self.tests == "yes" else "c.is_test is not true")
        found, values = [SQL("c.started_at is not null"), tests], dict[str, object]()
        for condition, more in (self._words(), self._day(tz), self._facts()):
            found += condition
            values |= more
        return SQL(" and ").join(found), values

    def _words(self) -> tuple[list[SQL], dict[str, object]]:
        if not self.q:
            return [], {}
        if _SID.fullmatch(self.q):
            return [SQL("c.call_sid ilike %(sid)s")], {"sid": f"{self.q}%"}
        digits = re.sub(r"\D", "", self.q)
        if len(digits) >= 3 and not re.search(r"[^\W\d_]", self.q):
            return [SQL("c.from_number like %(digits)s")], {"digits": f"%{digits}%"}
        words = _WORD.findall(self.q.lower())
        if not words:
            return [SQL("false")], {}
        # Each word may be the beginning of a longer word, so that results appear while the owner still types.
        return [
            SQL(
                "c.call_sid in ("
                "select call_sid from transcripts where to_tsvector('simple', coalesce(heard, '') || ' ' || "
                "coalesce(said, '')) @@ to_tsquery('simple', %(words)s) union all "
                "select call_sid from function_calls where to_tsvector('simple', coalesce(arguments, '{}'::jsonb)) @@ "
                "to_tsquery('simple', %(words)s) union all "
                "select call_sid from messages where to_tsvector('simple', coalesce(name, '') || ' ' || "
                "coalesce(text, '')) @@ to_tsquery('simple', %(words)s))"
            )
        ], {"words": " & ".join(f"{word}:*" for word in words)}

    def _day(self, tz: dt.tzinfo) -> tuple[list[SQL], dict[str, object]]:
        day = _day(self.day)
        if day is None:
            return [], {}
        since = dt.datetime.combine(day, dt.time(), tz)
        until = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tz)
        return [SQL("c.started_at >= %(since)s and c.started_at < %(until)s")], {"since": since, "until": until}

    def _facts(self) -> tuple[list[SQL], dict[str, object]]:
        found, values = [], dict[str, object]()
        if self.outcome:
            found.append(SQL("string_to_array(replace(o.outcome, ' ', ','), ',') @> array[%(outcome)s]"))
            values["outcome"] = self.outcome
        if self.end == "fault":
            found.append(SQL("o.fault is not null"))
        elif self.end:
            found.append(SQL("o.end_reason = %(end)s"))
            values["end"] = self.end
        if self.function:
            found.append(
                SQL("exists (select from function_calls f where f.call_sid = c.call_sid and f.name = %(function)s)")
            )
            values["function"] = self.function
        if self.slow:
            found.append(SQL("o.latency_p95_ms > %(slow_ms)s"))
            values["slow_ms"] = SLOW_MS
        if (cents := _cents(self.cost)) is not None:
            found.append(SQL("o.cost_usd >= %(usd)s"))
            values["usd"] = cents / 100
        if self.heard == "no":
            found.append(SQL("r.verdict is null"))
        elif self.heard in ("good", "bad"):
            found.append(SQL("r.verdict = %(verdict)s"))
            values["verdict"] = self.heard
        return found, values

    def beyond(self) -> tuple[SQL, dict[str, object]]:
        """The condition for the next page: the calls after `after` in the list."""
        after = _after(self.after)
        if after is None:
            return SQL("true"), {}
        return SQL("(c.started_at, c.call_sid) < (%(after_at)s, %(after_sid)s)"), {
            "after_at": after[0],
            "after_sid": after[1],
        }


_NAMES = tuple(one.name for one in fields(Question) if one.name != "odd")


def key_of(started_at: dt.datetime, call_sid: str) -> str:
    """The value of `after` for this call, for the link to the next page."""
    return f"{started_at.astimezone(dt.UTC).isoformat()}~{call_sid}"


def _after(text: str) -> tuple[dt.datetime, str] | None:
    moment, _, sid = text.partition("~")
    try:
        at = dt.datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (at, sid) if sid and at.tzinfo is not None else None


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        return None


def _cents(text: str) -> float | None:
    try:
        cents = float(text) if text else None
    except ValueError:
        return None
    return cents if cents is not None and 0 <= cents < 1e9 else None
