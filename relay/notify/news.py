"""Makes news for the owner from the rows of calls (pure).

The id of a piece of news depends only on its call and its row. So news that is recorded or sent twice has the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from relay.ledger.rows import FunctionCallRow, Json, MessageRow, OutboxRow, OutcomeRow, Row

DEEDS = {"booked", "moved", "cancelled"}


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known about the caller of the news."""

    name: str = ""
    number: str = ""


class News:
    """Makes outbox rows for the configured channels. If there is no channel, it makes no rows."""

    def __init__(self, channels: Iterable[str], utc_now: Callable[[], datetime]) -> None:
        self._channels = tuple(channels)
        self.utc_now = utc_now
        self.on_news: Callable[[], None] = lambda: None  # Called when there is news.

    def of(self, row: Row, caller: Caller) -> list[OutboxRow]:
        """The outbox rows for a row of a call. Empty if the row is not news."""
        if not self._channels:
            return []
        match row:
            case MessageRow() if row.text:
                told = _message(row, caller)
            case FunctionCallRow() if row.ok and (row.output or {}).get("done") in DEEDS:
                told = _booking(row, caller)
            case OutcomeRow() if row.fault:
                told = (f"{row.call_sid}.fault", "fault", {"fault": row.fault, **_who(caller.name, caller.number)})
            case _:
                return []
        self.on_news()
        return self.rows(*told, call_sid=row.call_sid)

    def rows(self, news: str, kind: str, body: Json, *, call_sid: str | None = None) -> list[OutboxRow]:
        """One row for each channel."""
        at = self.utc_now()
        return [
            OutboxRow(news=news, channel=channel, call_sid=call_sid, kind=kind, body=body, created_at=at)
            for channel in self._channels
        ]


def _who(name: str, number: str) -> Json:
    return {"name": name, "phone": number}


def _message(row: MessageRow, caller: Caller) -> tuple[str, str, Json]:
    # Message 0 is the call back that the caller wants. If the caller then records a message, the recorded message
    # replaces the call back, and is news too.
    recorded = row.seq == 0 and row.created_at is None
    what = "recorded" if recorded else "call_back" if row.seq == 0 else f"message.{row.seq}"
    body = {"text": row.text, **_who(row.name or caller.name, row.phone or caller.number)}
    return f"{row.call_sid}.{what}", "call_back" if what == "call_back" else "message", body


def _booking(row: FunctionCallRow, caller: Caller) -> tuple[str, str, Json]:
    arguments, output = row.arguments or {}, row.output or {}
    start = arguments.get("start") or arguments.get("new_start")
    body: Json = {
        "done": output.get("done"),
        "booking": str(output.get("id") or ""),
        "when": output.get("when"),
        "start": start if isinstance(start, str) else None,
        "service": arguments.get("service"),
        "notes": arguments.get("notes"),
        **_who(
            str(output.get("name") or arguments.get("name") or caller.name),
            str(arguments.get("phone") or caller.number),
        ),
    }
    known = {name: value for name, value in body.items() if value}
    return f"{row.call_sid}.booking.{row.function_call_id}", "booking", known
