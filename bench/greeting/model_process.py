"""`python -m bench.greeting.model_process CASE` is the stand-in model of a case. It prints its port.

It is a process of its own, so that its work does not delay the callers, who measure the times.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import trio

from bench.greeting.cases import CASES, Hoarse
from relay.standin.model.server import StandInModel

# The callers have precedence on the core that they share.
NICENESS = 5


async def serve(name: str) -> None:
    """Serve until killed."""
    case = next(each for each in CASES if each.name == name)
    house = StandInModel(case.script)
    if case.hoarse:
        house.voice = Hoarse()
    async with trio.open_nursery() as nursery:
        print(await nursery.start(partial(house.serve, 0)), flush=True)


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(NICENESS)
    trio.run(serve, sys.argv[1])
