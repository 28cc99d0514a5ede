"""Designs the resampling filter and prints its taps: `python -m dsp.design`.

It needs scipy, and the relay never imports this file. The filter is found in four steps:

1. The filter is the convolution of box = (1, 1, 1) with q. The rate becomes three times as high, so every third tap
   belongs to one phase. The box makes an exact zero at 8 kHz. So the three phases have equal sums for every q, even
   after q is rounded to integers. Without the zero at 8 kHz, a constant input would ripple at 8 kHz.
2. A linear program finds the autocorrelation of q. (The squared magnitude is linear in the autocorrelation.) The pass
   band stays within RIPPLE_DB peak to peak. No frequency has more gain than the pass band. The highest point of the
   stop band is as low as possible.
3. The cepstrum gives the minimum-phase q with this magnitude. No other filter with the same magnitude has less delay.
4. q is rounded to integers whose sum is exactly 2**30, so a constant passes with gain exactly 1.

The method is that of textbooks: Herrmann and Schuessler 1970 (minimum phase from the autocorrelation), Wu, Boyd and
Vandenberghe 1996 (the linear program), Oppenheim and Schafer ch. 13 (the cepstrum). With another version of the solver,
the last digits of a tap may differ. So `--check` allows a small difference of each tap.
"""

import sys

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from dsp.taps import PASS_HZ, RATE_HZ, RIPPLE_DB, STOP_HZ, TAPS, UNIT, Q

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-10
# The power of the stop band is about 1e-8. In this unit it is about 1, far more than the solver's tolerance.
POWER_UNIT = 1e-8
RIPPLE_ROOM_DB = 0.0005  # The ripple may be larger between the frequencies of the grid, by up to about this much.


def cosines(freq_hz: Floats, lags: int) -> Floats:
    """A matrix that turns an autocorrelation (lag 0, 1, ...) into the squared magnitude at each frequency."""
    rows: Floats = 2 * np.cos(np.outer(2 * np.pi * freq_hz / RATE_HZ, np.arange(lags)))
    rows[:, 0] = 1
    return rows


def dense(low_hz: float, high_hz: float, points: int) -> Floats:
    """Frequencies from `low_hz` to `high_hz`. They are denser at both ends, where most extrema are."""
    return (low_hz + high_hz) / 2 - (high_hz - low_hz) / 2 * np.cos(np.pi * np.arange(points) / (points - 1))


