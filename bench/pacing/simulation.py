"""Simulates two minutes of a call with the real playout, in steps of 1 ms, with stalls and network bursts.

Answers of 10 s come every 12 s, in deltas of 250 ms, five times as fast as speech. The caller's frames wake the relay
every 20 ms. During a stall the relay does nothing. In a burst, audio to Twilio is delayed and then arrives together.
Twilio's buffer is the `Playback` of the stand-in Twilio.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise

from relay.call.actions import Play
from relay.call.playout import Lead, Playout
from relay.call.vocabulary import ItemId
from relay.standin.twilio.playback import Playback

CALL_S = 120
ANSWER_MS, DELTA_MS, EVERY_S, PACE = 10_000, 250, 12.0, 5.0
APART_S = 0.5  # the shortest time between two stalls, and between two bursts


@dataclass(frozen=True, slots=True)
class Trouble:
    """How often and for how long the event loop stalls, and the way to Twilio is blocked."""

    name: str
    stall_ms: int = 0
    stalls_a_minute: float = 0.0
    burst_ms: int = 0
    bursts_a_minute: float = 0.0


TROUBLES = (
    Trouble("none"),
    Trouble("loop stalls 150 ms, 20 a minute", stall_ms=150, stalls_a_minute=20),
    Trouble("loop stalls 350 ms, 20 a minute", stall_ms=350, stalls_a_minute=20),
    Trouble("network bursts 233 ms, 20 a minute", burst_ms=233, bursts_a_minute=20),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one kind of pacing under one trouble."""

    way: str
    trouble: str
    delay_ms: float  # the mean time from an answer's first delta to its first written frame
    cpu_us_per_call_s: float  # the CPU time of the playout in a second of a call
    messages_per_call_s: float
    at_twilio_ms: float  # the mean audio in Twilio's buffer while it has some: a `clear` would drop it
    resent_kb: float  # the audio that is sent again after holds, if the caller coughs every 3 s
    gaps: int
    gaps_ms: float


def measure(way: str, lead: Lead, trouble: Trouble) -> Row:
    """Run one call without coughs for most figures, and another one with coughs for `resent_kb`."""
    row = run(way, lead, trouble, coughs=False)
    return replace(row, resent_kb=run(way, lead, trouble, coughs=True).resent_kb)


def run(way: str, lead: Lead, trouble: Trouble, *, coughs: bool, seed: int = 7) -> Row:
    """Run one call. With `coughs`, coughs cause silences, so the gaps in the result have no meaning."""
    chance, playout, ear = random.Random(seed), Playout(lead), Playback()
    coming: deque[tuple[float, Play]] = deque()
    pushed: dict[ItemId, float] = {}
    delays: list[float] = []
    ahead: list[float] = []
    cpu_s = 0.0
    messages = resent = 0
    stalled_until = held_until = -1.0
    next_cough, cough_over = 3.0, -1.0
    deltas = _deltas()

    def busy(work: object, *args: object) -> object:
        nonlocal cpu_s
        begun = time.perf_counter()
        result = work(*args)  # type: ignore[operator] # a method of the playout
        cpu_s += time.perf_counter() - begun
        return result

    def write(now: float) -> None:
        nonlocal messages, held_until
        for play in busy(playout.due, now):  # type: ignore[attr-defined] # its plays
            if play.item_id in pushed:
                delays.append(now - pushed.pop(play.item_id))
            messages += 2
            coming.append((max(now, held_until), play))

    for tick in range(CALL_S * 1_000):
        now = tick / 1_000
        while coming and coming[0][0] <= now:
            ear.media(coming.popleft()[1].mulaw, now)
        if chance.random() < trouble.bursts_a_minute / 60_000 and now > held_until + APART_S:
            held_until = now + trouble.burst_ms / 1_000
        if chance.random() < trouble.stalls_a_minute / 60_000 and now > stalled_until + APART_S:
            stalled_until = now + trouble.stall_ms / 1_000
        if now < stalled_until:
            continue
        while deltas and deltas[0][0] <= now:
            _, item, mulaw, last = deltas.popleft()
            pushed.setdefault(item, now) if item not in playout.finished and mulaw[0] == 1 else None
            busy(playout.append, item, mulaw, now)
            if last:
                busy(playout.finish, item)
            write(now)
        if tick % 20 == 0:
            if ear.buffered_ms(now) > 0 and chance.random() < 0.02:
                ahead.append(ear.buffered_ms(now))
            write(now)
        if coughs and now >= next_cough and ear.buffered_ms(now) > 0:
            next_cough, cough_over = now + 3.0, now + 0.3
            resent += round(ear.buffered_ms(now) * 8)
            if busy(playout.hold, now):
                coming.clear()
                ear.clear(now)
        if 0 < cough_over <= now:
            cough_over = -1.0
            busy(playout.resume)
            write(now)
    gaps = _gaps(ear)
    return Row(
        way, trouble.name, 1_000 * sum(delays) / max(1, len(delays)), cpu_s / CALL_S * 1e6, messages / CALL_S,
        sum(ahead) / max(1, len(ahead)), resent / 1_000, len(gaps), sum(gaps),
    )  # fmt: skip


def _deltas() -> deque[tuple[float, ItemId, bytes, bool]]:
    deltas: deque[tuple[float, ItemId, bytes, bool]] = deque()
    count = ANSWER_MS // DELTA_MS
    for number in range(int((CALL_S - EVERY_S) / EVERY_S)):
        for k in range(count):
            sound = bytes([1 if k == 0 else 2]) * (DELTA_MS * 8)
            at = number * EVERY_S + 0.5 + k * DELTA_MS / 1_000 / PACE
            deltas.append((at, ItemId(f"item_{number}"), sound, k == count - 1))
    return deltas


def _gaps(ear: Playback) -> list[float]:
    """The silences inside answers. Silences of more than a second are between two answers, and do not count."""
    runs = ear.runs(CALL_S)
    silences = [(begun - over) * 1_000 for (_, over), (begun, _) in pairwise(runs)]
    return [ms for ms in silences if 1 <= ms < 1_000]
