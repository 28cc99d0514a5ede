"""Microseconds per 20 ms frame, compared with audioop in the same run, and memory over a million frames."""

import base64
import statistics
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pybase64

import dsp

RUNS = 9  # each run times every step; a figure is the median of the runs, and a ratio the median of the runs' ratios
REPEATS = 40
FRAMES = 50
GROWTH_FRAMES = 1_000_002  # a multiple of six, so that at the end the downlink holds no odd byte and no odd sample

Step = Callable[[], object]


def audioop_module() -> ModuleType | None:
    """Python's own audioop. Python 3.13 and later have none."""
    if sys.version_info >= (3, 13):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    return audioop


def _audioop_steps(audioop: ModuleType, payload: str, delta: str) -> dict[str, Step]:
    rising: list[object] = [None]
    falling: list[object] = [None]

    def up() -> bytes:
        pcm = audioop.ulaw2lin(base64.b64decode(payload), 2)
        pcm24k, rising[0] = audioop.ratecv(pcm, 2, 1, 8_000, 24_000, rising[0])
        return base64.b64encode(pcm24k)

    def down() -> bytes:
        pcm, falling[0] = audioop.ratecv(base64.b64decode(delta), 2, 1, 24_000, 8_000, falling[0])
        return base64.b64encode(audioop.lin2ulaw(pcm, 2))

    return {"audioop up, base64": up, "audioop down, base64": down}


def _steps() -> dict[str, tuple[Step, int]]:
    """The steps that are timed, with the number of frames of each."""
    rng = np.random.default_rng(1)
    mulaw = rng.integers(0, 256, 1600, dtype=np.uint8).tobytes()
    pcm24k = rng.integers(-20000, 20000, 4800).astype("<i2").tobytes()
    frame, delta = mulaw[:160], pcm24k[:960]
    payload64, delta64 = base64.b64encode(frame).decode(), base64.b64encode(delta).decode()
    ten64 = base64.b64encode(pcm24k).decode()
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    steps: dict[str, tuple[Step, int]] = {
        "up, base64": (lambda: pybase64.b64encode(uplink.feed(pybase64.b64decode(payload64, validate=True))), 1),
        "down, base64": (lambda: pybase64.b64encode(downlink.feed(pybase64.b64decode(delta64, validate=True))), 1),
        "up": (lambda: uplink.feed(frame), 1),
        "down": (lambda: downlink.feed(delta), 1),
        "up, 5 frames at once": (lambda: uplink.feed(mulaw[:800]), 5),
        "down, 10 frames at once": (lambda: downlink.feed(pcm24k), 10),
        "down, base64, 10 frames at once": (
            lambda: pybase64.b64encode(downlink.feed(pybase64.b64decode(ten64, validate=True))),
            10,
        ),
        "level": (lambda: dsp.level_dbfs(frame), 1),
    }
    audioop = audioop_module()
    if audioop is not None:
        steps |= {name: (step, 1) for name, step in _audioop_steps(audioop, payload64, delta64).items()}
    return steps


def _run_us(steps: dict[str, tuple[Step, int]]) -> dict[str, float]:
    """Time every step in turn, many times. Return the median time of each step."""
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, (step, frames) in steps.items():
            begin = time.perf_counter()
            for _ in range(FRAMES):
                step()
            rounds[name].append((time.perf_counter() - begin) / FRAMES / frames * 1e6)
    return {name: statistics.median(taken) for name, taken in rounds.items()}


def microseconds() -> dict[str, object]:
    """The median microseconds a frame, and the ratios to audioop. The ratios are None if Python has no audioop."""
    steps = _steps()
    runs = [_run_us(steps) for _ in range(RUNS)]
    found: dict[str, object] = {name: round(statistics.median(run[name] for run in runs), 2) for name in steps}
    for way in ("up", "down"):
        peer = f"audioop {way}, base64"
        ratios = [run[f"{way}, base64"] / run[peer] for run in runs if peer in run]
        found[f"ratio {way}"] = round(statistics.median(ratios), 2) if ratios else None
    return found


def self_test_ms() -> float:
    """The CPU time of the first self-test of this process, in ms."""
    begin = time.process_time()
    dsp.self_test()
    return round((time.process_time() - begin) * 1000, 2)


def memory() -> dict[str, int]:
    """The bytes of a call in both directions, the bytes that all calls share, and the growth over a million frames."""
    # 961 is odd, so after every second delta the downlink must hold half a sample.
    frame, delta = bytes(range(160)), bytes(961)
    tracemalloc.start()
    first = dsp.Uplink(), dsp.Downlink()
    first[0].feed(frame)
    first[1].feed(delta)
    shared, _ = tracemalloc.get_traced_memory()
    calls = [(dsp.Uplink(), dsp.Downlink()) for _ in range(100)]
    for uplink, downlink in calls:
        uplink.feed(frame)
        downlink.feed(delta)
    hundred, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "per_call_bytes": (hundred - shared) // 100,
        "shared_bytes": shared,
        "growth_bytes": _growth(frame, delta),
        "frames": GROWTH_FRAMES,
    }


def _growth(frame: bytes, delta: bytes) -> int:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()

    def feed(frames: int) -> None:
        for _ in range(frames):
            uplink.feed(frame)
            downlink.feed(delta)

    feed(1002)
    tracemalloc.start()
    feed(1002)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    feed(GROWTH_FRAMES)
    kept = len(uplink._tail) + len(downlink._tail)
    tracemalloc.start()
    feed(1002)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return max(0, after - before, kept - 300)
