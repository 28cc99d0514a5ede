"""Reads and writes audio files: the files of `<Play>` and `--wav`, and the stereo WAV of a call."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dsp

RATE_HZ = 8_000
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
"""The lowest and highest rate of sound cards. A header with another rate is broken."""


class AudioRefused(Exception):
    """A sound file that cannot be played. The message says why."""


def mulaw_of(data: bytes, content_type: str = "audio/wav") -> bytes:
    """The mu-law audio of a WAV file (16-bit PCM, 4 to 192 kHz, first channel) or of headerless audio/basic.

    Raises AudioRefused.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("audio/basic", "audio/x-mulaw", "audio/ulaw"):
        return data
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            pcm = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise AudioRefused(f"this WAV file cannot be read ({kind}): {error or 'it ends too early'}") from error
    if width != 2:
        raise AudioRefused(f"a WAV file must have 16-bit samples, and this one has {8 * width} bits")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioRefused(f"a WAV file must have {MIN_RATE_HZ} to {MAX_RATE_HZ} samples a second, this has {rate_hz}")
    whole = len(pcm) // (2 * channels) * 2 * channels  # A file that was cut off may end in the middle of a sample.
    samples = np.frombuffer(pcm[:whole], dtype="<i2")[::channels]
    return dsp.encode(_at_line_rate(samples, rate_hz))


def read_wav(path: Path) -> bytes:
    """The mu-law audio of a WAV file on disk. Raises AudioRefused (also if the file has no samples) and OSError."""
    mulaw = mulaw_of(path.read_bytes())
    if not mulaw:
        raise AudioRefused("the file has no samples")
    return mulaw


def check_writable(path: Path) -> None:
    """Check before a call that the call's WAV can be written to this path. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("ab").close()


def write_stereo(path: Path, left_mulaw: bytes, right_mulaw: bytes) -> None:
    """Write a 16-bit stereo WAV at 8 kHz. The shorter side is filled with silence."""
    count = max(len(left_mulaw), len(right_mulaw))
    sides = [dsp.decode(side + b"\xff" * (count - len(side))) for side in (left_mulaw, right_mulaw)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as bare, wave.open(bare, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.stack(sides, axis=1).astype("<i2").tobytes())


def _at_line_rate(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    """Convert a whole clip to 8 kHz by cutting its spectrum at 4 kHz.

    For whole clips this is exact, and simpler than a filter for streams.
    """
    if rate_hz == RATE_HZ or not len(samples):
        return samples.astype(np.int16)
    count = round(len(samples) * RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(samples.astype(np.float64))
    kept = np.zeros(count // 2 + 1, dtype=np.complex128)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    out = np.fft.irfft(kept, count) * (count / len(samples))
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)
