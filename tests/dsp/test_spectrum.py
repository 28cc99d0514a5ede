"""The effect of each direction on tones, compared with the data sheet in dsp/taps.py.

A round trip would show nothing. The way up makes images, and the way down folds them back onto the tone. So even a
resampler that only repeats and drops samples would look perfect. Therefore images are measured at 24 kHz, and aliases
at 8 kHz.
"""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

import dsp
from dsp import taps
from dsp.polyphase import Downsampler, Upsampler

PEAK = 16384  # -6 dBFS
ROUNDING_DB = 0.5  # rounding to int16 may add this much to a figure of -80 dB
TELEPHONE_HZ = np.arange(50.0, 3401.0, 50.0)
ALIASES_HZ = np.array([hz for hz in np.arange(4500.0, 12000.0, 50.0) if hz % 4000])  # 8 kHz has its own test

Floats = npt.NDArray[np.float64]


def tone(freq_hz: float, rate_hz: int, duration_s: float = 1.2) -> dsp.Samples:
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    samples: dsp.Samples = np.rint(PEAK * np.sin(2 * np.pi * freq_hz * time_s + 0.3)).astype(np.int16)
    return samples


def last_second_db(samples: dsp.Samples, rate_hz: int) -> Floats:
    """The level of each whole hertz in the last second, in dB relative to PEAK. Tones of whole hertz need no window."""
    spectrum = np.abs(np.fft.rfft(samples[-rate_hz:].astype(float))) * 2 / rate_hz
    return np.asarray(20 * np.log10(spectrum / PEAK + 1e-9))


@pytest.fixture(scope="module")
def up_db() -> dict[float, Floats]:
    return {hz: last_second_db(Upsampler().feed(tone(hz, 8_000)), 24_000) for hz in TELEPHONE_HZ}


@pytest.fixture(scope="module")
def down_db() -> dict[float, Floats]:
    return {hz: last_second_db(Downsampler().feed(tone(hz, 24_000)), 8_000) for hz in (*TELEPHONE_HZ, *ALIASES_HZ)}


def test_upsampling_is_flat_over_the_telephone_band(up_db: dict[float, Floats]) -> None:
    gains = [up_db[hz][int(hz)] for hz in TELEPHONE_HZ]
    assert np.ptp([0.0, *gains]) <= taps.RIPPLE_DB + 0.001, f"{np.ptp(gains):.4f} dB"


def test_downsampling_is_flat_over_the_telephone_band(down_db: dict[float, Floats]) -> None:
    gains = [down_db[hz][int(hz)] for hz in TELEPHONE_HZ]
    assert np.ptp([0.0, *gains]) <= taps.RIPPLE_DB + 0.001, f"{np.ptp(gains):.4f} dB"


def test_images_of_the_telephone_band_are_below_the_stop_band_level(up_db: dict[float, Floats]) -> None:
    worst = {hz: max(up_db[hz][int(image)] for image in (8000 - hz, 8000 + hz)) for hz in TELEPHONE_HZ}
    hz = max(worst, key=lambda tone_hz: worst[tone_hz])
    assert worst[hz] <= taps.STOP_DB + ROUNDING_DB, f"{hz} Hz has an image at {worst[hz]:.1f} dB"


def test_tones_above_the_telephone_band_do_not_fold_back(down_db: dict[float, Floats]) -> None:
    """Every tone of the stop band up to 12 kHz is tested. Without an anti-alias filter the figure is 0 dB."""
    worst = {hz: float(down_db[hz].max()) for hz in ALIASES_HZ}
    hz = max(worst, key=lambda tone_hz: worst[tone_hz])
    assert worst[hz] <= taps.STOP_DB + ROUNDING_DB, f"{hz} Hz folds back at {worst[hz]:.1f} dB"


def test_a_tone_of_8_khz_becomes_exact_silence() -> None:
    """The filter has an exact zero at 8 kHz, so the tone becomes digital silence and not a constant."""
    cycle = np.tile(np.array([32767, -12345, -20422], np.int16), 200)  # any wave of this period whose sum is 0
    assert not Downsampler().feed(cycle)[24:].any()
    assert abs(sum(tap * np.exp(2j * np.pi * n / 3) for n, tap in enumerate(taps.PROTOTYPE))) / taps.UNIT < 1e-14


def group_delay_ms(impulse_response: Floats, rate_hz: int, freq_hz: Floats) -> Floats:
    _, delay = signal.group_delay((impulse_response, [1.0]), w=freq_hz, fs=rate_hz)
    return np.asarray(delay) / rate_hz * 1000


SPEECH_HZ = np.arange(300.0, 3401.0, 20.0)


def test_the_delay_of_upsampling_is_that_of_the_data_sheet() -> None:
    impulse = np.zeros(64, np.int16)
    impulse[0] = 32767
    delay_ms = group_delay_ms(Upsampler().feed(impulse).astype(float), 24_000, SPEECH_HZ)
    assert delay_ms.mean() == pytest.approx(Upsampler.delay_ms, abs=0.002)
    assert delay_ms.mean() <= 0.35
    assert delay_ms.max() <= 0.75


def test_the_delay_of_downsampling_is_two_samples_less() -> None:
    """The delay is measured with three impulses, one for each phase. Together they give the whole filter at 24 kHz."""
    phases = []
    for place in range(3):
        impulse = np.zeros(192, np.int16)
        impulse[place] = 32767
        phases.append(Downsampler().feed(impulse).astype(float))
    response = np.stack(phases[::-1], axis=1).reshape(-1)  # tap 0 belongs to the newest input
    delay_ms = group_delay_ms(response, 24_000, SPEECH_HZ) - 2 / 24
    assert delay_ms.mean() == pytest.approx(Downsampler.delay_ms, abs=0.005)
    assert Downsampler.delay_ms == pytest.approx(Upsampler.delay_ms - 2 / 24)


def test_the_filter_has_minimum_phase() -> None:
    """Minimum phase means that no zero of the filter is outside the unit circle. Those of the stop band are on it."""
    zeros = np.roots(np.array(taps.PROTOTYPE, float))
    assert np.abs(zeros).max() < 1.002


def test_the_data_sheet_meets_the_required_figures() -> None:
    """The required figures: ripple 0.02 dB, 80 dB of attenuation from 4600 Hz on, delay 0.35 ms in each direction."""
    assert taps.RIPPLE_DB <= 0.02
    assert taps.STOP_DB <= -80
    assert taps.PASS_HZ >= 3400
    assert taps.STOP_HZ <= 4600
    assert taps.DELAY_MS <= 0.35


def test_the_design_script_computes_the_same_taps() -> None:
    from dsp import design

    fresh = design.design()
    assert max(abs(a - b) for a, b in zip(fresh, taps.Q, strict=True)) / taps.UNIT < 1e-6
    sheet = design.figures(list(taps.Q))
    assert sheet["ripple_db"] <= taps.RIPPLE_DB
    assert sheet["stop_db"] <= taps.STOP_DB
    assert sheet["delay_mean_ms"] == pytest.approx(taps.DELAY_MS, abs=0.0005)


def test_speech_over_four_kilohertz_does_not_reach_the_caller() -> None:
    """The downlink turns a tone of 6 kHz at full level, as in a sibilant, into mu-law silence."""
    quiet = dsp.decode(dsp.Downlink().feed(tone(6000, 24_000).astype("<i2").tobytes())[24:])
    assert np.abs(quiet).max() <= 8
