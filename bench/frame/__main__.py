"""`python -m bench.frame [NAME=CHECKOUT…]` measures the CPU time that a caller's frame costs in several checkouts.

A checkout is a folder with the project and its own .venv. `passthrough` instead of a folder means the plain Node relay
of bench/peers. The checkouts are measured in turn, round by round, on one core. The ratios compare them with the first.
The calls work in lock step: in each step some of them (`--at-once`) send one frame each, and the next step begins when
the model has these frames. The bench counts CPU time, not elapsed time, so other programs disturb it little.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import cast

import msgspec
import pybase64

from bench.peers.environments import passthrough
from bench.python import interpreter
from bench.relays import LOAD_CORE, RELAY_CORE, machine, quieten
from relay.standin.commands.bench import serve_command
from relay.standin.load import model as load_model
from relay.standin.load.caller import Caller
from relay.standin.load.generator import Load, LoadFailed, Relay, running
from relay.standin.load.link import frame
from relay.standin.load.loop import clock

CALLS = 16
# Frames of one round, of all calls together: about 10 ms of CPU, a hundred times the resolution of schedstat.
FRAMES = 320
STEP_LIMIT_S = 5.0
GREETINGS_S = 8.0
APPEND = b"input_audio_buffer.append"


def checkout(path: str, folder: Path) -> Relay:
    """`relay serve` of a checkout, with the packages of its own .venv. `passthrough` means the plain Node relay."""
    if path == "passthrough":
        return passthrough()
    root = Path(path).resolve()
    command = (interpreter().program, "-m", "relay", "serve")
    site = next((root / ".venv" / "lib").glob("python3*/site-packages"))
    environ = dict(serve_command("embedded", folder).environ) | {"PYTHONPATH": f"{root}:{site}"}
    return Relay(path, command, environ, ready_path="/readyz", folder=root)


@dataclass(slots=True)
class Bench:
    """One relay with its calls, in lock step."""

    name: str
    load: Load
    pid: int
    reached: int = 0  # the number of frames that have reached the model
    payloads: list[bytes] = field(default_factory=list)

    def take_over(self) -> None:
        """Take the calls over from the load, so that only this bench sends frames from now on."""
        self.load.loop._timers.clear()
        for caller in self.load.callers:
            session = cast("load_model.Session", caller.session)
            session.on_input = self._counter(session)  # type: ignore[method-assign]
            caller.on_input = self._reader(caller)  # type: ignore[method-assign]

    def give_back(self) -> None:
        """Return the calls to the load, which ends them."""
        for caller in self.load.callers:
            del caller.on_input, caller.session.on_input  # type: ignore[union-attr]

    def _counter(self, session: load_model.Session) -> Callable[[], None]:
        def on_input() -> None:
            for message in session._link.messages():
                if APPEND in message[:60]:
                    self.reached += max(1, len(message) // 1300)  # a pair of frames is one message

        return on_input

    def _reader(self, caller: Caller) -> Callable[[], None]:
        def on_input() -> None:
            for message in caller._link.messages():
                if message[:20].startswith(b'{"event":"mark"'):
                    caller._return_mark(msgspec.json.decode(message)["mark"]["name"].encode())

        return on_input

    def step(self, callers: list[Caller]) -> None:
        """Send one frame in each of these calls, and wait until the model has all of them. Raises LoadFailed."""
        wanted = self.reached + len(callers)
        for caller in callers:
            n = caller._sent
            caller._sent += 1
            caller._link.write(
                frame(
                    b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d",'
                    b'"payload":"%b"},"streamSid":"%b"}'
                    % (n + 2, n + 1, 100 + n * 20, self.payloads[n % len(self.payloads)], caller._stream_sid.encode()),
                    masked=True,
                )
            )
        began = clock()
        while self.reached < wanted:
            for fd, _ in self.load.loop._epoll.poll(1.0):
                watched = self.load.loop._watched.get(fd)
                if watched is not None:
                    watched.on_input()
            if clock() - began > STEP_LIMIT_S:
                raise LoadFailed(f"{self.name}: {wanted - self.reached} frames did not reach the model")

    def round(self, at_once: int) -> float:
        """The CPU time of a frame in microseconds, measured over FRAMES frames. `at_once`: frames in each step."""
        callers, before = self.load.callers, cpu_ns(self.pid)
        steps = max(1, FRAMES // at_once)
        for n in range(steps):
            self.step([callers[(n * at_once + i) % len(callers)] for i in range(at_once)])
        return (cpu_ns(self.pid) - before) / 1000 / (steps * at_once)


def cpu_ns(pid: int) -> int:
    """The CPU time of all threads of the process, in nanoseconds (Linux, schedstat)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", metavar="NAME=CHECKOUT", default=["node=passthrough", "here=."])
    parser.add_argument("--at-once", default="1,16")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tls", action="store_true")
    chosen = parser.parse_args()
    at_once = [int(n) for n in chosen.at_once.split(",")]
    os.sched_setaffinity(0, {LOAD_CORE})
    quieten()
    load_model.FIRST_TURN_S = 1e9  # the stand-in callers take no turn, so the model answers nothing
    source = random.Random(1)
    payloads = [pybase64.b64encode(bytes(source.choices(b"\xff\xfe\x7f\x7e\xfd\xfc\x7d", k=160))) for _ in range(16)]
    print(machine())
    with ExitStack() as stack:
        benches = []
        for number, word in enumerate(chosen.checkouts, 1):
            name, _, path = word.partition("=")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-frame-")))
            relay = checkout(path, folder)
            load, pid = stack.enter_context(
                running(relay, tls=chosen.tls, core=RELAY_CORE, log=folder / "log", run_id=number)
            )
            benches.append(Bench(name, load, pid, payloads=payloads))
        for bench in benches:
            bench.load.ring_up_to(CALLS)
        until = clock() + GREETINGS_S
        while clock() < until:
            for bench in benches:
                bench.load.loop.run(lambda: False, 0.05)
        for bench in benches:
            bench.take_over()
            stack.callback(bench.give_back)
            for _ in range(20):
                bench.step(bench.load.callers[:1])
        found: dict[tuple[int, str], list[float]] = {}
        for n in range(chosen.rounds):
            for k in at_once:
                for bench in benches if n % 2 else benches[::-1]:
                    found.setdefault((k, bench.name), []).append(bench.round(k))
        for k in at_once:
            first = found[k, benches[0].name]
            for bench in benches:
                us = found[k, bench.name]
                ratio = median(one / other for one, other in zip(us, first, strict=True))
                low, mid, high = quantiles(us, n=4)
                print(
                    f"{k:3} at once  {bench.name:14} {mid:6.1f} us a frame ({low:.1f} to {high:.1f})  ratio {ratio:.3f}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
