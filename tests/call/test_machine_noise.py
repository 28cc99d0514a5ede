"""A noisy place, with scripted events: the server's VAD always hears speech. Our level VAD hears the real speech."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.call.actions import AskForResponse, CreateItem, DialBeside, SendSilence, SwitchModel
from relay.call.failover import SESSION_LIMIT_S
from relay.call.machine import Phase
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    NextModelReady,
    ResponseBegan,
    ResponseEnded,
)
from tests.helpers.answering import R1, begun, of, talking
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage

NOISE = ItemId("caller_9")


def noisy() -> Stage:
    """A call after the greeting and a first answer. The VAD reports speech, but nobody speaks."""
    stage = talking()
    stage.answer(1, 500, "At ten.")
    stage.wait(1_000)
    stage.tell(CallerSpoke(NOISE, 0))
    stage.actions.clear()
    return stage


def says(stage: Stage, ms: int) -> None:
    """The caller speaks for this long, and the VAD does not notice the end."""
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(ms)
    stage.level_dbfs = SILENCE_DBFS


def talks(stage: Stage, ms: int) -> None:
    """The caller speaks for this long with a level that swings like speech: one syllable every 240 ms."""
    for at in range(0, ms, 20):
        stage.level_dbfs = SPEECH_DBFS - (10.0 if at % 240 >= 160 else 0.0)
        stage.wait(20)
    stage.level_dbfs = SILENCE_DBFS


def test_a_turn_that_the_vad_does_not_end_gets_silence_from_the_relay_and_is_answered() -> None:
    stage = noisy()
    says(stage, 600)
    stage.wait(1_900)
    assert of(stage, SendSilence) == []
    stage.wait(400)
    assert of(stage, SendSilence) == [SendSilence(1_000)]
    stage.tell(CallerPaused(NOISE, 0), CallerCommitted(NOISE, None))
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-2"]


def test_each_turn_in_the_noise_gets_silence_once() -> None:
    stage = noisy()
    for number in (1, 2):
        says(stage, 600)
        stage.wait(4_000)
        assert len(of(stage, SendSilence)) == number


def test_noise_alone_is_not_a_turn_and_delays_nothing() -> None:
    stage = begun(talking())
    stage.tell(FunctionAsked(R1, "call_1", "book", "{}"), ResponseEnded(R1, "completed", None, None))
    stage.tell(CallerSpoke(NOISE, 0))
    stage.actions.clear()
    stage.wait(2_400)
    assert of(stage, SendSilence) == []
    assert [item.text for item in of(stage, CreateItem)] == ["holding"], (
        "the holding phrase did not come during the noise"
    )
    stage.tell(FunctionReturned("call_1", "book", "{}", True, 2_400))
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["output-2"]


def test_the_model_gets_a_second_of_silence_after_each_15_s_of_noise() -> None:
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


def test_if_the_vad_also_misses_the_added_silence_it_counts_as_deaf_when_the_caller_speaks_again() -> None:
    stage = noisy()
    says(stage, 600)
    stage.wait(16_000)
    talks(stage, 1_600)
    stage.wait(400)
    assert [dial.why for dial in of(stage, DialBeside)] == ["deaf"]


def test_a_speech_of_which_the_server_makes_no_item_does_not_block_an_answer_for_ever() -> None:
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
    assert of(stage, SwitchModel) == [], "the move came before the end of the turn"


def hears(stage: Stage, number: int, text: str | None, level_dbfs: float, ms: int, lag_ms: int = 0) -> None:
    """Let a sound of `ms` be on the caller's line. The VAD takes it for speech, and its transcript is `text`."""
    item = ItemId(f"sound_{number}")
    stage.level_dbfs = level_dbfs
    stage.wait(ms)
    stage.level_dbfs = FLOOR_DBFS
    stage.wait(lag_ms)
    stage.tell(CallerSpoke(item, 0))
    stage.wait(500)
    stage.tell(CallerPaused(item, 0), CallerCommitted(item, None))
    stage.wait(1_000)
    stage.tell(CallerTranscribed(item, text))


FLOOR_DBFS = -70.0
PHANTOMS = [".", "Thank you for watching!", "[Music]", "Untertitel der Amara.org-Community", "Thanks for watching."]


def on_a_quiet_line(silence_s: float = 600.0) -> Stage:
    stage = Stage(replace(PLAIN, limits=replace(PLAIN.limits, silence_s=silence_s)))
    stage.level_dbfs = FLOOR_DBFS
    stage.arrive(1_500)
    stage.caller_says("what time do you open", 1)
    stage.level_dbfs = FLOOR_DBFS
    return stage


