"""The audio path: G.711 mu-law at 8 kHz to PCM16 at 24 kHz and back, exact to the bit. Pure: no clock, no I/O.

    sound        pass band 0-3400 Hz, ripple 0.02 dB; aliases and images at least 80 dB down from 4500 Hz
    delay        mean over 300-3400 Hz: 0.32 ms up, 0.23 ms down; only the filter delays the audio
    exactness    the same audio gives the same bytes, in pieces of any size, on any CPU, BLAS and thread count
    counts       up: n mu-law bytes give 6n bytes of PCM. down: n samples give n // 3 bytes; flush() completes them to
                 (n + 71) // 3. Samples and half samples that are left over are kept for the next call
    G.711        ITU-T G.191's coder, all 65,536 inputs and 256 codes; silence is 0xff and stays 0xff: no dither
    levels       stay the same. A value that is too large becomes the largest one; it does not wrap around
    cost         a call keeps less than 500 bytes of memory; bench/dsp measures the CPU time

taps.py holds the filter and its data sheet. design.py computes the filter again. polyphase.py defines the arithmetic.
line.py does the same in fewer steps, and the calls use it. self_test.py checks a build before the first call.
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
