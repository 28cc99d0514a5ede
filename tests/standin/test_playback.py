"""The audio that the stand-in caller hears, to the millisecond: playback clock, marks, clear, and media messages."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.standin.twilio.caller_speech import CallerSpeech
from relay.standin.twilio.listening import Listener, is_loud, loud_span_ms
from relay.standin.twilio.media_stream import ClearBuffer, FrameTimes, MediaStream, PlayMedia, SetMark
from relay.standin.twilio.playback import Playback, samples_at

SOUND = b"\x10\x90" * 80  # one frame of a loud 4 kHz tone


def seconds(n: float) -> bytes:
    return SOUND * round(n * 50)


def test_audio_on_an_empty_buffer_plays_at_once_and_back_to_back() -> None:
    ear = Playback()
    ear.media(seconds(1), now=2.0)
    ear.media(seconds(1), now=2.1)
    assert ear.runs(until_s=10) == [(2.0, 4.0)]
    assert ear.buffered_ms(2.5) == 1500
    assert ear.heard_ms(2.5) == 500


def test_audio_after_the_buffer_was_empty_leaves_a_gap() -> None:
    ear = Playback()
    ear.media(seconds(0.1), now=0.0)
    ear.media(seconds(0.1), now=0.15)
    assert ear.runs(until_s=1) == [(0.0, 0.1), (0.15, 0.25)]
    assert ear.read(samples_at(0.1), 400) == b"\xff" * 400


def test_a_mark_comes_back_when_its_audio_has_been_played_and_not_before() -> None:
    ear = Playback()
    ear.media(seconds(1), now=0.0)
    ear.mark("one", now=0.0)
    assert ear.next_mark_s() == 1.0
    assert ear.played_marks(0.999) == []
    assert ear.played_marks(1.0) == ["one"]
    assert ear.played_marks(2.0) == []
    assert ear.marks[0].heard


def test_a_mark_on_an_empty_buffer_comes_back_at_once() -> None:
    ear = Playback()
    ear.mark("nothing", now=5.0)
    assert ear.played_marks(5.0) == ["nothing"]


def test_clear_returns_every_pending_mark_in_order_and_stops_the_sound() -> None:
    ear = Playback()
    for name in ("a", "b", "c"):
        ear.media(seconds(1), now=0.0)
        ear.mark(name, now=0.0)
    assert ear.clear(now=1.5) == ["a", "b", "c"]
    assert [mark.heard for mark in ear.marks] == [True, False, False]
    assert ear.runs(until_s=10) == [(0.0, 1.5)]
    assert ear.cuts[0].heard_ms == 1500
    assert ear.cuts[0].lost_ms == 1500
    assert ear.cuts[0].marks == ("b", "c")
    assert ear.next_mark_s() is None


def test_at_the_end_of_a_stream_the_buffer_is_lost_and_no_mark_returns() -> None:
    ear = Playback()
    ear.media(seconds(1), now=0.0)
    ear.mark("a", now=0.0)
    ear.stop(now=0.4)
    assert ear.played_marks(5.0) == []
    assert ear.cuts[0].lost_ms == 600


def test_a_second_stream_counts_its_own_heard_audio() -> None:
    ear = Playback()
    ear.media(seconds(1), now=0.0)
    ear.begin_stream(now=0.5)
    ear.media(seconds(1), now=0.5)
    assert ear.heard_ms(0.7) == pytest.approx(200)
    assert ear.runs(until_s=2)[-1][1] == 1.5


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["media", "mark", "clear", "wait"]), st.integers(0, 400)), min_size=1, max_size=40
)


@given(ACTIONS)
def test_any_order_of_messages_agrees_with_a_sample_by_sample_player(actions: list[tuple[str, int]]) -> None:
    """The oracle is this test's own player: it plays one sample after another from a list."""
    ear, at = Playback(), 0
    heard: dict[int, int] = {}
    queue: list[int | str] = []
    came_back: list[str] = []
    oracle_back: list[str] = []

    def play(samples: int) -> None:
        nonlocal at
        for _ in range(samples):
            while queue and isinstance(queue[0], str):
                oracle_back.append(str(queue.pop(0)))
            if queue:
                heard[at] = int(queue.pop(0))
            at += 1
        while queue and isinstance(queue[0], str):
            oracle_back.append(str(queue.pop(0)))

    for n, (action, size) in enumerate(actions):
        now = at / 8000
        if action == "media":
            ear.media(bytes([n]) * size, now)
            queue += [n] * size
        elif action == "mark":
            ear.mark(str(n), now)
            queue.append(str(n))
            play(0)
        elif action == "clear":
            came_back += ear.clear(now)
            oracle_back += [item for item in queue if isinstance(item, str)]
            queue.clear()
        else:
            play(size)
        came_back += ear.played_marks(at / 8000)
    assert came_back == oracle_back
    assert ear.read(0, at) == bytes(heard.get(i, 0xFF) for i in range(at))


def test_between_two_runs_of_speech_silence_is_read() -> None:
    ear = Playback()
    ear.media(b"\x01" * 10, now=0.0)
    ear.media(b"\x02" * 10, now=20 / 8000)
    assert ear.read(5, 20) == b"\x01" * 5 + b"\xff" * 10 + b"\x02" * 5


def test_the_listener_finds_speech_and_ignores_line_noise() -> None:
    ear = Playback()
    listener = Listener(ear, from_s=0.0)
    ear.media(b"\xfe\x7e" * 4000, now=0.0)
    ear.media(seconds(0.5), now=1.0)
    ear.media(seconds(0.5), now=1.7)  # a pause of 200 ms does not divide a stretch of speech
    ear.media(seconds(0.5), now=3.0)
    listener.listen(2.0)
    assert listener.stretches == [(1.0, 2.0)]
    listener.listen(4.0)
    assert listener.stretches == [(1.0, 2.2), (3.0, 3.5)]
    assert not is_loud(b"")