@pytest.mark.parametrize("text", PHANTOMS)
@pytest.mark.parametrize("ms", [20, 60, 140, 400])
def test_words_that_a_transcriber_makes_of_noise_do_not_interrupt_the_agent(text: str, ms: int) -> None:
    stage = on_a_quiet_line()
    item = stage.answer(1, 8_000, "We are open tomorrow from eleven in the morning until ten at night.")
    stage.wait(1_500)
    hears(stage, 1, text, SPEECH_DBFS, ms)
    stage.wait(9_000)
    rest = [each for each in stage.ear.heard if each.startswith("rest_")]
    assert rest or stage.ear.heard[item] == 8_000 * 8
    assert stage.ear.is_silent
    assert stage.machine.figures.barge_ins == 0
    assert stage.machine.conversation.turn(ItemId("sound_1")) is None


@pytest.mark.parametrize("text", [*PHANTOMS, "Thank you.", "You", "Bye."])
def test_words_that_a_transcriber_makes_of_noise_are_not_a_turn(text: str) -> None:
    stage = on_a_quiet_line()
    stage.answer(1, 1_000, "At ten.")
    stage.wait(2_000)
    stage.actions.clear()
    hears(stage, 1, text, -66.0, 400)  # quieter than the noise of some lines
    stage.wait(3_000)
    assert of(stage, AskForResponse) == []
    assert stage.machine.conversation.turn(ItemId("sound_1")) is None


@pytest.mark.parametrize("text", PHANTOMS)
@pytest.mark.parametrize("ms", [20, 140, 400])
def test_no_holding_phrase_is_said_after_a_noise(text: str, ms: int) -> None:
    stage = on_a_quiet_line()
    stage.answer(1, 1_000, "At ten.")
    stage.wait(2_000)
    hears(stage, 1, text, SPEECH_DBFS, ms)
    stage.actions.clear()
    stage.wait(20_000)
    assert [item.text for item in of(stage, CreateItem)] == []
    assert of(stage, AskForResponse) == []
    assert stage.machine.phase is Phase.TALKING


def test_an_answer_to_a_noise_is_taken_back_before_it_is_heard() -> None:
    stage = on_a_quiet_line()
    stage.answer(1, 1_000, "At ten.")
    stage.wait(2_000)
    hears(stage, 1, "Thanks for watching!", SPEECH_DBFS, 400)
    again = stage.answer(2, 1_500, "Sorry, could you repeat that?")
    stage.wait(3_000)
    assert again not in stage.ear.heard


def test_a_question_with_a_noise_after_it_is_answered() -> None:
    stage = on_a_quiet_line()
    stage.tell(ResponseBegan(R1, "turn-1"))
    hears(stage, 1, "Thanks for watching!", SPEECH_DBFS, 400)
    stage.tell(ResponseEnded(R1, "cancelled", None, None))
    answer = stage.answer(2, 1_500, "At ten.")
    stage.wait(3_000)
    assert stage.ear.heard[answer] == 1_500 * 8


@pytest.mark.parametrize("level_dbfs", [-58.0, -52.0, -48.0, -40.0, -20.0])
@pytest.mark.parametrize("lag_ms", [0, 100, 200])
def test_quiet_speech_is_answered_however_quiet_the_line_is(level_dbfs: float, lag_ms: int) -> None:
    stage = on_a_quiet_line()
    stage.answer(1, 1_000, "At ten.")
    stage.wait(2_000)
    stage.actions.clear()
    hears(stage, 1, "And when do you close?", level_dbfs, 700, lag_ms)
    stage.wait(200)
    assert [ask.ref for ask in of(stage, AskForResponse)] == ["turn-2"]


@pytest.mark.parametrize("text", [".", "Thank you for watching!"])
@pytest.mark.parametrize("ms", [60, 400])
def test_a_noise_now_and_then_does_not_keep_a_dead_line_open(text: str, ms: int) -> None:
    stage = on_a_quiet_line(silence_s=30.0)
    stage.answer(1, 1_000, "At ten.")
    for number in range(8):
        hears(stage, number, text, SPEECH_DBFS, ms)
        if stage.machine.answers.is_pending:
            stage.answer(10 + number, 1_000, "Sorry, could you repeat that?")
        stage.wait(18_000)
        if stage.machine.phase is not Phase.TALKING:
            break
    assert stage.machine.ending is not None
    assert stage.machine.ending.reason is EndReason.SILENCE_CAP


def test_a_caller_who_speaks_now_and_then_keeps_the_line_open() -> None:
    stage = on_a_quiet_line(silence_s=30.0)
    stage.answer(1, 1_000, "At ten.")
    for number in range(8):
        hears(stage, number, "Let me see.", SPEECH_DBFS, 400)
        stage.answer(10 + number, 1_000, "Take your time.")
        stage.wait(18_000)
    assert stage.machine.phase is Phase.TALKING
