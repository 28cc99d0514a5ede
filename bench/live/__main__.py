"""`python -m bench.live [SECONDS]`: how much five watchers delay the audio of 20 running calls.

A watcher is a browser that shows the page Live. The audio is measured during ten pairs of periods (windows), on one
relay process with the same calls. In one window of a pair there are no watchers, in the other there are five. In every
second pair the order is reversed. The goal is that the median of the ten differences of p99 is under 1 ms in each
direction.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from statistics import median
from urllib.parse import urlsplit

from bench.relays import LOAD_CORE, OUT, RELAY_CORE, machine, ours, quieten
from bench.steps import HEAD, line
from relay.standin.load.generator import SETTLE_S, Load, Step, running

READY_LIMIT_S = 60.0
CALLS, WATCHERS, PAIRS, GOAL_MS = 20, 5, 10, 1.0


@contextmanager
def watching(load: Load, port: int, count: int) -> Iterator[list[int]]:
    """Run `count` watchers on the load's core. After the block, the list has two counts: their snapshots and bytes."""
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.live.watchers", str(port), str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        out = clients.stdout
        load.loop.run(lambda: bool(select.select([out], [], [], 0)[0]), READY_LIMIT_S)  # the calls go on meanwhile
        assert out.readline() == "ready\n", "the event clients got no snapshot"
        got: list[int] = []
        try:
            yield got
        finally:
            clients.stdin.close()
            got += [int(word) for word in out.readline().split()]


def window(load: Load, pid: int, seconds: float, port: int, *, watched: bool) -> Step:
    """Measure one window, and print its line."""
    if not watched:
        load.loop.run(lambda: False, SETTLE_S)
        step = load.measure("unwatched", CALLS, seconds, pid, RELAY_CORE)
        print(line(step), flush=True)
        return step
    with watching(load, port, WATCHERS) as got:
        load.loop.run(lambda: False, SETTLE_S)
        step = load.measure("watched", CALLS, seconds, pid, RELAY_CORE)
    assert got[0] >= WATCHERS * seconds, f"{WATCHERS} clients got only {got[0]} snapshots, so they did not watch"
    print(f"{line(step)}  {got[0]} snapshots, {got[1] / 1000:.0f} kB", flush=True)
    return step


def difference(pairs: list[tuple[Step, Step]], way: str) -> float:
    """By how many ms watching raises the p99: the median of all pairs."""
    found = [getattr(watched, way).p99 - getattr(alone, way).p99 for alone, watched in pairs]
    print(f"{way:4} p99, watched minus unwatched, ms: {' '.join(f'{each:+.2f}' for each in sorted(found))}")
    return float(median(found))


def main() -> int:
    """Measure, print, write out/live.json. Return 1 if the goal was missed."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    quieten()
    print(machine())
    pairs: list[tuple[Step, Step]] = []
    with ours() as relay, running(relay, tls=True, core=RELAY_CORE, log=OUT / "live.log") as (load, pid):
        port = urlsplit(load.target.origin).port or 0
        load.ring_up_to(CALLS)
        print(HEAD)
        for number in range(PAIRS):
            first = window(load, pid, seconds, port, watched=number % 2 == 1)
            second = window(load, pid, seconds, port, watched=number % 2 == 0)
            pairs.append((first, second) if number % 2 == 0 else (second, first))
    up, down = difference(pairs, "up"), difference(pairs, "down")
    cpu = median(watched.cpu_ms_per_call_s - alone.cpu_ms_per_call_s for alone, watched in pairs)
    frame_us = cpu * 1000 / 50
    print(f"median: up {up:+.2f} ms, down {down:+.2f} ms (goal: under {GOAL_MS} ms); CPU {frame_us:+.1f} µs a frame")
    OUT.mkdir(exist_ok=True)
    rows = [{"unwatched": asdict(alone), "watched": asdict(watched)} for alone, watched in pairs]
    (OUT / "live.json").write_text(json.dumps({"machine": machine(), "pairs": rows}, indent=1))
    return 0 if max(up, down) < GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
