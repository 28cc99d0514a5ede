"""Answers that the model writes and a voice speaks: what goes to the voice, and when the call gets each event."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from relay.call.vocabulary import (
    CallSid,
    Event,
    FunctionAsked,
    ItemId,
    ModelFinished,
    ModelSpoke,
    Position,
    ResponseEnded,
    ResponseId,
    VoiceBilled,
    VoiceFailed,
)
from relay.realtime import protocol
from relay.session.spoken_answers import EARLY_CHARACTERS, Cut, SpokenAnswers
from relay.session.warm_voices import WarmVoices
from relay.voices.voice import Spoken, SpokenWhole, Voice, VoiceEvent, VoiceFault, VoiceLost, VoiceUnavailable

CALL = CallSid("CA1")
R1, R2 = ResponseId("resp_1"), ResponseId("resp_2")
FIRST, SECOND = ItemId("item_1"), ItemId("item_2")
HALF_S = b"\x55" * 4_000


class ByHand:
    """A voice whose events come from the test. `orders` lists what the voice was told to do."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, ...]] = []
        self.characters = 0
        self.is_lost = False
        self.closed = 0
        self._told, self._tells = trio.open_memory_channel[VoiceEvent](100)

    def say(self, item_id: ItemId, text: str) -> None:
        self.orders.append(("say", item_id, text))
        self.characters += len(text)

    def finish(self, item_id: ItemId) -> None:
        self.orders.append(("finish", item_id))

    def cut(self, item_id: ItemId) -> None:
        self.orders.append(("cut", item_id))

    def tick(self) -> None:
        self.orders.append(("tick",))

    async def keep(self) -> None:
        await trio.sleep_forever()

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        async for event in self._tells:
            await tell(event)

    async def speaks(self, *events: VoiceEvent) -> None:
        for event in events:
            self._told.send_nowait(event)
        await trio.testing.wait_all_tasks_blocked()

    async def close(self) -> None:
        self.closed += 1


class Source:
    """Opens a `ByHand` voice after `delay_s`."""

    name, usd_per_character = "by hand", 0.0

    def __init__(self, voice: ByHand | None = None, delay_s: float = 0.0) -> None:
        self.voice, self._delay_s = voice, delay_s
        self.opened = 0

    async def open(self) -> Voice:
        await trio.sleep(self._delay_s)
        self.opened += 1
        if self.voice is None:
            raise VoiceUnavailable(VoiceFault.WRONG_KEY, "the key is wrong", "set another")
        return self.voice

    async def render(self, text: str) -> bytes:
        return b""


class Play:
    """The spoken answers under test, between a voice that the test controls and a call that only collects events."""

    def __init__(self, source: Source) -> None:
        self.heard: list[Event] = []
        self.kept: list[bytes] = []
        self.unwanted: set[ItemId] = set()
        self.early: set[ResponseId] = set()
        self.spoken = SpokenAnswers(
            self._feed, self._wants, lambda _, mulaw: self.kept.append(mulaw), lambda response: response in self.early
        )
        self.voices = WarmVoices(source)

    def _feed(self, event: Event) -> None:
        self.heard.append(event)

    def _wants(self, response_id: ResponseId, item_id: ItemId) -> bool:
        return item_id not in self.unwanted

    async def model(self, type_: str, **fields: object) -> bool:
        return self.spoken.takes(*protocol.parse(json.dumps({"type": type_, **fields}).encode()))

    async def writes(self, text: str, item: ItemId = FIRST, response: ResponseId = R1) -> None:
        await self.model(protocol.TEXT_DELTA, response_id=response, item_id=item, delta=text)

    async def calls(self, response: ResponseId = R1) -> bool:
        item = {"type": "function_call", "status": "completed", "call_id": "call_1", "name": "look", "arguments": "{}"}
        return await self.model(protocol.ITEM_DONE, response_id=response, item=item)

    async def ends(self, response: ResponseId = R1, status: str = "completed") -> None:
        usage = {"input_tokens": 7}
        await self.model(protocol.RESPONSE_DONE, response={"id": response, "status": status, "usage": usage})


async def begun(nursery: trio.Nursery, source: Source) -> Play:
    play = Play(source)
    nursery.start_soon(play.spoken.run, play.voices, CALL)
    await trio.testing.wait_all_tasks_blocked()
    return play


async def test_the_end_of_an_answer_is_reported_when_its_last_audio_has_come() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("We are ")
        await play.writes("open.")
        await play.model(protocol.TEXT_DONE, response_id=R1, item_id=FIRST, text="We are open.")
        await play.ends()
        assert voice.orders == [("say", FIRST, "We are "), ("say", FIRST, "open."), ("finish", FIRST)]
        assert not any(isinstance(event, ResponseEnded) for event in play.heard)

        where = (Position(6, 300.0),)
        await voice.speaks(Spoken(FIRST, HALF_S, where), Spoken(FIRST, HALF_S), SpokenWhole(FIRST))
        assert play.heard[-4:] == [
            ModelSpoke(R1, FIRST, HALF_S, 500.0, where),
            ModelSpoke(R1, FIRST, HALF_S, 1_000.0, ()),
            ModelFinished(R1, FIRST, b""),
            ResponseEnded(R1, "completed", None, {"input_tokens": 7}),
        ]
        assert play.kept == [HALF_S, HALF_S]
        assert sum(event.characters for event in play.heard if isinstance(event, VoiceBilled)) == 12
        nursery.cancel_scope.cancel()
    assert voice.closed == 1


