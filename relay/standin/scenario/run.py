"""Runs a scenario at an exchange (the stand-in Twilio): makes one call, and reports it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from relay.standin.scenario.acting import Actor
from relay.standin.scenario.report import CallReport, Evidence, recognise, report
from relay.standin.scenario.scenario_file import Scenario, Trouble
from relay.standin.twilio.exchange import Exchange, LiveCall
from relay.standin.twilio.numbers import fictional_number

FALLBACK_BIN = "https://handler.twilio.com/twiml/EH00000000000000000000000000000001"
"""The URL of a scenario's `[number] fallback_twiml`. Twilio itself hosts this document, as a TwiML Bin."""

LISTEN_S = 0.1
SETTLED_S = 0.6
"""After this much silence a part of the agent's speech has ended. listening.py joins parts with shorter pauses."""

BEFORE = "before"
"""The value of a trouble's `upon`: the trouble is made before the phone rings."""

GLANCE_S = 0.5
"""The length of an earlier call from the same number. Such a call is made only so that the relay counts it."""

Stagehand = Callable[[str], Awaitable[None]]
"""Makes a trouble that the exchange cannot make. The argument is the trouble's name (scenario_file.Trouble)."""

EvidencePort = Callable[[str], Awaitable[Evidence]]
"""Gets a CallSid after the call. Returns what the ledger and the business say about it."""


async def run_scenario(
    scenario: Scenario,
    exchange: Exchange,
    evidence: EvidencePort | None = None,
    narrate: bool = False,
    stagehand: Stagehand | None = None,
    known_words: tuple[str, ...] = (),
) -> CallReport:
    """Call the exchange's number, play the scenario's caller, and sum up the result.

    With `narrate`, events `agent_said` are logged during the call. A thread recognises the words, so this does not work
    on a fake clock. Without `evidence`, expectations about the ledger fail. `Expect.without_ledger` removes them.
    Without a `stagehand`, troubles that need one are not made, and the report says so. `known_words` are the relay's
    own sentences, so that they are recognised too.
    """
    number = exchange.number
    if scenario.number.fallback_twiml:
        exchange.bins[FALLBACK_BIN] = scenario.number.fallback_twiml
        number.voice_fallback_url = FALLBACK_BIN
    elif number.voice_fallback_url == FALLBACK_BIN:  # An earlier scenario may have left its URL.
        number.voice_fallback_url = ""
    actor = Actor(scenario)

    async def act(call: LiveCall) -> None:
        async with trio.open_nursery() as nursery:
            if narrate:
                nursery.start_soon(_narrate, call, known_words)
            for trouble in scenario.trouble:
                if trouble.upon != BEFORE:
                    nursery.start_soon(_wait_and_make, trouble, call, stagehand, actor.failures)
            await actor.act(call)

    over = trio.Event()
    async with trio.open_nursery() as others:
        await _ring_others(scenario, exchange, others, over)
        for trouble in scenario.trouble:
            if trouble.upon == BEFORE:
                await _make(trouble, stagehand, actor.failures)
        call = await exchange.ring(scenario.line(), act)
        over.set()
    found = await evidence(call.state.sid) if evidence is not None else None
    kept = sum(1 for recording in exchange.recordings.values() if recording.call_sid == call.state.sid)
    return report(call, scenario.name, actor.failures, found, kept, actor.babbled, known_words)


async def _ring_others(scenario: Scenario, exchange: Exchange, nursery: trio.Nursery, over: trio.Event) -> None:
    """Make the earlier calls from the same number, and the calls of other callers at the same time."""

    async def glance(call: LiveCall) -> None:
        await trio.sleep(GLANCE_S)
        call.hang_up()

    async def stay(call: LiveCall) -> None:
        await over.wait()
        call.hang_up()

    line = scenario.line()
    for _ in range(scenario.caller.calls_before):
        await exchange.ring(line, glance)
    for number in range(scenario.caller.calls_meanwhile):
        nursery.start_soon(exchange.ring, replace(line, number=fictional_number(number)), stay)
    if scenario.caller.calls_meanwhile:
        await trio.sleep(2 * GLANCE_S + line.network.connect_ms / 1000)


async def _wait_and_make(trouble: Trouble, call: LiveCall, stagehand: Stagehand | None, failures: list[str]) -> None:
    """Wait for the trouble's moment, and make the trouble."""
    seen, made = 0, 0
    while trouble.times == 0 or made < trouble.times:
        while seen < len(call.state.events):
            seen += 1
            if call.state.events[seen - 1].kind == trouble.upon:
                break
        else:
            await call.next_event()
            continue
        made += 1
        await trio.sleep(trouble.after_s)
        call.state.log(trio.current_time(), "trouble", does=trouble.does)
        if trouble.does == "socket_cut":
            await call.cut_stream()
        else:
            await _make(trouble, stagehand, failures)


async def _make(trouble: Trouble, stagehand: Stagehand | None, failures: list[str]) -> None:
    if stagehand is not None:
        await stagehand(trouble.does)
    else:
        failures.append(f"{trouble.does} cannot be made here: this scenario needs a stage (relay demo --scenario)")


async def _narrate(call: LiveCall, known_words: tuple[str, ...]) -> None:
    """Log what the agent said, each time the agent has finished."""
    state, told = call.state, 0
    while True:
        await trio.sleep(LISTEN_S)
        now = trio.current_time()
        state.listener.listen(now)
        stretches = state.listener.stretches
        while told < len(stretches) and now - stretches[told][1] >= SETTLED_S:
            from_s, to_s = stretches[told]
            told += 1
            text = await trio.to_thread.run_sync(recognise, state, from_s, to_s, known_words)
            state.log(now, "agent_said", text=text, from_s=from_s - state.started_s, to_s=to_s - state.started_s)
