"""`python -m bench.peers [--tls] [NAME…]` puts our relay and other relays under the same load, and compares them.

The names of the other relays are passthrough, agents and pipecat. Without a name all of them run. They are installed
into out/peers first. The sockets are plain, so that the relays are compared and not their TLS libraries. With `--tls`
the socket to the model uses TLS, as OpenAI's does.
"""

import argparse
import os
import sys
from contextlib import nullcontext

from bench import steps
from bench.peers.environments import PEERS
from bench.relays import LOAD_CORE, machine, ours, quieten
from relay.standin.load.generator import LoadFailed, Step

CALLS = {"pipecat": (1, 20)}
ALL_CALLS = (20, 100, 200)
# The highest allowed ratio of our CPU time for a second of a call to that of passthrough, which has no DSP.
GOAL = 1.6
SECONDS = 15.0


def _one(name: str, *, tls: bool) -> list[Step]:
    calls = CALLS.get(name, ALL_CALLS)
    if name == "relay":
        return steps.climb(ours(), calls, SECONDS, tls=tls, to_the_end=True)
    try:
        relay = PEERS[name]()
    except LoadFailed as error:
        print(f"{name}: {error}")
        return []
    return steps.climb(nullcontext(relay), calls, SECONDS, tls=tls, to_the_end=True)


def main() -> int:
    """Measure all twice, print, and write out/peers.json. Return 1 if our CPU is over GOAL times the passthrough's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(PEERS))
    parser.add_argument("--tls", action="store_true")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    quieten()
    print(machine())
    print(steps.HEAD)
    rounds = [{name: _one(name, tls=chosen.tls) for name in ("relay", *chosen.names)} for _ in range(2)]
    worst = 0.0
    for found in rounds:
        plain = {step.calls: step for step in found.get("passthrough", [])}
        for step in found["relay"]:
            if step.calls in plain:
                ratio = step.cpu_ms_per_call_s / plain[step.calls].cpu_ms_per_call_s
                worst = max(worst, ratio)
                print(f"our CPU divided by the passthrough's at {step.calls} calls: {ratio:.2f} (goal {GOAL})")
    print(steps.save("peers", [run for found in rounds for run in found.values()]))
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
