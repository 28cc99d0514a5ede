"""G.711 compared with ITU-T G.191's own tables, for every code and every sample. audioop differs for 508 samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsp
from dsp import g711
from tests.helpers import oracle_dsp
from tests.helpers.strategies import mulaw_audio

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


def test_every_code_decodes_as_itu_does() -> None:
    assert dsp.decode(EVERY_CODE).tolist() == [oracle_dsp.DECODE[code] for code in range(256)]


def test_every_sample_encodes_as_itu_does() -> None:
    wrong = {
        int(sample): code
        for sample, code in zip(EVERY_SAMPLE, dsp.encode(EVERY_SAMPLE), strict=True)
        if code != oracle_dsp.ENCODE[int(sample)]
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (0, 0xFF),
        (3, 0xFF),
        (-1, 0x7F),
        (-4, 0x7F),
        (-5, 0x7E),
        (4, 0xFE),
        (32767, 0x80),
        (-32767, 0x00),
        (-32768, 0x00),
    ],
)
def test_samples_at_which_other_encoders_are_wrong_have_the_right_code(sample: int, code: int) -> None:
    """audioop gives -1 the code 0x7e, which means -8. In other encoders abs(-32768) overflows int16."""
    assert dsp.encode(np.array([sample], np.int16)) == bytes([code])


def test_every_code_except_negative_zero_is_the_same_after_a_round_trip() -> None:
    changed = {code: dsp.encode(dsp.decode(bytes([code])))[0] for code in range(256)}
    assert {code: back for code, back in changed.items() if back != code} == {0x7F: 0xFF}


@settings(deadline=None)
@given(mulaw_audio)
def test_decoding_gives_one_sample_for_each_byte_of_any_bytes_type(mulaw: bytes) -> None:
    samples = dsp.decode(mulaw)
    assert samples.dtype == np.int16
    assert samples.tolist() == [oracle_dsp.DECODE[code] for code in mulaw]
    assert dsp.decode(bytearray(mulaw)).tolist() == dsp.decode(memoryview(mulaw)).tolist() == samples.tolist()


def test_a_strided_array_of_samples_is_encoded_like_a_contiguous_copy() -> None:
    assert dsp.encode(EVERY_SAMPLE[::3]) == dsp.encode(EVERY_SAMPLE[::3].copy())


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(4), np.zeros(4, np.int32), np.zeros(4, np.uint16), np.zeros((2, 2), np.int16), [1, 2], b"\x00\x00"],
    ids=["float64", "int32", "uint16", "2-D", "list", "bytes"],
)
def test_the_error_for_samples_of_a_wrong_type_names_the_type(wrong: object) -> None:
    with pytest.raises(dsp.BadAudio, match="1-D int16"):
        dsp.encode(wrong)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("wrong", [np.zeros(4, np.int16), "abc", [255], None], ids=["array", "str", "list", "None"])
def test_the_error_for_mulaw_that_is_not_bytes_names_the_type(wrong: object) -> None:
    for function in (dsp.decode, dsp.level_dbfs):
        with pytest.raises(dsp.BadAudio, match="expected bytes"):
            function(wrong)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("mulaw", [b"", b"\xff" * 160, b"\x7f" * 160, b"\xff\x7f" * 80])
def test_the_level_of_silence_is_the_lowest_one(mulaw: bytes) -> None:
    assert dsp.level_dbfs(mulaw) == g711.FLOOR_DBFS == -100.0


@pytest.mark.parametrize(("peak", "expected_dbfs"), [(32124, -3.18), (16384, -9.03), (1638, -29.03), (164, -49.0)])
def test_the_level_of_a_sine_is_its_rms_level(peak: int, expected_dbfs: float) -> None:
    tone = np.rint(peak * np.sin(2 * np.pi * 1004 / 8000 * np.arange(8000))).astype(np.int16)
    assert dsp.level_dbfs(dsp.encode(tone)) == pytest.approx(expected_dbfs, abs=0.1)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_level_is_the_rms_of_the_decoded_samples(mulaw: bytes) -> None:
    power = sum(oracle_dsp.DECODE[code] ** 2 for code in mulaw) / len(mulaw) / 32768**2
    expected_dbfs = 10 * math.log10(power) if power else -100.0
    assert dsp.level_dbfs(mulaw) == pytest.approx(max(-100.0, expected_dbfs), abs=1e-9)
