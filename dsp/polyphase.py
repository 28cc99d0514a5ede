"""8 kHz to 24 kHz and back, as streams. The same samples give the same result, in pieces of any size.

The filter is dsp/taps.py: H[0..71] / 2**30, with x[i] the input and everything before the first sample 0:

    up     y[3i + p] = sum over j of H[3j + p] * x[i - j]           p = 0, 1, 2
    down   y[k]      = sum over j of H[j] * x[3k + 2 - j] / 3

Both are computed sixteen input (up) or output (down) samples at a time: overlapping rows of the input times one matrix.
Every sum is exact (dsp/taps.py says why). So it makes no difference where the rows begin.
Results are rounded half up. A value that is too large becomes the largest one. No noise is added, so silence stays
silence.
"""

import numpy as np
import numpy.typing as npt

from dsp.g711 import Samples, as_samples
from dsp.taps import DELAY_MS, PROTOTYPE, RATE_HZ, TAPS, UNIT

Matrix = npt.NDArray[np.float64]

BLOCK = 16  # Samples at 8 kHz in one row. Rows of 8 to 20 cost the same. A frame is ten rows of 16.
UP_HISTORY = TAPS // 3 - 1  # 23: the number of earlier input samples that the filter still needs.
DOWN_HISTORY = TAPS - 3  # 69: the three newest samples of a window are always new.
UP_WINDOW = UP_HISTORY + BLOCK
DOWN_WINDOW = DOWN_HISTORY + 3 * BLOCK
DOWN_FLUSH = TAPS - 1  # 71: after this number of zeros nothing of the input is left in the output.


def _up_matrix() -> Matrix:
    """[window place, output]: a window of UP_WINDOW inputs gives 3 * BLOCK outputs."""
    matrix = np.zeros((UP_WINDOW, 3 * BLOCK))
    for place in range(BLOCK):
        for tap, weight in enumerate(PROTOTYPE):
            matrix[UP_HISTORY + place - tap // 3, 3 * place + tap % 3] = weight / UNIT
    return matrix


def _down_matrix() -> Matrix:
    """[window place, output]: a window of DOWN_WINDOW inputs gives BLOCK outputs, three times too large.

    A third of a tap would not be a multiple of 2**-30. So the taps are kept, and the sums are divided at the end.
    """
    matrix = np.zeros((DOWN_WINDOW, BLOCK))
    for place in range(BLOCK):
        for tap, weight in enumerate(PROTOTYPE):
            matrix[DOWN_HISTORY + 3 * place + 2 - tap, place] = weight / UNIT
    return matrix


UP = _up_matrix()
DOWN = _down_matrix()


def _windows(samples: Samples, rows: int, width: int, step: int) -> Matrix:
    """Overlapping rows of the samples as float64. Zeros stand where the samples end."""
    padded = np.zeros((rows - 1) * step + width, np.int16)
    padded[: len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::step].astype(np.float64)


def _saturated(whole: Matrix) -> Samples:
    samples: Samples = np.clip(whole, -32768, 32767).astype(np.int16)
    return samples


class Upsampler:
    """8 kHz int16 in, 24 kHz int16 out: three samples for each input sample, with no delay beyond the filter's."""

    delay_ms = DELAY_MS
    """The filter's mean delay over 300-3400 Hz. Nothing is held back beyond it."""

    def __init__(self) -> None:
        self._history = np.zeros(UP_HISTORY, np.int16)
        self._fresh = True

    def feed(self, samples: Samples) -> Samples:
        """Turn n samples into exactly 3n. Raises BadAudio for anything but a 1-D int16 array."""
        n = len(as_samples(samples))
        if n == 0:
            return np.empty(0, np.int16)
        line = np.concatenate([self._history, samples])
        self._history = line[n:].copy()
        self._fresh = False
        sums = _windows(line, -(-n // BLOCK), UP_WINDOW, BLOCK).dot(UP)
        return _saturated(np.floor(sums + 0.5).reshape(-1)[: 3 * n])

    def flush(self) -> Samples:
        """The end of the filter's answer: 69 samples, or none if nothing was fed. Afterwards the object is as new."""
        tail = np.empty(0, np.int16) if self._fresh else self.feed(np.zeros(UP_HISTORY, np.int16))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget everything, as if new."""
        self._history = np.zeros(UP_HISTORY, np.int16)
        self._fresh = True


class Downsampler:
    """24 kHz int16 in, 8 kHz int16 out. n samples give n // 3. Samples left over are kept for the next call."""

    delay_ms = DELAY_MS - 2000 / RATE_HZ
    """The filter's mean delay over 300-3400 Hz, minus two samples.

    Output k is made as soon as input 3k + 2 is there.
    """

    def __init__(self) -> None:
        self._line = np.zeros(DOWN_HISTORY, np.int16)
        self._fresh = True

    def feed(self, samples: Samples) -> Samples:
        """Every output sample that is complete: a third of the samples fed so far, rounded down.

        Raises BadAudio for anything but a 1-D int16 array.
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
        # This is exact too. A quotient that is not whole is at least 2**-30 / 3 away from the next whole number.
        # float64 is a hundred times finer there. So rounding never reaches the whole number.
        return _saturated(np.floor((thrice + 1.5) / 3).reshape(-1)[:n])

    def flush(self) -> Samples:
        """The samples left over and the end of the filter's answer. With them, n samples have given (n + 71) // 3.

        It gives nothing if nothing was fed. Afterwards the object is as new.
        """
        tail = np.empty(0, np.int16) if self._fresh else self.feed(np.zeros(DOWN_FLUSH, np.int16))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget everything, as if new."""
        self._line = np.zeros(DOWN_HISTORY, np.int16)
        self._fresh = True
