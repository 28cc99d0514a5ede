"""Is this mu-law at 8 kHz, as was asked for? Pure.

A service that sends something else, by a mistake of anybody's, would be heard as noise at full volume. What is no
mu-law is very loud, or loud and rough: PCM16 read so has every second byte near the codes of full scale, and compressed
audio has all codes alike. Speech that is loud is smooth: each sample is near the one before it.
"""

from __future__ import annotations

import json

import numpy as np

import dsp

# Of the shipped speech (81 clips in pieces of 300 ms) no piece is louder than -17.4 dBFS, and where it is played 12 dB
# too loud and clipped, no neighbours are less alike than 0.55. PCM16 read as mu-law is at -6.6 dBFS and more, random
# bytes at -10.9 to -9.4 with a correlation of neighbours under 0.1.
TOO_LOUD_RMS = 32768 * 10 ** (-8 / 20)
LOUD_RMS = 32768 * 10 ** (-16 / 20)
SMOOTH = 0.45  # correlation of neighbouring samples
LEAST_BYTES = 320  # 40 ms; less says nothing


def trouble(audio: bytes, *, is_first: bool) -> str:
    """What is wrong with a piece of sound, in words for the operator; "" for nothing. `is_first`: of its text."""
    if is_first and audio[:4] in (b"RIFF", b"OggS", b"fLaC"):
        return f"a {audio[:4].decode()} file instead of raw mu-law"
    if is_first and audio[:3] == b"ID3":
        return "an MP3 file instead of raw mu-law"
    if audio[:1] in b"{[" and _is_json(audio):
        return "JSON instead of sound"
    if audio[:5].lower() in (b"<html", b"<!doc", b"<?xml"):
        return "a web page instead of sound"
    return "noise: another format than mu-law" if _is_noise(audio) else ""


def _is_json(audio: bytes) -> bool:
    try:
        json.loads(audio)
    except (ValueError, RecursionError):
        return False
    return True


def _is_noise(audio: bytes) -> bool:
    if len(audio) < LEAST_BYTES:
        return False
    samples = dsp.decode(audio).astype(np.float32)
    power = float(samples @ samples)
    if power < len(samples) * LOUD_RMS**2:
        return False
    return power > len(samples) * TOO_LOUD_RMS**2 or float(samples[1:] @ samples[:-1]) < SMOOTH * power
