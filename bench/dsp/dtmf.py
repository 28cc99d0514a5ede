"""Sends all sixteen keypad tones through both directions, and reads them with a simple receiver.

The tones are also quiet, detuned (at a wrong frequency) or twisted (their two parts have unequal levels).
"""

import itertools

import numpy as np
import numpy.typing as npt

import dsp

Floats = npt.NDArray[np.float64]

LOW_HZ = (697, 770, 852, 941)
HIGH_HZ = (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")
DIGITS = "".join(KEYS)
TONE_S, PAUSE_S = 0.040, 0.050  # ITU-T Q.24: a receiver must accept a tone of 40 ms
LEVELS_DB = (-6.0, -12.0, -19.0, -25.0)
DETUNES = (-0.015, 0.0, 0.015)  # ITU-T Q.23 and Q.24: a receiver must accept frequencies that are wrong by up to 1.5 %
TWISTS_DB = (-8.0, 0.0, 4.0)  # the level of the high tone minus that of the low tone: the limits in North America
BLOCK_S, HOP_S = 0.025, 0.0025  # a block of 25 ms is long enough to separate detuned tones that are 73 Hz apart
RUN = 3  # this many blocks in a row must give the same digit


def dialled(rate_hz: int, level_db: float, detune: float, twist_db: float) -> npt.NDArray[np.int16]:
    """The sound of all sixteen digits. If both tones are equal, the peak of their sum is `level_db` (0: full scale)."""
    time_s = np.arange(round(TONE_S * rate_hz)) / rate_hz
    strong = 32768 * 10 ** (level_db / 20) / 2
    low = strong * 10 ** (min(0.0, -twist_db) / 20)
    high = strong * 10 ** (min(0.0, twist_db) / 20)
    pause = np.zeros(round(PAUSE_S * rate_hz))
    parts = [pause]
    for row in range(4):
        for column in range(4):
            parts.append(
                low * np.sin(2 * np.pi * LOW_HZ[row] * (1 + detune) * time_s)
                + high * np.sin(2 * np.pi * HIGH_HZ[column] * (1 + detune) * time_s)
            )
            parts.append(pause)
    samples: npt.NDArray[np.int16] = np.rint(np.concatenate(parts)).astype(np.int16)
    return samples


def received(samples: npt.NDArray[np.int16], rate_hz: int) -> str:
    """The digits that a simple receiver hears. A digit counts if at least RUN blocks in a row have it."""
    size, hop = round(BLOCK_S * rate_hz), round(HOP_S * rate_hz)
    blocks = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop].astype(np.float64)
    window = np.hamming(size)  # so that a loud low group does not disturb a quiet high one
    turns = window[:, None] * np.exp(-2j * np.pi * np.outer(np.arange(size), LOW_HZ + HIGH_HZ) / rate_hz)
    power = 2 * np.abs(blocks @ turns) ** 2 / window.sum() ** 2
    heard = [_digit(row, float(block @ block) / size) for row, block in zip(power, blocks, strict=True)]
    runs = [(digit, len(list(run))) for digit, run in itertools.groupby(heard)]
    return "".join(digit for digit, length in runs if digit and length >= RUN)


def _digit(power: Floats, whole: float) -> str:
    """The digit of one block, or "" if it is not a clean pair of tones."""
    low, high = power[:4], power[4:]
    row, column = int(low.argmax()), int(high.argmax())
    clear = low[row] > 4 * np.partition(low, 2)[2] and high[column] > 4 * np.partition(high, 2)[2]
    tonal = low[row] + high[column] > 0.6 * whole > 0
    return KEYS[row][column] if clear and tonal else ""


def measure() -> dict[str, object]:
    """Count the sequences of digits that arrived whole over mu-law alone, up and down. List those that did not."""
    failed = []
    sent = 0
    for level_db in LEVELS_DB:
        for detune in DETUNES:
            for twist_db in TWISTS_DB:
                caller = dsp.encode(dialled(8_000, level_db, detune, twist_db))
                up = np.frombuffer(dsp.Uplink().feed(caller), "<i2")
                downlink = dsp.Downlink()
                mulaw = downlink.feed(dialled(24_000, level_db, detune, twist_db).astype("<i2").tobytes())
                for way, heard in (
                    ("mu-law alone", received(dsp.decode(caller), 8_000)),
                    ("up", received(up.astype(np.int16), 24_000)),
                    ("down", received(dsp.decode(mulaw + downlink.flush()), 8_000)),
                ):
                    sent += 1
                    if heard != DIGITS:
                        failed.append(f"{way} {level_db} dB {detune:+.1%} twist {twist_db} dB: {heard}")
    return {"sequences": sent, "whole": sent - len(failed), "failed": failed}
