"""`python -m bench.capacity [SECONDS [CALLS,…]]` finds how many calls one core can serve.

It adds calls until audio is late. It does so twice.
"""

import sys

from bench import steps
from bench.capacity.plot import draw
from bench.relays import OUT, machine, ours, quieten

CALLS = (20, 60, 100, 140, 180, 200, 220, 240, 320, 400)
# The load looks at its sockets only once in this time (relay/standin/load/loop.py). So at 200 calls the load needs a
# fifth of its core. If each input woke it, it would need half of the core, and at 400 calls it could not measure.
LOOKS_EVERY_S = 0.001


def main() -> int:
    """Measure twice, print, write out/capacity.json, .txt and .png. Return 1 if one limit is below 140 calls."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    calls = tuple(int(count) for count in sys.argv[2].split(",")) if len(sys.argv) > 2 else CALLS
    quieten()
    print(machine())
    print(steps.HEAD)
    runs = [steps.climb(ours(), calls, seconds, tls=True, looks_every_s=LOOKS_EVERY_S) for _ in range(2)]
    print(steps.apart(*runs))
    limits = [max((s.calls for s in run if s.keeps_up() and s.is_valid), default=0) for run in runs]
    for run in runs:
        if len(run) > 1:
            per_call_mb = (run[-1].rss_mb - run[0].rss_mb) / (run[-1].calls - run[0].calls)
            costs = " ".join(f"{s.cpu_ms_per_call_s:.1f}" for s in run)
            print(f"memory a call: {per_call_mb:.2f} MB (goal 0.5); CPU ms per call-second, must not rise: {costs}")
    print(f"calls on one core with p99 <= 40 ms in both directions and no gaps: {limits[0]} and {limits[1]} (goal 200)")
    draw(runs, OUT / "capacity.png")
    print(steps.save("capacity", runs, {"limits": limits}))
    return 0 if min(limits) >= 140 else 1


if __name__ == "__main__":
    sys.exit(main())
