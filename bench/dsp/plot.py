"""One picture: the measured responses of both directions, and their delay."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.dsp.response import Response, delays_ms


def draw(rising: Response, falling: Response, path: Path) -> None:
    """Write the picture as PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (wide, near, delay) = plt.subplots(3, 1, figsize=(9, 11), layout="constrained")
    wide.plot(falling.freq_hz, falling.gain_db, label="down: gain; over 4 kHz what folds back")
    wide.plot(rising.freq_hz, rising.gain_db, "--", label="up: gain")
    wide.plot(rising.freq_hz, rising.unwanted_db, label="up: worst image of a tone at this frequency")
    wide.axvline(4500, color="grey", linewidth=0.8)
    wide.axhline(-80, color="grey", linewidth=0.8)
    wide.set(
        xlabel="Hz", ylabel="dB", ylim=(-110, 5), title="Response, tones at -6 dBFS as int16, each direction alone"
    )
    for response, name in ((falling, "down"), (rising, "up")):
        band = response.freq_hz <= 3600
        near.plot(response.freq_hz[band], response.gain_db[band], label=name)
    near.set(xlabel="Hz", ylabel="dB", ylim=(-0.05, 0.03), title="Pass band")
    freq_hz = np.arange(50.0, 3601.0, 10.0)
    for delay_ms, name in zip(delays_ms(freq_hz), ("up", "down"), strict=True):
        delay.plot(freq_hz, delay_ms, label=name)
    delay.set(xlabel="Hz", ylabel="ms", ylim=(0, 1), title="Group delay")
    for axes in (wide, near, delay):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
