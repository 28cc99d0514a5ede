"""The telephone line: the caller's mu-law to the model's PCM16 at 24 kHz (Uplink) and back (Downlink), in few steps.

The samples are the same as those of decode, Upsampler, Downsampler and encode, bit for bit (tests/dsp/test_line.py).
Only some steps between them are left out. The input has a column of ones for the last row of each matrix. This row adds
an offset. The offset makes every sum positive, and it contains the half that rounding needs. So the integer part of the
sum is the index of the finished sample in a table:

    up     sum + 32768.5          -> table of 65,536 int16
    down   (sum + 98305.5) / 4    -> table of 49,152 mu-law codes

For the downlink, the sum is three times the sample. G.711 uses 14 bits of the sample: floor((sum + 1.5) / 12), counted
from -8192. The matrix divides by four, and the table divides by three.

All calls of a thread share a few sets of buffers (for one to ten frames), because these stay in the CPU's
cache. With 240 calls, buffers for each call would cost 1.3 us more a frame going up and 1.7 us going down. A call
itself keeps less than 500 bytes.
"""

import math
import threading

import numpy as np

from dsp.g711 import DECODE, ENCODE, FLOOR_DBFS, SILENCE, Mulaw, as_bytes, level_dbfs
from dsp.polyphase import BLOCK, DOWN, DOWN_FLUSH, DOWN_HISTORY, DOWN_WINDOW, UP, UP_HISTORY, UP_WINDOW

FRAME = 160  # Mu-law bytes: 20 ms.
MOST_FRAMES = 10  # The most frames that are converted at once. Longer audio is converted in pieces.
PCM = np.dtype("<i2")
PCM_FRAME = 6 * FRAME  # bytes
UP_SILENCE = bytes([SILENCE]) * UP_HISTORY
DOWN_SILENCE = bytes(2 * DOWN_HISTORY)

