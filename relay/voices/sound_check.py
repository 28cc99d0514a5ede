"""Checks that a sound is mu-law at 8 kHz, as we asked for. Pure.

If a service sent something else by mistake, the caller would hear noise at full volume. Audio in another format, read
as mu-law, is very loud, or loud and rough. In PCM16 every second byte is near full scale. In compressed audio all codes
are equally frequent. Loud speech is smooth: each sample is near the one before it.
"""

from __future__ import annotations

import json

import numpy as np

import dsp

# No piece of the shipped speech (81 clips in pieces of 300 ms) is louder than -17.4 dBFS. Speech that is played 12 dB
# too loud and clipped has a correlation of neighbouring samples of 0.55 or more. PCM16 read as mu-law has -6.6 dBFS or
# more. Random bytes have -10.9 to -9.4 dBFS and a correlation below 0.1.
TOO_LOUD_RMS = 32768 * 10 ** (-8 / 20)
LOUD_RMS = 32768 * 10 ** (-16 / 20)
SMOOTH = 0.45  # The least correlation of neighbouring samples in speech.
LEAST_BYTES = 320  # 40 ms. A shorter piece is not checked.


def trouble(audio: bytes, *, is_first: bool) -> str:
    """What is wrong with a piece of sound, in words for the operator. "" if nothing is wrong.

    `is_first`: it is the first piece of its text.
    """
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
