"""The rows of a call that has no stream here: not admitted, hung up before it began, or cut off by a relay's death."""

from __future__ import annotations

import structlog

from relay.call.vocabulary import EndReason
from relay.ledger import rows
from relay.session.context import CallFile, Desk

log = structlog.get_logger()


def record(desk: Desk, file: CallFile, reason: EndReason) -> None:
    """Write the call down. What another relay knew of it stays as it is."""
    desk.ledger.record(
        rows.CallRow(
            call_sid=file.call_sid,
            started_at=None if reason is EndReason.RELAY_FAULT else file.started_at,
            from_number=file.caller_number or None,
            to_number=file.called_number or None,
            caller_state=file.caller_state or None,
        )
    )
    desk.ledger.record(
        rows.OutcomeRow(
            call_sid=file.call_sid,
            ended_at=desk.utc_now(),
            end_reason=str(reason),
            fault=str(reason) if reason.is_fault else None,
            outcome=file.refused or None,
        )
    )
    desk.metrics.calls.labels(str(reason)).inc()
    log.warning("call.without_stream", reason=str(reason), because=file.refused)
