"""Hypothesis strategies for the audio tests: audio that is hard for a codec, and streams that are cut anywhere."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def chunked(draw: st.DrawFn, stream: bytes, most_cuts: int = 12) -> list[bytes]:
    """The stream in pieces. It may be cut anywhere. Two cuts at the same place give an empty piece."""
    places = draw(st.lists(st.integers(0, len(stream)), max_size=most_cuts).map(sorted))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _square(low: bytes, high: bytes, half_period: int, size: int) -> bytes:
    wave = (low * half_period + high * half_period) * (size // (half_period * len(low)) + 1)
    return wave[:size]


def noise(most: int) -> st.SearchStrategy[bytes]:
    """Any bytes: short ones, which hypothesis can shrink well, or noise of up to `most` bytes."""
    return st.binary(max_size=64) | st.builds(_noise, st.integers(0, 2**32), st.integers(0, most))


def _squares(values: Sequence[bytes], most: int) -> st.SearchStrategy[bytes]:
    value = st.sampled_from(values)
    return st.builds(_square, value, value, st.integers(1, 40), st.integers(0, most))


# Noise, or square waves of 100 Hz to 4 kHz. Their codes are the loudest ones, those of silence, and one near silence.
mulaw_audio = noise(4000) | _squares([b"\x00", b"\x80", b"\xff", b"\x7f", b"\xfe"], 4000)
# Noise, or square waves. Their values are both ends of int16, 0, and the values that floor rounding would give for 0.
# The number of bytes may be odd.
pcm24k_audio = noise(24000) | _squares([b"\x00\x80", b"\xff\x7f", b"\x00\x00", b"\xff\xff", b"\xfc\xff"], 24000)
