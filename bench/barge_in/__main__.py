"""`python -m bench.barge_in [--calls 1 20] [--interruptions 20]`: a real relay, model and callers in own processes.

Time to the `clear` is taken from the model's `speech_started` leaving its process to the `clear` arriving at the
callers': the relay's own share and two ways over loopback. Leaves out/barge_in.txt and .json.
Exit code 1 if a truncation was more than 20 ms off, or the p99 to the clear at 20 calls over 5 ms.
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
from bench.greeting.relay_process import environment, free_port, greet, serving
from bench.relays import OUT, machine, quieten
from relay.ledger.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.load import Spread
from relay.standin.model import PATH

ERROR_LIMIT_MS, CLEAR_LIMIT_MS = 20.0, 5.0
# A `clear` follows its speech_started by less than this, or it belongs to none.
TOGETHER_S = 0.5


@dataclasses.dataclass(slots=True)
class Figures:
    """One number of calls at a time."""

    calls: int
    interruptions: int
    off_ms: Spread  # |truncated at - really heard|
    clear_ms: Spread  # speech_started -> clear
    missing: int  # clears without a truncation
    errors: list[str]  # error events of the model
    load_late_ms: Spread  # how late the callers' process woke up: what it measures cannot be truer
    failures: list[str]


class Told:
    """What the model's process tells."""

    def __init__(self) -> None:
        self.started: dict[str, list[float]] = {}
        self.truncated: dict[str, list[int]] = {}
        self.errors: list[str] = []
        self.port = trio.Event()
        self.url = ""

    async def read(self, process: trio.Process) -> None:
        """Until the process ends."""
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
        if told["kind"] == "started":
            self.started.setdefault(told["who"], []).append(told["at"])
        elif told["kind"] == "truncated":
            self.truncated.setdefault(told["who"], []).append(told["ms"])
        else:
            self.errors.append(told["words"])

    def forget(self) -> None:
        """A new measurement begins."""
        self.started.clear()
        self.truncated.clear()
        self.errors = []


def figures(calls: int, load: Load, told: Told) -> Figures:
    """Hold the callers' side against the model's."""
    by_caller: dict[str, list[Cleared]] = {}
    for each in load.cleared:
        by_caller.setdefault(each.who, []).append(each)
    off: list[float] = []
    waits: list[float] = []
    missing = 0
    for who, clears in by_caller.items():
        truncated = told.truncated.get(who, [])
        missing += abs(len(clears) - len(truncated))
        if len(clears) == len(truncated):
            off += [abs(ms - each.heard_ms) / 1000 for ms, each in zip(truncated, clears, strict=True)]
        for each in clears:
            before = [each.at - at for at in told.started.get(who, []) if 0 <= each.at - at < TOGETHER_S]
            waits += [min(before)] if before else []
    late = Spread.of(load.lags_s)
    return Figures(
        calls, len(load.cleared), Spread.of(off), Spread.of(waits), missing, told.errors, late, load.failures
    )


async def measure(calls: list[int], interruptions: int) -> list[Figures]:
    """Every number of calls, with one relay and one model."""
    told, done = Told(), list[Figures]()
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


def harmful(one: Figures) -> list[str]:
    """Errors that are none of a cancellation which crossed the answer's own end: that race is nobody's mistake."""
    return [words for words in one.errors if not words.startswith("Cancellation failed")]


def words(one: Figures) -> str:
    """A line of the table."""
    off, clear, late = one.off_ms, one.clear_ms, one.load_late_ms
    return (
        f"{one.calls:5} calls, {one.interruptions} interruptions\n"
        f"      truncated off by          p50 {off.p50:5.1f}  p99 {off.p99:5.1f}  max {off.most:5.1f} ms\n"
        f"      speech_started -> clear   p50 {clear.p50:5.2f}  p99 {clear.p99:5.2f}  max {clear.most:5.2f} ms\n"
        f"      the callers' process late  p50 {late.p50:5.2f}  p99 {late.p99:5.2f}  max {late.most:5.2f} ms\n"
        f"      without truncation {one.missing}, errors of the model {one.errors}, failed calls {len(one.failures)}"
    )


def main() -> int:
    """Measure, print, leave the files."""
    parser = argparse.ArgumentParser(prog="python -m bench.barge_in")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--interruptions", type=int, default=300, help="in all calls together; 1 call: a tenth")
    options = parser.parse_args()
    quieten()
    lines = [machine()]
    done = []
    for count in options.calls:
        number = options.interruptions if count > 1 else max(1, options.interruptions // 10)
        done += trio.run(measure, [count], number)
        lines.append(words(done[-1]))
    lines += [
        "",
        "What another COMMIT_MS would do (simulated with clips, see bench/barge_in/commit.py):",
        *commit.lines(),
    ]
    text = "\n".join(lines)
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "barge_in.txt").write_text(text + "\n")
    rows = [dataclasses.asdict(row) for row in commit.table()]
    value = {"machine": lines[0], "steps": [dataclasses.asdict(one) for one in done], "commit_ms": rows}
    (OUT / "barge_in.json").write_text(json.dumps(value, indent=1) + "\n")
    late = max((one.clear_ms.p99 for one in done), default=0.0) > CLEAR_LIMIT_MS
    wrong = any(one.off_ms.most > ERROR_LIMIT_MS or one.missing or harmful(one) or one.failures for one in done)
    return int(late or wrong)


if __name__ == "__main__":
    sys.exit(main())
