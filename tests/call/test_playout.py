"""The playout, situation by situation. test_playout_oracle.py tests it with events in any order."""

from __future__ import annotations

import pytest

from relay.call.actions import Play
from relay.call.playout import Lead, Playout
from relay.call.vocabulary import ItemId
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, Stage, tone

A, B = ItemId("a"), ItemId("b")


def ms_of(plays: list[Play]) -> int:
    return sum(len(play.mulaw) for play in plays) // 8


def test_twilio_holds_between_200_and_400_ms() -> None:
    playout = Playout()
    playout.append(A, tone(2_000), 10.0)
    assert ms_of(playout.due(10.0)) == 400
    assert playout.due(10.19) == []
    assert ms_of(playout.due(10.22)) == 220
    assert playout.due(10.24) == []


def test_with_a_lead_that_is_longer_than_the_audio_all_audio_is_sent_at_once() -> None:
    playout = Playout(Lead(2_000, 2_000))
    playout.append(A, tone(2_000), 10.0)
    assert ms_of(playout.due(10.0)) == 2_000


@pytest.mark.parametrize("looks", range(1, 20))
def test_a_stall_of_150_ms_causes_no_gap_whenever_it_comes(looks: int) -> None:
    playout = Playout()
    playout.append(A, tone(4_000), 10.0)
    now, sent_ms = 10.0, 0
    while sent_ms < 4_000:
        for _ in range(looks):  # the relay looks at the queue once with each frame of the caller
            sent_ms += ms_of(playout.due(now))
            now += 0.020
        now += 0.150  # the stall: nobody looks at the queue
    assert playout.gaps_ms == 0


def test_the_callers_frames_alone_keep_the_playout_filled() -> None:
    stage = Stage(PLAIN).arrive(1_500)
    stage.answer(1, 3_000, ref="")
    for _ in range(140):  # no mark comes and the watchdog does not run
        for _ in range(4):
            stage.ear.step()
        stage._do(stage.machine.caller_audio(SILENCE_DBFS, 20, stage.now))
    assert stage.ear.heard[ItemId("item_1")] >= 2_800 * 8
    assert stage.machine.playout.gaps_ms == 0


def test_a_first_piece_of_20_ms_waits_for_more_audio_but_not_for_long() -> None:
    playout = Playout()
    playout.append(A, tone(20), 10.0)
    assert playout.due(10.0) == []
    assert playout.due(10.09) == []
    assert ms_of(playout.due(10.11)) == 20


def test_the_last_piece_of_an_item_is_sent_as_soon_as_the_relay_knows_that_it_is_the_last() -> None:
    playout = Playout()
    playout.append(A, tone(250)[:-40], 10.0)
    assert ms_of(playout.due(10.0)) == 240  # only whole frames are sent; the rest waits for more audio
    assert playout.due(10.1) == []
    playout.complete(A)
    assert ms_of(playout.due(10.1)) == 20


def test_audio_behind_an_item_that_is_withdrawn_is_sent_at_once() -> None:
    playout = Playout()
    playout.append(A, tone(10), 10.0)
    playout.append(B, tone(200), 10.0)
    assert playout.due(10.0) == []  # item A has no whole frame yet, and B must wait behind A
    playout.withdraw(A)
    assert ms_of(playout.due(10.0)) == 200


def test_after_a_hold_that_is_undone_audio_is_sent_at_once() -> None:
    playout = Playout()
    playout.append(A, tone(2_000), 10.0)
    assert ms_of(playout.due(10.0)) == 400
    playout.hold(10.05)
    playout.resume()
    assert ms_of(playout.due(10.1)) == 400


def test_the_first_mark_comes_after_the_first_frame() -> None:
    playout = Playout()
    playout.append(A, tone(500), 10.0)
    first, rest = playout.due(10.0)
    assert (len(first.mulaw), len(rest.mulaw)) == (160, 3_040)
    heard = playout.marked(first.mark or "", 10.02)
    assert heard is not None
    assert (heard.heard_ms, heard.whole) == (20.0, False)


def test_a_mark_that_comes_back_because_of_a_clear_proves_nothing() -> None:
    playout = Playout()
    playout.append(A, tone(500), 10.0)
    plays = playout.due(10.0)
    assert playout.hold(10.1)
    assert playout.marked(plays[1].mark or "", 10.1) is None
    assert (playout.cleared_marks, playout.unknown_marks) == (1, 0)
    assert playout.marked("who am I", 10.1) is None
    assert playout.unknown_marks == 1


def test_a_mark_of_audio_that_was_played_before_the_clear_still_proves_that_it_was_played() -> None:
    playout = Playout()
    playout.append(A, tone(100), 10.0)
    playout.finish(A)
    plays = playout.due(10.0)
    assert playout.hold(10.12)  # in s: all was played at 10.1, and its mark is still on the way
    heard = playout.marked(plays[-1].mark or "", 10.14)
    assert heard is not None
    assert heard.whole
    assert playout.cut(10.14) == []


