"""The caller's audio on its way to the model: how it is measured, how it waits, and how it is appended."""

from __future__ import annotations

import base64

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import dsp
from relay.session.uplink import WAITING_LIMIT_BYTES, CallerAudio, silence
from relay.twilio.media_protocol import Frame


def frame(at: int, value: int = 0) -> Frame:
    """Frame number `at` of a call. All its bytes have this value."""
    return Frame(bytes([value]) * 160, at * 20)


def test_frames_that_arrive_in_a_burst_are_measured_one_by_one() -> None:
    assert CallerAudio().pieces([frame(0, 1), frame(1, 2)], 1.0, paired=False) == [b"\1" * 160, b"\2" * 160]


def test_frames_are_measured_in_pairs_while_the_loop_is_behind() -> None:
    pieces = CallerAudio().pieces([frame(0, 1), frame(1, 2), frame(2, 3)], 1.0, paired=True)
    assert pieces == [b"\1" * 160 + b"\2" * 160, b"\3" * 160]


def test_missing_audio_is_filled_in_before_the_next_frame() -> None:
    audio = CallerAudio()
    assert audio.pieces([frame(0, 1), frame(10, 2)], 1.0, paired=True) == [b"\1" * 160, silence(180), b"\2" * 160]
    assert audio.gaps.padded_ms == 180


@given(cuts=st.lists(st.integers(0, WAITING_LIMIT_BYTES // 3), max_size=8))
def test_of_the_audio_that_waits_for_a_model_the_newest_ten_seconds_are_kept_and_the_dropped_time_is_counted(
    cuts: list[int],
) -> None:
    audio, whole, dropped_ms = CallerAudio(), b"", 0.0
    for at, size in enumerate(cuts):
        piece = bytes([at]) * size
        whole += piece
        dropped_ms += audio.keep(piece)
    kept = whole[-WAITING_LIMIT_BYTES:]
    assert audio.begin() == kept
    assert dropped_ms == (len(whole) - len(kept)) / 8
    assert audio.begin() == b""


@given(mulaw=st.binary(min_size=1, max_size=2000), cut=st.integers(0, 2000))
def test_the_appends_have_the_same_samples_however_the_audio_was_cut_into_frames(mulaw: bytes, cut: int) -> None:
    audio = CallerAudio()
    audio.append(b"\x11" * 160)  # audio for an earlier session
    audio.begin()
    sent = b""
    for piece in (mulaw[:cut], mulaw[cut:]):
        message = msgspec.json.decode(audio.append(piece))
        assert message["type"] == "input_audio_buffer.append"
        sent += base64.b64decode(message["audio"])
    assert sent == dsp.Uplink().feed(mulaw)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=5), st.booleans())
def test_the_level_and_the_conversion_of_a_frame_equal_those_of_the_plain_functions(
    values: list[int], paired: bool
) -> None:
    frames = [frame(at, value) for at, value in enumerate(values)]
    audio, by_hand = CallerAudio(), CallerAudio()
    levels, mulaw, append = audio.hear(frames, 1.0, paired=paired, append=True)
    pieces = by_hand.pieces(frames, 1.0, paired=paired)
    assert levels == [(len(piece) // 8, dsp.level_dbfs(piece)) for piece in pieces]
    assert mulaw == b"".join(pieces)
    assert append == by_hand.append(b"".join(pieces))


def test_audio_that_comes_while_no_session_listens_does_not_change_the_filters_state() -> None:
    audio, fresh = CallerAudio(), CallerAudio()
    levels, mulaw, append = audio.hear([frame(0, 0x10)], 1.0, paired=False, append=False)
    assert (mulaw, append) == (b"\x10" * 160, b"")
    assert levels == [(20, dsp.level_dbfs(b"\x10" * 160))]
    assert audio.append(b"\x20" * 160) == fresh.append(b"\x20" * 160)
