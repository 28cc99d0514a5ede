"""Breaks the audio path on purpose, one fault at a time, to see that a test fails: `python -m tests.helpers.mutants`.

A mutant is one change of a line of dsp/, in a copy of the source. The faults are common in other relays: rounding down,
or state is lost at every frame, or every third sample is taken without a filter. The test that the mutant names then
runs in the copy, and must fail. The exit status is 1 if a mutant's test passes, or if a test fails on the
unchanged copy.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIECES = [
    "dsp",
    "tests/helpers/golden",
    "tests/__init__.py",
    "tests/dsp/__init__.py",
    "tests/helpers/__init__.py",
    "tests/helpers/strategies.py",
    "tests/helpers/oracle_dsp.py",
    "pyproject.toml",
]
TESTS = ["test_g711", "test_polyphase", "test_line", "test_spectrum", "test_self_test"]


@dataclass(frozen=True)
class Mutant:
    """In dsp/`file`, `text` is replaced by `instead`. The file must have `text` exactly once.

    `caught_by` is the test that must fail, as `module::test`.
    """

    name: str
    file: str
    text: str
    instead: str
    caught_by: str


MUTANTS = [
    # G.711
    Mutant(
        "the complement is missing from the decoder",
        "g711.py",
        "inverted = ~np.arange(256) & 0xFF",
        "inverted = np.arange(256)",
        "test_g711::test_every_code_decodes_as_itu_does",
    ),
    Mutant(
        "the leading one is missing from the decoder",
        "g711.py",
        "(2 * step + BIAS << segment)",
        "(2 * step << segment)",
        "test_g711::test_every_code_decodes_as_itu_does",
    ),
    Mutant(
        "negative samples in two's complement, as in spandsp",
        "g711.py",
        "np.where(negative, ~sample, sample) >> 2",
        "abs(sample) >> 2",
        "test_g711::test_every_sample_encodes_as_itu_does",
    ),
    Mutant(
        "negative samples floored to 14 bits, as in audioop",
        "g711.py",
        "(np.where(negative, ~sample, sample) >> 2)",
        "np.where(negative, -(sample >> 2), sample >> 2)",
        "test_g711::test_samples_at_which_other_encoders_are_wrong_have_the_right_code",
    ),
    Mutant(
        "abs() overflows at -32768",
        "g711.py",
        "np.where(negative, ~sample, sample)",
        "np.where(sample == -32768, sample, np.where(negative, ~sample, sample))",
        "test_g711::test_samples_at_which_other_encoders_are_wrong_have_the_right_code",
    ),
    Mutant(
        "the level is the mean of magnitudes, not RMS",
        "g711.py",
        "energy = float(values.dot(values))",
        "energy = float(abs(values).sum()) ** 2 / max(1, values.size)",
        "test_g711::test_level_is_the_rms_of_the_decoded_samples",
    ),
    # The filter
    Mutant(
        "unequal phases: one tap is wrong by one unit",
        "taps.py",
        "return tuple(sum(Q[max(0, n - 2) : n + 1]) for n in range(TAPS))",
        "return tuple(sum(Q[max(0, n - 2) : n + 1]) + (n == 40) for n in range(TAPS))",
        "test_polyphase::test_taps_of_each_phase_sum_to_one",
    ),
    Mutant(
        "no anti-alias filter: every third sample is taken",
        "polyphase.py",
        "matrix[DOWN_HISTORY + 3 * place + 2 - tap, place] = weight / UNIT",
        "matrix[DOWN_HISTORY + 3 * place + 2, place] = 3",
        "test_spectrum::test_tones_above_the_telephone_band_do_not_fold_back",
    ),
    Mutant(
        "no anti-image filter: every sample is repeated",
        "polyphase.py",
        "matrix[UP_HISTORY + place - tap // 3, 3 * place + tap % 3] = weight / UNIT",
        "matrix[UP_HISTORY + place, 3 * place + tap % 3] = 1",
        "test_spectrum::test_images_of_the_telephone_band_are_below_the_stop_band_level",
    ),
    Mutant(
        "a boxcar instead of the filter",
        "taps.py",
        "return tuple(sum(Q[max(0, n - 2) : n + 1]) for n in range(TAPS))",
        "return (UNIT, UNIT, UNIT, *[0] * (TAPS - 3))",
        "test_spectrum::test_downsampling_is_flat_over_the_telephone_band",
    ),
    Mutant(
        "maximum phase: the filter mirrored, with the same magnitude",
        "taps.py",
        "for n in range(TAPS))",
        "for n in reversed(range(TAPS)))",
        "test_spectrum::test_the_delay_of_upsampling_is_that_of_the_data_sheet",
    ),
    Mutant(
        "swapped phases going up",
        "polyphase.py",
        "3 * place + tap % 3]",
        "3 * place + 2 - tap % 3]",
        "test_polyphase::test_upsampling_equals_the_slow_oracle",
    ),
    Mutant(
        "swapped phases going down",
        "polyphase.py",
        "DOWN_HISTORY + 3 * place + 2 - tap, place]",
        "DOWN_HISTORY + 3 * place + 2 - (tap // 3 * 3 + 2 - tap % 3), place]",
        "test_polyphase::test_downsampling_equals_the_slow_oracle",
    ),
    Mutant(
        "taps in float32",
        "polyphase.py",
        "UP = _up_matrix()",
        "UP = _up_matrix().astype(np.float32).astype(np.float64)",
        "test_self_test::test_the_self_test_passes_on_this_machine",
    ),
    # The plain resamplers
    Mutant(
        "floor instead of rounding in the upsampler",
        "polyphase.py",
        "np.floor(sums + 0.5)",
        "np.floor(sums)",
        "test_polyphase::test_rounding_has_no_bias",
    ),
    Mutant(
        "dither going up",
        "polyphase.py",
        "np.floor(sums + 0.5)",
        "np.floor(sums + np.random.default_rng(1).triangular(-0.5, 0.5, 1.5, sums.shape))",
        "test_polyphase::test_a_constant_is_the_same_constant_after_resampling",
    ),
    Mutant(
        "overload wraps",
        "polyphase.py",
        "np.clip(whole, -32768, 32767).astype(np.int16)",
        "whole.astype(np.int64).astype(np.int16)",
        "test_polyphase::test_overload_saturates_and_never_wraps",
    ),
    Mutant(
        "history is not kept in the upsampler",
        "polyphase.py",
        "self._history = line[n:].copy()",
        "pass",
        "test_polyphase::test_any_cut_gives_the_same_samples",
    ),
    Mutant(
        "leftover samples are dropped in the downsampler",
        "polyphase.py",
        "self._line = line[3 * n :].copy()",
        "self._line = line[3 * n : 3 * n + DOWN_HISTORY].copy()",
        "test_polyphase::test_counts_are_exact_after_every_piece",
    ),
    Mutant(
        "the first sample is lost",
        "polyphase.py",
        "np.floor(sums + 0.5).reshape(-1)[: 3 * n]",
        "np.floor(sums + 0.5).reshape(-1)[1 : 3 * n]",
        "test_polyphase::test_counts_are_exact_after_every_piece",
    ),
    Mutant(
        "flush loses the last sample of the tail",
        "polyphase.py",
        "DOWN_FLUSH = TAPS - 1",
        "DOWN_FLUSH = TAPS - 4",
        "test_polyphase::test_flush_returns_the_same_samples_as_silence_would",
    ),
    # The fused path
    Mutant(
        "floor instead of rounding in the uplink",
        "line.py",
        "np.full((1, 3 * BLOCK), 32768.5)",
        "np.full((1, 3 * BLOCK), 32768.0)",
        "test_line::test_the_uplink_equals_decoding_and_then_upsampling",
    ),
    Mutant(
        "floor instead of rounding in the downlink",
        "line.py",
        "np.full((1, BLOCK), 98305.5)",
        "np.full((1, BLOCK), 98304.0)",
        "test_line::test_the_downlink_equals_downsampling_and_then_encoding",
    ),
    Mutant(
        "overload wraps in the uplink",
        "line.py",
        'UP_SAMPLES.take(self.index, mode="clip"',
        'UP_SAMPLES.take(self.index, mode="wrap"',
        "test_line::test_loudest_codes_saturate_and_never_wrap",
    ),
    Mutant(
        "overload wraps in the downlink",
        "line.py",
        'DOWN_CODES.take(self.index, mode="clip"',
        'DOWN_CODES.take(self.index, mode="wrap"',
        "test_line::test_the_downlink_equals_downsampling_and_then_encoding",
    ),
    Mutant(
        "history is not kept in the uplink, so that each frame begins with a click",
        "line.py",
        "self._tail = codes[n:]",
        "self._tail = UP_SILENCE",
        "test_line::test_any_cut_of_the_callers_audio_gives_the_same_bytes",
    ),
    Mutant(
        "history starts as 0x00, which is not silence",
        "line.py",
        "UP_SILENCE = bytes([SILENCE]) * UP_HISTORY",
        "UP_SILENCE = bytes(UP_HISTORY)",
        "test_line::test_silence_is_still_silence_after_each_direction",
    ),
    Mutant(
        "the odd byte is dropped in the downlink",
        "line.py",
        "+ pcm24k[taken:]",
        "+ pcm24k[taken : len(pcm24k) & ~1]",
        "test_line::test_any_cut_of_the_models_audio_gives_the_same_bytes",
    ),
    Mutant(
        "short pieces are dropped in the downlink",
        "line.py",
        "self._tail = tail + pcm24k\n",
        "pass\n",
        "test_line::test_a_byte_at_a_time_gives_the_same_bytes",
    ),
    Mutant(
        "reset forgets nothing in the uplink",
        "line.py",
        '        """Forget all earlier audio."""\n        self._tail = UP_SILENCE\n',
        '        """Forget all earlier audio."""\n',
        "test_line::test_after_a_reset_a_line_gives_the_same_bytes_as_a_new_line",
    ),
    Mutant(
        "the filter's tail is lost at the end of an item",
        "line.py",
        'tail = b"" if nothing else self._run(bytes(2 * DOWN_FLUSH))',
        'tail = b""',
        "test_line::test_flush_returns_the_tail_and_leaves_the_line_as_new",
    ),
    Mutant(
        "the history is the audio that the last call left in the buffers",
        "line.py",
        "codes = self._tail + mulaw",
        "codes = bytes(buffers.codes[-UP_HISTORY:]) + mulaw",
        "test_line::test_calls_that_take_turns_do_not_mix_their_audio",
    ),
    Mutant(
        "the buffer itself is returned, and changes later",
        "line.py",
        "return bytes(self._run(mulaw))",
        "return self._run(mulaw)",
        "test_line::test_returned_bytes_do_not_change_with_the_next_frame",
    ),
    Mutant(
        "threads share buffers",
        "line.py",
        "class _BuffersOfThread(threading.local):",
        "class _BuffersOfThread:",
        "test_line::test_calls_in_several_threads_do_not_mix_their_audio",
    ),
]


def copied(folder: str) -> Path:
    """A copy of the audio path and its tests, without the rest of the project."""
    copy = Path(folder)
    for piece in (*PIECES, *(f"tests/dsp/{name}.py" for name in TESTS)):
        source, target = ROOT / piece, copy / piece
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    return copy


def passes(copy: Path, tests: list[str]) -> bool:
    """Whether the named tests pass in the copy. If pytest cannot collect them, raise an error: no test has run."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            *("-n", "0"),  # with xdist and -x, pytest returns 2 for a failed test, as for an error of pytest itself
            "--hypothesis-seed=0",
            *(f"tests/dsp/{test.replace('::', '.py::')}" for test in tests),
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode not in (0, 1):
        raise RuntimeError(f"pytest could not run {tests} (exit {ran.returncode}):\n{ran.stdout}{ran.stderr}")
    return ran.returncode == 0


def mutated(mutant: Mutant, source: str) -> str:
    """The source with the mutation. Raises ValueError if the source does not have the line exactly once."""
    if source.count(mutant.text) != 1:
        raise ValueError(f"{mutant.name}: {mutant.text!r} is {source.count(mutant.text)} times in dsp/{mutant.file}")
    return source.replace(mutant.text, mutant.instead)


def survives(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(folder)
        source = copy / "dsp" / mutant.file
        source.write_text(mutated(mutant, source.read_text()))
        return passes(copy, [mutant.caught_by])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        if not passes(copied(folder), sorted({mutant.caught_by for mutant in MUTANTS})):
            print("the named tests fail on the unchanged source: correct that first", file=sys.stderr)
            return 1
    alive = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, survivor in zip(MUTANTS, pool.map(survives, MUTANTS), strict=True):
            alive += survivor
            print(f"{'SURVIVED' if survivor else 'caught by'} {mutant.caught_by}: {mutant.name}", flush=True)
    print(f"{len(MUTANTS) - alive} of {len(MUTANTS)} mutants caught")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
