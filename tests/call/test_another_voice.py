"""The model writes its answers and another voice speaks them: heard words, text items, and the loss of the voice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.call.actions import (
    Action,
    AskForResponse,
    CancelResponse,
    CreateItem,
    DeleteItem,
    HangUp,
    LearnGreeting,
    RecordConsent,
    RecordTurn,
    Report,
    RunFunction,
    TruncateItem,
    UseOwnVoice,
)
from relay.call.call_config import Voice
from relay.call.conversation import words_at
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ModelFinished,
    ModelLost,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    Position,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StreamSid,
    VoiceBilled,
    VoiceFailed,
)
from relay.call.wording import ANSWER_BROKE_OFF
from tests.helpers.playbook import NOTICE, PLAIN, PLAN, PRICE, SPEECH_DBFS, Stage, tone

TEXT = "We are open tomorrow from eleven in the morning until ten at night."
R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")
ITEM = ItemId("item_1")
SPOKEN = replace(PLAIN, voice=Voice("another", 0.00005))


def positions(text: str, ms_a_character: float, until_ms: float = float("inf")) -> tuple[Position, ...]:
    """A position at the end of each word, up to `until_ms`. The voice takes the same time for each character."""
    ends = [at for at in range(1, len(text) + 1) if at == len(text) or text[at] == " "]
    return tuple(Position(end, end * ms_a_character) for end in ends if end * ms_a_character <= until_ms)


def talking(**plan: object) -> Stage:
    stage = Stage(replace(SPOKEN, **plan)).arrive(1_500)  # type: ignore[arg-type] # names of the plan
    stage.caller_says("what time", 1)
    stage.actions.clear()
    return stage


def write(stage: Stage, text: str = TEXT, response: ResponseId = R1, item: ItemId = ITEM) -> None:
    stage.tell(ResponseBegan(response, stage.machine.answers._asked_ref), ModelWorded(response, item, text))


def speak(stage: Stage, ms: int, where: tuple[Position, ...], *, whole: bool, ended: bool = True) -> None:
    stage.tell(ModelSpoke(R1, ITEM, tone(ms), float(ms), where))
    if whole:
        stage.tell(ModelFinished(R1, ITEM, b""))
    if whole and ended:
        stage.tell(ResponseEnded(R1, "completed", None, None))


def interrupt(stage: Stage, ms: int = 300) -> None:
    stage.level_dbfs = SPEECH_DBFS
    stage.wait(60)
    stage.tell(CallerSpoke(ItemId("caller_2"), 0))
    stage.wait(ms - 60)


def of(stage: Stage, *kinds: type[Action]) -> list[Action]:
    return [action for action in stage.actions if isinstance(action, kinds)]


def rows(stage: Stage) -> list[RecordTurn]:
    return [action for action in stage.actions if isinstance(action, RecordTurn) and action.role == "agent"]


def test_the_heard_words_of_an_interrupted_answer_come_from_its_positions_and_its_text_item_is_created_again() -> None:
    stage = talking()
    write(stage)
    # The voice begins slowly and ends quickly. So the heard words are others than those of the same share of the text.
    where = (Position(2, 900.0), Position(6, 1_020.0), Position(11, 1_500.0), Position(len(TEXT), 2_000.0))
    speak(stage, 4_000, where, whole=True)
    stage.wait(1_000)
    stage.actions.clear()

    interrupt(stage)  # heard: 1,060 ms

    assert of(stage, CreateItem, DeleteItem, TruncateItem) == [
        CreateItem(ItemId("item_1_h"), "assistant", "We are", behind=ITEM),
        DeleteItem(ITEM),
    ]
    (row,) = rows(stage)
    assert (row.said, row.heard, row.interrupted) == (TEXT, "We are", True)


def test_a_text_answer_that_was_not_heard_at_all_is_deleted_and_not_created_again() -> None:
    stage = talking()
    write(stage)
    speak(stage, 4_000, positions(TEXT, 50), whole=False)
    interrupt(stage)
    assert of(stage, CreateItem, DeleteItem) == [DeleteItem(ITEM)]
    assert of(stage, CancelResponse) == [CancelResponse(R1)]


def test_an_answer_that_was_heard_in_full_is_left_as_it_is() -> None:
    stage = talking()
    write(stage)
    speak(stage, 1_000, positions(TEXT, 1_000 / len(TEXT)), whole=True)
    stage.wait(1_200)
    assert [row.heard for row in rows(stage)] == [TEXT]
    interrupt(stage)
    assert of(stage, CreateItem, DeleteItem, TruncateItem) == []


def test_without_positions_the_heard_words_are_a_share_of_the_text_and_the_whole_text_at_the_end() -> None:
    stage = talking()
    write(stage)
    speak(stage, 1_000, (), whole=True)
    stage.wait(1_200)
    assert [row.heard for row in rows(stage)] == [TEXT]

    stage = talking()
    write(stage)
    speak(stage, 4_000, (), whole=True)
    stage.wait(2_000)
    interrupt(stage)
    (row,) = rows(stage)
    assert row.heard == "We are open tomorrow from eleven", "half of the text, cut at a word"


def test_if_a_position_is_inside_a_word_only_the_words_before_it_count_as_heard() -> None:
    said = "We are open."
    where = tuple(Position(at, at * 100.0) for at in range(1, len(said) + 1))  # a position for each character
    assert words_at(said, where, 99) == ""
    assert words_at(said, where, 200) == "We"
    assert words_at(said, where, 590) == "We"
    assert words_at(said, where, 600) == "We are"
    assert words_at(said, where, 700) == "We are"
    assert words_at(said, where, 1_150) == "We are"
    assert words_at(said, where, 1_200) == said


def test_another_voice_is_billed_by_characters_and_not_as_audio_of_the_model() -> None:
    stage = talking()
    before_usd = stage.machine.meter.usd
    write(stage)
    stage.tell(VoiceBilled(40))
    speak(stage, 4_000, positions(TEXT, 50), whole=False)
    stage.tell(VoiceBilled(27))
    text_usd = len(TEXT) / 4 * PRICE.text_out / 1e6  # an estimate, until the bill comes
    assert stage.machine.meter.usd - before_usd == pytest.approx(67 * 0.00005 + text_usd)
    stage.tell(ResponseEnded(R1, "completed", None, {"output_token_details": {"text_tokens": 1_000}}))
    assert stage.machine.meter.usd - before_usd == pytest.approx(67 * 0.00005 + 1_000 * PRICE.text_out / 1e6)
    bill = stage.machine.meter.bill()
    assert bill.usd_by["another"] == pytest.approx(67 * 0.00005)
    assert bill.tokens["characters"] == 67


def test_the_cost_of_characters_ends_a_call_at_its_cap_in_dollars() -> None:
    stage = talking(limits=replace(SPOKEN.limits, call_usd=0.01))
    stage.tell(VoiceBilled(1_000))
    stage.wait(200)
    assert any(isinstance(a, Report) and dict(a.fields).get("reason") == "cost_cap" for a in stage.actions)


def test_when_a_session_is_lost_while_its_text_is_spoken_the_words_with_audio_stay_in_the_conversation() -> None:
    stage = talking()
    write(stage)
    speak(stage, 1_000, positions(TEXT, 50, 1_000), whole=False)
    (past,) = [p for p in stage.machine.conversation.past() if p.role == "assistant" and p.text.startswith("We")]
    assert past.text == "We are open tomorrow"


def test_when_the_voice_is_lost_in_the_middle_of_an_answer_the_model_speaks_the_rest() -> None:
    stage = talking()
    write(stage)
    speak(stage, 1_000, positions(TEXT, 50, 1_000), whole=False)
    stage.wait(200)
    stage.actions.clear()

    stage.tell(VoiceFailed("dropped"))
    stage.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))

    done = of(stage, CreateItem, DeleteItem, CancelResponse, UseOwnVoice, AskForResponse)
    assert done[:4] == [
        CreateItem(ItemId("item_1_h"), "assistant", "We are open tomorrow", behind=ITEM),
        DeleteItem(ITEM),
        CancelResponse(R1),
        UseOwnVoice(),
    ]
    note, asked = done[4:]
    assert isinstance(note, CreateItem)
    assert note.text == ANSWER_BROKE_OFF
    assert isinstance(asked, AskForResponse)
    assert asked.ref.startswith("rest-")
    stage.wait(1_500)
    assert stage.ear.heard[ITEM] == 8_000, "audio that came is not heard to its end"
    (row,) = rows(stage)
    assert (row.said, row.heard) == (TEXT, "We are open tomorrow")
    assert stage.machine.call.voice_fault == "dropped"


def test_when_the_voice_is_lost_before_its_first_sound_a_phrase_comes_and_the_whole_answer_is_asked_for_again() -> None:
    stage = talking()
    write(stage)
    stage.tell(VoiceFailed("silent"))
    stage.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))
    created = [a.text for a in stage.actions if isinstance(a, CreateItem)]
    assert created == ["one moment again"], "the session was told words that nobody heard"
    assert DeleteItem(ITEM) in stage.actions
    (asked,) = of(stage, AskForResponse)
    assert isinstance(asked, AskForResponse)
    assert asked.ref.startswith("turn-")
    assert stage.machine.playout.is_speaking(stage.now)


def test_when_the_voice_is_lost_while_the_caller_waits_for_nothing_the_caller_hears_no_difference() -> None:
    stage = talking()
    stage.answer(1, 1_000, TEXT)
    stage.wait(1_500)
    stage.actions.clear()
    stage.tell(VoiceFailed("dropped"))
    assert of(stage, AskForResponse, CreateItem, DeleteItem, CancelResponse) == []
    assert of(stage, UseOwnVoice) == [UseOwnVoice()]
    assert stage.tell(VoiceFailed("dropped")) == [], "the loss is reported twice"


def test_a_voice_that_is_lost_after_the_end_of_the_call_is_not_counted_as_a_fault() -> None:
    stage = talking()
    write(stage)
    stage.tell(CallerLeft(EndReason.CALLER_HUNG_UP))
    assert UseOwnVoice() not in stage.tell(VoiceFailed("dropped"))
    assert stage.machine.call.voice_fault == ""


def test_a_response_asked_for_before_the_loss_of_the_voice_is_cancelled_when_it_begins_and_asked_for_again() -> None:
    stage = talking()
    assert stage.machine.answers.is_asked
    stage.tell(VoiceFailed("dropped"))
    stage.actions.clear()
    stage.tell(ResponseBegan(R1, stage.machine.answers._asked_ref))
    stage.tell(ResponseEnded(R1, "cancelled", "client_cancelled", None))
    assert [type(a) for a in of(stage, CancelResponse, AskForResponse)] == [CancelResponse, AskForResponse]


def test_when_the_voice_is_lost_after_a_function_call_no_rest_is_asked_for_because_the_output_gets_an_answer() -> None:
    stage = talking()
    write(stage, "Let me look.")
    stage.tell(FunctionAsked(R1, "call_1", "lookup_hours", "{}"))
    assert of(stage, RunFunction)
    stage.tell(VoiceFailed("silent"), ResponseEnded(R1, "cancelled", "client_cancelled", None))
    assert of(stage, AskForResponse) == []
    stage.tell(FunctionReturned("call_1", "lookup_hours", "{}", True, 10))
    (asked,) = of(stage, AskForResponse)
    assert isinstance(asked, AskForResponse)
    assert asked.ref.startswith("output-")


def test_when_the_voice_is_lost_during_a_goodbye_a_phrase_of_the_relay_says_goodbye_and_the_call_ends() -> None:
    stage = talking()
    write(stage, "Goodbye, and thank you for calling.")
    speak(stage, 300, (Position(8, 300.0),), whole=False)
    stage.tell(FunctionAsked(R1, "call_1", "end_call", "{}"))
    stage.tell(FunctionReturned("call_1", "end_call", "{}", True, 1, EndCall("done")))
    stage.tell(VoiceFailed("dropped"), ResponseEnded(R1, "cancelled", "client_cancelled", None))
    stage.wait(3_000)
    assert "goodbye" in [row.heard for row in rows(stage)]
    assert of(stage, HangUp)


def test_a_notice_that_was_cut_off_by_the_loss_of_the_voice_does_not_count_as_heard_and_is_said_again() -> None:
    live = replace(
        PLAN, voice=SPOKEN.voice, greeting=replace(PLAN.greeting, opening=replace(PLAN.greeting.opening, mulaw=None))
    )
    stage = Stage(live)
    stage.tell(ModelReady("sess_1", "mini", True), CallerArrived(StreamSid("MZ1")))
    greeting = live.greeting.text
    stage.tell(ResponseBegan(R1, "greeting"), ModelWorded(R1, ITEM, greeting))
    stage.tell(ModelSpoke(R1, ITEM, tone(400), 400.0, (Position(6, 400.0),)))
    stage.tell(VoiceFailed("dropped"), ResponseEnded(R1, "cancelled", "client_cancelled", None))
    stage.wait(2_500)
    assert of(stage, RecordConsent, LearnGreeting) == []
    (asked,) = of(stage, AskForResponse)
    assert isinstance(asked, AskForResponse)
    assert NOTICE in (asked.instructions or "")
    stage.answer(2, 2_000, greeting)
    stage.wait(4_000)
    assert of(stage, RecordConsent)


def test_a_notice_that_was_cut_off_by_the_loss_of_the_session_does_not_count_as_heard() -> None:
    opening = replace(PLAN.greeting.opening, mulaw=None)
    stage = Stage(replace(PLAN, voice=SPOKEN.voice, greeting=replace(PLAN.greeting, opening=opening)))
    stage.tell(ModelReady("sess_1", "mini", True), CallerArrived(StreamSid("MZ1")))
    stage.tell(ResponseBegan(R1, "greeting"), ModelWorded(R1, ITEM, stage.machine.plan.greeting.text))
    stage.tell(ModelSpoke(R1, ITEM, tone(400), 400.0, (Position(6, 400.0),)))
    stage.tell(ModelLost(1006, "gone"))
    stage.wait(1_500)
    assert stage.ear.heard[ITEM] == 3_200, "the notice was not played as far as its audio came"
    assert of(stage, RecordConsent) == []


def test_when_the_words_of_an_interruption_mean_nothing_the_rest_is_spoken_from_the_right_position() -> None:
    stage = talking()
    write(stage)
    speak(stage, 4_000, positions(TEXT, 4_000 / len(TEXT)), whole=True)
    stage.wait(1_000)
    stage.actions.clear()
    interrupt(stage, 400)
    stage.level_dbfs = -75.0
    stage.wait(500)
    stage.tell(CallerPaused(ItemId("caller_2"), 0), CallerCommitted(ItemId("caller_2"), None))
    stage.wait(500)
    stage.tell(CallerTranscribed(ItemId("caller_2"), "Mm-hmm."))
    heard = next(a.text for a in stage.actions if isinstance(a, CreateItem) and a.item_id == "item_1_h")
    rest = next(a.text for a in stage.actions if isinstance(a, CreateItem) and a.item_id.startswith("rest"))
    assert TEXT.startswith(heard)
    assert TEXT.endswith(rest)
    assert len(heard) + len(rest) <= len(TEXT)


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd, ", "e. "]), max_size=12), st.floats(0, 5_000))
def test_heard_words_are_whole_words_from_the_beginning_and_their_number_never_falls_with_time(
    words: list[str], heard_ms: float
) -> None:
    said = " ".join(words)
    where = positions(said, 40)
    heard, later = words_at(said, where, heard_ms), words_at(said, where, heard_ms + 333)
    assert said.startswith(heard)
    assert later.startswith(heard)
    assert heard == "" or said[len(heard) : len(heard) + 1] in ("", " ")
