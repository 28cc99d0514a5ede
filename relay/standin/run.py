"""Runs a scenario at an exchange: one caller, one call, one report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from relay.standin.acting import Actor
from relay.standin.caller import Exchange, LiveCall
from relay.standin.report import CallReport, Evidence, recognise, report
from relay.standin.scenario import Scenario

FALLBACK_BIN = "https://handler.twilio.com/twiml/EH00000000000000000000000000000001"
"""Where a scenario's `[number] fallback_twiml` is hosted: at Twilio, as a TwiML Bin."""

LISTEN_S = 0.1
SETTLED_S = 0.6
"""Longer than the pauses that listening.py joins: after so much quiet a stretch has ended."""

EvidencePort = Callable[[str], Awaitable[Evidence]]
"""Given a CallSid, after the call: what the ledger and the business say about it."""


async def run_scenario(
    scenario: Scenario, exchange: Exchange, evidence: EvidencePort | None = None, narrate: bool = False
) -> CallReport:
    """Ring the exchange's number, play the scenario's caller, and sum up what came of it.

    `narrate` logs `agent_said` events while the call lasts (recognised in a thread: not for fake clocks).
    Without `evidence`, expectations about the ledger fail; `Expect.without_ledger` leaves them out.
    """
    if scenario.number.fallback_twiml:
        exchange.bins[FALLBACK_BIN] = scenario.number.fallback_twiml
        exchange.number.voice_fallback_url = FALLBACK_BIN
    actor = Actor(scenario)

    async def act(call: LiveCall) -> None:
        async with trio.open_nursery() as nursery:
            if narrate:
                nursery.start_soon(_narrate, call)
            await actor.act(call)

    call = await exchange.ring(scenario.line(), act)
    found = await evidence(call.state.sid) if evidence is not None else None
    kept = sum(1 for recording in exchange.recordings.values() if recording.call_sid == call.state.sid)
    return report(call, scenario.name, actor.failures, found, kept)


async def _narrate(call: LiveCall) -> None:
    """Say what the agent said, each time it has finished."""
    state, told = call.state, 0
    while True:
        await trio.sleep(LISTEN_S)
        now = trio.current_time()
        state.listener.listen(now)
        stretches = state.listener.stretches
        while told < len(stretches) and now - stretches[told][1] >= SETTLED_S:
            from_s, to_s = stretches[told]
            told += 1
            text = await trio.to_thread.run_sync(recognise, state, from_s, to_s)
            state.log(now, "agent_said", text=text, from_s=from_s - state.started_s, to_s=to_s - state.started_s)
