"""Converts G.711 mu-law at 8 kHz to PCM16 at 24 kHz ("up") and back ("down"). It does no I/O and reads no clock.

    Sound        The pass band is 0-3400 Hz, with a ripple of 0.02 dB. From 4500 Hz on, aliases and images are at least
                 80 dB down.
    Delay        Only the filter delays the audio: 0.32 ms up and 0.23 ms down (mean over 300-3400 Hz).
    Exactness    The same audio gives the same bytes, in pieces of any size, with any CPU, BLAS and number of threads.
    Length       Up: n mu-law bytes give 6n bytes of PCM. Down: n samples give n // 3 bytes, and with flush()
                 (n + 71) // 3. Samples and half samples that do not fill a byte of mu-law wait for the next piece.
    G.711        The codes are those of ITU-T G.191, for all 65,536 samples and all 256 codes. Silence is 0xff and stays
                 0xff, because no dither is added.
    Levels       The level stays the same. A value that is too large becomes the largest one and does not wrap around.
    Cost         A call keeps less than 500 bytes of memory. bench/dsp measures the CPU time.

taps.py has the filter and its data sheet. design.py is the program that designed the filter; the relay does not import
it. polyphase.py defines the arithmetic. line.py computes the same results in fewer steps, and calls use it.
self_test.py checks, before the first call, that this machine's numpy and our tables give the right values.
"""

from dsp.g711 import BadAudio, Samples, decode, encode, level_dbfs
from dsp.line import Downlink, Uplink
from dsp.polyphase import Downsampler, Upsampler
from dsp.self_test import SelfTestFailed, self_test

__all__ = [
    "BadAudio",
    "Downlink",
    "Downsampler",
    "Samples",
    "SelfTestFailed",
    "Uplink",
    "Upsampler",
    "decode",
    "encode",
    "level_dbfs",
    "self_test",
]
