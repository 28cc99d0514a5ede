"""`python -m bench.functions [--calls 1 20] [--rounds 4]` measures what callers hear while slow functions run.

There are three processes: a real relay; the stand-in model and the stand-in business together; and this one, with the
callers. The relay's ledger is an embedded Postgres. All callers ask repeatedly for something that takes two seconds.
Every fifth caller speaks while the function runs. Writes out/functions.txt and .json.

The exit code is 1 in these cases:
- a caller heard silence for more than 900 ms, or a gap in the agent's words;
- the agent stopped more than 300 ms after an interruption, or the interruption was not answered;
- a call failed.
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

from bench.functions.backend_process import SLOW_MS
from bench.greeting.relay_process import ACCOUNT, NUMBER, environment, greet, serving
from bench.relays import OUT, machine, quieten
from relay.ledger.dev_postgres.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.commands.call import Target
from relay.standin.load.generator import Spread
from relay.standin.ports import free_port
from relay.standin.scenario.report import CallReport, Turn
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, parse
from relay.standin.twilio.numbers import fictional_number

SILENCE_LIMIT_MS, STOP_LIMIT_MS = 900.0, 300.0
EVERY = 5  # every fifth caller interrupts
MUTE, ANNOUNCED, SPEAKS = "ask_hours", "ask_friday", "can_you_hear"
ROUND_S = 9


@dataclasses.dataclass(slots=True)
class Figures:
    """The figures with `calls` calls at the same time."""

    calls: int
    functions: int
    silence_ms: Spread  # after the caller's last sound, and between two sounds of the agent
    gaps_ms: Spread  # gaps in the agent's words, because Twilio's buffer was empty
    stop_ms: Spread  # at an interruption: from the caller's first sound until the agent is silent
    answered: int  # how many interruptions were answered
    interruptions: int
    failures: list[str]

    @property
    def is_fine(self) -> bool:
        """True if the goal is met."""
        quiet = self.silence_ms.most <= SILENCE_LIMIT_MS and self.gaps_ms.n == 0
        stops = self.interruptions == 0 or self.stop_ms.most <= STOP_LIMIT_MS
        return quiet and stops and self.answered == self.interruptions and not self.failures


def caller(number: int, rounds: int) -> Scenario:
    """A caller who asks repeatedly for something slow."""
    says = MUTE if number % 2 else ANNOUNCED
    speaks = f'{{ interrupt_after_ms = 500, say = "{SPEAKS}" }}, ' if number % EVERY == EVERY - 1 else ""
    once = f'{{ say = "{says}" }}, {speaks}{{ silent_s = {ROUND_S} }}'
    steps = ", ".join(["{ listen = true }", *[once] * rounds, "{ hang_up = true }"])
    return parse(f'title = "t"\n[caller]\nnumber = "{fictional_number(number)}"\nsteps = [{steps}]', f"caller {number}")


async def ring(origin: str, count: int, rounds: int) -> list[CallReport]:
    """Start this many callers, 0.2 s apart."""
    exchange = Target(origin, ACCOUNT, NUMBER).exchange(lambda kind, fields: None)
    reports: list[CallReport] = []

    async def one(number: int) -> None:
        reports.append(await run_scenario(caller(number, rounds), exchange))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
            await trio.sleep(0.2)
    return reports


def _spread(values_ms: list[int]) -> Spread:
    return Spread.of([value / 1000 for value in values_ms])


def _after(turns: list[Turn], turn: Turn) -> Turn | None:
    return next((each for each in turns if each.who == "agent" and each.from_s > turn.from_s), None)


def figures(count: int, rounds: int, reports: list[CallReport]) -> Figures:
    """Sum up what the callers heard."""
    spoken = [(got, turn) for got in reports for turn in got.turns if turn.text.startswith("Can you hear me")]
    answers = [_after(got.turns, turn) for got, turn in spoken]
    return Figures(
        count,
        count * rounds,
        _spread([ms for got in reports for ms in got.silences_ms]),
        _spread([ms for got in reports for ms in got.gaps_ms]),
        _spread([ms for got in reports for ms in got.stops_ms]),
        sum(answer is not None and answer.text.startswith("Yes, I'm here") for answer in answers),
        len(spoken),
        [f"{got.scenario}: {words}" for got in reports for words in [*got.failures, *map(str, got.complaints)]],
    )


async def measure(calls: list[int], rounds: int) -> list[Figures]:
    """Measure once for each number of simultaneous calls. The same relay serves all of them."""
    done: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder, database("embedded", Path(folder)) as url:
        migrate(url)
        async with trio.open_nursery() as nursery:
            command = [sys.executable, "-m", "bench.functions.backend_process"]
            run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
            others = await nursery.start(run)
            said = b""
            while said.count(b"\n") < 2:
                said += await others.stdout.receive_some()
            model_url, business_url = said.decode().split()
            environ = environment(free_port(), model_url, url, Path(folder)) | {"BUSINESS_API_BASE": business_url}
            await greet(environ)
            async with serving(environ, Path(folder) / "relay.log", ready=True) as origin:
                for count in calls:
                    done.append(figures(count, rounds, await ring(origin, count, rounds)))
                    print(words(done[-1]), flush=True)
            nursery.cancel_scope.cancel()
    return done


def words(one: Figures) -> str:
    """The figures as lines of text."""
    silence, stop = one.silence_ms, one.stop_ms
    return (
        f"{one.calls:5} calls, {one.functions} functions of {SLOW_MS / 1000:g} s\n"
        f"      silence that a caller heard  p50 {silence.p50:.0f}, p99 {silence.p99:.0f}, max {silence.most:.0f} ms\n"
        f"      gaps in the agent's words  {one.gaps_ms.n}"
        f"{f', longest {one.gaps_ms.most:.0f} ms' if one.gaps_ms.n else ''}\n"
        f"      {one.interruptions} interruptions: the agent stopped after p50 {stop.p50:.0f}, max {stop.most:.0f} ms; "
        f"{one.answered} of them were answered\n"
        f"      {'goal met' if one.is_fine else 'GOAL MISSED'}; failures {one.failures}"
    )


def main() -> int:
    """Measure, print, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m bench.functions")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--rounds", type=int, default=4, help="functions in each call")
    options = parser.parse_args()
    quieten()
    head = machine()
    print(head, flush=True)
    done = trio.run(measure, options.calls, options.rounds)
    OUT.mkdir(exist_ok=True)
    (OUT / "functions.txt").write_text("\n".join([head, *map(words, done)]) + "\n")
    value = {"machine": head, "steps": [dataclasses.asdict(one) for one in done]}
    (OUT / "functions.json").write_text(json.dumps(value, indent=1) + "\n")
    return int(not all(one.is_fine for one in done))


if __name__ == "__main__":
    sys.exit(main())
