"""The contexts of one socket, without the socket. Whatever the service sends, no audio of a cut item comes out."""

from __future__ import annotations

import json
from typing import Any

import pybase64
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.call.vocabulary import ItemId
from relay.voices.speaking import CONTEXTS, Speaking
from relay.voices.voice import Spoken, SpokenWhole, VoiceFault, VoiceLost

ITEMS = st.sampled_from([ItemId(f"item_{n}") for n in range(6)])
# Nearly each of these texts is a clause by itself, so it is sent at once. Only sent text gets audio.
TEXTS = st.sampled_from(["I'm sorry, that ", "Of course. I ", "We are open now from eleven ", "$5. It ", "", "😀 "])


def audio(context_id: str, text: str = "", size: int = 160) -> bytes:
    table: dict[str, Any] = {"audio": pybase64.b64encode(b"\xd5" * size).decode(), "contextId": context_id}
    if text:
        step = size / 8 / len(text)
        starts = [round(step * n) for n in range(len(text))]
        table["alignment"] = {"chars": list(text), "charStartTimesMs": starts, "charDurationsMs": [1] * len(text)}
    return json.dumps(table).encode()


def final(context_id: str) -> bytes:
    return json.dumps({"is_final": True, "context_id": context_id}).encode()


class AnyService(RuleBasedStateMachine):
    """A call that says and cuts items at random, and a service that sends audio of any context that it ever got."""

    def __init__(self) -> None:
        super().__init__()
        self.speaking = Speaking()
        self.speaking.begin(0.0)
        self.now = 0.0
        self.open: set[str] = set()
        self.seen: list[str] = []
        self.closed: set[str] = set()
        self.cut_items: set[ItemId] = set()
        self.whole: set[ItemId] = set()

    @rule(item=ITEMS, text=TEXTS)
    def say(self, item: ItemId, text: str) -> None:
        self.speaking.say(item, text, self.now)

    @rule(item=ITEMS)
    def finish(self, item: ItemId) -> None:
        self.speaking.finish(item, self.now)

    @rule(item=ITEMS)
    def cut(self, item: ItemId) -> None:
        self.speaking.cut(item, self.now)
        if item not in self.whole:
            self.cut_items.add(item)

    @rule(number=st.integers(0, 40), text=st.sampled_from(["", "I'm sorry, ", "x"]))
    def sound_of_any_context(self, number: int, text: str) -> None:
        if self.seen:
            self.speaking.received(audio(self.seen[number % len(self.seen)], text), self.now)

    @rule(number=st.integers(0, 40))
    def the_end_of_any_context(self, number: int) -> None:
        if self.seen:
            context_id = self.seen[number % len(self.seen)]
            self.open.discard(context_id)
            self.speaking.received(final(context_id), self.now)

    @rule(by_s=st.sampled_from([0.02, 0.02, 0.1, 0.55]))
    def time_passes(self, by_s: float) -> None:
        self.now += by_s
        self.speaking.tick(self.now)

    @invariant()
    def nothing_of_what_was_cut_comes_out(self) -> None:
        while (event := self.speaking.next_event()) is not None:
            if not isinstance(event, VoiceLost):
                assert event.item_id not in self.cut_items
                assert event.item_id not in self.whole
            if isinstance(event, SpokenWhole):
                self.whole.add(event.item_id)

    @invariant()
    def no_more_contexts_are_opened_than_the_service_allows(self) -> None:
        for message in self.speaking.take():
            table = json.loads(message)
            context_id = table.get("context_id")
            if table.get("text") == " ":
                assert context_id not in self.seen
                self.seen.append(context_id)
                self.open.add(context_id)
            elif table.get("text"):
                assert context_id in self.seen
                assert context_id not in self.closed
                assert "voice_settings" not in table
            elif table.get("close_context"):
                assert context_id not in self.closed
                self.closed.add(context_id)
        assert len(self.open) <= CONTEXTS + 1 or self.now > 10  # a context without an end is given up after 10 s


