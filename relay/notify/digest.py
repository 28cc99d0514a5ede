"""The day's letter, by choice (NOTIFY_DIGEST): what need not be known at once comes once a day, in one mail (pure).

A day's letter has one id, by its date in the business's zone. What it holds is settled when it is made: sent twice, it
is the same letter. Messages, call backs and alarms never wait for it, and neither do webhooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

HELD_KINDS = ("booking", "fault")


@dataclass(frozen=True, slots=True)
class Digest:
    """When the day's letter is made."""

    at: time
    tz: tzinfo
    utc_now: Callable[[], datetime]

    @classmethod
    def of(cls, setting: str, tz: tzinfo, utc_now: Callable[[], datetime]) -> Digest | None:
        """From NOTIFY_DIGEST: "off", or a time like 18:00."""
        return None if setting == "off" else cls(time.fromisoformat(setting), tz, utc_now)

    def last(self) -> tuple[str, datetime]:
        """The id of the letter that was due last, and when that was: it holds what is older."""
        now = self.utc_now().astimezone(self.tz)
        due = datetime.combine(now.date(), self.at, self.tz)
        if due > now:
            due = datetime.combine(now.date() - timedelta(days=1), self.at, self.tz)
        return f"digest.{due.date()}", due

    def next_in_s(self) -> float:
        """Seconds until the next one is due."""
        now = self.utc_now()
        day = self.last()[1].date() + timedelta(days=1)
        return max(0.0, datetime.combine(day, self.at, self.tz).timestamp() - now.timestamp())
