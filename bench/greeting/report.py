"""The table, the JSON and the histogram of the greeting bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.greeting.cases import Case

LIMIT_MS = 500.0


@dataclass(slots=True)
class Measured:
    """A case's figures in ms. The calls of `alone` came one after the other, and those of `together` at the same time.
    None means that nothing was heard.
    """

    case: Case
    alone: list[float | None]
    together: list[float | None]
    rungs: dict[str, int]
    own_p99_ms: float | None
    lag_p99_ms: float

    @property
    def too_late(self) -> int:
        """The number of calls that heard nothing within 500 ms."""
        return sum(ms is None or ms > LIMIT_MS for ms in (*self.alone, *self.together))

    @property
    def misses_its_goal(self) -> bool:
        """True if the case has a goal for its p99 with 20 calls at once, and misses it."""
        return self.case.goal_ms is not None and percentile(self.together, 0.99) > self.case.goal_ms


def percentile(values: Sequence[float | None], share: float) -> float:
    """The percentile over all calls. A call that heard nothing counts as infinite. If there is no call, return nan."""
    ordered = sorted(float("inf") if ms is None else ms for ms in values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def table(found: Sequence[Measured]) -> str:
    """The figures as a table."""
    width = max(len(each.case.name) for each in found)
    columns = "   n    p50    p95    p99    max"
    head = f"{'greeting_ms, start sent -> first audio here':<{width}}  {'':>10}  {columns}"
    lines = [head, "-" * len(head)]
    for each in found:
        for how, values in (("alone", each.alone), ("together", each.together)):
            if values:
                cells = " ".join(f"{percentile(values, share):6.1f}" for share in (0.5, 0.95, 0.99, 1.0))
                lines.append(
                    f"{each.case.name if how == 'alone' else '':<{width}}  {how:>10}  {len(values):4d} {cells}"
                )
        served = ", ".join(f"{rung} {count}" for rung, count in sorted(each.rungs.items()))
        own = f"; the relay's own p99 <= {each.own_p99_ms:g}" if each.own_p99_ms is not None else ""
        lines.append(f"{'':<{width}}  served: {served}{own}; the load's own lag p99 {each.lag_p99_ms:.1f}")
    for each in found:
        if each.too_late:
            lines.append(f"FAILED: {each.case.name}: {each.too_late} calls heard nothing by {LIMIT_MS:.0f} ms")
        if each.misses_its_goal:
            lines.append(f"goal missed: {each.case.name}: p99 together over {each.case.goal_ms:g} ms")
    if not any(each.too_late for each in found):
        lines.append(f"every call heard something within {LIMIT_MS:.0f} ms")
    return "\n".join(lines)


def as_json(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """All values, for the JSON file."""
    return [
        {
            "case": each.case.name,
            "alone_ms": each.alone,
            "together_ms": each.together,
            "rungs": each.rungs,
            "own_p99_ms": each.own_p99_ms,
            "lag_p99_ms": round(each.lag_p99_ms, 2),
            "too_late": each.too_late,
        }
        for each in found
    ]


def draw(found: Sequence[Measured], path: Path) -> None:
    """Draw a histogram of each case, all with the same time axis."""
    figure, axes = plt.subplots(len(found), 1, figsize=(9, 1.3 * len(found) + 1), sharex=True, squeeze=False)
    bins = [10.0 * step for step in range(61)]
    for axis, each in zip(axes[:, 0], found, strict=True):
        for values, name in ((each.alone, "one after another"), (each.together, "at once")):
            axis.hist([ms for ms in values if ms is not None], bins=bins, alpha=0.6, label=name)
        axis.set_title(each.case.name, fontsize=8, loc="left")
        axis.axvline(LIMIT_MS, color="red", linewidth=1)
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7)
    axes[-1, 0].set_xlabel("ms from Twilio's start to the first audio; red: the promise")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
