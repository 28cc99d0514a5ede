"""The fused conversion of a call's audio gives the same bytes as its separate steps, and as the slow oracle.

The oracle is tests/helpers/oracle_dsp.py. The bytes are the same with pieces of any length, in any thread, and with any
BLAS.
"""

import os
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsp
from dsp import line
from tests.helpers import oracle_dsp
from tests.helpers.strategies import chunked, mulaw_audio, pcm24k_audio

unhurried = settings(deadline=None)
SPEECHLIKE = np.random.default_rng(11).integers(0, 256, 4000, dtype=np.uint8).tobytes()


@unhurried
@given(mulaw_audio)
def test_the_uplink_equals_decoding_and_then_upsampling(mulaw: bytes) -> None:
    assert dsp.Uplink().feed(mulaw) == dsp.Upsampler().feed(dsp.decode(mulaw)).astype("<i2").tobytes()


@unhurried
@given(pcm24k_audio)
def test_the_downlink_equals_downsampling_and_then_encoding(pcm24k: bytes) -> None:
    samples = np.frombuffer(pcm24k[: len(pcm24k) // 2 * 2], "<i2").astype(np.int16)
    parts, fused = dsp.Downsampler(), dsp.Downlink()
    assert fused.feed(pcm24k) == dsp.encode(parts.feed(samples))
    assert fused.flush() == dsp.encode(parts.flush())


@unhurried
@given(mulaw_audio.map(lambda mulaw: mulaw[:400]))
def test_uplink_equals_the_slow_oracle(mulaw: bytes) -> None:
    assert dsp.Uplink().feed(mulaw) == oracle_dsp.uplink(mulaw)


@unhurried
@given(pcm24k_audio.map(lambda pcm24k: pcm24k[:1500]))
def test_downlink_equals_the_slow_oracle(pcm24k: bytes) -> None:
    assert dsp.Downlink().feed(pcm24k) == oracle_dsp.downlink(pcm24k)


def test_the_downlinks_table_equals_rounding_and_then_encoding_for_every_sum() -> None:
    """dsp/line.py computes a sum that is three times the sample. The sum can be any half, also beyond int16.

    `twice` is two times the sum. The index into the table is (sum + 98305.5) / 4, as in dsp/line.py.
    """
    twice = np.arange(-2 * 3 * 40_000, 2 * 3 * 40_000)
    index = np.clip(np.trunc((twice / 2 + 98305.5) / 4), 0, len(line.DOWN_CODES) - 1).astype(int)
    rounded = np.clip((twice + 3) // 6, -32768, 32767)
    assert line.DOWN_CODES[index].tobytes() == bytes(oracle_dsp.ENCODE[sample] for sample in rounded.tolist())


@pytest.mark.parametrize("value", [0, 1, -1, -4, -5, 100, 32767, -32768, *range(-9, 10)])
def test_the_downlink_of_a_constant_gives_its_code(value: int) -> None:
    mulaw = dsp.Downlink().feed(np.full(960, value, "<i2").tobytes())
    assert set(mulaw[24:]) == {oracle_dsp.ENCODE[value]}


@unhurried
@given(st.data(), mulaw_audio)
def test_any_cut_of_the_callers_audio_gives_the_same_bytes(data: st.DataObject, mulaw: bytes) -> None:
    pieces = data.draw(chunked(mulaw))
    uplink = dsp.Uplink()
    assert b"".join(uplink.feed(piece) for piece in pieces) == dsp.Uplink().feed(mulaw)


@unhurried
@given(st.data(), mulaw_audio)
def test_the_level_from_the_uplink_equals_the_plain_level_to_the_bit(data: st.DataObject, mulaw: bytes) -> None:
    measured, plain = dsp.Uplink(), dsp.Uplink()
    for piece in data.draw(chunked(mulaw)):
        assert measured.feed_measured(piece) == (plain.feed(piece), dsp.level_dbfs(piece))


@pytest.mark.parametrize("code", range(0, 256, 5))
@pytest.mark.parametrize("n", [1, 159, 160, 320, 1600, 1601])
def test_the_level_of_one_code_is_the_same_to_the_bit_however_long_it_lasts(code: int, n: int) -> None:
    mulaw = bytes([code]) * n
    assert dsp.Uplink().feed_measured(mulaw)[1] == dsp.level_dbfs(mulaw)


@unhurried
@given(st.data(), pcm24k_audio)
def test_any_cut_of_the_models_audio_gives_the_same_bytes(data: st.DataObject, pcm24k: bytes) -> None:
    """A cut may be inside a sample. Then half a sample is kept for the next piece."""
    pieces = data.draw(chunked(pcm24k))
    cut, whole = dsp.Downlink(), dsp.Downlink()
    assert b"".join(cut.feed(piece) for piece in pieces) == whole.feed(pcm24k)
    assert cut.flush() == whole.flush()


def test_a_byte_at_a_time_gives_the_same_bytes() -> None:
    up, down = dsp.Uplink(), dsp.Downlink()
    assert b"".join(up.feed(bytes([code])) for code in SPEECHLIKE[:300]) == dsp.Uplink().feed(SPEECHLIKE[:300])
    assert b"".join(down.feed(bytes([half])) for half in SPEECHLIKE[:1501]) == dsp.Downlink().feed(SPEECHLIKE[:1501])


@unhurried
@given(st.data(), mulaw_audio | pcm24k_audio)
def test_counts_are_exact_after_every_piece(data: st.DataObject, stream: bytes) -> None:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    taken = risen = fallen = 0
    for piece in data.draw(chunked(stream)):
        taken += len(piece)
        risen += len(uplink.feed(piece))
        fallen += len(downlink.feed(piece))
        assert (risen, fallen) == (6 * taken, taken // 2 // 3)
    samples = taken // 2
    assert fallen + len(downlink.flush()) == ((samples + 71) // 3 if samples else 0)


def test_each_frame_gives_one_frame_and_this_holds_from_the_first_frame_on() -> None:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    for _ in range(5):
        assert len(uplink.feed(SPEECHLIKE[:160])) == 960
        assert len(downlink.feed(bytes(960))) == 160


@unhurried
@given(mulaw_audio, mulaw_audio)
def test_after_a_reset_a_line_gives_the_same_bytes_as_a_new_line(before: bytes, after: bytes) -> None:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    uplink.feed(before)
    downlink.feed(before)
    uplink.reset()
    downlink.reset()
    assert downlink.flush() == b""
    assert uplink.feed(after) == dsp.Uplink().feed(after)
    assert downlink.feed(after) == dsp.Downlink().feed(after)


@unhurried
@given(pcm24k_audio, pcm24k_audio)
def test_flush_returns_the_tail_and_leaves_the_line_as_new(before: bytes, after: bytes) -> None:
    downlink = dsp.Downlink()
    heard = downlink.feed(before) + downlink.flush()
    whole = before[: len(before) // 2 * 2]
    assert heard == (dsp.Downlink().feed(whole + bytes(142)) if whole else b"")
    assert downlink.flush() == b""
    assert downlink.feed(after) == dsp.Downlink().feed(after)


def test_silence_is_still_silence_after_each_direction() -> None:
    """There is no dither and no bias: 0xff becomes 0 at 24 kHz, and 0 becomes 0xff again. Other relays hum here."""
    pcm24k = dsp.Uplink().feed(b"\xff" * 1600)
    assert pcm24k == bytes(9600)
    downlink = dsp.Downlink()
    assert set(downlink.feed(pcm24k) + downlink.flush()) == {0xFF}


def test_silence_after_speech_is_exact_as_soon_as_the_filter_has_decayed() -> None:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    uplink.feed(SPEECHLIKE)
    assert not any(uplink.feed(b"\xff" * 160)[2 * 69 :])
    downlink.feed(SPEECHLIKE)
    assert set(downlink.feed(bytes(960))[24:]) == {0xFF}


def test_loudest_codes_saturate_and_never_wrap() -> None:
    square = (b"\x00" * 4 + b"\x80" * 4) * 100
    pcm24k = dsp.Uplink().feed(square)
    assert pcm24k == oracle_dsp.uplink(square)
    assert {-32768, 32767} <= set(np.frombuffer(pcm24k, "<i2").tolist())


@pytest.mark.parametrize("wrong", [np.zeros(160, np.uint8), "text", None, [1]], ids=["array", "str", "None", "list"])
def test_the_error_for_audio_that_is_not_bytes_names_the_type(wrong: object) -> None:
    for link in (dsp.Uplink(), dsp.Downlink()):
        with pytest.raises(dsp.BadAudio, match="expected bytes"):
            link.feed(wrong)  # type: ignore[arg-type]  # the mistake under test


def test_any_bytes_like_audio_gives_the_same_bytes() -> None:
    for make in (dsp.Uplink, dsp.Downlink):
        expected = make().feed(SPEECHLIKE)
        assert make().feed(bytearray(SPEECHLIKE)) == make().feed(memoryview(SPEECHLIKE)) == expected


def test_returned_bytes_do_not_change_with_the_next_frame() -> None:
    """The next frame uses the same buffers, so the returned bytes must be a copy."""
    for make in (dsp.Uplink, dsp.Downlink):
        link = make()
        out = link.feed(SPEECHLIKE[:960])
        before = bytes(out)
        link.feed(SPEECHLIKE[960:1920])
        assert out == before


def test_calls_that_take_turns_do_not_mix_their_audio() -> None:
    ups, downs = [dsp.Uplink() for _ in range(3)], [dsp.Downlink() for _ in range(3)]
    audio = [SPEECHLIKE, SPEECHLIKE[::-1], b"\xff" * 4000]
    risen, fallen = [b""] * 3, [b""] * 3
    for start in range(0, 4000, 160):
        for call in range(3):
            risen[call] += ups[call].feed(audio[call][start : start + 160])
            fallen[call] += downs[call].feed(audio[call][start : start + 160])
    assert risen == [dsp.Uplink().feed(mine) for mine in audio]
    assert fallen == [dsp.Downlink().feed(mine) for mine in audio]


def test_calls_in_several_threads_do_not_mix_their_audio() -> None:
    """BLAS releases the GIL, so other threads run in the middle of a frame, so each thread needs its own buffers."""
    seen: dict[int, tuple[int, int]] = {}

    def note(thread: int) -> None:
        dsp.Uplink().feed(SPEECHLIKE[:160])
        dsp.Downlink().feed(SPEECHLIKE[:960])
        seen[thread] = id(line._buffers.up[1]), id(line._buffers.down[1])

    note(0)
    other = threading.Thread(target=note, args=(1,))
    other.start()
    other.join()
    assert set(seen[0]).isdisjoint(seen[1])


def test_ten_minutes_of_frames_do_not_use_more_memory() -> None:
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    frame, delta = SPEECHLIKE[:160], SPEECHLIKE[:961]  # an odd length: the odd bytes must not collect

    def second() -> None:
        for _ in range(50):
            uplink.feed(frame)
            downlink.feed(delta)

    second()
    tracemalloc.start()
    second()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(100):
        second()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1000
    assert len(uplink._tail) + len(downlink._tail) < 300


def fingerprint() -> int:
    """A checksum of the output of both directions for noise, in pieces and at once."""
    noise = np.random.default_rng(3).integers(0, 256, 60_000, dtype=np.uint8).tobytes()
    uplink, downlink = dsp.Uplink(), dsp.Downlink()
    pieces = [noise[start : start + 1237] for start in range(0, len(noise), 1237)]
    up = b"".join(uplink.feed(piece) for piece in pieces) + dsp.Uplink().feed(noise)
    down = b"".join(downlink.feed(piece) for piece in pieces) + dsp.Downlink().feed(noise)
    return zlib.crc32(up + down)


@pytest.mark.real
@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"OPENBLAS_CORETYPE": "Nehalem"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"},
    ],
    ids=lambda environment: "-".join(environment.values()),
)
def test_another_blas_kernel_or_thread_count_gives_the_same_bytes(environment: dict[str, str]) -> None:
    code = "from tests.dsp.test_line import fingerprint\nprint(fingerprint())"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) == fingerprint()