def autocorrelation(taps: int, stop_hz: float, ripple_db: float) -> tuple[Floats, float]:
    """Find the autocorrelation of q with the deepest stop band. Also returns the greatest power in the stop band."""
    lags = taps - 2

    def power(freq_hz: Floats) -> Floats:
        box = (1 + 2 * np.cos(2 * np.pi * freq_hz / RATE_HZ)) ** 2 / 9
        return box[:, None] * cosines(freq_hz, lags)

    passing = power(dense(0.0, PASS_HZ, 12 * taps))
    between = power(np.linspace(PASS_HZ, stop_hz, 60)[1:-1])
    stopping = power(dense(stop_hz, RATE_HZ / 2, 16 * taps)) / POWER_UNIT
    anywhere = cosines(dense(stop_hz, RATE_HZ / 2, 16 * taps), lags) / POWER_UNIT

    # The unknowns of the linear program: the autocorrelation at each lag, the least power in the pass band, and the
    # greatest power in the stop band.
    def rows(lag_rows: Floats, floor: float, stop: float) -> Floats:
        return np.hstack([lag_rows, np.full((len(lag_rows), 1), floor), np.full((len(lag_rows), 1), stop)])

    span = 10 ** (ripple_db / 10)
    at_most_zero = np.vstack(
        [
            rows(-passing, 1, 0),
            rows(passing, -span, 0),
            rows(between, -span, 0),
            rows(stopping, 0, -1),
            rows(-anywhere, 0, 0),
        ]
    )
    bounds: list[tuple[float | None, float | None]] = [*[(None, None)] * lags, (0.9, 1.1), (0, None)]
    found = linprog(
        np.append(np.zeros(lags + 1), 1.0),
        A_ub=at_most_zero,
        b_ub=np.zeros(len(at_most_zero)),
        A_eq=rows(power(np.zeros(1)), 0, 0),
        b_eq=np.ones(1),
        bounds=bounds,
        method="highs-ds",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if found.status != 0 or found.x is None:
        raise RuntimeError(f"the linear program for {taps} taps from {stop_hz} Hz has no answer: {found.message}")
    return found.x[:lags], found.x[-1] * POWER_UNIT


def minimum_phase(lags: Floats, lift: float) -> Floats:
    """The minimum-phase sequence with this autocorrelation. `lift` is added so that no logarithm of zero is taken."""
    size = 1 << 17
    ring = np.zeros(size)
    ring[: len(lags)] = lags
    ring[size - len(lags) + 1 :] = lags[:0:-1]
    spectrum = np.maximum(np.fft.fft(ring).real, 0) + lift
    fold = np.zeros(size)
    fold[[0, size // 2]] = 1
    fold[1 : size // 2] = 2
    cepstrum = np.fft.ifft(np.log(spectrum) / 2).real * fold
    return np.fft.ifft(np.exp(np.fft.fft(cepstrum))).real[: len(lags)]


def to_integers(q: Floats) -> list[int]:
    """Round q to integers whose sum is UNIT. The difference that rounding makes is added to the largest taps."""
    whole = np.rint(q * (UNIT / q.sum())).astype(np.int64)
    left = int(UNIT - whole.sum())
    for place in np.argsort(-np.abs(whole))[: abs(left)]:
        whole[place] += np.sign(left)
    return [int(tap) for tap in whole]


def design(taps: int = TAPS, stop_hz: float = STOP_HZ, ripple_db: float = RIPPLE_DB) -> list[int]:
    """The integers q of the best filter for these demands. Their number is `taps` - 2."""
    lags, power = autocorrelation(taps, stop_hz, ripple_db - RIPPLE_ROOM_DB)
    return to_integers(minimum_phase(lags, 0.02 * power))


def figures(q: list[int], stop_hz: float = STOP_HZ) -> dict[str, float]:
    """The data sheet of box * q: the number of taps, ripple and stop band in dB, delay in ms, and gain in dB.

    The delay is the mean and the largest over the frequencies of speech.
    """
    taps = np.convolve(np.array(q, np.float64), np.ones(3)) / (3 * UNIT)
    places = np.arange(len(taps))

    def response(freq_hz: Floats, weights: Floats = taps) -> npt.NDArray[np.complex128]:
        return np.asarray(np.exp(-2j * np.pi * np.outer(freq_hz, places) / RATE_HZ) @ weights)

    passing = 20 * np.log10(np.abs(response(np.arange(0.0, PASS_HZ + 1))))
    stopping = 20 * np.log10(np.abs(response(np.arange(stop_hz, RATE_HZ / 2 + 1, 0.5))) + 1e-300)
    speech = np.arange(300.0, PASS_HZ + 1)
    delay_ms = (response(speech, places * taps) / response(speech)).real / RATE_HZ * 1000
    edge = 20 * np.log10(np.abs(response(np.array([3700.0, 3900.0]))))
    return {
        "taps": len(taps),
        "ripple_db": float(np.ptp(passing)),
        "stop_db": float(stopping.max()),
        "delay_mean_ms": float(delay_ms.mean()),
        "delay_max_ms": float(delay_ms.max()),
        "gain_3700_db": float(edge[0]),
        "gain_3900_db": float(edge[1]),
    }


def main() -> int:
    """Print a new design, and how far it is from dsp/taps.py. With --check, return 1 if that is too far."""
    fresh = design()
    print("Q = (")
    print("\n".join(f"    {tap}," for tap in fresh))
    print(")")
    for name, value in figures(fresh).items():
        print(f"# {name} = {value:.4f}")
    distance = max(abs(a - b) for a, b in zip(fresh, Q, strict=True)) / UNIT
    print(f"# greatest distance from dsp/taps.py: {distance:.1e}")
    return int("--check" in sys.argv and distance > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