async def test_an_answer_without_words_ends_at_once_and_other_events_go_to_the_call() -> None:
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(ByHand()))
        await play.ends()
        assert play.heard == [ResponseEnded(R1, "completed", None, {"input_tokens": 7})]
        assert not await play.model("response.created", response={"id": R2})
        nursery.cancel_scope.cancel()


async def test_if_the_model_has_ended_an_answer_only_the_voice_is_told_of_a_cut_and_late_audio_is_ignored() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("We are open.")
        await play.ends()
        cut = play.spoken.cut(R1)
        assert cut.has_ended
        (ended,) = cut.waited
        assert isinstance(ended, ResponseEnded)
        assert (ended.status, ended.usage) == ("cancelled", {"input_tokens": 7})
        assert voice.orders[-1] == ("cut", FIRST)
        told = len(play.heard)
        await voice.speaks(Spoken(FIRST, HALF_S), SpokenWhole(FIRST))
        assert play.heard[told:] == []
        assert play.kept == []
        assert play.spoken.cut(R1) == Cut([], False)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_the_model_still_writes_is_cancelled_at_the_model() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("We are ")
        assert play.spoken.cut(R1) == Cut([], False)
        play.unwanted.add(FIRST)
        await play.writes("open.")
        await play.ends(status="cancelled")
        assert voice.orders == [("say", FIRST, "We are "), ("cut", FIRST)], "late text went to the voice"
        assert isinstance(play.heard[-1], ResponseEnded)
        nursery.cancel_scope.cancel()


async def test_a_function_call_after_words_is_reported_when_the_words_sound_and_a_call_without_words_at_once() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("Let me look.")
        assert await play.calls(), "the function did not wait for the words"
        await play.ends()
        assert not [event for event in play.heard if isinstance(event, FunctionAsked)]
        await voice.speaks(Spoken(FIRST, HALF_S))
        assert [type(event).__name__ for event in play.heard[-2:]] == ["ModelSpoke", "FunctionAsked"]
        await voice.speaks(SpokenWhole(FIRST))
        assert [type(event).__name__ for event in play.heard[-2:]] == ["ModelFinished", "ResponseEnded"]
        assert not await play.calls(R2), "the function waited although there are no words"
        nursery.cancel_scope.cancel()


async def test_a_function_call_is_also_reported_if_its_words_are_cut_before_they_sound_so_that_it_gets_an_output() -> (
    None
):
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(ByHand()))
        await play.writes("Let me look.")
        await play.calls()
        cut = play.spoken.cut(R1)
        assert [type(event) for event in cut.waited] == [FunctionAsked]
        assert not cut.has_ended, "the answer counts as ended although the model still writes it"
        nursery.cancel_scope.cancel()


async def test_the_second_message_of_an_answer_is_reported_after_the_first_even_if_it_is_spoken_sooner() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("One. ", FIRST)
        await play.writes("Two.", SECOND)
        await play.ends()
        await voice.speaks(Spoken(SECOND, HALF_S), SpokenWhole(SECOND), Spoken(FIRST, HALF_S), SpokenWhole(FIRST))
        sound = [event for event in play.heard if isinstance(event, ModelSpoke | ModelFinished | ResponseEnded)]
        assert [type(event).__name__ for event in sound] == [
            "ModelSpoke", "ModelFinished", "ModelSpoke", "ModelFinished", "ResponseEnded",
        ]  # fmt: skip
        assert [event.item_id for event in sound if isinstance(event, ModelSpoke)] == [FIRST, SECOND]
        nursery.cancel_scope.cancel()


async def test_text_that_comes_before_the_voice_is_spoken_when_the_voice_is_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice, 0.4))
        await play.writes("We are ")
        await play.writes("open.")
        await play.ends()
        assert voice.orders == []
        await trio.sleep(0.5)
        assert voice.orders == [("say", FIRST, "We are "), ("say", FIRST, "open."), ("finish", FIRST)]
        assert VoiceBilled(12, R1) in play.heard
        nursery.cancel_scope.cancel()


