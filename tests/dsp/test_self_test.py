"""The self-test at start passes here. If a table, a tap, the BLAS or the filter is wrong, it names the wrong figure."""

import subprocess
import sys

import numpy as np
import pytest

import dsp
from dsp import g711, line, taps


def test_the_self_test_passes_on_this_machine() -> None:
    dsp.self_test()


def test_the_running_code_imports_neither_scipy_nor_a_clock() -> None:
    """scipy is needed only to design and check the filter."""
    code = "import sys, dsp; dsp.self_test(); print([m for m in ('scipy', 'trio', 'matplotlib') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_decoder_with_one_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = g711.DECODE.copy()
    table[0x12] += 4
    monkeypatch.setattr(g711, "DECODE", table)
    with pytest.raises(dsp.SelfTestFailed, match=r"decode table is not G\.711's: checksum 0x"):
        dsp.self_test()


def test_an_encoder_like_audioops_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """audioop gives -1 to -4 the code 0x7e."""
    table = g711.ENCODE.copy()
    table[-4:] = 0x7E
    monkeypatch.setattr(g711, "ENCODE", table)
    with pytest.raises(dsp.SelfTestFailed, match=r"encode table is not G\.711's: checksum 0x"):
        dsp.self_test()


def test_unequal_phases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "PROTOTYPE", (taps.PROTOTYPE[0] + 1, *taps.PROTOTYPE[1:]))
    with pytest.raises(dsp.SelfTestFailed, match=str(taps.UNIT + 1)):
        dsp.self_test()


def test_another_filter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phases of this filter sum to one, but it is a bad low-pass filter."""
    third = taps.UNIT
    monkeypatch.setattr(taps, "PROTOTYPE", (third, third, third, *[0] * 69))
    with pytest.raises(dsp.SelfTestFailed, match=r"dB of ripple and a stop band at -\d+\.\d dB"):
        dsp.self_test()


def test_upsampling_with_errors_in_the_last_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BLAS that computes in float32 does this."""
    monkeypatch.setattr("dsp.line.UP_MATRIX", line.UP_MATRIX.astype(np.float32).astype(np.float64))
    with pytest.raises(dsp.SelfTestFailed, match=r"uplink differs .* in \d+ of 6219 samples .* by up to 1"):
        dsp.self_test()


def test_downsampling_with_wrong_arithmetic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "DOWN_MATRIX", line.DOWN_MATRIX + 1e-5)
    with pytest.raises(dsp.SelfTestFailed, match=r"downlink differs .* in \d+ of \d+ samples .* by up to \d+"):
        dsp.self_test()


def test_a_lost_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = line.Uplink.feed
    monkeypatch.setattr(line.Uplink, "feed", lambda self, mulaw: whole(self, mulaw)[:-2])
    with pytest.raises(dsp.SelfTestFailed, match=r"uplink made \d+ samples of the sweep, not 6219"):
        dsp.self_test()
