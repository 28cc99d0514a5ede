"""Measures the PESQ of the model's voice as the caller hears it.

No telephone can do better than the same clip with mu-law applied once, so the PESQ of that is the upper limit. PESQ
(ITU-T P.862, narrow band) comes from the package `pesq`, which is built from C source. The voices come from espeak-ng.
Both are in the environment out/dsp-venv, so that neither the relay nor its tests need them.
"""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import signal

import dsp

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "out" / "dsp-venv"
CLIPS = ROOT / "out" / "dsp-clips"
PACKAGES = ("numpy", "pesq==0.0.4", "espeakng-loader==0.2.4")
CHILD = Path(__file__).parent / "in_environment.py"

Floats = npt.NDArray[np.float64]


def build() -> None:
    """Make the environment. This needs a C compiler and the network, and takes about a minute."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        raise SystemExit("pesq is built from C source: install a C compiler first (on Debian: apt-get install gcc)")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True)


def _child(*words: str) -> str:
    python = str(ENVIRONMENT / "bin" / "python")
    return subprocess.run([python, str(CHILD), *words], check=True, capture_output=True, text=True).stdout


def _limited(samples: Floats) -> npt.NDArray[np.int16]:
    whole: npt.NDArray[np.int16] = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return whole


def _resampled(samples: Floats, from_hz: int, to_hz: int) -> Floats:
    """Ideal resampling: the spectrum is cut or extended, without a filter."""
    return np.asarray(signal.resample(samples, len(samples) * to_hz // from_hz))


def _cut_in_deltas(downlink: dsp.Downlink, pcm24k: bytes) -> bytes:
    """Feed audio to the downlink as a model sends it, in pieces of different sizes. Return its output with the tail."""
    sizes = np.random.default_rng(2).integers(1, 24_000, 1000)
    ends = [0, *np.minimum(np.cumsum(sizes), len(pcm24k)).tolist(), len(pcm24k)]
    pieces = [pcm24k[start:end] for start, end in itertools.pairwise(ends)]
    return b"".join(downlink.feed(piece) for piece in pieces) + downlink.flush()


def measure() -> dict[str, object] | str:
    """The mean and lowest PESQ of the downlink and of the upper limit. If out/dsp-venv is missing, return a sentence
    that says how to build it.
    """
    if not (ENVIRONMENT / "bin" / "python").exists():
        return "not measured: `python -m bench.dsp --build` first builds pesq and the voices in out/dsp-venv"
    CLIPS.mkdir(parents=True, exist_ok=True)
    voices = json.loads(_child("voices", str(CLIPS)))
    for name, rate_hz in voices.items():
        spoken = np.load(CLIPS / f"{name}.npy").astype(np.float64)
        model = _limited(_resampled(spoken, rate_hz, 24_000) * 0.7)
        ideal = _limited(_resampled(model.astype(np.float64), 24_000, 8_000))
        heard = dsp.decode(_cut_in_deltas(dsp.Downlink(), model.astype("<i2").tobytes()))[: len(ideal)]
        np.savez(CLIPS / f"{name}.npz", ideal=ideal, bound=dsp.decode(dsp.encode(ideal)), downlink=heard)
    scores: dict[str, dict[str, float]] = json.loads(_child("pesq", str(CLIPS), *voices))
    found: dict[str, object] = {"voices": list(voices), "source": "espeak-ng (espeakng-loader 0.2.4), 22.05 kHz"}
    for way in ("bound", "downlink"):
        mine = [scores[name][way] for name in voices]
        found[f"{way}_mean"] = round(float(np.mean(mine)), 4)
        found[f"{way}_min"] = round(min(mine), 4)
    found["below_bound"] = round(
        float(np.mean([scores[name]["bound"] - scores[name]["downlink"] for name in voices])), 4
    )
    return found
