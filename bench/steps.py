"""Measures a relay at several numbers of calls. Writes a table, JSON, and the difference of two runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bench.relays import OUT, RELAY_CORE, machine
from relay.standin.load.generator import SETTLE_S, LoadFailed, Relay, Step, running

HEAD = (
    f"{'relay':18} {'calls':>5} {'up p50':>7} {'p99':>7} {'down p50':>8} {'p99':>7} {'dry ms':>7} {'ms/call-s':>9} "
    f"{'busy':>5} {'RSS MB':>7} {'load':>5} {'others':>6}  keeps up"
)


def line(step: Step) -> str:
    """One row of the table. `others` is the share of the relay's core that other programs used."""
    verdict = "yes" if step.keeps_up() else "no"
    if not step.is_valid:
        verdict += ", but the load was too busy, so the figures are not valid"
    if step.failures:
        verdict += f" ({len(step.failures)} calls failed: {step.failures[0]})"
    return (
        f"{step.relay:18} {step.calls:5} {step.up.p50:7.2f} {step.up.p99:7.2f} {step.down.p50:8.2f} "
        f"{step.down.p99:7.2f} {step.dry_ms:7.1f} {step.cpu_ms_per_call_s:9.2f} {step.relay_busy:5.0%} "
        f"{step.rss_mb:7.1f} {step.load_busy:5.0%} {step.others_busy:6.0%}  {verdict}"
    )


def climb(
    relay: AbstractContextManager[Relay],
    calls: Sequence[int],
    seconds: float,
    *,
    tls: bool,
    to_the_end: bool = False,
    looks_every_s: float = 0.0,
) -> list[Step]:
    """Measure one relay process at each number of calls. Without `to_the_end`, stop when the relay does not keep up.

    If the load fails, the reason is printed, and the steps so far are returned. `looks_every_s` is explained in
    relay/standin/load/loop.py.
    """
    steps: list[Step] = []
    with relay as one:
        log = OUT / f"{one.name.replace(' ', '-')}.log"
        try:
            with running(one, tls=tls, core=RELAY_CORE, log=log, looks_every_s=looks_every_s) as (load, pid):
                for count in calls:
                    load.ring_up_to(count)
                    load.loop.run(lambda: False, SETTLE_S)
                    step = load.measure(one.name, count, seconds, pid, RELAY_CORE)
                    steps.append(step)
                    print(line(step), flush=True)
                    if not step.keeps_up() and not to_the_end:
                        break
        except LoadFailed as error:
            print(f"{one.name}: {error}", flush=True)
    return steps


def apart(first: Sequence[Step], second: Sequence[Step]) -> str:
    """A sentence about the difference of two runs."""
    rows = []
    for one, other in zip(first, second, strict=False):
        cpu = abs(one.cpu_ms_per_call_s - other.cpu_ms_per_call_s) / max(0.01, one.cpu_ms_per_call_s)
        p99 = max(abs(one.up.p99 - other.up.p99), abs(one.down.p99 - other.down.p99))
        rows.append(f"{one.calls} calls: CPU {cpu:.0%}, p99 {p99:.1f} ms")
    return "the two runs differ by: " + "; ".join(rows)


def save(name: str, runs: Sequence[Sequence[Step]], more: dict[str, object] | None = None) -> Path:
    """Write out/NAME.json, and out/NAME.txt to read."""
    OUT.mkdir(exist_ok=True)
    table = [machine(), HEAD, *(line(step) for run in runs for step in run)]
    (OUT / f"{name}.txt").write_text("\n".join(table) + "\n")
    path = OUT / f"{name}.json"
    found = {"machine": machine(), "runs": msgspec.to_builtins(runs)} | (more or {})
    path.write_text(json.dumps(found, indent=1))
    return path
