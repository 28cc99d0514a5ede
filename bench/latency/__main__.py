"""`python -m bench.latency [SECONDS]` measures the relay's own delay at 1 and 20 calls, with wss to the model."""

import sys

from bench import steps
from bench.capacity.plot import draw
from bench.relays import OUT, machine, ours, quieten

CALLS = (1, 20)


def main() -> int:
    """Measure, print with the goals, write out/latency.json, .txt and .png. Return 1 if a goal was missed."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    quieten()
    print(machine())
    print(steps.HEAD)
    runs = [steps.climb(ours(), CALLS, seconds, tls=True, to_the_end=True) for _ in range(2)]
    print(steps.apart(*runs))
    at20 = [run[-1] for run in runs if len(run) == len(CALLS)]
    p50 = max((max(s.up.p50, s.down.p50) for s in at20), default=float("nan"))
    p99 = max((max(s.up.p99, s.down.p99) for s in at20), default=float("nan"))
    print(f"at 20 calls, the worse direction of the worse run: p50 {p50:.2f} ms (goal 1), p99 {p99:.2f} ms (goal 5)")
    draw(runs, OUT / "latency.png")
    print(steps.save("latency", runs))
    return 0 if p50 <= 1.0 and p99 <= 5.0 else 1


if __name__ == "__main__":
    sys.exit(main())