UP_VALUES = DECODE.astype(float)
UP_MATRIX = np.vstack([UP, np.full((1, 3 * BLOCK), 32768.5)])
UP_SAMPLES = np.arange(-32768, 32768).astype(PCM)
DOWN_MATRIX = np.vstack([DOWN, np.full((1, BLOCK), 98305.5)]) / 4
DOWN_CODES = ENCODE[(np.arange(3 * 16384) // 3 - 8192) * 4 & 0xFFFF]


class _UpBuffers:
    """Buffers to turn up to `frames` frames into PCM."""

    def __init__(self, frames: int) -> None:
        rows, size = frames * FRAME // BLOCK, UP_HISTORY + frames * FRAME
        self.codes = bytearray(size)
        self.view = np.frombuffer(self.codes, np.uint8)
        self.places = np.empty(size, np.intp)
        self.line = np.empty(size)
        self.new = self.line[UP_HISTORY:]
        self.windows = np.ndarray((rows, UP_WINDOW), float, self.line, 0, (8 * BLOCK, 8))
        self.values = np.ones((rows, UP_WINDOW + 1))
        self.inputs = self.values[:, :UP_WINDOW]
        self.sums = np.empty((rows, 3 * BLOCK))
        self.index = np.empty((rows, 3 * BLOCK), np.intp)
        self.samples = np.empty((rows, 3 * BLOCK), PCM)
        self.pcm24k = self.samples.data.cast("B")

    def work(self) -> None:
        self.places[...] = self.view  # take() would do the same, but more slowly.
        UP_VALUES.take(self.places, mode="clip", out=self.line)
        self.inputs[...] = self.windows
        self.values.dot(UP_MATRIX, self.sums)
        self.index[...] = self.sums
        UP_SAMPLES.take(self.index, mode="clip", out=self.samples)

    def level_dbfs(self, n: int) -> float:
        """The level of the n bytes that were converted, as `level_dbfs` gives it, because all sums are exact."""
        new = self.new if n == len(self.new) else self.new[:n]
        squares = float(new.dot(new))
        return max(FLOOR_DBFS, 10.0 * math.log10(squares / 32768.0**2 / n)) if squares else FLOOR_DBFS


class _DownBuffers:
    """Buffers to turn PCM into up to `frames` frames."""

    def __init__(self, frames: int) -> None:
        rows = frames * FRAME // BLOCK
        self.pcm24k = bytearray(2 * DOWN_HISTORY + frames * PCM_FRAME)
        self.windows = np.ndarray((rows, DOWN_WINDOW), PCM, self.pcm24k, 0, (6 * BLOCK, 2))
        self.values = np.ones((rows, DOWN_WINDOW + 1))
        self.inputs = self.values[:, :DOWN_WINDOW]
        self.sums = np.empty((rows, BLOCK))
        self.index = np.empty((rows, BLOCK), np.intp)
        self.codes = np.empty((rows, BLOCK), np.uint8)
        self.mulaw = self.codes.data.cast("B")

    def work(self) -> None:
        self.inputs[...] = self.windows
        self.values.dot(DOWN_MATRIX, self.sums)
        self.index[...] = self.sums
        DOWN_CODES.take(self.index, mode="clip", out=self.codes)


class _BuffersOfThread(threading.local):
    """The buffers of one thread, by the number of frames, made when first needed.

    No call can get another call's audio: `_run` says why.
    """

    def __init__(self) -> None:
        self.up: dict[int, _UpBuffers] = {}
        self.down: dict[int, _DownBuffers] = {}


_buffers = _BuffersOfThread()


class Uplink:
    """The caller's mu-law bytes in, PCM16 little-endian at 24 kHz out: six bytes for each byte, with no delay."""

    def __init__(self) -> None:
        self._tail = UP_SILENCE  # The last codes of the audio before. The filter still needs them.

    def feed(self, mulaw: Mulaw) -> bytes:
        """Turn n mu-law bytes into 6n bytes of PCM. Several frames at once cost less CPU time. Raises BadAudio."""
        if type(mulaw) is not bytes:
            mulaw = as_bytes(mulaw)
        if len(mulaw) > MOST_FRAMES * FRAME:
            return b"".join(bytes(self._run(piece)) for piece in _pieces(mulaw, MOST_FRAMES * FRAME))
        return bytes(self._run(mulaw))

    def feed_measured(self, mulaw: bytes) -> tuple[bytes, float]:
        """The result of `feed`, and the level of these bytes in dBFS. This costs less CPU time than two calls."""
        if not 0 < len(mulaw) <= MOST_FRAMES * FRAME:
            return self.feed(mulaw), level_dbfs(mulaw)
        pcm24k = bytes(self._run(mulaw))
        return pcm24k, _buffers.up[(len(mulaw) + FRAME - 1) // FRAME].level_dbfs(len(mulaw))

    def reset(self) -> None:
        """Forget everything, as if new."""
        self._tail = UP_SILENCE

    def _run(self, mulaw: bytes) -> memoryview:
        """The PCM of at most MOST_FRAMES frames. This PCM is in the buffer: copy it before anything else is fed."""
        n = len(mulaw)
        if n == 0:
            return memoryview(b"")
        frames = (n + FRAME - 1) // FRAME
        buffers = _buffers.up.get(frames)
        if buffers is None:
            buffers = _buffers.up.setdefault(frames, _UpBuffers(frames))
        codes = self._tail + mulaw
        buffers.codes[: UP_HISTORY + n] = codes
        self._tail = codes[n:]
        # After the n bytes the buffers still hold older audio, perhaps of another call. The result of older audio is
        # cut off below.
        buffers.work()
        return buffers.pcm24k if n == frames * FRAME else buffers.pcm24k[: 6 * n]


class Downlink:
    """PCM16 little-endian at 24 kHz in, mu-law bytes for the caller out: one byte for three samples, with no delay.

    After n whole samples exactly n // 3 bytes have come out. flush() adds the end of the filter: (n + 71) // 3 in all.
    """

    def __init__(self) -> None:
        # The last 69 samples (the filter still needs them), up to 2 samples left over, and perhaps half a sample.
        self._tail = DOWN_SILENCE
        self._fresh = True

    def feed(self, pcm24k: Mulaw) -> bytes:
        """Take any number of bytes, even an odd number. Returns all mu-law bytes that are complete. Raises BadAudio."""
        if type(pcm24k) is not bytes:
            pcm24k = as_bytes(pcm24k)
        if len(pcm24k) > MOST_FRAMES * PCM_FRAME:
            return b"".join(self._run(piece) for piece in _pieces(pcm24k, MOST_FRAMES * PCM_FRAME))
        return self._run(pcm24k)

    def flush(self) -> bytes:
        """The end of the audio: 23 or 24 bytes (3 ms) of samples left over and the end of the filter's answer.

        It gives nothing if no sample was fed. This function is called at the end of an item. The caller hears these
        bytes, but they do not count for the length of the item: that is its number of samples / 24, in ms. Half a
        sample at the very end is dropped. Afterwards the object is as new.
        """
        whole = len(self._tail) & ~1
        nothing = self._fresh and whole == len(DOWN_SILENCE)
        self._tail = self._tail[:whole]
        tail = b"" if nothing else self._run(bytes(2 * DOWN_FLUSH))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget everything, as if new."""
        self._tail = DOWN_SILENCE
        self._fresh = True

    def _run(self, pcm24k: bytes) -> bytes:
        tail = self._tail
        n = ((len(tail) + len(pcm24k)) // 2 - DOWN_HISTORY) // 3
        if n == 0:
            self._tail = tail + pcm24k
            return b""
        self._fresh = False
        frames = (n + FRAME - 1) // FRAME
        buffers = _buffers.down.get(frames)
        if buffers is None:
            buffers = _buffers.down.setdefault(frames, _DownBuffers(frames))
        line = buffers.pcm24k
        taken = 6 * n + 2 * DOWN_HISTORY - len(tail)
        line[: len(tail)] = tail
        line[len(tail) : len(tail) + taken] = pcm24k[:taken]
        self._tail = bytes(line[6 * n : 6 * n + 2 * DOWN_HISTORY]) + pcm24k[taken:]
        buffers.work()
        return bytes(buffers.mulaw if n == frames * FRAME else buffers.mulaw[:n])


def _pieces(audio: bytes, size: int) -> list[bytes]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]
