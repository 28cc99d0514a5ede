"""Converts 8 kHz to 24 kHz and back, as streams. The result does not depend on the size of the pieces.

The filter H[0..71] / 2**30 is in dsp/taps.py. x[i] is the input, and x[i] = 0 before the first sample:

    up     y[3i + p] = sum over j of H[3j + p] * x[i - j]           p = 0, 1, 2
    down   y[k]      = sum over j of H[j] * x[3k + 2 - j] / 3

Both sums are computed for sixteen samples at 8 kHz at once: overlapping rows of the input are multiplied by one matrix.
Every sum is exact (dsp/taps.py says why), so it makes no difference where a row begins. Results are rounded half up. A
value that is too large becomes the largest value. No noise is added, so silence stays silence.
"""

import numpy as np
import numpy.typing as npt

from dsp.g711 import Samples, as_samples
from dsp.taps import DELAY_MS, PROTOTYPE, RATE_HZ, TAPS, UNIT

Matrix = npt.NDArray[np.float64]

# Samples at 8 kHz in one row of the input. A frame has ten such rows. With rows of 8 to 20 samples, a frame takes the
# same time.
BLOCK = 16
UP_HISTORY = TAPS // 3 - 1  # 23: how many earlier input samples the filter needs.
DOWN_HISTORY = TAPS - 3  # 69: how many earlier input samples the filter needs. Each output also needs 3 new samples.
UP_WINDOW = UP_HISTORY + BLOCK
DOWN_WINDOW = DOWN_HISTORY + 3 * BLOCK
DOWN_FLUSH = TAPS - 1  # 71: after this many zeros, the output has nothing of the input any more.


def _up_matrix() -> Matrix:
    """The matrix [place in the window, output]: UP_WINDOW input samples give 3 * BLOCK output samples."""
    matrix = np.zeros((UP_WINDOW, 3 * BLOCK))
    for place in range(BLOCK):
        for tap, weight in enumerate(PROTOTYPE):
            matrix[UP_HISTORY + place - tap // 3, 3 * place + tap % 3] = weight / UNIT
    return matrix


def _down_matrix() -> Matrix:
    """The matrix [place in the window, output]: DOWN_WINDOW inputs give BLOCK outputs, which are three times too large.

    A third of a tap would not be a multiple of 2**-30, and the sums would not be exact. So `feed` divides the sums.
    """
    matrix = np.zeros((DOWN_WINDOW, BLOCK))
    for place in range(BLOCK):
        for tap, weight in enumerate(PROTOTYPE):
            matrix[DOWN_HISTORY + 3 * place + 2 - tap, place] = weight / UNIT
    return matrix


UP = _up_matrix()
DOWN = _down_matrix()


def _windows(samples: Samples, rows: int, width: int, step: int) -> Matrix:
    """Overlapping rows of the samples, as float64. Missing samples at the end are zeros."""
    padded = np.zeros((rows - 1) * step + width, np.int16)
    padded[: len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::step].astype(np.float64)


def _saturated(whole: Matrix) -> Samples:
    samples: Samples = np.clip(whole, -32768, 32767).astype(np.int16)
    return samples


class Upsampler:
    """Turns samples at 8 kHz into samples at 24 kHz (int16). Each sample gives three, without waiting for more."""

    delay_ms = DELAY_MS
    """The filter's mean delay over 300-3400 Hz. There is no other delay."""

    def __init__(self) -> None:
        self._history = np.zeros(UP_HISTORY, np.int16)
        self._fresh = True

    def feed(self, samples: Samples) -> Samples:
        """Turn n samples into 3n. Raises BadAudio if the input is not a one-dimensional int16 array."""
        n = len(as_samples(samples))
        if n == 0:
            return np.empty(0, np.int16)
        line = np.concatenate([self._history, samples])
        self._history = line[n:].copy()
        self._fresh = False
        sums = _windows(line, -(-n // BLOCK), UP_WINDOW, BLOCK).dot(UP)
        return _saturated(np.floor(sums + 0.5).reshape(-1)[: 3 * n])

    def flush(self) -> Samples:
        """End the audio. Returns the last 69 samples of the filter, or none if there was no audio.

        After `flush`, the object is like a new one.
        """
        tail = np.empty(0, np.int16) if self._fresh else self.feed(np.zeros(UP_HISTORY, np.int16))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget all earlier audio."""
        self._history = np.zeros(UP_HISTORY, np.int16)
        self._fresh = True


class Downsampler:
    """Turns samples at 24 kHz into samples at 8 kHz (int16): n samples give n // 3.

    One or two samples at the end may wait for the next `feed`.
    """

    delay_ms = DELAY_MS - 2000 / RATE_HZ
    """The filter's mean delay over 300-3400 Hz, less two samples at 24 kHz.

    Output k stands at the time of input 3k, but the filter has already got the inputs up to 3k + 2.
    """

    def __init__(self) -> None:
        self._line = np.zeros(DOWN_HISTORY, np.int16)
        self._fresh = True

    def feed(self, samples: Samples) -> Samples:
        """Returns the output samples that are complete. After n input samples, n // 3 output samples were returned.

        Raises BadAudio if the input is not a one-dimensional int16 array.
        """
        if len(as_samples(samples)) == 0:
            return np.empty(0, np.int16)
        line = np.concatenate([self._line, samples])
        n = (len(line) - DOWN_HISTORY) // 3
        self._line = line[3 * n :].copy()
        self._fresh = False
        if n == 0:
            return np.empty(0, np.int16)
        rows = -(-n // BLOCK)
        line = line[: 3 * n + DOWN_HISTORY]
        thrice = _windows(line, rows, DOWN_WINDOW, 3 * BLOCK).dot(DOWN)
        # The division is exact enough: a quotient that is not a whole number differs from the nearest whole number by
        # at least 2**-30 / 3. float64 is a hundred times finer than this difference. So a quotient is never rounded to
        # a wrong whole number.
        return _saturated(np.floor((thrice + 1.5) / 3).reshape(-1)[:n])

    def flush(self) -> Samples:
        """End the audio. Returns the samples that still wait, and the end of the filter.

        After n input samples and `flush`, (n + 71) // 3 output samples were returned. If there was no audio, nothing is
        returned. After `flush`, the object is like a new one.
        """
        tail = np.empty(0, np.int16) if self._fresh else self.feed(np.zeros(DOWN_FLUSH, np.int16))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget all earlier audio."""
        self._line = np.zeros(DOWN_HISTORY, np.int16)
        self._fresh = True
