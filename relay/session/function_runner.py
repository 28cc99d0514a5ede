"""Runs the functions that the model calls, and writes down their results.

After a function, its row and its log line are written, and also a message if the function took one. The deed and the
caller's name are noted in the call's file.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import msgspec
import structlog
import trio

from relay.call.actions import RunFunction
from relay.call.machine import Machine
from relay.call.vocabulary import FunctionReturned
from relay.functions import CallContext, Outcome, TakeMessage, TransferCall, run
from relay.ledger import rows
from relay.session.call_file import CallFile
from relay.session.call_rows import CallRows
from relay.session.caller_words import CallerWords
from relay.session.context import Desk

log = structlog.get_logger()

NOBODY_THERE = (
    '{"status":"error","error":"No person can take the call at this time.","next":"Say so, and offer to take a message '
    'with take_message or to book."}'
)
FAILED_OUTPUT = '{"status":"error","error":"That did not work.","next":"Say so, and offer a message or a person."}'
# If a function blocks the process for longer than this, an error is logged. In this time ten frames of each call wait.
BLOCKED_S = 0.2


class FunctionRunner:
    """Runs the functions of one stream of one call."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine, rows: CallRows) -> None:
        self._desk, self._file, self._machine, self._rows = desk, file, machine, rows
        self._metrics = desk.metrics_of(file)
        self._context = CallContext(
            file.call_sid,
            file.caller.number,
            file.briefing.backend.for_call(file.call_sid),
            file.briefing.settings.tz,
            desk.utc_now,
            file.once,
            file.briefing.settings.business_country,
            file.own_ids,
            attested=file.caller.id.is_attested,
            answers=file.briefing.answers,
            is_dry=file.is_dry,
        )

    async def run(self, action: RunFunction) -> FunctionReturned:
        """Run a function to its end and write its result down.

        An error while the function runs becomes an outcome, even if the error is the relay's own.
        """
        context = replace(self._context, caller_words=CallerWords(self._machine.call, action.caller_turn))
        try:
            outcome = await run(self._desk.registry, context, action.name, action.arguments, action.function_call_id)
        except Exception:  # The error is ours, so the call goes on.
            log.exception("function.bug", function=action.name[:64], caller_hears="the agent says that it failed")
            outcome = Outcome(FAILED_OUTPUT, ok=False, error="a bug of the relay; its traceback is in the log")
        if isinstance(outcome.effect, TransferCall) and not self._machine.call.human_is_there(trio.current_time()):
            outcome = replace(outcome, output=NOBODY_THERE, ok=False, refused=True, error="outside HUMAN_HOURS")
        self.write_down(action, outcome)
        return FunctionReturned(
            action.function_call_id,
            action.name,
            outcome.output,
            outcome.ok,
            round(outcome.took_s * 1000),
            outcome.effect,
            outcome.refused,
            outcome.unsure,
        )

    def write_down(self, action: RunFunction, outcome: Outcome) -> None:
        """Write the function's row and message. Note its deed and the caller's name."""
        self._tell(action.name, outcome)
        file, output = self._file, _table(outcome.output)
        now, effect = self._desk.utc_now(), outcome.effect
        message = _message_row(file, effect, outcome.ok, now) if isinstance(effect, TakeMessage) else None
        file.deeds.returned(action.name, outcome.ok, output, trio.current_time())
        if outcome.ok:
            file.tally.functions_done.append(action.name)
            # The output may hold another person's name. `names_caller` says whether it is the caller's.
            if outcome.names_caller == "known" or (outcome.names_caller == "said" and not file.caller_name):
                file.caller_name = str(output.get("name") or file.caller_name)
        self._rows.record_words(_function_row(file, action, outcome, output))
        # A message is written at once, also before the notice was heard. It is not a record of the conversation.
        if message is not None:
            self._desk.record(message, file)

    def _tell(self, name: str, outcome: Outcome) -> None:
        """Write the function's log line, and count the function in the metrics."""
        known = name if outcome.is_known else "unknown"
        self._metrics.functions.labels(known, str(outcome.ok).lower()).inc()
        fields: dict[str, object] = {"function": name[:64], "ok": outcome.ok, "ms": round(outcome.took_s * 1000)}
        # The text of a refusal is for the model, and may repeat words of the caller. So it is not logged.
        if outcome.refused:
            log.info("function.refused", caller_hears="the agent says why", see="function_calls.output", **fields)
        elif outcome.error:
            log.warning("function.failed", words=outcome.error, caller_hears="the agent says so and goes on", **fields)
        else:
            log.info("function.done", **fields)
        if outcome.blocked_s > BLOCKED_S:
            self._metrics.functions_blocked.labels(known).inc()
            log.error(
                "function.blocked",
                function=name[:64],
                words=f"{name[:64]} blocked the loop for {outcome.blocked_s:.1f} s",
                caller_hears="nothing in that time, and all other callers too",
                do="await trio.sleep, ask with httpx.AsyncClient, and give other waits to trio.to_thread.run_sync",
            )


def _function_row(
    file: CallFile, action: RunFunction, outcome: Outcome, output: dict[str, Any]
) -> rows.FunctionCallRow:
    return rows.FunctionCallRow(
        call_sid=file.call_sid,
        function_call_id=action.function_call_id,
        name=action.name[:64],
        arguments=_table(action.arguments),
        output=output,
        ok=outcome.ok,
        took_ms=round(outcome.took_s * 1000, 1),
        # If Postgres was away, no reservation has the key. The ledger writes this row when Postgres is back. From then
        # on, a repeat on another machine finds the key here.
        key=outcome.key,
        state=_state(outcome),
    )


def _message_row(file: CallFile, message: TakeMessage, ok: bool, now: dt.datetime) -> rows.MessageRow:
    """The row of a message for the business.

    It is written with any setting of RECORD, because the caller asked for it.
    """
    return rows.MessageRow(
        call_sid=file.call_sid,
        seq=len(file.tally.functions_done) + ok,
        name=message.name,
        phone=str(message.phone),  # `Phone` is a type of the functions and cannot be written as JSON.
        text=message.message,
        created_at=now,
        delivered=message.delivered,
    )


def _table(text: str) -> dict[str, Any]:
    """Decode JSON. A value that is not an object is put into one. Of text that is not JSON, only the length is kept."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"unreadable_characters": len(text)}
    return value if isinstance(value, dict) else {"value": value}


def _state(outcome: Outcome) -> rows.FunctionState | None:
    if outcome.key is None:
        return None
    return "done" if outcome.ok else "unknown" if outcome.unsure else "failed"
