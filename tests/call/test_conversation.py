"""What was said, in the conversation's own order, and how much of it was heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.call.actions import CreateFunctionPair, CreateItem
from relay.call.call_config import PastTurn
from relay.call.conversation import Conversation, heard_words
from relay.call.vocabulary import ItemId

SAID = "We are open from eleven until ten at night."
A, B, C = ItemId("a"), ItemId("b"), ItemId("c")


@given(st.text(alphabet="ab ", max_size=60), st.floats(0, 5_000), st.floats(0, 6_000), st.booleans())
def test_the_heard_words_are_whole_words_from_the_beginning_of_the_said_words(
    said: str, said_ms: float, heard_ms: float, complete: bool
) -> None:
    heard = heard_words(said, said_ms, heard_ms, complete)
    assert said.startswith(heard)
    assert heard == said or heard == "" or said[len(heard)].isspace()


def test_all_words_are_heard_at_the_end_of_the_audio_and_none_at_its_beginning() -> None:
    assert heard_words(SAID, 3_000, 2_999.5) == SAID
    assert heard_words(SAID, 3_000, 0) == ""
    assert heard_words(SAID, 0, 100) == ""
    assert heard_words(SAID, 3_000, 1_500) == "We are open from"


def test_while_audio_is_still_missing_the_heard_words_are_estimated_by_the_pace_of_speech() -> None:
    assert heard_words(SAID, 500, 500, complete=False) == "We are"
    assert heard_words(SAID, 500, 500, complete=True) == SAID


def test_turns_have_the_order_of_the_conversation_and_keep_their_numbers() -> None:
    talk = Conversation((), 7)
    talk.place(A, "agent", None, 0)
    talk.place(C, "agent", None, 10)
    talk.place(B, "caller", A, 20)  # its words come last, but it was the second turn
    assert [(turn.item_id, turn.seq) for turn in talk.turns()] == [(A, 7), (B, 12), (C, 17)]
    assert talk.place(A, "agent", None, 30).seq == 7
    assert talk.next_seq == 27


@given(st.lists(st.integers(0, 30), max_size=30))
def test_rows_that_are_sorted_by_their_number_have_the_order_of_the_conversation(places: list[int]) -> None:
    talk = Conversation((), 0)
    for number, place in enumerate(places):
        talk.place(ItemId(f"i{number}"), "caller", ItemId(f"i{place}"), 0)  # behind this item, or at the end
        numbers = [turn.seq for turn in talk.turns()]
        assert len(set(numbers)) == len(numbers)
        if number < 4:  # the distance between two numbers can be halved three times; after that, the order is not kept
            assert numbers == sorted(numbers)


def test_a_function_call_stays_with_the_turn_that_made_it() -> None:
    talk = Conversation((), 0)
    talk.place(A, "caller", None, 0).said = "a table"
    talk.called("call_1", "book", "{}")
    talk.place(B, "caller", A, 0).said = "please"
    assert [past.role for past in talk.past()] == ["user", "function", "user"]


def test_the_history_for_a_new_session_has_the_heard_words_and_no_deleted_item() -> None:
    talk = Conversation((PastTurn("user", "before"),), 0)
    agent = talk.place(A, "agent", None, 0)
    agent.said, agent.heard = SAID, "We are"
    talk.place(B, "caller", None, 0).said = "cough"
    talk.drop(B)
    talk.drop(B)
    talk.noted("user", "[keys: 1]")
    unheard = talk.place(C, "agent", None, 0)
    unheard.said, unheard.heard = "never", ""
    assert [past.text for past in talk.past()] == ["before", "We are", "[keys: 1]"]


def test_a_new_session_gets_the_whole_history_and_each_old_item_gets_a_new_id() -> None:
    talk = Conversation((), 0)
    talk.place(A, "agent", None, 0).said = "Hello."
    talk.called("call_1", "hours", "{}")
    talk.called("call_2", "book", "{}")
    talk.returned("call_1", '{"open": true}')
    talk.returned("unknown", "{}")
    items, ids = talk.replay("r2_")
    assert items == [
        CreateItem(ItemId("r2_0"), "assistant", "Hello."),
        CreateFunctionPair("call_1", "hours", "{}", '{"open": true}'),
        CreateFunctionPair("call_2", "book", "{}", None),
    ]
    assert ids == {A: "r2_0"}
    assert talk.knows_call("call_2")
    assert not talk.knows_call("call_3")


def test_a_callers_turn_without_words_is_marked_as_missing_words() -> None:
    talk = Conversation((), 0)
    assert not talk.words_are_missing()
    talk.place(A, "agent", None, 0).said = "Hello."
    turn = talk.place(B, "caller", None, 0)
    assert talk.words_are_missing()
    turn.said = "Hi."
    assert not talk.words_are_missing()
    assert talk.lately_said() == "Hello."
