"""`python -m bench.barge_in [--calls 1 20] [--interruptions 300]`: are truncations exact, and is `clear` in time?

There are two measurements. For the truncations, a real relay, the stand-in model and the callers run in three
processes. For the time from the model's `speech_started` to the `clear` at the caller, one process is both the model
and the callers (relay/standin/load/), and the relay uses wss to the model. This time includes the relay's own work and
the transport over loopback in both directions.

Writes out/barge_in.txt and .json. The exit code is 1 if a truncation was missing or wrong by more than 20 ms, if a call
failed or the model sent an error meanwhile, if a `clear` was missing, or if the p99 to the `clear` was over 5 ms.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from bench.barge_in import commit
from bench.barge_in.calls import Cleared, Load
from bench.greeting.relay_process import environment, greet, serving
from bench.relays import OUT, RELAY_CORE, machine, ours, quieten
from relay.ledger.dev_postgres.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.load.generator import SETTLE_S, Spread, running
from relay.standin.model.server import PATH
from relay.standin.ports import free_port

ERROR_LIMIT_MS, CLEAR_LIMIT_MS = 20.0, 5.0
# Seconds between two turns of a caller. An answer is 2 s long, so each turn interrupts the answer to the turn before.
TURN_S = 2.4


@dataclasses.dataclass(slots=True)
class Truth:
    """How exact the truncations were with `calls` calls at the same time."""

    calls: int
    interruptions: int
    off_ms: Spread  # the difference between the truncation and what the caller heard
    # the difference between the numbers of `clear` messages and of truncations, summed over the callers
    missing: int
    errors: list[str]  # error events of the model
    failures: list[str]


@dataclasses.dataclass(slots=True)
class Speed:
    """How soon the agent was stopped with `calls` calls at the same time."""

    calls: int
    interruptions: int
    clear_ms: Spread  # from `speech_started` to `clear`
    load_late_ms: Spread  # how late the load itself was; `clear_ms` cannot be more exact than this
    others_busy: float  # the share of the relay's core that other programs used
    failures: tuple[str, ...]  # calls that failed

    @property
    def missing(self) -> int:
        """The number of interruptions without a `clear`."""
        return self.interruptions - self.clear_ms.n


class Told:
    """The reports of the model's process."""

    def __init__(self) -> None:
        self.truncated: dict[str, list[int]] = {}
        self.errors: list[str] = []
        self.port = trio.Event()
        self.url = ""

    async def read(self, process: trio.Process) -> None:
        """Read reports until the process ends."""
        rest = b""
        assert process.stdout is not None
        async for chunk in process.stdout:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._take(line)

    def _take(self, line: bytes) -> None:
        if not self.url:
            self.url = f"ws://127.0.0.1:{int(line)}{PATH}"
            self.port.set()
            return
        told = json.loads(line)
        if told["kind"] == "truncated":
            self.truncated.setdefault(told["who"], []).append(told["ms"])
        else:
            self.errors.append(told["words"])

    def forget(self) -> None:
        """Drop all reports, because a new measurement begins."""
        self.truncated.clear()
        self.errors = []


def figures(calls: int, load: Load, told: Told) -> Truth:
    """Compare what the callers heard with what the model was told."""
    by_caller: dict[str, list[Cleared]] = {}
    for each in load.cleared:
        by_caller.setdefault(each.who, []).append(each)
    off: list[float] = []
    missing = 0
    for who, clears in by_caller.items():
        truncated = told.truncated.get(who, [])
        missing += abs(len(clears) - len(truncated))
        if len(clears) == len(truncated):
            off += [abs(ms - each.heard_ms) / 1000 for ms, each in zip(truncated, clears, strict=True)]
    return Truth(calls, len(load.cleared), Spread.of(off), missing, told.errors, load.failures)


