"""Converts the caller's mu-law to the model's PCM16 at 24 kHz (Uplink) and back (Downlink), in few steps.

The result is bit for bit that of decode and Upsampler (uplink), or of Downsampler and encode (downlink), as
tests/dsp/test_line.py checks. But some steps between these functions are left out. Each matrix has one more row, and
the input has a column of ones for this row. The row adds an offset. The offset makes the sum of every int16 value
positive, and it contains the half that rounding needs. So the integer part of a sum is the index of the finished sample
in a table. A sum outside the table gets the table's first or last entry:

    up     sum + 32768.5          -> table of 65,536 int16
    down   (sum + 98305.5) / 4    -> table of 49,152 mu-law codes

For the downlink, the sum is three times the sample. G.711 uses 14 bits of the sample: floor((sum + 1.5) / 12), counted
from -8192. The matrix divides by four, and the table divides by three.

All calls of a thread share the memory for this work, because shared memory stays in the CPU's cache. There is one set
of buffers for each number of frames from one to ten. With 240 calls, buffers for each call would cost 1.3 us more for
each frame of the uplink, and 1.7 us more for each frame of the downlink. A call keeps less than 500 bytes.
"""

import math
import threading

import numpy as np

from dsp.g711 import DECODE, ENCODE, FLOOR_DBFS, SILENCE, Mulaw, as_bytes, level_dbfs
from dsp.polyphase import BLOCK, DOWN, DOWN_FLUSH, DOWN_HISTORY, DOWN_WINDOW, UP, UP_HISTORY, UP_WINDOW

FRAME = 160  # Mu-law bytes in 20 ms.
MOST_FRAMES = 10  # Longer audio is converted in pieces of this many frames.
PCM = np.dtype("<i2")
PCM_FRAME = 6 * FRAME  # Bytes of PCM16 at 24 kHz in 20 ms.
UP_SILENCE = bytes([SILENCE]) * UP_HISTORY
DOWN_SILENCE = bytes(2 * DOWN_HISTORY)

UP_VALUES = DECODE.astype(float)
UP_MATRIX = np.vstack([UP, np.full((1, 3 * BLOCK), 32768.5)])
UP_SAMPLES = np.arange(-32768, 32768).astype(PCM)
DOWN_MATRIX = np.vstack([DOWN, np.full((1, BLOCK), 98305.5)]) / 4
DOWN_CODES = ENCODE[(np.arange(3 * 16384) // 3 - 8192) * 4 & 0xFFFF]


class _UpBuffers:
    """Memory in which up to `frames` frames of mu-law become PCM."""

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
        self.places[...] = self.view  # `take` would convert the type itself, but more slowly.
        UP_VALUES.take(self.places, mode="clip", out=self.line)
        self.inputs[...] = self.windows
        self.values.dot(UP_MATRIX, self.sums)
        self.index[...] = self.sums
        UP_SAMPLES.take(self.index, mode="clip", out=self.samples)

    def level_dbfs(self, n: int) -> float:
        """The level of the n bytes that were converted last.

        The result is the same as that of g711.level_dbfs, because all sums are exact.
        """
        new = self.new if n == len(self.new) else self.new[:n]
        squares = float(new.dot(new))
        return max(FLOOR_DBFS, 10.0 * math.log10(squares / 32768.0**2 / n)) if squares else FLOOR_DBFS


class _DownBuffers:
    """Memory in which PCM becomes up to `frames` frames of mu-law."""

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
    """The memory of one thread, by the number of frames. The memory is made when it is first needed.

    All calls share this memory, but no call gets the audio of another call: the comment in `Uplink._run` says why.
    """

    def __init__(self) -> None:
        self.up: dict[int, _UpBuffers] = {}
        self.down: dict[int, _DownBuffers] = {}


_buffers = _BuffersOfThread()


class Uplink:
    """Turns the caller's mu-law into PCM16 at 24 kHz, little-endian: 6 bytes for each byte, without waiting."""

    def __init__(self) -> None:
        self._tail = UP_SILENCE  # The last mu-law bytes of earlier audio, which the filter still needs.

    def feed(self, mulaw: Mulaw) -> bytes:
        """Turn n mu-law bytes into 6n bytes of PCM. Several frames at once cost less CPU time. Raises BadAudio."""
        if type(mulaw) is not bytes:
            mulaw = as_bytes(mulaw)
        if len(mulaw) > MOST_FRAMES * FRAME:
            return b"".join(bytes(self._run(piece)) for piece in _pieces(mulaw, MOST_FRAMES * FRAME))
        return bytes(self._run(mulaw))

    def feed_measured(self, mulaw: bytes) -> tuple[bytes, float]:
        """Convert like `feed`, and also return the level of the mu-law bytes in dBFS.

        This method is faster than `feed` and then `g711.level_dbfs`.
        """
        if not 0 < len(mulaw) <= MOST_FRAMES * FRAME:
            return self.feed(mulaw), level_dbfs(mulaw)
        pcm24k = bytes(self._run(mulaw))
        return pcm24k, _buffers.up[(len(mulaw) + FRAME - 1) // FRAME].level_dbfs(len(mulaw))

    def reset(self) -> None:
        """Forget all earlier audio."""
        self._tail = UP_SILENCE

    def _run(self, mulaw: bytes) -> memoryview:
        """Convert at most MOST_FRAMES frames.

        The result is a part of the shared memory. Copy it before the next audio is converted.
        """
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
        # Behind these bytes, the buffer may have audio of another call. The samples that are computed from that audio
        # are cut off at `return`.
        buffers.work()
        return buffers.pcm24k if n == frames * FRAME else buffers.pcm24k[: 6 * n]


class Downlink:
    """Turns PCM16 at 24 kHz, little-endian, into the caller's mu-law: one byte for 3 samples, without waiting for more.

    After n whole samples, n // 3 bytes have been returned. `flush` adds the end of the filter, so that (n + 71) // 3
    bytes have been returned.
    """

    def __init__(self) -> None:
        # The last 69 samples, which the filter still needs, then up to 2 samples and half a sample that are not
        # converted yet.
        self._tail = DOWN_SILENCE
        self._fresh = True

    def feed(self, pcm24k: Mulaw) -> bytes:
        """Convert any number of bytes, even an odd number. Returns all mu-law bytes that are complete.

        Raises BadAudio.
        """
        if type(pcm24k) is not bytes:
            pcm24k = as_bytes(pcm24k)
        if len(pcm24k) > MOST_FRAMES * PCM_FRAME:
            return b"".join(self._run(piece) for piece in _pieces(pcm24k, MOST_FRAMES * PCM_FRAME))
        return self._run(pcm24k)

    def flush(self) -> bytes:
        """End the audio, at the end of an item.

        Returns the last 23 or 24 bytes (3 ms), or nothing if there was no audio. These bytes contain the samples that
        are not converted yet, and what the filter still gives after the last sample. The caller hears these bytes, but
        they do not count in the item's length. The item's length in ms is the number of its samples / 24. Half a sample
        at the very end is dropped. After `flush`, the object is like a new one.
        """
        whole = len(self._tail) & ~1
        nothing = self._fresh and whole == len(DOWN_SILENCE)
        self._tail = self._tail[:whole]
        tail = b"" if nothing else self._run(bytes(2 * DOWN_FLUSH))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget all earlier audio."""
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