TestAnyService = AnyService.TestCase


def test_the_positions_of_a_second_piece_follow_the_positions_of_the_first_piece() -> None:
    speaking = Speaking()
    speaking.say(ItemId("a"), "No way. Oh", 0.0)
    speaking.received(audio("answer-1", "No ", 800), 0.2)
    speaking.received(audio("answer-1", "way. ", 800), 0.2)
    events = [speaking.next_event(), speaking.next_event()]
    assert all(isinstance(event, Spoken) for event in events)
    places = [p for event in events if isinstance(event, Spoken) for p in event.positions]
    assert [p.chars for p in places] == [2, 6, 7]
    assert places[0].item_ms < 100 < places[1].item_ms < 200


def test_audio_that_was_not_reported_before_its_item_was_cut_is_never_reported() -> None:
    speaking = Speaking()
    speaking.say(ItemId("a"), "No way. Oh", 0.0)
    speaking.say(ItemId("b"), "Of course. I", 0.0)
    speaking.received(audio("answer-1"), 0.2)
    speaking.received(audio("answer-2"), 0.2)
    speaking.cut(ItemId("a"), 0.2)
    event = speaking.next_event()
    assert isinstance(event, Spoken)
    assert event.item_id == "b"
    assert speaking.next_event() is None


def test_text_that_comes_after_the_end_of_an_item_is_not_sent() -> None:
    speaking = Speaking()
    speaking.say(ItemId("a"), "No way. ", 0.0)
    speaking.finish(ItemId("a"), 0.0)
    speaking.take()
    speaking.say(ItemId("a"), "And this is a sentence of more than forty characters. And more.", 0.0)
    assert speaking.take() == []


def test_an_alignment_with_other_blanks_than_the_text_still_gives_the_positions() -> None:
    speaking = Speaking()
    speaking.say(ItemId("a"), "No way. Oh", 0.0)
    speaking.received(audio("answer-1", "  No  way .", 800), 0.2)
    event = speaking.next_event()
    assert isinstance(event, Spoken)
    assert event.positions[-1].chars == 7


def test_invalid_messages_are_counted_and_do_no_harm() -> None:
    speaking = Speaking()
    speaking.say(ItemId("a"), "No way. Oh", 0.0)
    for rubbish in (b"", b"[]", b"{", b'{"audio": 5}', b'{"audio": "!!!", "contextId": "answer-1"}', b"\xff\xfe"):
        speaking.received(rubbish, 0.1)
    assert not speaking.is_lost
    assert speaking.bad_messages == 6
    odd: object
    for odd in ({"chars": 5}, {"chars": ["a"], "charStartTimesMs": [0, 1], "charDurationsMs": [1]}, "x", {"chars": []}):
        table: dict[str, Any] = {
            "audio": pybase64.b64encode(b"\xff" * 80).decode(),
            "contextId": "answer-1",
            "alignment": odd,
        }
        speaking.received(json.dumps(table).encode(), 0.2)
    assert speaking.next_event() == Spoken(ItemId("a"), b"\xff" * 80)


def test_an_error_names_the_fault_and_never_quotes_a_key() -> None:
    speaking = Speaking()
    told = {"message": "The key sk_abcdef0123 is wrong", "error": "invalid_api_key", "code": 1008}
    speaking.received(json.dumps(told).encode(), 0.1)
    lost = speaking.next_event()
    assert isinstance(lost, VoiceLost)
    assert (lost.fault, "ELEVENLABS_API_KEY" in lost.do) == (VoiceFault.WRONG_KEY, True)
    assert "abcdef" not in lost.words


def test_an_error_of_an_unknown_form_counts_as_an_error() -> None:
    for told in ({"error": "new_thing", "message": "?"}, {"code": 1011}, {"detail": {"status": "system_busy"}}):
        speaking = Speaking()
        speaking.received(json.dumps(told).encode(), 0.1)
        lost = speaking.next_event()
        assert isinstance(lost, VoiceLost)
        assert lost.fault is VoiceFault.REFUSED
