"""`python -m bench.recordings [PAIRS [SECONDS [CALLS]]]` compares runs with and without RECORD=on, in pairs.

Each run is a new `relay serve` with the same load. For each pair the difference of the p99 is taken. The figure is the
median of the differences, with a 95 % interval by bootstrap. The goal is less than 1 ms.
"""

import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench import steps
from bench.relays import machine, ours, quieten
from relay.recordings.cipher import new_key
from relay.standin.load.generator import Relay, Step

GOAL_MS = 1.0
DRAWS = 10_000


@contextmanager
def recording() -> Iterator[Relay]:
    """The relay of `ours`, with RECORD=on.

    If nothing was recorded, the program ends, because then nothing was measured.
    """
    with ours() as relay:
        more = {"RECORD": "on", "RECORDING_KEY": new_key()}
        yield replace(relay, name="relay, recording", environ={**relay.environ, **more})
        folder = Path(relay.environ["DATA_DIR"]) / "recordings"
        files = [path.stat().st_size for path in folder.glob("*/*.rec*")]
        print(f"  {len(files)} recordings, {sum(files) / 1e6:.1f} MB", flush=True)
        if not files:
            raise SystemExit("nothing was recorded")


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the bounds of its 95 % interval (bootstrap: the medians of random draws from the differences)."""
    rng = random.Random(1)
    drawn = sorted(statistics.median(rng.choices(differences, k=len(differences))) for _ in range(DRAWS))
    return statistics.median(differences), drawn[DRAWS // 40], drawn[-DRAWS // 40]


def main() -> int:
    """Run the pairs, print, write out/recordings.json and .txt. Return 1 if the median of a p99 misses the goal."""
    given = [int(word) for word in sys.argv[1:4]]
    pairs, seconds, calls = given + [10, 10, 20][len(given) :]
    quieten()
    print(machine())
    print(steps.HEAD)
    runs: dict[bool, list[Step]] = {True: [], False: []}
    for number in range(pairs):
        for records in (True, False) if number % 2 else (False, True):  # in turn, each comes first
            relay = recording() if records else ours()
            runs[records] += steps.climb(relay, (calls,), seconds, tls=True, to_the_end=True)
    both = list(zip(runs[True], runs[False], strict=True))
    figures: dict[str, Callable[[Step], float]] = {
        "up p99, ms": lambda step: step.up.p99,
        "down p99, ms": lambda step: step.down.p99,
        "CPU per frame, us": lambda step: step.cpu_ms_per_call_s / 50 * 1000,
    }
    found = {name: interval([of(one) - of(other) for one, other in both]) for name, of in figures.items()}
    for name, (median, low, high) in found.items():
        without = statistics.median(figures[name](step) for step in runs[False])
        print(f"{name}: {without:.2f} without; recording adds {median:+.2f} ({low:+.2f} to {high:+.2f})")
    print(steps.save("recordings", [runs[True], runs[False]], {"differences": found}))
    return 0 if max(found["up p99, ms"][0], found["down p99, ms"][0]) < GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
