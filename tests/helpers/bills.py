"""Adds up what the answers of the stand-in model cost."""

from __future__ import annotations

from typing import Any

import pytest

from relay.call.cost import response_usd
from relay.realtime.prices import price_of
from relay.standin.model.realtime_peer import RealtimePeer


def collect_bills(patch: pytest.MonkeyPatch) -> dict[str, float]:
    """Collect the cost of the stand-in's answers, in dollars. The keys are models. Each model has its own price."""
    usd: dict[str, float] = {}
    emit = RealtimePeer.emit

    def emit_and_add(peer: RealtimePeer, type_: str, **fields: Any) -> None:
        emit(peer, type_, **fields)
        if type_ == "response.done":
            model = peer.session["model"]
            usd[model] = usd.get(model, 0.0) + response_usd(fields["response"]["usage"], price_of(model))

    patch.setattr(RealtimePeer, "emit", emit_and_add)
    return usd
