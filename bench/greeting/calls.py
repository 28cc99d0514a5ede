"""The load: the stand-in Twilio makes calls, listens until the first audio, and hangs up."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from bench.greeting.relay_process import ACCOUNT, NUMBER
from relay.standin.commands.call import Target
from relay.standin.twilio.exchange import CallerLine, Exchange, LiveCall
from relay.standin.twilio.numbers import fictional_number
from relay.standin.twilio.streaming import Network

# A caller who hears nothing for this many seconds hangs up, and the bench fails.
PATIENCE_S = 3.0
# The seconds from the first audio to the hang-up: long enough for a mark to return.
STAYS_S = 0.1
LAG_EVERY_S = 0.005
# After the TwiML, Twilio takes about 365 ms until its socket opens (docs/protocol/twilio.md 1.3). Each call gets a
# random value of this range, in ms.
CONNECT_MS = (265.0, 465.0)


@dataclass(slots=True)
class Heard:
    """One call, measured at the caller's side. None means that nothing was heard."""

    greeting_ms: float | None  # from the `start` message to the first media frame
    ring_ms: float | None  # from the first ring to the first media frame


@dataclass(slots=True)
class Load:
    """The calls to one relay process. It also measures how late its own process is."""

    origin: str
    heard: list[Heard] = field(default_factory=list)
    lags_ms: list[float] = field(default_factory=list)
    _exchange: Exchange = field(init=False)
    _seen: dict[str, dict[str, float]] = field(default_factory=dict)  # CallSid -> event -> seconds after the ring
    _first: dict[str, trio.Event] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(6))

    def __post_init__(self) -> None:
        self._exchange = Target(self.origin, ACCOUNT, NUMBER).exchange(self._note)

    def _note(self, kind: str, fields: dict[str, Any]) -> None:
        self._seen.setdefault(fields["call_sid"], {}).setdefault(kind, fields["at_s"])
        if kind == "first_media":
            self._first.setdefault(fields["call_sid"], trio.Event()).set()

    async def one_by_one(self, count: int) -> None:
        """Make calls, one after the other."""
        for _ in range(count):
            await self._call()

    async def together(self, count: int) -> None:
        """Make calls at the same moment."""
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self._call)

    async def _call(self) -> None:
        async def act(call: LiveCall) -> None:
            with trio.move_on_after(PATIENCE_S):
                await self._first.setdefault(call.state.sid, trio.Event()).wait()
            await trio.sleep(STAYS_S)
            call.hang_up()

        network = Network(connect_ms=self._chance.uniform(*CONNECT_MS))
        number = fictional_number(len(self._seen))  # a new number for each call, so that no number calls too often
        call = await self._exchange.ring(CallerLine(number=number, network=network), act)
        at_s = self._seen[call.state.sid]
        media, start = at_s.get("first_media"), at_s.get("stream_started")
        after_ms = None if media is None or start is None else round((media - start) * 1000, 2)
        self.heard.append(Heard(after_ms, None if media is None else round(media * 1000, 2)))

    async def watch_lag(self) -> None:
        """Measure how late this process wakes up. No figure can be more exact than this."""
        while True:
            due = trio.current_time() + LAG_EVERY_S
            await trio.sleep_until(due)
            self.lags_ms.append((trio.current_time() - due) * 1000)


async def rungs(origin: str) -> dict[str, int]:
    """How many calls had each kind of greeting (rung of the ladder). The numbers come from the relay's metrics."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{origin}/metrics", timeout=5.0)).text
    found = re.findall(r'relay_greeting_ms_count\{rung="(\w+)"\} (\d+)', text)
    return {rung: int(count) for rung, count in found}


async def own_p99_ms(origin: str) -> float | None:
    """The p99 of the relay's own metric greeting_ms: the lowest bucket limit that 99 of 100 calls did not exceed."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{origin}/metrics", timeout=5.0)).text
    sums: dict[float, float] = {}
    for bound, count in re.findall(r'relay_greeting_ms_bucket\{le="([^"]+)",rung="\w+"\} ([\d.]+)', text):
        sums[float(bound)] = sums.get(float(bound), 0) + float(count)
    total = max(sums.values(), default=0)
    return next((bound for bound, count in sorted(sums.items()) if total and count >= 0.99 * total), None)
