"""A noisy place, by script: the server's VAD hears speech that never ends, our own ear knows when the caller speaks."""

from __future__ import annotations

from dataclasses import replace

from relay.call.actions import AskForResponse, CreateItem, DialBeside, SendSilence, SwitchModel
from relay.call.failover import SESSION_LIMIT_S
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    NextModelReady,
    ResponseEnded,
)
from tests.helpers.answering import R1, begun, of, talking
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage

NOISE = ItemId("caller_9")


def noisy() -> Stage:
    """The greeting was heard, a first answer too; the VAD hears speech, and nobody speaks."""
    stage = talking()
    stage.answer(1, 500, "At ten.")
    stage.wait(1_000)
    stage.tell(CallerSpoke(NOISE, 0))
    stage.actions.clear()
    return stage


def says(stage: Stage, ms: int) -> None:
    """The caller speaks for so long, and the VAD does not notice that it is over."""
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(ms)
    stage.level_dbfs = SILENCE_DBFS


def talks(stage: Stage, ms: int) -> None:
    """The same, by a voice that swings as speech does: a syllable and its end take a quarter of a second."""
    for at in range(0, ms, 20):
        stage.level_dbfs = SPEECH_DBFS - (10.0 if at % 240 >= 160 else 0.0)
        stage.wait(20)
    stage.level_dbfs = SILENCE_DBFS


def test_a_turn_that_the_vad_does_not_end_is_given_the_silence_it_waits_for_and_answered() -> None:
    stage = noisy()
    says(stage, 600)
    stage.wait(1_900)
    assert of(stage, SendSilence) == []
    stage.wait(400)
    assert of(stage, SendSilence) == [SendSilence(1_000)]
    stage.tell(CallerPaused(NOISE, 0), CallerCommitted(NOISE, None))
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-2"]


def test_each_turn_in_the_noise_is_given_silence_once() -> None:
    stage = noisy()
    for number in (1, 2):
        says(stage, 600)
        stage.wait(4_000)
        assert len(of(stage, SendSilence)) == number


def test_noise_alone_is_no_turn_and_keeps_nobody_waiting() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(CallerSpoke(NOISE, 0))
    stage.actions.clear()
    stage.wait(2_400)
    assert of(stage, SendSilence) == []
    assert [item.text for item in of(stage, CreateItem)] == ["holding"], "the phrase is heard over the noise"
    stage.tell(FunctionReturned("call_1", "book", "{}", True, 2_400))
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["output-2"]


def test_noise_is_taken_out_every_quarter_of_a_minute_so_that_a_turn_does_not_begin_with_minutes_of_it() -> None:
    stage = noisy()
    stage.wait(15_400)
    assert of(stage, SendSilence) == [SendSilence(1_000)]
    stage.tell(CallerPaused(NOISE, 0), CallerCommitted(NOISE, None), CallerTranscribed(NOISE, ""))
    assert of(stage, AskForResponse) == []
    assert stage.machine.conversation.turn(NOISE) is None


def test_a_caller_who_has_left_a_noisy_line_is_asked_whether_they_are_there() -> None:
    stage = noisy()
    for number in range(2):
        stage.wait(15_400)
        item = ItemId(f"noise_{number}")
        stage.tell(CallerPaused(item, 0), CallerCommitted(item, None), CallerTranscribed(item, ""))
        stage.tell(CallerSpoke(ItemId(f"noise_{number + 1}"), 0))
    assert [item.text for item in of(stage, CreateItem)] == ["still there"]


def test_a_vad_that_hears_no_silence_either_is_deaf_at_the_callers_next_words() -> None:
    stage = noisy()
    says(stage, 600)
    stage.wait(16_000)
    talks(stage, 1_600)
    stage.wait(400)
    assert [dial.why for dial in of(stage, DialBeside)] == ["deaf"]


def test_speech_that_ended_and_never_became_an_item_blocks_nobody_for_ever() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(CallerSpoke(NOISE, 0), CallerPaused(NOISE, 0))
    stage.tell(FunctionReturned("call_1", "book", "{}", True, 5))
    stage.wait(15_400)
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["output-2"]


def test_a_move_waits_for_the_end_of_a_turn_in_the_noise() -> None:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, silence_s=600.0))).arrive(1_500)
    stage.machine.call.sessions.ready_at = stage.now - SESSION_LIMIT_S - 1
    stage.wait(200)
    stage.tell(CallerSpoke(NOISE, 0))
    says(stage, 600)
    stage.tell(NextModelReady())
    stage.wait(2_600)
    assert len(of(stage, SendSilence)) == 1
    assert of(stage, SwitchModel) == [], "the turn is still the old session's"
