"""Checks the audio path of this build before the first call. It takes a few milliseconds.

A sweep and an impulse are converted. If numpy, BLAS, a table or a tap is wrong, self_test() raises SelfTestFailed.
"""

import itertools
import zlib

import numpy as np
import numpy.typing as npt

from dsp import g711, line, taps

Integers = npt.NDArray[np.int64]

# CRC-32 of the tables of the ITU-T G.191 code. The decode table has little-endian int16 in the order of the codes. The
# encode table has bytes in the order of the samples modulo 65536.
DECODE_CRC = 0x0C847A9F
ENCODE_CRC = 0x19DEA352


class SelfTestFailed(RuntimeError):
    """The audio path of this build computes wrong values. The message names the wrong figure."""


def self_test() -> None:
    """Check the tables, the filter, and both directions. Raises SelfTestFailed.

    The samples with which the results are compared are computed in integers.
    """
    _check_tables()
    _check_taps()
    _check_uplink()
    _check_downlink()


def _check_tables() -> None:
    decode_crc = zlib.crc32(g711.decode(bytes(range(256))).astype("<i2").tobytes())
    encode_crc = zlib.crc32(g711.encode(np.arange(65536, dtype=np.uint16).view(np.int16)))
    for name, crc, expected in (("decode", decode_crc, DECODE_CRC), ("encode", encode_crc, ENCODE_CRC)):
        if crc != expected:
            raise SelfTestFailed(f"the mu-law {name} table is not G.711's: checksum {crc:#010x}, not {expected:#010x}")


def _check_taps() -> None:
    sums = [sum(taps.PROTOTYPE[phase::3]) for phase in range(3)]
    if sums != [taps.UNIT] * 3:
        raise SelfTestFailed(f"the filter's phases sum to {sums}, not each to {taps.UNIT}")
    size = 4096
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(taps.PROTOTYPE, size)) / (3 * taps.UNIT) + 1e-9)
    freq_hz = np.fft.rfftfreq(size, 1 / taps.RATE_HZ)
    ripple_db = float(np.ptp(gain_db[freq_hz <= taps.PASS_HZ]))
    stop_db = float(gain_db[freq_hz >= taps.STOP_HZ].max())
    if not (ripple_db <= taps.RIPPLE_DB and stop_db <= taps.STOP_DB):
        raise SelfTestFailed(
            f"the filter has {ripple_db:.4f} dB of ripple and a stop band at {stop_db:.1f} dB;"
            f" its data sheet says {taps.RIPPLE_DB} and {taps.STOP_DB}"
        )


def _sweep(rate_hz: int, end_hz: float) -> Integers:
    """The test signal: an impulse, a pause, then a quarter of a second from 0 to end_hz at full scale."""
    time_s = np.arange(rate_hz // 4) / rate_hz
    tone = np.rint(32767 * np.sin(2 * np.pi * end_hz * 2 * time_s * time_s)).astype(np.int64)
    pause = np.zeros(taps.TAPS, np.int64)
    return np.concatenate([[32767], pause, tone])


def _cut(audio: bytes) -> list[bytes]:
    """The audio in pieces of different sizes, also odd ones, up to several frames."""
    places = [0, 1, 2, 40, 201, 361, 1326, 2286, len(audio)]
    return [audio[start:end] for start, end in itertools.pairwise(places)]


def _compare(name: str, found: bytes, expected: Integers, dtype: str) -> None:
    got = np.frombuffer(found, dtype).astype(np.int64)
    if len(got) != len(expected):
        raise SelfTestFailed(f"the {name} made {len(got)} samples of the sweep, not {len(expected)}")
    wrong = got != expected
    if wrong.any():
        raise SelfTestFailed(
            f"the {name} differs from integer arithmetic in {int(wrong.sum())} of {len(got)} samples of the sweep,"
            f" by up to {int(np.abs(got - expected).max())}: this numpy or its BLAS computes wrongly"
        )


def _check_uplink() -> None:
    mulaw = g711.encode(_sweep(8_000, 4_000).astype(np.int16))
    spread = np.zeros(3 * len(mulaw), np.int64)
    spread[::3] = g711.decode(mulaw)
    sums = np.convolve(spread, np.array(taps.PROTOTYPE, np.int64))[: len(spread)]
    expected = np.clip((sums + taps.UNIT // 2) // taps.UNIT, -32768, 32767)
    uplink = line.Uplink()
    _compare("uplink", b"".join(uplink.feed(piece) for piece in _cut(mulaw)), expected, "<i2")


def _check_downlink() -> None:
    samples = _sweep(24_000, 12_000)
    sums = np.convolve(samples, np.array(taps.PROTOTYPE, np.int64))[2::3]
    # Round sum / (3 * UNIT) half up, in integers only.
    rounded = np.clip((2 * sums + 3 * taps.UNIT) // (6 * taps.UNIT), -32768, 32767)
    expected = np.frombuffer(g711.encode(rounded.astype(np.int16)), np.uint8).astype(np.int64)
    downlink = line.Downlink()
    pcm24k = samples.astype("<i2").tobytes()
    found = b"".join(downlink.feed(piece) for piece in _cut(pcm24k)) + downlink.flush()
    _compare("downlink", found, expected, "u1")