async def test_the_voice_gets_the_beginning_of_an_early_answer_and_the_rest_after_the_callers_turn() -> None:
    voice = ByHand()
    beginning = "b" * EARLY_CHARACTERS
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        play.early.add(R1)
        await play.writes(beginning)
        await play.writes(" and the")
        await play.writes(" rest.")
        await play.ends()
        play.spoken.tick(trio.current_time())
        assert voice.orders == [("say", FIRST, beginning), ("tick",)]
        play.early.clear()
        play.spoken.tick(trio.current_time())
        assert voice.orders[2:] == [("say", FIRST, " and the"), ("say", FIRST, " rest."), ("finish", FIRST), ("tick",)]
        assert sum(e.characters for e in play.heard if isinstance(e, VoiceBilled)) == EARLY_CHARACTERS + 14
        nursery.cancel_scope.cancel()


async def test_if_an_early_answer_is_taken_back_its_rest_is_not_sent_to_the_voice_and_costs_nothing() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        play.early.add(R1)
        await play.writes("b" * EARLY_CHARACTERS)
        await play.writes(" and the rest.")
        play.spoken.cut(R1)
        play.early.clear()
        play.spoken.tick(trio.current_time())
        assert voice.characters == EARLY_CHARACTERS
        assert VoiceBilled(EARLY_CHARACTERS, R1) in play.heard
        nursery.cancel_scope.cancel()


async def test_a_voice_that_is_not_ready_in_time_counts_as_lost_and_is_closed_when_it_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice, 2.0))
        await play.writes("We are open.")
        await trio.sleep(0.5)
        play.spoken.tick(trio.current_time())
        assert VoiceFailed("unreachable") not in play.heard
        await trio.sleep(0.2)
        play.spoken.tick(trio.current_time())
        assert VoiceFailed("unreachable") in play.heard
        await trio.sleep(2.0)
        assert voice.closed == 1
        assert voice.orders == []


async def test_a_voice_that_cannot_be_opened_is_reported_with_its_reason() -> None:
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(None))
        assert play.heard == [VoiceFailed("wrong_key")]


async def test_the_loss_of_the_voice_is_reported_once_and_then_the_ends_of_the_answers_that_it_did_not_speak() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("We are open.")
        await play.ends()
        await voice.speaks(VoiceLost(VoiceFault.DROPPED, "gone", "", (FIRST,)), VoiceLost(VoiceFault.SILENT, "again"))
        failed = [event for event in play.heard if isinstance(event, VoiceFailed | ResponseEnded)]
        assert failed == [
            VoiceFailed("dropped"),
            ResponseEnded(R1, "incomplete", "not spoken to its end", {"input_tokens": 7}),
        ]
        await play.writes("More.", SECOND, R2)
        assert [order for order in voice.orders if order[0] == "say"] == [("say", FIRST, "We are open.")]
        nursery.cancel_scope.cancel()


async def test_after_the_end_of_a_session_no_waiting_words_are_spoken_but_its_bills_count() -> None:
    voice = ByHand()
    async with trio.open_nursery() as nursery:
        play = await begun(nursery, Source(voice))
        await play.writes("We are open.")
        await play.ends()
        (ended,) = play.spoken.forget()
        assert isinstance(ended, ResponseEnded)
        assert (ended.status, ended.usage) == ("incomplete", {"input_tokens": 7})
        assert voice.orders[-1] == ("cut", FIRST)
        assert play.spoken.forget() == []
        nursery.cancel_scope.cancel()


# Voices that were opened while the phone rang


async def test_a_voice_is_opened_while_the_phone_rings_and_can_be_claimed_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    source = Source(ByHand(), 0.3)
    warm = WarmVoices(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(warm.run)
        warm.ring(CALL, trio.current_time())
        warm.ring(CALL, trio.current_time())
        await trio.sleep(1.0)
        assert source.opened == 1
        began = trio.current_time()
        assert await warm.claim(CALL) is source.voice
        assert trio.current_time() == began, "the claim waited although the voice was ready"
        assert await warm.claim(CALL) is source.voice
        assert source.opened == 2, "a call without a kept voice must open one"
        nursery.cancel_scope.cancel()


async def test_a_voice_that_no_call_claims_frees_its_slot(autojump_clock: trio.testing.MockClock) -> None:
    voice = ByHand()
    warm = WarmVoices(Source(voice))
    async with trio.open_nursery() as nursery:
        await nursery.start(warm.run)
        warm.ring(CALL, trio.current_time())
        await trio.sleep(29.0)
        assert voice.closed == 0
        await trio.sleep(2.0)
        assert voice.closed == 1
        warm.ring(CALL, trio.current_time())
        await trio.sleep(1.0)
        warm.release(CALL)
        await trio.sleep(0.1)
        assert voice.closed == 2
        nursery.cancel_scope.cancel()


async def test_if_a_call_ends_while_it_waits_for_its_voice_no_voice_stays_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voice = ByHand()
    warm = WarmVoices(Source(voice, 1.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(warm.run)
        warm.ring(CALL, trio.current_time())
        with trio.move_on_after(0.5):
            await warm.claim(CALL)
        await trio.sleep(1.0)
        assert voice.closed == 0, "a voice that was never opened was closed"
        nursery.cancel_scope.cancel()