def test_the_sound_of_a_clip_is_found_inside_its_silence() -> None:
    assert loud_span_ms(b"\xff" * 800 + SOUND * 5 + b"\x7f" * 1600) == (100.0, 200.0)
    assert loud_span_ms(b"\xff" * 800) == (0.0, 0.0)


def test_the_simulated_caller_speaks_one_clip_after_the_other_and_is_silent_otherwise() -> None:
    mouth = CallerSpeech("7f")
    assert mouth.say(b"\x01" * 80, now=0.01, text="one") == 0.02
    assert mouth.say(b"\x02" * 80, now=0.015, text="two") == 0.03
    assert mouth.read(0, 320) == b"\x7f" * 80 + b"\x01" * 80 + b"\x02" * 80 + b"\x7f" * 80
    assert mouth.heard_words(0.0, 0.025) == "one"


def test_a_muted_caller_sends_no_frames() -> None:
    mouth = CallerSpeech("noise", seed=1)
    mouth.mute(now=1.0, for_s=0.5)
    assert [mouth.muted(samples_at(at)) for at in (0.9, 1.0, 1.4, 1.5)] == [False, True, True, False]
    assert not is_loud(mouth.read(0, 8000))


# media messages


def stream() -> MediaStream:
    return MediaStream(account_sid="AC1", call_sid="CA1", stream_sid="MZ1", parameters={"token": "t"})


def test_twilio_numbers_its_messages_as_captured() -> None:
    ours = stream()
    assert json.loads(ours.connected()) == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    start = json.loads(ours.start())
    assert start["sequenceNumber"] == "1"
    assert start["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert start["start"]["customParameters"] == {"token": "t"}
    first, digit, second = json.loads(ours.media(b"\xff", 155)), json.loads(ours.dtmf("5")), ours.media(b"\x7f", 174)
    assert first["media"] == {"track": "inbound", "chunk": "1", "timestamp": "155", "payload": "/w=="}
    assert digit["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert json.loads(second)["media"]["chunk"] == "2"
    assert [first["sequenceNumber"], digit["sequenceNumber"], json.loads(second)["sequenceNumber"]] == ["2", "3", "4"]
    assert json.loads(ours.stop())["sequenceNumber"] == "5"


def test_timestamps_begin_above_zero_and_step_by_about_20_ms() -> None:
    for seed in range(50):
        times = FrameTimes(random.Random(seed))
        stamps = [times.timestamp_ms(k) for k in range(500)]
        assert 100 <= stamps[0] <= 170
        steps = [b - a for a, b in itertools.pairwise(stamps)]
        assert set(steps) != {20}
        assert min(steps) > 0
        assert abs(stamps[-1] - stamps[0] - 499 * 20) <= 4


def test_lost_caller_audio_shows_as_a_jump_of_the_timestamp() -> None:
    times = FrameTimes(random.Random(3))
    before, after = times.timestamp_ms(0), times.timestamp_ms(50)
    assert abs(after - before - 1000) <= 2


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("{", "messages are JSON"),
        ("[" * 100_000, "messages are JSON"),
        ("[]", "messages are JSON objects"),
        ('{"event":"ping","streamSid":"MZ1"}', "only media, mark and clear are known"),
        ('{"event":["media"],"streamSid":"MZ1"}', "only media, mark and clear are known"),
        ('{"event":"clear"}', "no field is missing"),
        ('{"event":"mark","streamSid":"MZ1","mark":{}}', "no field is missing"),
        ('{"event":"clear","streamSid":"MZ1","at":1}', "no field is extra"),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"","track":"outbound"}}', "no field is extra"),
        ('{"event":"mark","streamSid":"MZ1","mark":{"name":7}}', "fields have their type"),
        ('{"event":"mark","streamSid":"MZ1","mark":"a"}', "fields have their type"),
        ('{"event":"clear","streamSid":"MZ2"}', "streamSid is that of this stream"),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"a b="}}', "media.payload is base64"),
    ],
)
def test_a_message_that_twilio_would_drop_causes_a_complaint_that_names_the_rule(message: str, rule: str) -> None:
    ours = stream()
    assert ours.receive(message, 1.0) is None
    assert ours.receive(message, 2.0) is None
    assert [(c.code, c.rule, c.level) for c in ours.complaints] == [(31951, rule, "warning")]
    assert ours.broken_rules == {rule: 2}


def test_a_binary_frame_causes_error_31950() -> None:
    ours = stream()
    assert ours.receive(b'{"event":"clear","streamSid":"MZ1"}', 0.0) is None
    assert ours.complaints[0].code == 31950


def test_correct_messages_are_accepted_without_a_complaint() -> None:
    ours = stream()
    media = '{"event":"media","streamSid":"MZ1","media":{"payload":"AAEC"}}'
    assert ours.receive(media, 0.0) == PlayMedia(b"\x00\x01\x02")
    assert ours.receive('{"streamSid":"MZ1","mark":{"name":"a"},"event":"mark"}', 0.0) == SetMark("a")
    assert ours.receive('{"event":"clear","streamSid":"MZ1"}', 0.0) == ClearBuffer()
    assert not ours.complaints


def test_a_wav_header_in_the_audio_is_noticed() -> None:
    ours = stream()
    ours.receive('{"event":"media","streamSid":"MZ1","media":{"payload":"UklGRgAA"}}', 0.0)
    assert ours.complaints[0].rule == "audio has no file header"
