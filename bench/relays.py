"""The measured relay, as in production: `relay serve` on one core, its Postgres on another."""

from __future__ import annotations

import gc
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.python import interpreter
from relay.ledger.dev_postgres.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.commands.bench import serve_command
from relay.standin.load.generator import Relay

OUT = Path(__file__).parents[1] / "out"
RELAY_CORE, LOAD_CORE = 0, 1


def machine() -> str:
    """This machine in one line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    system = f"{platform.system()} {platform.release()}, {interpreter().words}"
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{model}, {os.cpu_count()} CPUs, {system}, load average {load}"


@contextmanager
def ours() -> Iterator[Relay]:
    """Run a Postgres on the load's core. Yield how relay/standin/load/generator.py starts `relay serve` with it."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder, database("embedded", Path(folder)) as url:
        migrate(url)
        relay, python = serve_command(url, Path(folder)), interpreter()
        environ = {**relay.environ, "PYTHONPATH": python.path}
        yield replace(relay, command=(python.program, *relay.command[1:]), environ=environ)


def quieten() -> None:
    """Switch the garbage collector off, so that it does not delay the load.

    BENCH_REALTIME=1 (as root) gives real-time priority to this process and to everything that it starts. Then other
    programs on a shared machine disturb the figures little.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    if os.environ.get("BENCH_REALTIME"):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
