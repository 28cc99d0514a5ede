"""Counts the cost of a model session whose audio nobody heard, and makes the value of a bill for the ledger."""

from __future__ import annotations

from relay.call.call_config import Bill
from relay.call.cost import Meter
from relay.call.vocabulary import ResponseEnded
from relay.realtime import protocol
from relay.realtime.client import ModelSession
from relay.realtime.prices import price_of

_PCM24K_BYTES_PER_MS = 48


def count_unheard(meter: Meter, session: ModelSession) -> None:
    """Count what a session has generated and the call did not use: the greeting that was asked for at the ring."""
    for raw in session.backlog:
        try:
            message = protocol.decode(raw)
            if message.type == protocol.AUDIO_DELTA:
                ms = len(message.delta or "") * 3 / 4 / _PCM24K_BYTES_PER_MS
                meter.generated(message.response_id or "", ms)
            elif isinstance(event := protocol.event_of(message), ResponseEnded):
                meter.responded(event.response_id, event.usage)
        except (protocol.ModelProtocolError, ValueError):
            continue


def bill_of_unheard(session: ModelSession, before: Bill) -> Bill:
    """The bill of a call after the cost of an unused session was added to it."""
    meter = Meter(session.model, price_of(session.model), 0.0, before)
    count_unheard(meter, session)
    return meter.bill()


def cost_of(bill: Bill) -> dict[str, object]:
    """The bill as the value of `call_outcomes.cost`: tokens by kind, dollars by model, and early answers separately."""
    cost: dict[str, object] = {**bill.tokens, "usd": {meter: round(usd, 6) for meter, usd in bill.usd_by.items()}}
    if bill.early:
        cost["early_answers"] = {key: round(amount, 6) for key, amount in bill.early.items()}
    return cost
