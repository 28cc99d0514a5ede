"""Measures what early answers cost in the scenarios, and how much waiting time they save.

`python -m tests.helpers.early_cost [NAME…]` plays every shipped scenario (or the named ones) twice, with
ANSWER_EARLY=off and on. It prints a line for each scenario, and the sums.
"""

from __future__ import annotations

import logging
import random
import statistics
import sys
from dataclasses import dataclass
from typing import Any, cast

import structlog
import trio
from trio.testing import MockClock

from relay.ledger import rows
from relay.standin.scenario.scenario_file import shipped
from tests.helpers.play import perform


@dataclass(frozen=True)
class Cost:
    """What the calls of a scenario cost, and how long their callers waited for answers."""

    usd: float
    asked: int  # the number of early answers
    taken_back: int
    back_usd: float  # the dollars of early answers that were taken back
    waits_ms: list[float]


def play(name: str, answer_early: str) -> Cost:
    """Play one scenario. The result is the sum over all its calls."""
    chance = random.Random(1)
    runner = cast(Any, trio._core._run)
    runner._r, runner._ALLOW_DETERMINISTIC_SCHEDULING = chance, True  # as the fixture same_order in tests/conftest.py
    got, _, stage = trio.run(
        lambda: perform(name, settings={"ANSWER_EARLY": answer_early}), clock=MockClock(autojump_threshold=0)
    )
    last: dict[str, rows.OutcomeRow] = {}
    for row in stage.ledger.of(rows.OutcomeRow):
        last[row.call_sid] = max(row, last.get(row.call_sid, row), key=lambda each: each.seq or 0)
    early = [dict(cast(Any, row.cost or {}).get("early_answers") or {}) for row in last.values()]
    return Cost(
        sum(float(row.cost_usd or 0) for row in last.values()),
        round(sum(each.get("asked", 0) for each in early)),
        round(sum(each.get("taken_back", 0) for each in early)),
        sum(each.get("usd", 0.0) for each in early),
        list(got.latencies_ms),
    )


def main() -> None:
    """Print a line for each scenario, and the sums."""
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"{'scenario':32}    off, $     on, $   back, $ asked  back  off, ms   on, ms")
    sums: list[tuple[Cost, Cost]] = []
    for name in sys.argv[1:] or shipped():
        off, on = play(name, "off"), play(name, "on")
        sums.append((off, on))
        print(_line(name, [(off, on)]), flush=True)
    print(_line("all", sums))


def _line(name: str, pairs: list[tuple[Cost, Cost]]) -> str:
    offs, ons = [off for off, _ in pairs], [on for _, on in pairs]
    waits = [statistics.median(ms) if (ms := [m for c in of for m in c.waits_ms]) else 0.0 for of in (offs, ons)]
    return (
        f"{name:32} {sum(c.usd for c in offs):9.4f} {sum(c.usd for c in ons):9.4f} {sum(c.back_usd for c in ons):9.4f} "
        f"{sum(c.asked for c in ons):5} {sum(c.taken_back for c in ons):5} {waits[0]:8.0f} {waits[1]:8.0f}"
    )


if __name__ == "__main__":
    main()
