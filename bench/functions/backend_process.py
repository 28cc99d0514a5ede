"""`python -m bench.functions.backend_process`: the stand-in model and a slow stand-in business in one process.

It prints the URL of the model and then that of the business, a line for each.
"""

from __future__ import annotations

import os
from functools import partial

import trio

from relay.standin.business.app import business_app, serve_business
from relay.standin.business.faults import Faults
from relay.standin.model.script import Reaction, Script
from relay.standin.model.server import PATH, StandInModel

NICENESS = 5  # the relay and the callers, who measure the times, have precedence
SLOW_MS = 2_000
HOURS = "We are open from eleven in the morning until ten at night."
SCRIPT = Script(
    reactions=(
        Reaction(clip="ask_hours", call="lookup_hours", then=HOURS),  # the model says nothing before the function call
        Reaction(clip="ask_friday", say="Let me book that for you.", call="lookup_hours", then=HOURS),
        Reaction(clip="can_you_hear", say="Yes, I'm here. How can I help?"),
    ),
    first_delta_ms=(150, 150),  # short, so that a long silence can only come from the function
)


async def serve() -> None:
    """Serve until killed."""
    house = StandInModel(SCRIPT)
    app = business_app(faults=Faults.from_table({"GET /hours": {"kind": "slow", "ms": SLOW_MS}}))
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(house.serve, 0))
        urls = await nursery.start(partial(serve_business, 0, app))
        print(f"ws://127.0.0.1:{port}{PATH}", urls[0], sep="\n", flush=True)


if __name__ == "__main__":
    os.nice(NICENESS)
    trio.run(serve)
