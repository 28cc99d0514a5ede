"""Makes the lines of text about one call for the console, and the waterfall (the times of the steps) of each answer.

The lines are in the order of time. Pure: no I/O, no clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.console.wording import SLOW_MS, function

Row = Mapping[str, Any]

# The steps of an answer, in order. Each has its key in the row's column `latency`, and its text for the owner.
STEPS = (
    ("stopped_heard", "the caller had finished"),
    ("first_delta", "the model answered"),
    ("first_written", "the answer was sent"),
    ("first_heard", "the caller heard it"),
)


@dataclass(frozen=True)
class Step:
    """One step of a waterfall: how long after the caller's last sound it began, and how long it took.

    Both times are in ms, and in percent of the whole waterfall.
    """

    words: str
    from_ms: int
    ms: int
    from_percent: float
    percent: float


@dataclass(frozen=True)
class Line:
    """One line of a call. `kind`: caller, agent, function, or note."""

    kind: str
    at_ms: int
    words: str = ""
    said: str = ""  # What the agent said, if the caller did not hear all of it.
    to_ms: int = 0
    interrupted: bool = False
    is_slow: bool = False
    ok: bool = True
    details: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = field(default=())


def waterfall(latency: Row | None) -> tuple[Step, ...]:
    """The steps between the caller's last sound and the answer."""
    if not latency:
        return ()
    times = [(words, int(latency[name])) for name, words in STEPS if latency.get(name) is not None]
    if not times:
        return ()
    whole = max(1, max(ms for _, ms in times))
    steps, before = [], 0
    for words, ms in times:
        length = max(0, ms - before)
        steps.append(Step(words, before, length, round(100 * before / whole, 1), round(100 * length / whole, 1)))
        before = max(before, ms)
    return tuple(steps)


def lines(tables: Mapping[str, Sequence[Row]], started_at: dt.datetime | None) -> list[Line]:
    """The lines of a call in the order of time: turns, function calls, notices and pauses of the recording.

    Some rows have a date and time. Others have ms since the call's start. `started_at` (of the call) makes them
    comparable.
    """
    found = [_turn(row) for row in tables.get("transcripts", ())]
    found += [_function(row, started_at) for row in tables.get("function_calls", ())]
    found += [_consent(row, started_at) for row in tables.get("consents", ())]
    found += [_pause(row) for row in tables.get("recording_pauses", ())]
    return sorted(found, key=lambda line: line.at_ms)


def _turn(row: Row) -> Line:
    heard, said = row.get("heard"), row.get("said") or ""
    words = said if heard is None else heard
    latency = row.get("latency")
    slow = latency is not None and (latency.get("first_heard") or 0) > SLOW_MS
    return Line(
        kind=row["role"] if row["role"] in ("caller", "agent") else "note",
        at_ms=row.get("started_ms") or 0,
        to_ms=row.get("ended_ms") or 0,
        words=words,
        said=said if words != said else "",
        interrupted=bool(row.get("interrupted")),
        is_slow=slow,
        details=(("after a gap in the caller's audio", ""),) if row.get("gap") else (),
        steps=waterfall(latency),
    )


def _since(moment: dt.datetime | None, started_at: dt.datetime | None) -> int:
    if moment is None or started_at is None:
        return 0
    return max(0, round((moment - started_at) / dt.timedelta(milliseconds=1)))


def _function(row: Row, started_at: dt.datetime | None) -> Line:
    arguments, output = row.get("arguments") or {}, row.get("output") or {}
    details = [(str(key), _shown(value)) for key, value in arguments.items()]
    details += [(f"→ {key}", _shown(value)) for key, value in output.items()]
    if row.get("took_ms") is not None:
        details.append(("took", f"{row['took_ms']:.0f} ms"))
    took_ms = round(row.get("took_ms") or 0)
    return Line(
        kind="function",
        at_ms=max(0, _since(row.get("recorded_at"), started_at) - took_ms),
        words=f"The agent {function(row['name'])}" + ("" if row.get("ok") else ": it did not work"),
        ok=bool(row.get("ok")),
        details=tuple(details),
    )


def _consent(row: Row, started_at: dt.datetime | None) -> Line:
    heard_at = row.get("heard_at")
    words = "The notice was heard" if heard_at else "The notice was not heard to its end"
    return Line(kind="note", at_ms=_since(heard_at, started_at), words=f"{words}: {row.get('announced') or ''}")


def _pause(row: Row) -> Line:
    return Line(
        kind="note",
        at_ms=row["from_ms"],
        words=f"Not recorded from here{'' if row.get('to_ms') is None else ' for a while'}: {row.get('why') or ''}",
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in value.items())
    return str(value)
