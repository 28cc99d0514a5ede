"""An oracle for the audio path: a slow version in plain Python integers, without numpy.

G.711 comes from the tables in tests/helpers/golden, and not from our formula. The tables were computed with the ITU-T
G.191 reference code (openitu/STL @139db497, src/g711). Resampling follows a textbook, in whole numbers: insert zeros,
convolve, take every third sample. Only the taps are shared with dsp/. tests/dsp/test_spectrum.py checks the taps by
their effect on tones.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from dsp.taps import PROTOTYPE, UNIT

GOLDEN = Path(__file__).parent / "golden"


def golden_decode() -> dict[int, int]:
    """The value of each of the 256 codes."""
    with (GOLDEN / "g711_decode.csv").open(newline="") as table:
        return {int(row["code"], 16): int(row["value"]) for row in csv.DictReader(table)}


def golden_encode() -> dict[int, int]:
    """The code of each of the 65,536 samples. 256 runs of samples have one code each."""
    with (GOLDEN / "g711_encode_runs.csv").open(newline="") as table:
        runs = [(int(row["from"]), int(row["to"]), int(row["code"], 16)) for row in csv.DictReader(table)]
    return {sample: code for first, last, code in runs for sample in range(first, last + 1)}


DECODE = golden_decode()
ENCODE = golden_encode()


def saturated(sample: int) -> int:
    """The sample, limited to the range of int16."""
    return max(-32768, min(32767, sample))


def filtered(samples: Sequence[int]) -> list[int]:
    """The samples convolved with the taps, in units of 1 / UNIT. The result has the same length."""
    padded = [0] * (len(PROTOTYPE) - 1) + list(samples)
    newest_last = PROTOTYPE[::-1]
    return [
        sum(weight * sample for weight, sample in zip(newest_last, padded[place:], strict=False) if sample)
        for place in range(len(samples))
    ]


def upsampled(samples: Sequence[int]) -> list[int]:
    """8 kHz to 24 kHz: three samples for each sample, rounded half up."""
    spread = [value for sample in samples for value in (sample, 0, 0)]
    return [saturated((total + UNIT // 2) // UNIT) for total in filtered(spread)]


def downsampled(samples: Sequence[int]) -> list[int]:
    """24 kHz to 8 kHz: every third filtered sample, divided by three and rounded half up."""
    return [saturated((2 * total + 3 * UNIT) // (6 * UNIT)) for total in filtered(samples)[2::3]]


def uplink(mulaw: bytes) -> bytes:
    """Mu-law to PCM16 little-endian at 24 kHz."""
    samples = upsampled([DECODE[code] for code in mulaw])
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


def downlink(pcm24k: bytes) -> bytes:
    """PCM16 little-endian at 24 kHz to mu-law. Half a sample at the end is ignored."""
    whole = len(pcm24k) // 2 * 2
    samples = [int.from_bytes(pcm24k[place : place + 2], "little", signed=True) for place in range(0, whole, 2)]
    return bytes(ENCODE[sample] for sample in downsampled(samples))
