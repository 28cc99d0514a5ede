"""Recognises clips. This is how a stand-in understands speech: it compares the audio with the clips that it knows.

First the envelope (the level every 10 ms) shows which clip the audio may be, and where the clip begins. Then twelve
frequency bands between 200 and 3400 Hz confirm the clip. A few dB more or less, some noise, and any shift in time do
not matter. But damaged audio is not recognised: lost frames, clicks at the edges of frames, a wrong rate, a wrong
codec. A human would still understand some of this audio. But a stand-in that understood it would hide mistakes of the
relay.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import dsp
from relay.standin.speech.voice import Clip, babbled_clips, clips

Array = npt.NDArray[np.float64]

STEP_MS, WINDOW_MS = 10, 20
FINE_STEP_MS = 5  # With this step, clip and audio are never more than 2.5 ms apart.
BIN_HZ = 1000 // WINDOW_MS
# The edges of the bands, in bins of 50 Hz. Higher bands are wider, as in human hearing.
EDGES = np.array([4, 6, 8, 10, 13, 16, 20, 25, 31, 38, 46, 56, 68])
HIGH_FROM_BAND = 9  # The bands from 1.9 kHz on. Speech is weak there, but clicks are not.
# Levels below this count as equal, so that differences in silence do not matter. The noise of the quietest phone line
# is louder than this.
FLOOR_DB = -75.0

ENVELOPE_ALIKE = 0.80  # If the correlation of the envelopes reaches this, the clip is compared in detail.
CELL_DB = 5.0  # How much the level of a band may differ from the clip's, after the overall levels were matched.
CELLS_ALIKE = 0.85  # The share of cells (time and band) that must be as close as CELL_DB.
# A step that is quieter than the clip by HOLE_DB is a hole. Speech may have at most this share of holes.
HOLE_DB, HOLES = 12.0, 0.03
# A step with SPIKE_DB more treble than the clip is a spike. Audio may have at most this share of spikes.
SPIKE_DB, SPIKES = 8.0, 0.06
SPIKE_BELOW_DB = 24.0  # Treble that is below the loudest band by this much is noise of the line.
ABOVE_HZ = 4500  # A phone line carries no sound above this frequency. A click does have sound above it.
# The limits for clicks: the peak in int16, the ratio of the peak to the RMS of 5 ms, and the clicks a second. The noise
# of a line stays below these limits.
CLICK_PEAK, CLICK_CREST, CLICKS_A_S = 500, 6.0, 3.0
# Levels that are further than this below the loudest level are noise of the line. They are raised to this depth, so
# that they do not count.
DEPTH_DB = 25.0


@dataclass(frozen=True)
class Heard:
    """A clip that was recognised, and where it began in the audio."""

    clip: Clip
    start_ms: int
    alike: float  # The share of cells (time and band) that fit, from 0 to 1.


@dataclass(frozen=True)
class _Print:
    """A clip as it is compared with audio: only its speech, without the silence around it."""

    clip: Clip
    bands_db: Array  # dBFS of the bands, shape [steps, 12].
    level_db: Array  # dBFS, shape [steps].
    lead_ms: int  # The length of the silence before the speech.


class ClipRecogniser:
    """Recognises the clips of some speakers. `also` are texts without a clip, which the stand-ins babble."""

    def __init__(self, speakers: tuple[str, ...] = ("caller",), also: Iterable[str] = ()) -> None:
        self._prints = [_print(clip) for clip in clips().values() if clip.speaker in speakers]
        self._prints += [_print(clip) for text in also for clip in babbled_clips(text)]

    def hear(self, samples: npt.NDArray[np.int16], rate_hz: int) -> list[Heard]:
        """The clips that are in int16 audio of 8000 or 24000 Hz, in order."""
        # A clip may begin before the audio does, because the beginning of a clip is quiet.
        pad = np.zeros(rate_hz * 3 // 10, np.int16)
        padded = np.concatenate([pad, samples, pad])
        if _has_clicks(padded, rate_hz):
            return []
        fine = _bands(padded, rate_hz, FINE_STEP_MS)
        found = [heard for each in self._prints for heard in _search(each, fine)]
        found.sort(key=lambda heard: -heard.alike * heard.clip.ms)
        kept: list[Heard] = []
        for heard in found:
            if all(heard.start_ms + heard.clip.ms <= other.start_ms + 150
                   or other.start_ms + other.clip.ms <= heard.start_ms + 150 for other in kept):  # fmt: skip
                kept.append(heard)
        return sorted(kept, key=lambda heard: heard.start_ms)

    def transcribe(self, samples: npt.NDArray[np.int16], rate_hz: int) -> str:
        """What was said, as text. "" if no clip was recognised."""
        return " ".join(heard.clip.text for heard in self.hear(samples, rate_hz))


@functools.cache
def _print(clip: Clip) -> _Print:
    bands_db = _bands(dsp.decode(clip.mulaw), 8000, STEP_MS)
    level_db = _level(bands_db)
    speech = np.flatnonzero(level_db > level_db.max() - 30)
    start, end = int(speech[0]), int(speech[-1]) + 1
    return _Print(clip, bands_db[start:end], level_db[start:end], start * STEP_MS)


def _bands(samples: npt.NDArray[np.int16], rate_hz: int, step_ms: int) -> Array:
    """The levels of the bands in int16 samples, in dBFS, shape [steps, 12].

    A window of 20 ms has bins of 50 Hz at any rate, so the audio need not be resampled.
    """
    window, step = rate_hz * WINDOW_MS // 1000, rate_hz * step_ms // 1000
    if len(samples) < window:
        return np.full((0, len(EDGES) - 1), FLOOR_DB)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::step].astype(np.float64)
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1) / (32768 * window / 4)) ** 2
    sums = np.add.reduceat(power[:, : EDGES[-1]], EDGES[:-1], axis=1)
    return np.asarray(10 * np.log10(sums + 10 ** (FLOOR_DB / 10)), np.float64)


def _has_clicks(samples: npt.NDArray[np.int16], rate_hz: int) -> bool:
    """True if 24 kHz audio has clicks: short peaks above the frequencies of a phone line.

    A jump between two frames makes such a peak.
    """
    if rate_hz <= 2 * ABOVE_HZ:
        return False
    spectrum = np.fft.rfft(samples.astype(np.float64))
    spectrum[: len(samples) * ABOVE_HZ // rate_hz] = 0
    above, window = np.abs(np.fft.irfft(spectrum, len(samples))), rate_hz // 200
    above = above[: len(above) // window * window].reshape(-1, window)
    peak = above.max(axis=1)
    clicks = (peak > CLICK_PEAK) & (peak > CLICK_CREST * np.sqrt((above**2).mean(axis=1)))
    return bool(clicks.sum() > CLICKS_A_S * len(samples) / rate_hz)


def _level(bands_db: Array) -> Array:
    return np.asarray(10 * np.log10((10 ** (bands_db / 10)).sum(axis=1)), np.float64)


def _search(print_: _Print, fine: Array) -> list[Heard]:
    """The places in the audio where the clip may be, and how well it fits there.

    One occurrence of the clip gives a few results, at neighbouring steps.
    """
    found = []
    for phase in range(STEP_MS // FINE_STEP_MS):
        bands_db = fine[phase :: STEP_MS // FINE_STEP_MS]
        if len(bands_db) < len(print_.level_db):
            continue
        for lag in _peaks(_correlate(print_.level_db, _level(bands_db)), len(print_.level_db) // 2):
            cells = _confirm(print_, bands_db[lag : lag + len(print_.level_db)])
            if cells:
                start_ms = lag * STEP_MS + phase * FINE_STEP_MS - 300 - print_.lead_ms
                found.append(Heard(print_.clip, start_ms, cells))
    return found


def _correlate(wanted: Array, level_db: Array) -> Array:
    """The normalised correlation of the clip's envelope with the audio's, for every possible place."""
    count = len(wanted)
    wanted = np.maximum(wanted, wanted.max() - DEPTH_DB)
    level_db = np.maximum(level_db, level_db.max() - DEPTH_DB)
    shape = (wanted - wanted.mean()) / (wanted.std() * count)
    sums = np.cumsum(np.concatenate([[0.0], level_db]))
    squares = np.cumsum(np.concatenate([[0.0], level_db**2]))
    mean = (sums[count:] - sums[:-count]) / count
    spread = np.sqrt(np.maximum((squares[count:] - squares[:-count]) / count - mean**2, 1.0))
    return np.asarray(np.correlate(level_db, shape, "valid") / spread, np.float64)


def _peaks(alike: Array, apart: int) -> list[int]:
    """The best steps, at most three for each place. Steps with a distance below `apart` belong to one place."""
    found: list[int] = []
    for lag in np.argsort(alike)[::-1]:
        if alike[lag] < ENVELOPE_ALIKE:
            break
        if sum(abs(int(lag) - other) < apart for other in found) < 3:
            found.append(int(lag))
    return found


def _confirm(print_: _Print, bands_db: Array) -> float:
    """The share of loud cells (time and band) that fit. 0 if the audio is too different or is damaged."""
    loudest = print_.bands_db.max()
    loud = print_.bands_db > loudest - 25
    difference = bands_db - print_.bands_db
    gain_db = float(np.median(difference[loud]))
    difference = difference - gain_db
    alike = float((np.abs(difference[loud]) < CELL_DB).mean())
    level_difference = _level(bands_db) - print_.level_db - gain_db
    speech = print_.level_db > print_.level_db.max() - 20
    holes = float((level_difference[speech] < -HOLE_DB).mean())
    high = _level(bands_db[:, HIGH_FROM_BAND:]) - gain_db
    spike = (high > _level(print_.bands_db[:, HIGH_FROM_BAND:]) + SPIKE_DB) & (high > loudest - SPIKE_BELOW_DB)
    broken = holes > HOLES or float(spike.mean()) > SPIKES
    return 0.0 if broken or alike < CELLS_ALIKE else alike
