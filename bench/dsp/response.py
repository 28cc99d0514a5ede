"""Measures gain, images, aliases and delay of each direction alone, with tones and impulses as int16."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsp.polyphase import Downsampler, Upsampler

Floats = npt.NDArray[np.float64]

PEAK = 16384  # -6 dBFS
STEP_HZ = 10


@dataclass(frozen=True)
class Response:
    """For each frequency: the gain of a tone, and the worst unwanted tone in the output, in dB relative to the input.

    Unwanted are the images (up) and the aliases (down).
    """

    freq_hz: Floats
    gain_db: Floats
    unwanted_db: Floats


def tone(freq_hz: float, rate_hz: int, duration_s: float) -> npt.NDArray[np.int16]:
    """A tone at -6 dBFS."""
    phase = 2 * np.pi * freq_hz / rate_hz * np.arange(round(rate_hz * duration_s)) + 0.3
    samples: npt.NDArray[np.int16] = np.rint(PEAK * np.sin(phase)).astype(np.int16)
    return samples


def spectrum_db(samples: npt.NDArray[np.int16], rate_hz: int) -> Floats:
    """The level at each multiple of 10 Hz in the last tenth of a second, in dB relative to PEAK."""
    span = rate_hz // STEP_HZ
    magnitude = np.abs(np.fft.rfft(samples[-span:].astype(np.float64))) * 2 / span
    return np.asarray(20 * np.log10(magnitude / PEAK + 1e-7))


def up() -> Response:
    """Measure the way up with tones up to 3990 Hz. The images of a tone f are at 8000 - f and 8000 + f."""
    freq_hz = np.arange(STEP_HZ, 4000, STEP_HZ)
    gain_db, unwanted_db = [], []
    for hz in freq_hz:
        level_db = spectrum_db(Upsampler().feed(tone(float(hz), 8_000, 0.15)), 24_000)
        gain_db.append(level_db[hz // STEP_HZ])
        unwanted_db.append(max(level_db[(8000 - hz) // STEP_HZ], level_db[(8000 + hz) // STEP_HZ]))
    return Response(freq_hz.astype(float), np.array(gain_db), np.array(unwanted_db))


def down() -> Response:
    """Measure the way down with tones up to 11990 Hz. Above 4000 Hz all output is an alias, so it is unwanted."""
    freq_hz = np.arange(STEP_HZ, 12_000, STEP_HZ)
    freq_hz = freq_hz[freq_hz % 4000 != 0]
    gain_db, unwanted_db = [], []
    for hz in freq_hz:
        level_db = spectrum_db(Downsampler().feed(tone(float(hz), 24_000, 0.15)), 8_000)
        place = abs((hz + 4000) % 8000 - 4000) // STEP_HZ
        gain_db.append(level_db[place])
        unwanted_db.append(level_db[place] if hz > 4000 else np.delete(level_db, place).max())
    return Response(freq_hz.astype(float), np.array(gain_db), np.array(unwanted_db))


def delays_ms(freq_hz: Floats) -> tuple[Floats, Floats]:
    """The group delay up and down, from the response to an impulse. The way down keeps only every third sample, so it
    needs three impulses, one for each phase. Its output k is taken when input 3k + 2 is there (dsp/taps.py). So its
    delay is two samples shorter than that of the filter.
    """
    impulse = np.zeros(96, np.int16)
    impulse[0] = 32767
    rising = Upsampler().feed(impulse).astype(float)
    phases = [Downsampler().feed(np.roll(impulse, place)).astype(float) for place in (2, 1, 0)]
    falling = np.stack(phases, axis=1).reshape(-1)
    return _group_delay_ms(rising, freq_hz), _group_delay_ms(falling, freq_hz) - 2 / 24


def _group_delay_ms(response: Floats, freq_hz: Floats) -> Floats:
    places = np.arange(len(response))
    turns = np.exp(-2j * np.pi * np.outer(freq_hz, places) / 24_000)
    return np.asarray(((turns @ (places * response)) / (turns @ response)).real / 24)


def figures(rising: Response, falling: Response) -> dict[str, float]:
    """The measured values of the figures that the data sheet in dsp/taps.py gives."""
    speech_hz = np.arange(300.0, 3401.0, 10.0)
    up_ms, down_ms = delays_ms(speech_hz)
    found: dict[str, float] = {}
    for name, response in (("up", rising), ("down", falling)):
        passing = response.gain_db[response.freq_hz <= 3400]
        found[f"{name}_ripple_db"] = float(np.ptp(np.append(passing, 0.0)))
        for hz in (3700, 3900):
            found[f"{name}_gain_{hz}_db"] = float(response.gain_db[response.freq_hz == hz][0])
    found["up_worst_image_db"] = float(rising.unwanted_db[rising.freq_hz <= 3400].max())
    found["down_worst_alias_from_4600_db"] = float(falling.unwanted_db[falling.freq_hz >= 4600].max())
    found["down_worst_alias_from_4500_db"] = float(falling.unwanted_db[falling.freq_hz >= 4500].max())
    for name, delay_ms in (("up", up_ms), ("down", down_ms)):
        found[f"{name}_delay_mean_ms"] = float(delay_ms.mean())
        found[f"{name}_delay_max_ms"] = float(delay_ms.max())
    return found
