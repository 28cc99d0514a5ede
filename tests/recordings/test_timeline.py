"""The timeline of a recording, compared with the stand-in's playback clock and line, also on a slow network."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from relay.recordings.recorder import Recorder
from relay.recordings.timeline import FRAME_SAMPLES, CallerTrack, PlaybackTrack
from relay.standin.twilio.playback import Playback, samples_at

STEP_S = 0.02


class Tape:
    """Keeps all audio that it gets."""

    def __init__(self, first: int) -> None:
        self.first, self.left, self.right = first, b"", b""
        self.closed = False

    def write(self, left: bytes, right: bytes) -> None:
        assert len(left) == len(right)
        self.left += left
        self.right += right

    def close(self, left: bytes, right: bytes) -> None:
        self.write(left, right)
        self.closed = True


@dataclass
class Frame:
    mulaw: bytes
    media_ms: int


class Line:
    """Twilio's end, with a delay in each direction. It plays the relay's audio, and returns marks."""

    def __init__(self, recorder: Recorder, delay: Callable[[], float]) -> None:
        self.recorder, self.ear, self._delay = recorder, Playback(), delay
        self._down: list[tuple[float, Callable[[float], None]]] = []
        self._up: list[tuple[float, Callable[[float], None]]] = []
        self._frames = 0
        self._last_down = self._last_up = 0.0

    def play(self, mulaw: bytes, mark: str, now: float) -> None:
        self.recorder.played(mulaw, mark, now)

        def arrive(at: float) -> None:
            self.ear.media(mulaw, at)
            self.ear.mark(mark, at)

        self._send(now, arrive)

    def clear(self, now: float) -> None:
        self.recorder.cleared(now)
        self._send(now, self._clear)

    def _clear(self, at: float) -> None:
        for name in self.ear.clear(at):
            self._return(name, at)

    def _send(self, now: float, what: Callable[[float], None]) -> None:
        self._last_down = max(self._last_down, now + self._delay())
        self._down.append((self._last_down, what))

    def _return(self, name: str, at: float) -> None:
        self._last_up = max(self._last_up, at + self._delay())
        self._up.append((self._last_up, lambda then: self.recorder.marked(name, then)))

    def _speak(self, at: float, number: int) -> None:
        self._last_up = max(self._last_up, at + self._delay())
        frame = Frame(b"\xff" * FRAME_SAMPLES, 100 + 20 * number)
        self._up.append((self._last_up, lambda then: self.recorder.caller([frame], then)))

    def step(self, now: float) -> None:
        """Do everything that is due up to `now`, each at its own time."""
        while self._down and self._down[0][0] <= now:
            at, what = self._down.pop(0)
            self._marks_until(at)
            what(at)
        self._marks_until(now)
        while self._up and self._up[0][0] <= now:
            at, what = self._up.pop(0)
            what(at)

    def _marks_until(self, now: float) -> None:
        """Deliver marks and frames, in order and each at its own time."""
        while True:
            due, speaks = self.ear.next_mark_s(), 100.0 + self._frames * STEP_S
            if speaks <= now and (due is None or speaks <= due):
                self._speak(speaks, self._frames)
                self._frames += 1
            elif due is not None and due <= now:
                for name in self.ear.played_marks(due):
                    self._return(name, due)
            else:
                return


def _recorder(call_began_s: float = 100.0) -> tuple[Recorder, list[Tape]]:
    tapes: list[Tape] = []

    def open_tape(first: int) -> Tape:
        tapes.append(Tape(first))
        return tapes[-1]

    recorder = Recorder(call_began_s, open_tape, lambda *_: None)
    recorder.start(100.0, consented=False)
    return recorder, tapes


def _talk(line: Line, rng: random.Random, seconds: float, *, clears: bool = True) -> float:
    """Play random talk and interruptions as the playout does: up to 400 ms of lead, and a mark after each burst."""
    now, until, number = 100.0, 100.0 + seconds, 0
    ahead_to, talks = now, True
    line.recorder.begin(now)
    while now < until:
        if rng.random() < 0.02:
            talks = not talks
        if clears and rng.random() < 0.02:
            line.clear(now)
            ahead_to, talks = now, False
        if talks and ahead_to - now < 0.2:
            n = rng.choice([1, 5, 15, 20])
            number += 1
            line.play(rng.randbytes(n * FRAME_SAMPLES), str(number), now)
            ahead_to = max(ahead_to, now) + n * 0.02
        line.step(now)
        line.recorder.tick(now)
        now += STEP_S if rng.random() < 0.9 else rng.random() / 30  # sometimes between two frames
    return now


@pytest.mark.parametrize("seed", range(30))
def test_the_right_channel_equals_the_stand_ins_playback_to_the_sample(seed: int) -> None:
    rng = random.Random(seed)
    recorder, tapes = _recorder()
    line = Line(recorder, lambda: 0.0)
    end = _talk(line, rng, 20)
    recorder.close(end, by_caller=False)
    line.ear.stop(end)
    (tape,) = tapes
    assert tape.closed
    assert tape.right == line.ear.read(samples_at(100.0), len(tape.right))
    assert len(line.ear.cuts) > 0 or seed


@pytest.mark.parametrize(("seed", "delay_s"), [(seed, delay_s) for seed in range(5) for delay_s in (0.06, 0.3)])
def test_on_a_slow_network_the_right_channel_is_the_same_but_half_a_round_trip_later(seed: int, delay_s: float) -> None:
    rng = random.Random(seed)
    recorder, tapes = _recorder(call_began_s=90.0)
    line = Line(recorder, lambda: delay_s)
    recorder.played(bytes(160), "first", 98.0)  # heard before the recording begins, so the delay is known
    recorder.marked("first", 98.02 + 2 * delay_s)
    end = _talk(line, rng, 20)
    recorder.close(end, by_caller=False)
    line.step(end + delay_s)
    line.ear.stop(end + delay_s)
    (tape,) = tapes
    assert tape.right == line.ear.read(tape.first + samples_at(90.0), len(tape.right))


@pytest.mark.parametrize("seed", range(5))
def test_a_stall_of_the_connection_to_twilio_is_in_the_recording_at_the_time_at_which_the_caller_heard_it(
    seed: int,
) -> None:
    rng = random.Random(seed)
    recorder, tapes = _recorder()
    held: list[float] = [0.0]
    line = Line(recorder, lambda: held[0])
    original, stalls = line.step, {5.0: 0.233, 9.0: 0.15, 14.0: 0.1}

    def step(now: float) -> None:
        held[0] = next((begin + 100.0 + ms - now for begin, ms in stalls.items() if 0 <= now - 100.0 - begin < ms), 0.0)
        original(now)

    line.step = step  # type: ignore[method-assign]
    end = _talk(line, rng, 20, clears=False)
    recorder.close(end, by_caller=False)
    line.ear.stop(end)
    (tape,) = tapes
    heard = line.ear.read(samples_at(100.0), len(tape.right))
    ours, theirs = tape.right.replace(b"\xff", b""), heard.replace(b"\xff", b"")
    assert ours == theirs[: len(ours)]
    assert len(theirs) - len(ours) < 0.25 * 8000
    for at in range(0, len(heard), 800):
        piece = heard[at : at + 160]
        if 0xFF not in piece:
            where = tape.right.find(piece)
            assert where < 0 or abs(where - at) <= 0.025 * 8000, (at / 8000, (where - at) / 8000)


def test_marks_that_never_return_do_not_lose_audio_for_ever() -> None:
    recorder, tapes = _recorder()
    recorder.begin(100.0)
    now = 100.0
    for number in range(1_000):
        if number % 10 == 0:
            recorder.played(bytes([number // 10]) * 10 * FRAME_SAMPLES, str(number), now)
        recorder.tick(now)
        now += STEP_S
    recorder.close(now, by_caller=False)
    assert set(range(40, 100)) <= set(tapes[0].right)


def test_an_answer_that_was_not_heard_because_the_socket_stalled_is_not_recorded_as_heard() -> None:
    track = PlaybackTrack()
    track.played(b"\x01" * 160, "1", 0)
    track.marked("1", 160)
    track.played(b"\x02" * 3_200, "2", 8_000)
    assert track.settle(8_000 + 16_000) <= 8_000 + 16_000 - 4_800
    track.cleared(8_000 + 16_000)
    assert b"\x02" not in track.read(0, 48_000)


def test_a_delayed_mark_moves_no_audio_when_the_next_mark_is_on_time() -> None:
    track = PlaybackTrack()
    track.played(b"\x01" * 800, "1", 0)
    track.marked("1", 800)
    for number in range(2, 6):  # all at once
        track.played(bytes([number]) * 800, str(number), 800)
    track.marked("2", 1_600 + 400)  # 50 ms late, as if the playback were late
    for number in range(3, 6):
        track.marked(str(number), 800 * number)
    assert track.read(0, 4_000) == b"".join(bytes([number]) * 800 for number in range(1, 6))


# The caller


def _frames(track: CallerTrack, rng: random.Random, mute: range, first_at: int) -> bytes:
    sent = b""
    for number in range(200):
        mulaw = rng.randbytes(160)
        if number in mute:
            sent += b"\xff" * 160
            continue
        sent += mulaw
        track.append(mulaw, 100 + 20 * number + rng.randint(-2, 2), first_at + 160 * number + 160)
    return sent


@pytest.mark.parametrize("mute", [range(0), range(50, 52), range(50, 77), range(10, 150), range(190, 200)])
def test_the_left_channel_is_the_callers_audio_and_a_gap_keeps_its_length(mute: range) -> None:
    track = CallerTrack()
    track.append(bytes(160), 80, 0)
    track.begin(0)
    sent = _frames(track, random.Random(1), mute, 0)
    got = track.read(200 * 160 + 160)
    end = (mute.start if mute.stop == 200 else 200) * 160
    assert sent[160:end] in got  # the first frame may begin before the recording
    assert abs(got.find(sent[160:320]) - 160) <= 2 * 8


def test_frames_that_come_in_a_burst_are_placed_where_they_were_said() -> None:
    track, rng = CallerTrack(), random.Random(2)
    track.append(bytes(160), 0, 160)
    track.begin(160)
    sent = [rng.randbytes(160) for _ in range(20)]
    for number, mulaw in enumerate(sent):
        at = 160 * (number + 2)
        track.append(mulaw, 20 * (number + 1), at if number < 5 else max(at, 160 * 13))
    assert track.read(20 * 160) == b"".join(sent)


def test_after_a_long_stall_no_words_are_lost_and_the_delay_ends_in_the_next_silence() -> None:
    track, rng = CallerTrack(), random.Random(3)
    track.append(b"\xff" * 160, 0, 160)
    track.begin(160)
    words = [rng.randbytes(160) for _ in range(100)]
    frames = words + [b"\xff" * 160] * 200 + [b"\x01" * 160]
    track.read(8_000)  # during the stall a second was already written as silence
    for number, mulaw in enumerate(frames):
        track.append(mulaw, 20 * (number + 1), max(160 * (number + 2), 9_000))
    got = track.read(60_000)
    assert b"".join(words) in got
    place = 8_160 + got.find(b"\x01" * 160)
    assert abs(place - 160 * len(frames)) <= 100 * 8 + 160


def test_no_audio_from_before_the_beginning_is_recorded() -> None:
    track = CallerTrack()
    track.append(b"\x01" * 160, 0, 160)
    track.begin(400)
    track.append(b"\x02" * 160, 20, 320)
    track.append(b"\x03" * 160, 40, 480)
    track.append(b"\x04" * 160, 60, 640)
    assert track.read(1_000).strip(b"\xff") == b"\x04" * 160


@pytest.mark.parametrize("media_ms", [10**12, -(10**9), 0])
def test_an_impossible_timestamp_does_not_move_any_audio(media_ms: int) -> None:
    track = CallerTrack()
    track.begin(0)
    for number in range(20):
        track.append(bytes([number]) * 160, media_ms if number == 10 else 20 * number, 160 * number + 160)
    assert track.read(20 * 160) == b"".join(bytes([number]) * 160 for number in range(20))


# Pauses


def test_a_callers_refusal_has_precedence_over_a_functions_pause_and_lasts_to_the_end() -> None:
    told: list[tuple[int, int | None, str]] = []
    tapes: list[Tape] = []

    def open_tape(first: int) -> Tape:
        tapes.append(Tape(first))
        return tapes[-1]

    recorder = Recorder(100.0, open_tape, lambda from_ms, to_ms, why: told.append((from_ms, to_ms, why)))
    recorder.start(100.0, consented=True)
    for number in range(500):
        now = 100.0 + (number + 1) * STEP_S
        recorder.caller([Frame(b"\x01" * FRAME_SAMPLES, 20 * number)], now)
        match number:
            case 99:
                recorder.pause("card number", now)
            case 199:
                recorder.refuse(now)
            case 299:
                recorder.resume(now)
    recorder.close(110.0, by_caller=True)
    assert tapes[0].left == b"\x01" * 16_000 + b"\xff" * 64_000
    assert {(from_ms, to_ms) for from_ms, to_ms, _ in told if to_ms is not None} == {(2_000, 4_000), (4_000, 10_000)}
    assert [why for _, to_ms, why in told if to_ms == 10_000] == ["the caller does not want to be recorded"]


def test_a_later_stream_after_a_refusal_records_nothing_and_gives_the_reason() -> None:
    told: list[tuple[int, int | None, str]] = []
    recorder = Recorder(100.0, Tape, lambda from_ms, to_ms, why: told.append((from_ms, to_ms, why)))
    recorder.start(105.0, consented=False, refused=True)
    recorder.begin(106.0)
    recorder.caller([Frame(b"\x01" * FRAME_SAMPLES, 100)], 107.0)
    recorder.close(110.0, by_caller=True)
    assert told[-1] == (5_000, 10_000, "the caller does not want to be recorded")
    assert {why for _, _, why in told} == {"the caller does not want to be recorded"}


def test_a_refusal_before_the_notice_was_heard_leaves_no_recording() -> None:
    recorder, tapes = _recorder()
    recorder.refuse(101.0)
    recorder.begin(102.0)
    recorder.close(103.0, by_caller=True)
    assert tapes == []