async def truths(calls: list[int], interruptions: int) -> list[Truth]:
    """Measure each number of calls, with one relay and one model."""
    told, done = Told(), list[Truth]()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder, database("embedded", Path(folder)) as url:
        migrate(url)
        async with trio.open_nursery() as nursery:
            command = [sys.executable, "-m", "bench.barge_in.model_process"]
            run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
            nursery.start_soon(told.read, await nursery.start(run))
            await told.port.wait()
            environ = environment(free_port(), told.url, url, Path(folder)) | {
                "MAX_CALL_S": "3600",
                "MAX_CALL_USD": "50",
            }
            await greet(environ)
            async with serving(environ, Path(folder) / "relay.log", ready=True) as origin:
                for number, count in enumerate(calls):
                    told.forget()
                    load = Load(origin, 100 + number)
                    await load.run(count, max(1, interruptions // count) if count > 1 else interruptions)
                    await trio.sleep(1.0)
                    done.append(figures(count, load, told))
            nursery.cancel_scope.cancel()
    return done


def speeds(calls: list[int], interruptions: int) -> list[Speed]:
    """Measure each number of calls, with one relay. Each call is interrupted every TURN_S."""
    done: list[Speed] = []
    with ours() as relay:
        log = OUT / "relay.log"
        with running(relay, tls=True, core=RELAY_CORE, log=log, turn_s=TURN_S) as (load, pid):
            for count in calls:
                load.ring_up_to(count)
                load.loop.run(lambda: False, SETTLE_S)
                step = load.measure(relay.name, count, interruptions * TURN_S / count, pid, RELAY_CORE)
                clear = Spread.of(load.window.clear)
                done.append(
                    Speed(count, load.window.interruptions, clear, step.load_late, step.others_busy, step.failures)
                )
    return done


def harmful(one: Truth) -> list[str]:
    """The errors that count as faults. A cancellation that reached the model after the answer's end is not a fault."""
    return [words for words in one.errors if not words.startswith("Cancellation failed")]


def truth_words(one: Truth) -> str:
    """A line of text about the truncations."""
    off = one.off_ms
    return (
        f"{one.calls:5} calls, {one.interruptions} interruptions: "
        f"error of the truncations p50 {off.p50:.1f}, p99 {off.p99:.1f}, max {off.most:.1f} ms; "
        f"without truncation {one.missing}, errors of the model {one.errors}, failed calls {len(one.failures)}"
    )


def speed_words(one: Speed) -> str:
    """A line of text about the times."""
    clear, late = one.clear_ms, one.load_late_ms
    return (
        f"{one.calls:5} calls, {one.interruptions} interruptions: "
        f"speech_started -> clear p50 {clear.p50:.2f}, p99 {clear.p99:.2f}, max {clear.most:.2f} ms; "
        f"without clear {one.missing}, failed calls {len(one.failures)}; the load late by p99 {late.p99:.2f} ms; "
        f"others took {one.others_busy:.1%} of the core"
    )


def main() -> int:
    """Measure, print, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m bench.barge_in")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--interruptions", type=int, default=300, help="of all calls; 1 call gets a tenth")
    options = parser.parse_args()
    quieten()
    lines = [machine()]
    true: list[Truth] = []
    fast: list[Speed] = []
    for count in options.calls:
        number = options.interruptions if count > 1 else max(1, options.interruptions // 10)
        true += trio.run(truths, [count], number)
        lines.append(truth_words(true[-1]))
    for count in options.calls:
        number = options.interruptions if count > 1 else max(1, options.interruptions // 10)
        fast += speeds([count], number)
        lines.append(speed_words(fast[-1]))
    lines += [
        "",
        "The effect of other values of GIVE_UP_MS (simulated with clips, see bench/barge_in/commit.py):",
        *commit.lines(),
    ]
    text = "\n".join(lines)
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "barge_in.txt").write_text(text + "\n")
    value = {
        "machine": lines[0],
        "truncated": [dataclasses.asdict(one) for one in true],
        "cleared": [dataclasses.asdict(one) for one in fast],
        "commit_ms": [dataclasses.asdict(row) for row in commit.table()],
    }
    (OUT / "barge_in.json").write_text(json.dumps(value, indent=1) + "\n")
    late = any(one.clear_ms.p99 > CLEAR_LIMIT_MS or one.missing or one.failures for one in fast)
    wrong = any(one.off_ms.most > ERROR_LIMIT_MS or one.missing or harmful(one) or one.failures for one in true)
    return int(late or wrong)


if __name__ == "__main__":
    sys.exit(main())
