"""Runs the functions that a call's model asks for, and reports their results."""

from __future__ import annotations

from dataclasses import replace

import structlog
import trio

from relay.call.actions import RunFunction
from relay.call.machine import Machine
from relay.call.vocabulary import FunctionReturned
from relay.functions import CallContext, Outcome, TransferCall, run
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


class FunctionRunner:
    """Runs the functions of one stream of one call."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine, rows: CallRows) -> None:
        self._desk, self._machine, self._rows = desk, machine, rows
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
            caller_words=CallerWords(machine.call),
            is_dry=file.is_dry,
        )

    async def run(self, action: RunFunction) -> FunctionReturned:
        """Run a function to its end and write it down. Never raises, because our own error is an outcome too."""
        try:
            outcome = await run(
                self._desk.registry, self._context, action.name, action.arguments, action.function_call_id
            )
        except Exception:  # Our own error around a function is logged, and the call goes on.
            log.exception("function.bug", function=action.name[:64], caller_hears="the agent says that it failed")
            outcome = Outcome(FAILED_OUTPUT, ok=False, error="a bug of the relay; its traceback is in the log")
        if isinstance(outcome.effect, TransferCall) and not self._machine.call.human_is_there(trio.current_time()):
            outcome = replace(outcome, output=NOBODY_THERE, ok=False, refused=True, error="outside HUMAN_HOURS")
        self._rows.function(action, outcome)
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
