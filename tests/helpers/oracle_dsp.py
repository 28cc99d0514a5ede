"""A slow second version of the audio path: plain Python integers, from the definitions, without numpy.

G.711 comes from golden tables computed with the ITU-T G.191 reference code (openitu/STL @139db497, src/g711), not from
our formula. The filters are those of the textbook: put zeros between, convolve, take every third, all in whole numbers.
Only the taps are shared with dsp/. tests/dsp/test_spectrum.py checks those by what they do to tones.
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
    """The sample, or the end of int16 if it is beyond it."""
    return max(-32768, min(32767, sample))


def filtered(samples: Sequence[int]) -> list[int]:
    """As many samples convolved with the taps, in units of 1 / UNIT."""
    padded = [0] * (len(PROTOTYPE) - 1) + list(samples)
    newest_last = PROTOTYPE[::-1]
    return [
        sum(weight * sample for weight, sample in zip(newest_last, padded[place:], strict=False) if sample)
        for place in range(len(samples))
    ]


def upsampled(samples: Sequence[int]) -> list[int]:
    """8 kHz to 24 kHz: three for each, rounded half up."""
    spread = [value for sample in samples for value in (sample, 0, 0)]
    return [saturated((total + UNIT // 2) // UNIT) for total in filtered(spread)]


def downsampled(samples: Sequence[int]) -> list[int]:
    """24 kHz to 8 kHz: the third of every three, a third of the sum, rounded half up."""
    return [saturated((2 * total + 3 * UNIT) // (6 * UNIT)) for total in filtered(samples)[2::3]]


def uplink(mulaw: bytes) -> bytes:
    """Mu-law to PCM16 little-endian at 24 kHz."""
    samples = upsampled([DECODE[code] for code in mulaw])
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


def downlink(pcm24k: bytes) -> bytes:
    """PCM16 little-endian at 24 kHz to mu-law; half a sample at the end does not count."""
    whole = len(pcm24k) // 2 * 2
    samples = [int.from_bytes(pcm24k[place : place + 2], "little", signed=True) for place in range(0, whole, 2)]
    return bytes(ENCODE[sample] for sample in downsampled(samples))
