"""Measurements of the sound of a whole call on both sides: level, clipping, frame edges, and the spectrum of a tone."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from trio.testing import MockClock

import dsp
from relay.standin.model import listening
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.speech.voice import find
from tests.helpers.play import stage

Samples = npt.NDArray[np.int16]
FRAME = 160  # samples


async def _call(steps: str, monkeypatch: pytest.MonkeyPatch) -> tuple[CallReport, Samples]:
    """Play a call. Return its report and all audio that was sent to the model, at 24 kHz."""
    heard: list[bytes] = []
    append = listening.InputBuffer.append

    def listen(self: listening.InputBuffer, data: bytes) -> object:
        heard.append(data)
        return append(self, data)

    monkeypatch.setattr(listening.InputBuffer, "append", listen)
    async with stage() as play:
        got = await run_scenario(parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "sound"), play.exchange)
    return got, np.frombuffer(b"".join(heard), "<i2")


def _find(needle: Samples, hay: Samples) -> int:
    """The place of the needle in `hay`, by correlation."""
    a, b = hay.astype(float), needle.astype(float)
    size = 1 << (len(a) + len(b)).bit_length()
    return int(np.argmax(np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)))[: len(a)]))


def _edges_over_middle(samples: Samples) -> float:
    """The energy of the second difference at frame edges, divided by the energy inside frames.

    It is about 1 if no edge is audible.
    """
    bends = np.abs(np.diff(samples.astype(float), 2))[: (len(samples) - 2) // FRAME * FRAME].reshape(-1, FRAME)
    edges = bends[:, [FRAME - 2, FRAME - 1]]
    return float(np.mean(edges**2) / np.mean(bends[:, 10 : FRAME - 10] ** 2))


async def test_the_caller_hears_the_agent_at_its_level_without_clipping_or_frame_edges(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }'
    got, _ = await _call(steps, monkeypatch)
    clip = find("hours")
    assert clip is not None
    spoken = dsp.decode(clip.mulaw)
    heard = dsp.decode(got.heard_mulaw)
    start = _find(spoken, heard)
    part = heard[start : start + len(spoken)]
    # All words are in their place. Filters change the phase, and the audio is coded as mu-law twice. So the heard sound
    # is not exactly the clip.
    assert np.corrcoef(part, spoken)[0, 1] > 0.9
    assert abs(dsp.level_dbfs(dsp.encode(part)) - dsp.level_dbfs(clip.mulaw)) < 0.5
    assert np.max(np.abs(part)) < 32_000
    assert 0.5 < _edges_over_middle(part) < 2.0


async def test_the_model_hears_the_caller_at_their_level_without_clipping_or_frame_edges(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = '{ listen = true }, { say = "ask_booking" }, { listen = true }, { hang_up = true }'
    _, heard24k = await _call(steps, monkeypatch)
    clip = find("ask_booking")
    assert clip is not None
    spoken24k = np.frombuffer(dsp.Uplink().feed(clip.mulaw), "<i2")
    start = _find(spoken24k, heard24k)
    part = heard24k[start : start + len(spoken24k)]
    # Every sample is equal. The first and last 300 are left out, because the filter mixes them with the line's silence.
    assert np.array_equal(part[300:-300], spoken24k[300:-300])


async def test_a_tone_of_the_caller_is_still_a_pure_tone_at_the_model(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, rate_hz, tone_hz = tmp_path / "tone.wav", 8000, 1000
    tone = (8000 * np.sin(2 * np.pi * tone_hz * np.arange(2 * rate_hz) / rate_hz)).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(tone.tobytes())
    steps = f'{{ listen = true }}, {{ play = "{path}" }}, {{ silent_s = 1 }}, {{ hang_up = true }}'
    _, heard24k = await _call(steps, monkeypatch)
    levels = np.abs(heard24k[: len(heard24k) // 480 * 480].reshape(-1, 480).astype(float)).mean(axis=1)
    loud = np.flatnonzero(levels > 2000)
    part = heard24k[(loud[0] + 5) * 480 : (loud[0] + 85) * 480]  # 1.6 s from the middle of the tone
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    hz = np.fft.rfftfreq(len(part), 1 / 24_000)
    near = np.abs(hz - tone_hz) < 20
    assert hz[np.argmax(spectrum)] == pytest.approx(tone_hz, abs=1)
    # mu-law's own noise is 37 dB below a tone. Images and clicks would add to it.
    assert 10 * np.log10(spectrum[near].sum() / spectrum[~near].sum()) > 34
    assert 10 * np.log10(spectrum[near].sum() / spectrum[hz > 4_600].sum()) > 60
