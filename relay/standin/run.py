"""Runs a scenario at an exchange: one caller, one call, one report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from relay.standin.acting import Actor
from relay.standin.caller import Exchange
from relay.standin.report import CallReport, Evidence, report
from relay.standin.scenario import Scenario

FALLBACK_BIN = "https://handler.twilio.com/twiml/EH00000000000000000000000000000001"
"""Where a scenario's `[number] fallback_twiml` is hosted: at Twilio, as a TwiML Bin."""

EvidencePort = Callable[[str], Awaitable[Evidence]]
"""Given a CallSid, after the call: what the ledger and the business say about it."""


async def run_scenario(scenario: Scenario, exchange: Exchange, evidence: EvidencePort | None = None) -> CallReport:
    """Ring the exchange's number, play the scenario's caller, and sum up what came of it."""
    if scenario.number.fallback_twiml:
        exchange.bins[FALLBACK_BIN] = scenario.number.fallback_twiml
        exchange.number.voice_fallback_url = FALLBACK_BIN
    actor = Actor(scenario)
    call = await exchange.ring(scenario.line(), actor.act)
    found = await evidence(call.state.sid) if evidence is not None else None
    kept = sum(1 for recording in exchange.recordings.values() if recording.call_sid == call.state.sid)
    return report(call, scenario.name, actor.failures, found, kept)
