"""Converts audio from and to the formats of the Realtime API: PCM16 at 24 kHz, mu-law and A-law.

Internally, the stand-in model speaks mu-law at 8 kHz, because its clips have this format.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

import dsp

Samples = npt.NDArray[np.int16]


def rate_hz(form: dict[str, Any]) -> int:
    """Samples a second of a session's format."""
    return 24000 if form["type"] == "audio/pcm" else 8000


def bytes_a_sample(form: dict[str, Any]) -> int:
    """2 for PCM16, 1 for G.711."""
    return 2 if form["type"] == "audio/pcm" else 1


def bytes_per_ms(form: dict[str, Any]) -> int:
    """48 for PCM16 at 24 kHz, 8 for G.711."""
    return 48 if form["type"] == "audio/pcm" else 8


def from_wire(data: bytes, form: dict[str, Any]) -> Samples:
    """Convert the bytes of an append to int16 samples. The rate stays the same. `data` must hold whole samples."""
    if form["type"] == "audio/pcm":
        return np.frombuffer(data, "<i2").astype(np.int16)
    return dsp.decode(data) if form["type"] == "audio/pcmu" else _alaw_table()[np.frombuffer(data, np.uint8)]


def to_wire(mulaw: bytes, form: dict[str, Any]) -> bytes:
    """Convert mu-law speech to the output format of a session. Its length in ms stays exactly the same."""
    if form["type"] == "audio/pcmu":
        return mulaw
    return _upsampled(mulaw) if form["type"] == "audio/pcm" else _to_alaw(mulaw)


@functools.lru_cache(maxsize=64)
def _upsampled(mulaw: bytes) -> bytes:
    up = dsp.Upsampler()
    samples = np.concatenate([up.feed(dsp.decode(mulaw)), up.flush()])
    delay = round(up.delay_ms * 24)
    return samples[delay : delay + 3 * len(mulaw)].astype("<i2").tobytes().ljust(6 * len(mulaw), b"\0")


@functools.cache
def _alaw_table() -> Samples:
    """The 16-bit samples of the 256 A-law codes (ITU-T G.711, table 1a)."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    value = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, value, -value).astype(np.int16)


def _to_alaw(mulaw: bytes) -> bytes:
    table = _alaw_table().astype(np.int32)
    nearest = np.abs(dsp.decode(bytes(range(256))).astype(np.int32)[:, None] - table[None, :]).argmin(axis=1)
    return bytes(nearest.astype(np.uint8)[np.frombuffer(mulaw, np.uint8)])
