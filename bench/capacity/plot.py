"""One picture: latency and CPU against the number of calls, for both runs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from relay.standin.load.generator import Step


def draw(runs: Sequence[Sequence[Step]], path: Path) -> None:
    """Write the picture as PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (latency, cpu) = plt.subplots(2, 1, figsize=(9, 8), layout="constrained", sharex=True)
    for number, run in enumerate(runs, 1):
        calls = [step.calls for step in run]
        latency.plot(calls, [step.up.p99 for step in run], "o-", label=f"up p99, run {number}")
        latency.plot(calls, [step.down.p99 for step in run], "s--", label=f"down p99, run {number}")
        cpu.plot(calls, [step.cpu_ms_per_call_s for step in run], "o-", label=f"run {number}")
    latency.axhline(40, color="grey", linewidth=0.8)
    latency.set(ylabel="ms", yscale="log", title="Added latency, marker in the audio; wss to the model, one core")
    cpu.set(xlabel="calls", ylabel="CPU ms per call-second", ylim=(0, None), title="Cost of a call")
    for axes in (latency, cpu):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
