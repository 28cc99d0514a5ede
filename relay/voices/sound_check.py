"""Checks that a sound is mu-law at 8 kHz.

If a service sent another format by mistake, the caller would hear noise at full volume. Another format that is read as
mu-law is very loud, or it is loud and its neighbouring samples are not similar. In PCM16, every second byte is near
full scale. In compressed audio, all codes are equally frequent. In speech, neighbouring samples are similar.
"""

from __future__ import annotations

import json

import numpy as np

import dsp

# The limits for the check. Speech: no piece of 300 ms of the shipped clips is louder than -17 dBFS. Speech that is
# 12 dB too loud and clipped has a correlation of neighbouring samples of at least 0.55. PCM16 that is read as mu-law
# has at least -6.6 dBFS. Random bytes have -10.9 to -9.4 dBFS and a correlation below 0.1.
TOO_LOUD_RMS = 32768 * 10 ** (-8 / 20)
LOUD_RMS = 32768 * 10 ** (-16 / 20)
SMOOTH = 0.45  # If the correlation of neighbouring samples is below this, a loud sound is no speech.
LEAST_BYTES = 320  # 40 ms. Shorter pieces are not checked.


def trouble(audio: bytes, *, is_first: bool) -> str:
    """What is wrong with a piece of sound, in words for the operator. "" if nothing is.

    `is_first` is True for the first piece of an item.
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
