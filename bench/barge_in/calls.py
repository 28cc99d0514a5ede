"""Callers who interrupt, on real sockets. For each `clear` the load records how much of the answer the caller heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from bench.greeting.relay_process import ACCOUNT, NUMBER
from relay.standin.commands.call import Target
from relay.standin.speech.voice import find
from relay.standin.twilio.call_state import CallState
from relay.standin.twilio.exchange import CallerLine, Exchange, LiveCall
from relay.standin.twilio.numbers import fictional_number

CLIP = "oh_wait"
PATIENCE_S = 20.0


@dataclass(slots=True)
class Cleared:
    """A `clear` that the stand-in Twilio got."""

    who: str
    heard_ms: float  # how much of the interrupted answer was heard


@dataclass(slots=True)
class Load:
    """The callers of one relay."""

    origin: str
    seed: int
    cleared: list[Cleared] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    exchange: Exchange = field(init=False)

    async def run(self, calls: int, interruptions: int) -> None:
        """Make this many calls at the same time, each with this many interruptions."""
        self.exchange = Target(self.origin, ACCOUNT, NUMBER).exchange(self._note)
        async with trio.open_nursery() as nursery:
            for number in range(calls):
                nursery.start_soon(self._call, fictional_number(100 * self.seed + number), interruptions)
                await trio.sleep(0.2)

    def _note(self, kind: str, fields: Mapping[str, Any]) -> None:
        if kind == "cleared":
            call = self.exchange.calls[fields["call_sid"]]
            begun, over = call.state.playback.runs(trio.current_time())[-1]
            self.cleared.append(Cleared(call.state.leg.caller_id, (over - begun) * 1000))

    async def _call(self, who: str, interruptions: int) -> None:
        chance = random.Random(f"{self.seed} {who}")

        async def act(call: LiveCall) -> None:
            try:
                with trio.fail_after(PATIENCE_S + interruptions * PATIENCE_S):
                    await self._interrupt(call, chance, interruptions)
            except trio.TooSlowError:
                self.failures.append(f"{who}: the agent did not answer in time, so there was nothing to interrupt")
            call.hang_up()

        await self.exchange.ring(CallerLine(number=who), act)

    async def _interrupt(self, call: LiveCall, chance: random.Random, interruptions: int) -> None:
        state = call.state
        clip = find(CLIP)
        assert clip is not None, "the clip is missing"
        await _until(lambda now: state.answer_begun_s(now) is not None and state.quiet_for_s(now) >= 1.0)
        for _ in range(interruptions + 1):  # the first sentence interrupts nothing: it makes the agent begin an answer
            await trio.sleep_until(state.speech.say(clip.mulaw, trio.current_time(), clip.text))
            await _until(partial(_begun_after, state, trio.current_time()))
            await trio.sleep(chance.uniform(0.2, 3.5))
        await trio.sleep(1.0)


def _begun_after(state: CallState, since: float, now: float) -> bool:
    return (state.answer_begun_s(now) or 0.0) > since


async def _until(true: Callable[[float], bool]) -> None:
    while not true(trio.current_time()):  # noqa: ASYNC110 -- what is heard changes with the clock, without an event
        await trio.sleep(0.02)