def test_an_item_whose_marks_came_before_its_end_was_known_is_reported_at_its_end() -> None:
    playout = Playout()
    playout.append(A, tone(100), 10.0)
    marks = [play.mark or "" for play in playout.due(10.0)]
    assert [heard.whole for heard in (playout.marked(mark, 10.11) for mark in marks) if heard] == [False, False]
    heard = playout.finish(A)
    assert heard is not None
    assert heard.whole
    assert not playout.is_speaking(10.2)


def test_an_item_without_sound_counts_as_heard_at_once() -> None:
    playout = Playout()
    playout.append(A, b"", 10.0, own=True)
    heard = playout.finish(A)
    assert heard is not None
    assert heard.whole


def test_audio_that_comes_after_the_end_of_its_item_is_dropped() -> None:
    playout = Playout()
    playout.append(A, tone(100), 10.0)
    playout.finish(A)
    playout.append(A, tone(100), 10.0)
    assert ms_of(playout.due(10.0)) == 100
    playout.append(B, tone(100), 10.0)
    playout.cut(10.05)
    playout.append(B, tone(100), 10.05)
    assert playout.due(10.1) == []


def test_padding_and_the_tail_of_the_filter_do_not_count_as_heard_audio_of_the_item() -> None:
    playout = Playout()
    playout.append(A, tone(65)[:515], 10.0, said_ms=65.0)
    playout.complete(A, tone(1))
    assert ms_of(playout.due(10.0)) == 80
    (cut,) = playout.cut(10.079)
    assert cut.heard_ms == 65.0


def test_after_an_undone_hold_the_audio_goes_on_in_the_middle_of_the_frame_and_no_gap_is_counted() -> None:
    playout = Playout()
    playout.append(A, tone(1_000), 10.0)
    playout.due(10.0)
    playout.hold(10.055)
    assert playout.due(10.3) == []
    playout.resume()
    again = playout.due(10.3)
    assert again[0].mulaw[0] == tone(60)[-1]  # the third frame, which was playing when the hold came
    assert playout.gaps_ms == 0
    assert playout.heard_ms(A, 10.3) == 55.0


def test_the_gaps_of_a_model_that_is_slower_than_speech_are_counted() -> None:
    playout = Playout()
    playout.append(A, tone(100), 10.0)
    playout.due(10.0)
    playout.append(A, tone(100), 10.35)
    playout.due(10.35)
    assert round(playout.gaps_ms) == 250


def test_late_marks_show_that_the_playback_is_late() -> None:
    playout = Playout()
    playout.append(A, tone(2_000), 10.0)
    first, second = playout.due(10.0)
    playout.marked(first.mark or "", 10.060)  # the round trip takes 40 ms
    playout.marked(second.mark or "", 10.640)  # 200 ms later than expected, because the connection to Twilio stalled
    playout.due(10.640)
    (cut,) = playout.cut(10.740)
    assert abs(cut.heard_ms - 500) <= 45  # 400 ms until 10.60 s by Twilio's clock, and 100 ms until 10.70 s


def test_the_measured_lateness_of_the_playback_is_forgotten_when_nothing_is_played() -> None:
    playout = Playout()
    playout.append(A, tone(400), 10.0)
    playout.finish(A)
    first, second = playout.due(10.0)
    playout.marked(first.mark or "", 10.020)
    playout.marked(second.mark or "", 10.700)
    playout.append(B, tone(1_000), 20.0)
    playout.due(20.0)
    (cut,) = playout.cut(20.1)
    assert abs(cut.heard_ms - 100) < 1


def test_audio_with_precedence_is_heard_before_all_waiting_audio() -> None:
    playout = Playout()
    playout.append(A, tone(20), 10.0)
    playout.append(B, tone(100), 10.0, own=True, first=True)
    playout.finish(B)
    assert [play.item_id for play in playout.due(10.0)][:2] == [B, B]


def test_the_possible_echo_is_as_loud_as_the_audio_that_was_played_at_that_time() -> None:
    playout = Playout()
    playout.append(A, tone(300), 10.0)
    playout.finish(A)
    playout.due(10.0)
    assert playout.echo.level_dbfs(10.01) == -100.0
    assert playout.echo.level_dbfs(10.2) > -40
    assert playout.echo.level_dbfs(10.6) > -40  # up to 300 ms after the last sound
    assert playout.echo.level_dbfs(11.0) == -100.0


def test_after_a_hold_at_the_very_end_of_the_audio_the_marks_are_valid_although_the_clock_is_rounded() -> None:
    playout = Playout(Lead(1_000, 1_000))
    playout.append(A, tone(1_000), 1_000.0)
    playout.finish(A)
    mark = playout.due(1_000.0)[-1].mark
    assert mark is not None
    playout.hold(1_001.0 - 2.3e-13)  # two steps of the clock's float before the end
    heard = playout.marked(mark, 1_001.04)
    assert heard is not None
    assert heard.whole
