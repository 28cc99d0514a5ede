"""Resampling as a stream: counts, cuts, reset, flush, linearity and saturation. It equals the slow oracle."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsp
from dsp.polyphase import Downsampler, Upsampler
from dsp.taps import PROTOTYPE, TAPS, UNIT
from tests.helpers import oracle_dsp
from tests.helpers.strategies import chunked, pcm24k_audio

Resampler = Upsampler | Downsampler
both = pytest.mark.parametrize("make", [Upsampler, Downsampler])
unhurried = settings(deadline=None)


def as_samples(stream: bytes) -> dsp.Samples:
    return np.frombuffer(stream[: len(stream) // 2 * 2], np.int16)


samples_of_any_kind = pcm24k_audio.map(as_samples)
few_samples = pcm24k_audio.map(lambda stream: as_samples(stream[:800]))


def fed(resampler: Resampler, pieces: list[dsp.Samples]) -> dsp.Samples:
    return np.concatenate([np.empty(0, np.int16), *(resampler.feed(piece) for piece in pieces)])


def pieces_of(samples: dsp.Samples, data: st.DataObject) -> list[dsp.Samples]:
    marks = data.draw(chunked(bytes(len(samples))))
    ends = np.cumsum([len(mark) for mark in marks])
    return [samples[end - len(mark) : end] for mark, end in zip(marks, ends, strict=True)]


@given(st.data(), st.binary(max_size=200))
def test_audio_that_is_cut_into_pieces_gives_the_same_stream(data: st.DataObject, stream: bytes) -> None:
    assert b"".join(data.draw(chunked(stream))) == stream


def test_taps_of_each_phase_sum_to_one() -> None:
    """With unequal sums, a constant input would get a ripple at 8 kHz."""
    assert len(PROTOTYPE) == TAPS
    assert [sum(PROTOTYPE[phase::3]) for phase in range(3)] == [UNIT] * 3


def test_every_sum_is_exact_in_float64() -> None:
    """The numbers are whole multiples of 2**-30. The greatest possible sum is less than 2**53 of these steps. So
    float64 holds every partial sum exactly, in any order. 98306 is at least the offset that dsp/line.py adds.
    """
    greatest = 2**15 * sum(abs(tap) for tap in PROTOTYPE) + 98306 * UNIT
    assert greatest < 2**53


@unhurried
@given(few_samples)
def test_upsampling_equals_the_slow_oracle(samples: dsp.Samples) -> None:
    assert Upsampler().feed(samples).tolist() == oracle_dsp.upsampled(samples.tolist())


@unhurried
@given(few_samples)
def test_downsampling_equals_the_slow_oracle(samples: dsp.Samples) -> None:
    assert Downsampler().feed(samples).tolist() == oracle_dsp.downsampled(samples.tolist())


@both
@unhurried
@given(st.data(), samples_of_any_kind)
def test_any_cut_gives_the_same_samples(make: type[Resampler], data: st.DataObject, samples: dsp.Samples) -> None:
    whole, cut = make(), make()
    pieces = pieces_of(samples, data)
    assert fed(cut, pieces).tobytes() == whole.feed(samples).tobytes()
    assert cut.flush().tobytes() == whole.flush().tobytes()


@unhurried
@given(st.data(), samples_of_any_kind)
def test_counts_are_exact_after_every_piece(data: st.DataObject, samples: dsp.Samples) -> None:
    up, down = Upsampler(), Downsampler()
    taken = risen = fallen = 0
    for piece in pieces_of(samples, data):
        taken += len(piece)
        risen += len(up.feed(piece))
        fallen += len(down.feed(piece))
        assert (risen, fallen) == (3 * taken, taken // 3)
    assert risen + len(up.flush()) == (3 * (taken + 23) if taken else 0)
    assert fallen + len(down.flush()) == ((taken + 71) // 3 if taken else 0)


@both
@unhurried
@given(samples_of_any_kind, few_samples)
def test_a_resampler_after_reset_or_flush_equals_a_new_one(
    make: type[Resampler], before: dsp.Samples, after: dsp.Samples
) -> None:
    expected = make().feed(after).tobytes()
    was_reset, was_flushed = make(), make()
    was_reset.feed(before)
    was_reset.reset()
    was_flushed.feed(before)
    was_flushed.flush()
    for resampler in (was_reset, was_flushed):
        assert len(resampler.flush()) == 0
        assert resampler.feed(after).tobytes() == expected


@both
@unhurried
@given(few_samples)
def test_flush_returns_the_same_samples_as_silence_would(make: type[Resampler], samples: dsp.Samples) -> None:
    flushed, silenced = make(), make()
    head = flushed.feed(samples).tobytes()
    tail = flushed.flush().tobytes()
    assert (head + tail).startswith(silenced.feed(samples).tobytes())
    if len(samples):
        rest = silenced.feed(np.zeros(300, np.int16))
        assert head + tail == (head + rest.tobytes())[: len(head) + len(tail)]
        assert not rest[len(tail) // 2 :].any()  # after the tail there is only silence, so the tail was complete


@both
@pytest.mark.parametrize("constant", [0, 1, -1, 77, 1000, -30000, 32767, -32768])
def test_a_constant_is_the_same_constant_after_resampling(make: type[Resampler], constant: int) -> None:
    """The gain at DC is exactly 1 in each phase. There is no ripple at 8 kHz, no bias from rounding and no dither."""
    steady = make().feed(np.full(1000, constant, np.int16))[72:]
    assert set(steady.tolist()) == {constant}


@both
@unhurried
@given(few_samples, few_samples)
def test_resampling_a_sum_gives_the_sum_of_the_results_within_rounding(
    make: type[Resampler], one: dsp.Samples, two: dsp.Samples
) -> None:
    n = min(len(one), len(two))
    one, two = one[:n] // 8, two[:n] // 8  # an eighth of each signal, so that no sum saturates
    together = make().feed(one + two).astype(int)
    apart = make().feed(one).astype(int) + make().feed(two).astype(int)
    assert np.abs(together - apart).max(initial=0) <= 1


@pytest.mark.parametrize(("make", "step"), [(Upsampler, 2), (Downsampler, 2), (Downsampler, 12), (Upsampler, 8)])
def test_overload_saturates_and_never_wraps(make: Callable[[], Resampler], step: int) -> None:
    """A full-scale square wave overshoots by 20 %. A plain cast would change the sign of the peaks."""
    square = np.tile(np.repeat(np.array([32767, -32768], np.int16), step), 400)
    oracle = oracle_dsp.upsampled if make is Upsampler else oracle_dsp.downsampled
    found = make().feed(square)
    assert found.tolist() == oracle(square.tolist())
    if (make, step) != (Downsampler, 2):  # this case is a 6 kHz tone, which the filter removes
        assert 32767 in found.tolist()
        assert -32768 in found.tolist()


@both
def test_rounding_has_no_bias(make: type[Resampler]) -> None:
    """Floor instead of rounding would shift noise by half a step, and an idle line would have the value -1."""
    noise = np.random.default_rng(5).integers(-3000, 3000, 30_000).astype(np.int16)
    found = make().feed(noise).astype(float)
    exact = np.convolve(noise if make is Downsampler else np.kron(noise, [1, 0, 0]), np.array(PROTOTYPE) / UNIT)
    exact = exact[2 : len(noise) : 3] / 3 if make is Downsampler else exact[: 3 * len(noise)]
    error = found - exact
    assert abs(error.mean()) < 0.01
    assert np.abs(error).max() <= 0.5 + 1e-6


@both
def test_empty_input_gives_empty_output(make: type[Resampler]) -> None:
    resampler = make()
    empty = resampler.feed(np.empty(0, np.int16))
    assert len(empty) == 0
    assert empty.dtype == np.int16
    assert len(resampler.flush()) == 0


@both
@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((3, 1), np.int16), b"\x00\x00", [0]])
def test_samples_of_the_wrong_type_are_refused_and_change_nothing(make: type[Resampler], wrong: object) -> None:
    resampler = make()
    with pytest.raises(dsp.BadAudio, match="1-D int16"):
        resampler.feed(wrong)  # type: ignore[arg-type]  # the mistake under test
    assert len(resampler.flush()) == 0


@both
def test_the_resampler_keeps_no_reference_to_its_input(make: type[Resampler]) -> None:
    """The code that called feed() may change its array at once."""
    samples = np.full(10, 9000, np.int16)
    kept, clobbered = make(), make()
    kept.feed(samples.copy())
    clobbered.feed(samples)
    samples[:] = -1
    assert kept.flush().tobytes() == clobbered.flush().tobytes()
