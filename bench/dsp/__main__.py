"""`python -m bench.dsp [--build]`: a table with the goals and the measured figures."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the relay; it must be set before numpy is loaded

import numpy as np
import pybase64

from bench.dsp import cost, dtmf, exact, plot, response, speech

OUT = Path(__file__).parents[2] / "out"

Row = tuple[str, str, str, str]


def measure() -> dict[str, Any]:
    """Measure everything. The self-test is timed first, because a relay runs it once in a new process. The other times
    come next, while nothing else runs.
    """
    self_test_ms = cost.self_test_ms()
    timings = cost.microseconds()
    rising, falling = response.up(), response.down()
    OUT.mkdir(exist_ok=True)
    plot.draw(rising, falling, OUT / "dsp.png")
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}, pybase64 {pybase64.__version__}",
        "response": response.figures(rising, falling),
        "exact": exact.measure(),
        "dtmf": dtmf.measure(),
        "microseconds": timings,
        "self_test_ms": self_test_ms,
        "memory": cost.memory(),
        "pesq": speech.measure(),
    }


def table(found: dict[str, Any]) -> list[Row]:
    """The rows of the table: the figure, the required value, the stretch goal, and the measured value."""
    sound, bits, us, memory = found["response"], found["exact"], found["microseconds"], found["memory"]
    pesq = found["pesq"]
    heard = pesq if isinstance(pesq, str) else f"{pesq['downlink_mean']:.3f} (bound {pesq['bound_mean']:.3f})"
    alias, image = sound["down_worst_alias_from_4600_db"], sound["up_worst_image_db"]
    differences = f"{bits['g711']['encode_differences']} / {bits['g711']['decode_differences']}"
    no_audioop = "no audioop in this Python"
    return [
        ("delay up, mean 300-3400 Hz, ms", "<= 1.5", "<= 0.35", f"{sound['up_delay_mean_ms']:.3f}"),
        ("delay down", "<= 1.5", "<= 0.35", f"{sound['down_delay_mean_ms']:.3f}"),
        ("ripple up, DC-3400 Hz, dB", "<= 0.1", "<= 0.02", f"{sound['up_ripple_db']:.4f}"),
        ("ripple down", "<= 0.1", "<= 0.02", f"{sound['down_ripple_db']:.4f}"),
        ("worst alias, tones 4.6-12 kHz down, dB", "<= -60", "<= -80", f"{alias:.1f}"),
        ("worst image, tones to 3400 Hz up, dB", "<= -60", "<= -80", f"{image:.1f}"),
        ("held back beyond the filter, samples", "0", "", str(bits["held_back_samples"])),
        ("different outputs over cuts, kernels, threads", "1", "", str(bits["distinct_outputs"])),
        ("mu-law differences to ITU, 65,536 / 256", "0 / 0", "", differences),
        ("PESQ nb, model to caller", ">= bound - 0.03", "bound", heard),
        ("DTMF sequences whole", "all", "", f"{found['dtmf']['whole']} of {found['dtmf']['sequences']}"),
        ("CPU up with base64, of audioop's", "1.4", "1.0", str(us["ratio up"] or no_audioop)),
        ("CPU down with base64, of audioop's", "1.1", "0.7", str(us["ratio down"] or no_audioop)),
        ("memory a call, bytes", "<= 65536", "", str(memory["per_call_bytes"])),
        ("growth over 1,000,000 frames, bytes", "0", "", str(memory["growth_bytes"])),
        ("self-test, ms of CPU", "< 20", "", str(found["self_test_ms"])),
    ]


def main() -> int:
    """Measure, print, and write out/dsp.json and out/dsp.png."""
    if "--build" in sys.argv:
        speech.build()
    found = measure()
    rows = [("figure", "must", "stretch", "measured"), *table(found)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    print("\nmicroseconds a 20 ms frame, medians of interleaved runs:")
    for name, value in found["microseconds"].items():
        print(f"  {name:34} {value}")
    print(f"\n{found['machine']}\n{found['versions']}\nout/dsp.json, out/dsp.png")
    (OUT / "dsp.json").write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
