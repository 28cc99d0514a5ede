"""What a function call leaves behind: its row, the message that it took, and its log line."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from relay.call.actions import RunFunction
from relay.call.consent import Words
from relay.functions import Outcome, TakeMessage
from relay.ledger import rows
from relay.session.call_file import CallFile

log = structlog.get_logger()

# A function that makes the whole process wait longer than this is reported. It is ten frames of every call.
BLOCKED_S = 0.2


@dataclass(frozen=True, slots=True)
class FunctionLeft:
    """A function call when it is over: its output as an object, its row, and that of a message it took."""

    output: dict[str, Any]
    row: rows.FunctionCallRow
    message: rows.MessageRow | None


def left_by(file: CallFile, action: RunFunction, outcome: Outcome, now: dt.datetime) -> FunctionLeft:
    """What a function call leaves; it is told to the log. Not counted in the file's tally yet."""
    _tell(action.name, outcome)
    output, effect = _table(outcome.output), outcome.effect
    message = _message_row(file, effect, outcome.ok, now) if isinstance(effect, TakeMessage) else None
    return FunctionLeft(output, _function_row(file, action, outcome, output), message)


def _function_row(
    file: CallFile, action: RunFunction, outcome: Outcome, output: dict[str, Any]
) -> rows.FunctionCallRow:
    """The row of a function call. A backend's own words are in it only if words may be kept."""
    keeps_output = outcome.ok or file.consent.words is not Words.NEVER
    return rows.FunctionCallRow(
        call_sid=file.call_sid,
        function_call_id=action.function_call_id,
        name=action.name[:64],
        arguments=_table(action.arguments),
        output=output if keeps_output else None,
        ok=outcome.ok,
        took_ms=round(outcome.took_s * 1000, 1),
        key=outcome.key,  # reserved already, unless Postgres was away: then this row is what a repeat finds
        state=_state(outcome),
    )


def _message_row(file: CallFile, message: TakeMessage, ok: bool, now: dt.datetime) -> rows.MessageRow:
    """A message for the business. It is kept whatever RECORD says, because the caller asked for it."""
    return rows.MessageRow(
        call_sid=file.call_sid,
        seq=len(file.tally.functions_done) + ok,
        name=message.name,
        phone=str(message.phone),  # a function's Phone is not JSON
        text=message.message,
        created_at=now,
        delivered=message.delivered,
    )


def _tell(name: str, outcome: Outcome) -> None:
    """The function's line in the log."""
    fields: dict[str, object] = {"function": name[:64], "ok": outcome.ok, "ms": round(outcome.took_s * 1000)}
    if outcome.refused:  # its words are for the model, and may repeat the caller's
        log.info("function.refused", caller_hears="the agent says why", see="function_calls.output", **fields)
    elif outcome.error:
        log.warning("function.failed", words=outcome.error, caller_hears="the agent says so and goes on", **fields)
    else:
        log.info("function.done", **fields)
    if outcome.blocked_s > BLOCKED_S:
        log.error(
            "function.blocked",
            function=name[:64],
            words=f"{name[:64]} blocked the loop for {outcome.blocked_s:.1f} s",
            caller_hears="nothing in that time, and all other callers too",
            do="await trio.sleep, ask with httpx.AsyncClient, and give other waits to trio.to_thread.run_sync",
        )


def _table(text: str) -> dict[str, Any]:
    """JSON as an object, whatever it was."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"unreadable_bytes": len(text)}
    return value if isinstance(value, dict) else {"value": value}


def _state(outcome: Outcome) -> rows.FunctionState | None:
    if outcome.key is None:
        return None
    return "done" if outcome.ok else "unknown" if outcome.unsure else "failed"
