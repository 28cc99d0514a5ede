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

# A function that stops the whole process for longer than this is reported. It is ten frames of every call.
BLOCKED_S = 0.2


@dataclass(frozen=True, slots=True)
class FunctionLeft:
    """A function call that has ended: its output as an object, its row, and the row of a message that it took."""

    output: dict[str, Any]
    row: rows.FunctionCallRow
    message: rows.MessageRow | None


def left_by(file: CallFile, action: RunFunction, outcome: Outcome, now: dt.datetime) -> FunctionLeft:
    """What a function call leaves. Writes its log line. The file's tally does not count it yet."""
    _tell(action.name, outcome)
    output, effect = _table(outcome.output), outcome.effect
    message = _message_row(file, effect, outcome.ok, now) if isinstance(effect, TakeMessage) else None
    return FunctionLeft(output, _function_row(file, action, outcome, output), message)


def _function_row(
    file: CallFile, action: RunFunction, outcome: Outcome, output: dict[str, Any]
) -> rows.FunctionCallRow:
    """The row of a function call. It has the backend's own words only if words may be kept."""
    keeps_output = outcome.ok or file.consent.words is not Words.NEVER
    return rows.FunctionCallRow(
        call_sid=file.call_sid,
        function_call_id=action.function_call_id,
        name=action.name[:64],
        arguments=_table(action.arguments),
        output=output if keeps_output else None,
        ok=outcome.ok,
        took_ms=round(outcome.took_s * 1000, 1),
        key=outcome.key,  # Reserved already, unless Postgres was away. Then a repeat finds this row.
        state=_state(outcome),
    )


def _message_row(file: CallFile, message: TakeMessage, ok: bool, now: dt.datetime) -> rows.MessageRow:
    """A message for the business. It is kept whatever RECORD is, because the caller asked for it."""
    return rows.MessageRow(
        call_sid=file.call_sid,
        seq=len(file.tally.functions_done) + ok,
        name=message.name,
        phone=str(message.phone),  # A function's Phone type is not JSON.
        text=message.message,
        created_at=now,
        delivered=message.delivered,
    )


def _tell(name: str, outcome: Outcome) -> None:
    """The function's line in the log."""
    fields: dict[str, object] = {"function": name[:64], "ok": outcome.ok, "ms": round(outcome.took_s * 1000)}
    if outcome.refused:  # The refusal's words are for the model, and may repeat the caller's.
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
            caller_hears="nothing during that time, in this call and in all others",
            do="use trio.sleep and httpx.AsyncClient, and run other waits in trio.to_thread.run_sync",
        )


def _table(text: str) -> dict[str, Any]:
    """JSON as an object, whatever its type is."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"unreadable_bytes": len(text)}
    return value if isinstance(value, dict) else {"value": value}


def _state(outcome: Outcome) -> rows.FunctionState | None:
    if outcome.key is None:
        return None
    return "done" if outcome.ok else "unknown" if outcome.unsure else "failed"
