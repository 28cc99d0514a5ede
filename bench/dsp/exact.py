"""Checks exactness: several sizes of pieces, BLAS kernels and numbers of threads must give the same bytes.

It also counts where G.711 differs from ITU's tables.
"""

import csv
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

import dsp

GOLDEN = Path(__file__).parents[2] / "tests" / "helpers" / "golden"
KERNELS = ("SkylakeX", "Haswell", "Sandybridge", "Nehalem", "Katmai")


def g711_differences() -> dict[str, int]:
    """How many inputs were encoded, and how many results of encoding and decoding differ from ITU's tables."""
    with (GOLDEN / "g711_decode.csv").open(newline="") as table:
        values = [int(row["value"]) for row in csv.DictReader(table)]
    found = dsp.decode(bytes(range(256))).tolist()
    wrong_values = sum(a != b for a, b in zip(found, values, strict=True))
    wrong_codes = inputs = 0
    with (GOLDEN / "g711_encode_runs.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            samples = np.arange(int(row["from"]), int(row["to"]) + 1).astype(np.int16)
            inputs += len(samples)
            wrong_codes += sum(code != int(row["code"], 16) for code in dsp.encode(samples))
    return {"inputs": inputs, "encode_differences": wrong_codes, "decode_differences": wrong_values}


def fingerprint(seed: int, most: int) -> int:
    """A checksum of what both directions make of 480,000 bytes of noise, in random pieces of up to `most` bytes."""
    draw = random.Random(seed)
    noise = np.random.default_rng(3).integers(0, 256, 480_000, dtype=np.uint8).tobytes()
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    up, down = [], []
    place = 0
    while place < len(noise):
        piece = noise[place : place + draw.randint(0, most)]
        up.append(uplink.feed(piece))
        down.append(downlink.feed(piece))
        place += len(piece)
    return zlib.crc32(b"".join(up) + b"".join(down) + downlink.flush())


def kernels() -> dict[str, int]:
    """The fingerprint for each BLAS kernel and thread count, each in a new process. The kernels are those of x86."""
    code = "from bench.dsp.exact import fingerprint; print(fingerprint(1, 3000))"
    runs = [{"OPENBLAS_CORETYPE": kernel} for kernel in KERNELS]
    runs += [{"OPENBLAS_NUM_THREADS": threads} for threads in ("1", "2")]
    found = {}
    for setting in runs:
        ran = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **setting}, capture_output=True, text=True, check=True
        )
        found[" ".join(setting.values())] = int(ran.stdout)
    return found


def held_back() -> int:
    """The largest number of samples by which the output of a frame was too short. It must be 0.

    Each frame of 20 ms must give a whole frame at once, also the first: 480 samples for 160, and 160 samples for 480.
    """
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    short = 0
    for _ in range(100):
        short = max(short, 480 - len(uplink.feed(bytes(160))) // 2, 160 - len(downlink.feed(bytes(960))))
    return short


def measure() -> dict[str, object]:
    """All figures of this file."""
    cuts = {str(most): fingerprint(seed, most) for seed, most in enumerate((40, 960, 3000, 480_000))}
    by_kernel = kernels()
    return {
        "g711": g711_differences(),
        "held_back_samples": held_back(),
        "distinct_outputs": len({*cuts.values(), *by_kernel.values()}),
        "cuts": cuts,
        "kernels": by_kernel,
    }
