"""Decides when the digest is due: one mail a day for news that can wait, if NOTIFY_DIGEST is set (pure).

A digest's id has its date in the business's time zone. The content of a digest does not change after it is made. So if
a digest is sent twice, both mails are the same. Messages, call backs and alarms never wait for the digest. News to a
webhook does not wait either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

HELD_KINDS = ("booking", "fault")


@dataclass(frozen=True, slots=True)
class Digest:
    """The time of day of the digest."""

    at: time
    tz: tzinfo
    utc_now: Callable[[], datetime]

    @classmethod
    def of(cls, setting: str, tz: tzinfo, utc_now: Callable[[], datetime]) -> Digest | None:
        """Read NOTIFY_DIGEST: "off", or a time like 18:00."""
        return None if setting == "off" else cls(time.fromisoformat(setting), tz, utc_now)

    def last(self) -> tuple[str, datetime]:
        """The id and the time of the latest digest that was due. The digest contains the news from before this time."""
        now = self.utc_now().astimezone(self.tz)
        due = datetime.combine(now.date(), self.at, self.tz)
        if due > now:
            due = datetime.combine(now.date() - timedelta(days=1), self.at, self.tz)
        return f"digest.{due.date()}", due

    def next_in_s(self) -> float:
        """Seconds until the next digest is due."""
        now = self.utc_now()
        day = self.last()[1].date() + timedelta(days=1)
        return max(0.0, datetime.combine(day, self.at, self.tz).timestamp() - now.timestamp())
