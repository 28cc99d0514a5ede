"""`python -m bench.greeting [--calls 100] [--at-once 20] [--only WORDS]` measures how soon a caller hears the greeting.

The cases (cases.py) cover each way in which the relay can greet. WORDS select the cases with these words in their name.
Writes out/greeting.txt, .json and .png. The exit code is 1 if a call heard nothing within 500 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from bench.greeting import report
from bench.greeting.calls import Load, own_p99_ms, rungs
from bench.greeting.cases import CASES, Case
from bench.greeting.relay_process import environment, greet, serving
from bench.greeting.report import Measured
from bench.relays import quieten
from relay.ledger.dev_postgres.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.model.server import PATH
from relay.standin.ports import free_port

OUT = Path(__file__).parents[2] / "out"
NOBODY = "postgresql://nobody@127.0.0.1:9/none"
# The most calls of a case in which each call needs a new start of the relay. A start takes two seconds.
STARTS = 10
VOICES = ("marin", "cedar", "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")


@asynccontextmanager
async def model(case: Case) -> AsyncIterator[str]:
    """Run a stand-in model in a process, and return its URL."""
    command = [sys.executable, "-m", "bench.greeting.model_process", case.name]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
        port = int(await process.stdout.receive_some())
        yield f"ws://127.0.0.1:{port}{PATH}"
        nursery.cancel_scope.cancel()


async def measure(case: Case, database_url: str, folder: Path, calls: int, at_once: int) -> Measured:
    """Measure one case. `folder` is an empty folder for the relay."""
    port, log = free_port(), folder / "relay.log"
    if case.kept:
        async with model(CASES[0]) as url:  # a model without faults
            await greet(environment(port, url, database_url, folder))
    loads: list[tuple[Load, int]] = []
    async with model(case) as url:
        environ = environment(port, url, database_url if case.postgres else NOBODY, folder)
        served: dict[str, int] = {}
        for number in range(min(STARTS, calls) if case.fresh else 1):
            if not case.kept:  # another voice, so that this start finds no greeting of an earlier start
                environ["OPENAI_VOICE"] = VOICES[number % len(VOICES)]
            async with serving(environ, log, ready=not case.fresh) as origin, trio.open_nursery() as nursery:
                load = Load(origin)
                nursery.start_soon(load.watch_lag)
                if case.fresh:
                    await load.one_by_one(1)
                    alone = 1
                else:
                    await load.one_by_one(calls)
                    alone = len(load.heard)
                    for _ in range(max(1, calls // at_once)):
                        await load.together(at_once)
                for rung, count in (await rungs(origin)).items():
                    served[rung] = served.get(rung, 0) + count
                own = await own_p99_ms(origin)
                loads.append((load, alone))
                nursery.cancel_scope.cancel()
    lags = sorted(lag for load, _ in loads for lag in load.lags_ms)
    return Measured(
        case,
        [heard.greeting_ms for load, alone in loads for heard in load.heard[:alone]],
        [heard.greeting_ms for load, alone in loads for heard in load.heard[alone:]],
        served,
        None if case.fresh else own,
        lags[int(0.99 * len(lags))],
    )


def run(calls: int, at_once: int, only: str) -> list[Measured]:
    """Measure the cases with the words `only` in their name, one after the other."""
    found: list[Measured] = []
    for case in (each for each in CASES if only in each.name):
        with tempfile.TemporaryDirectory(prefix="relay-greeting-") as temporary:
            root = Path(temporary)
            root.chmod(0o711)
            folder = root / "relay"
            folder.mkdir(mode=0o711)
            with database("embedded", root) as url:  # a new one, so that no case finds the greeting of another case
                migrate(url)
                found.append(trio.run(measure, case, url, folder, calls, at_once))
        print(f"{case.name}: done", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Measure, print, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m bench.greeting")
    parser.add_argument("--calls", type=int, default=100, help="calls one after the other, and about as many at once")
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--only", default="", help="only the cases with these words in their name")
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, set(range((os.cpu_count() or 1) - 1)))  # only the relay runs on the last core
    quieten()
    if not any(arguments.only in case.name for case in CASES):
        parser.error(f"no case has these words in its name. The cases are: {'; '.join(case.name for case in CASES)}")
    found = run(arguments.calls, arguments.at_once, arguments.only)
    text = report.table(found)
    OUT.mkdir(exist_ok=True)
    (OUT / "greeting.txt").write_text(text + "\n")
    (OUT / "greeting.json").write_text(json.dumps(report.as_json(found), indent=1) + "\n")
    report.draw(found, OUT / "greeting.png")
    print(text)
    return 1 if any(each.too_late for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
