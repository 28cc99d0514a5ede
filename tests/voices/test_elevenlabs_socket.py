"""Our client with the stand-in service: audio, positions, cuts, keep-alive, slots, and the name of every fault."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import dsp
from relay.call.vocabulary import ItemId
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import Voice, clips
from relay.voices.voice import Spoken, VoiceFault, VoiceUnavailable
from tests.helpers.voice_stage import ANSWER, KEY, VoiceStage, voice_stage, write

ITEM, NEXT = ItemId("item_1"), ItemId("item_2")


async def spoken(stage: VoiceStage, text: str, for_s: float = 10.0) -> tuple[bytes, Any]:
    voice, heard = await stage.speaking()
    write(voice, ITEM, text)
    await trio.sleep(for_s)
    return heard.sound(ITEM), heard


async def test_an_answer_that_is_sent_in_clauses_sounds_like_the_whole_answer(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        sound, heard = await spoken(stage, ANSWER)
        assert len(stage.service.connections[0].spoken) == 2  # the answer was sent in two clauses
        assert sound == Voice().say(ANSWER)
        assert heard.whole(ITEM)
        assert heard.lost is None
        assert ClipRecogniser(("agent",)).transcribe(dsp.decode(sound), 8000) == ANSWER


@pytest.mark.parametrize("spelling", ["mixed", "camel", "snake"])
async def test_the_positions_reach_the_end_of_the_text_whatever_the_spelling_of_the_keys(
    autojump_clock: MockClock, spelling: str
) -> None:
    async with voice_stage({"spelling": spelling}) as stage:
        sound, heard = await spoken(stage, ANSWER)
        positions = heard.positions(ITEM)
        assert positions[-1].chars == len(ANSWER)
        assert abs(positions[-1].item_ms - len(sound) / 8) < 100
        assert all(a.chars < b.chars and a.item_ms <= b.item_ms for a, b in itertools.pairwise(positions))
        half = next(p for p in positions if ANSWER[: p.chars].strip().endswith("tomorrow"))
        assert 0.35 < half.item_ms / (len(sound) / 8) < 0.6


async def test_positions_belong_to_the_models_text_although_other_words_are_spoken(
    autojump_clock: MockClock,
) -> None:
    text = "**It is $5** at 7 p.m. 😀 Fine?"
    async with voice_stage() as stage:
        _, heard = await spoken(stage, text)
        assert (
            stage.service.connections[0].texts["answer-1"].split() == "It is five dollars at seven p.m. Fine?".split()
        )
        ends = [text[: p.chars] for p in heard.positions(ITEM)]
        assert "**It is $5" in ends
        assert ends[-1] == text
        assert not any(end.endswith("$") for end in ends)


async def test_after_an_item_was_cut_no_more_of_its_audio_comes_and_the_next_item_is_complete(
    autojump_clock: MockClock,
) -> None:
    async with voice_stage({"faults": {"late_chunks": 3}}) as stage:
        voice, heard = await stage.speaking()
        write(voice, ITEM, ANSWER)
        await trio.sleep(0.25)
        assert heard.sound(ITEM)
        voice.cut(ITEM)
        cut_at = trio.current_time()
        write(voice, NEXT, "No problem. What can I do for you?")
        voice.say(ITEM, "And more. And more. And more.")
        await trio.sleep(10)
        assert not any(at > cut_at and isinstance(e, Spoken) and e.item_id == ITEM for at, e in heard.events)
        assert not heard.whole(ITEM)
        assert heard.sound(NEXT) == Voice().say("No problem. What can I do for you?")
        assert voice.late_audio > 3  # the service went on with both items, and sent more after their end
        assert heard.lost is None


async def test_several_interruptions_never_open_more_than_five_contexts(autojump_clock: MockClock) -> None:
    async with voice_stage({"pace": 1.0}) as stage:  # at the pace of speech, so that cut contexts speak on for seconds
        voice, heard = await stage.speaking()
        for number in range(9):
            write(voice, ItemId(f"item_{number}"), ANSWER)
            await trio.sleep(0.3)
            voice.cut(ItemId(f"item_{number}"))
        write(voice, NEXT, "No problem. What can I do for you?")
        await trio.sleep(0.3)
        assert heard.lost is None
        assert stage.service.connections[0].ended == ""


async def test_a_call_that_is_silent_for_minutes_keeps_its_voice(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        voice, heard = await stage.speaking()
        await trio.sleep(600)
        assert heard.lost is None
        write(voice, ITEM, ANSWER)
        await trio.sleep(10)
        assert heard.whole(ITEM)


async def test_a_voice_keeps_its_socket_alive_while_it_waits_for_its_call(
    autojump_clock: MockClock,
) -> None:
    async with voice_stage() as stage:
        voice = await stage.client.open()
        with trio.move_on_after(400):
            await voice.keep()
        assert not voice.is_lost
        assert stage.service.connections[0].ended == ""


async def test_an_item_without_words_counts_as_whole_at_once(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        voice, heard = await stage.speaking()
        voice.say(ITEM, "😀 **")
        voice.finish(ITEM)
        await trio.sleep(0.01)
        assert heard.whole(ITEM)
        assert voice.characters == 0


async def test_the_number_of_sent_characters_equals_the_services_count(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        voice, _ = await stage.speaking()
        write(voice, ITEM, "That is $5.")
        await trio.sleep(3)
        assert voice.characters == stage.service.characters == len("That is five dollars. ")


async def test_a_phrase_is_rendered_completely_and_then_its_socket_is_closed(autojump_clock: MockClock) -> None:
    async with voice_stage(slots=1) as stage:
        text = clips()["still_here"].text if "still_here" in clips() else "Are you still there?"
        assert await stage.client.render(text) == Voice().say(text)
        assert await stage.client.render(text) == Voice().say(text)
        assert stage.client.open_sockets == 0


async def test_the_client_adds_no_delay_to_the_services_first_sound(autojump_clock: MockClock) -> None:
    async with voice_stage({"first_audio_ms": [150, 150]}) as stage:
        voice, heard = await stage.speaking()
        began = trio.current_time()
        voice.say(ITEM, "I'm sorry, that ")
        await trio.sleep(1)
        first = next(at for at, e in heard.events if isinstance(e, Spoken))
        assert first - began == pytest.approx(0.150, abs=0.001)


# Faults. Each name says whose fault it is.

OPENING: list[tuple[dict[str, Any], VoiceFault]] = [
    ({"wrong_key": "http"}, VoiceFault.WRONG_KEY),
    ({"unknown_voice": "http"}, VoiceFault.UNKNOWN_VOICE),
    ({"no_slot": "http"}, VoiceFault.NO_SLOT),
    ({"connect_refused": True}, VoiceFault.UNREACHABLE),
    ({"connect_hangs": True}, VoiceFault.UNREACHABLE),
]


@pytest.mark.parametrize(("faults", "fault"), OPENING)
async def test_a_voice_that_cannot_be_opened_reports_the_reason_and_leaves_no_socket(
    autojump_clock: MockClock, faults: dict[str, Any], fault: VoiceFault
) -> None:
    async with voice_stage({"faults": faults}) as stage:
        with pytest.raises(VoiceUnavailable) as caught:
            await stage.client.open()
        assert caught.value.fault is fault
        assert bool(caught.value.do) == (fault is not VoiceFault.UNREACHABLE)
        assert KEY not in str(caught.value)
        assert stage.client.open_sockets == 0
        assert stage.client.trouble == str(caught.value)


SPEAKING: list[tuple[dict[str, Any], VoiceFault]] = [
    ({"wrong_key": "socket"}, VoiceFault.WRONG_KEY),
    ({"unknown_voice": "socket"}, VoiceFault.UNKNOWN_VOICE),
    ({"no_slot": "socket"}, VoiceFault.NO_SLOT),
    ({"quota_after": 50}, VoiceFault.QUOTA),
    ({"drops_after_ms": 700}, VoiceFault.DROPPED),
    ({"silent_after_ms": 0}, VoiceFault.SILENT),
    ({"silent_after_ms": 700}, VoiceFault.SILENT),
    ({"slow_ms": 2000}, VoiceFault.SILENT),
    ({"pace": 0.5}, VoiceFault.SLOW),
    ({"error_after_ms": 700}, VoiceFault.REFUSED),
    ({"json_after_ms": 0}, VoiceFault.BAD_AUDIO),
    ({"json_after_ms": 700}, VoiceFault.BAD_AUDIO),
    ({"riff": True}, VoiceFault.BAD_AUDIO),
    ({"wrong_format": "pcm_8000"}, VoiceFault.BAD_AUDIO),
    ({"wrong_format": "pcm_16000"}, VoiceFault.BAD_AUDIO),
    ({"wrong_format": "mp3"}, VoiceFault.BAD_AUDIO),
    ({"wrong_format": "empty"}, VoiceFault.SILENT),
]


@pytest.mark.parametrize(("faults", "fault"), SPEAKING)
async def test_a_voice_that_fails_reports_whose_fault_it_is_and_does_not_pass_noise_on(
    autojump_clock: MockClock, faults: dict[str, Any], fault: VoiceFault
) -> None:
    async with voice_stage({"faults": faults}) as stage:
        sound, heard = await spoken(stage, ANSWER)
        assert heard.lost is not None
        assert heard.lost.fault is fault
        assert heard.lost.unspoken in ((ITEM,), ())  # empty if the voice was lost before it got any text
        assert Voice().say(ANSWER).startswith(sound)
        assert [e for _, e in heard.events][-1] is heard.lost
        assert KEY not in heard.lost.words


async def test_a_service_that_becomes_silent_is_given_up_before_the_caller_waits_900_ms(
    autojump_clock: MockClock,
) -> None:
    async with voice_stage({"faults": {"silent_after_ms": 700}}) as stage:
        sound, heard = await spoken(stage, ANSWER)
        first = next(at for at, e in heard.events if isinstance(e, Spoken))
        lost_at = next(at for at, e in heard.events if e is heard.lost)
        assert lost_at - (first + len(sound) / 8000) < 0.9


async def test_without_an_alignment_the_audio_is_whole_and_no_position_is_known(autojump_clock: MockClock) -> None:
    async with voice_stage({"faults": {"no_alignment": True}}) as stage:
        sound, heard = await spoken(stage, ANSWER)
        assert sound == Voice().say(ANSWER)
        assert heard.whole(ITEM)
        assert heard.positions(ITEM) == []


async def test_an_item_counts_as_whole_although_its_contexts_last_message_never_comes(
    autojump_clock: MockClock,
) -> None:
    async with voice_stage({"faults": {"never_final": True}}) as stage:
        voice, heard = await stage.speaking()
        for number in range(8):
            item = ItemId(f"item_{number}")
            write(voice, item, "No problem. What can I do for you?")
            await trio.sleep(5)
            assert heard.whole(item)
        assert heard.lost is None


async def test_a_long_answer_counts_as_whole_while_it_is_still_played(autojump_clock: MockClock) -> None:
    async with voice_stage({"faults": {"never_final": True}}) as stage:
        sound, heard = await spoken(stage, ANSWER, for_s=2.5)
        assert len(sound) > 4 * 8000
        assert heard.whole(ITEM)


async def test_a_service_that_stops_while_much_audio_waits_is_given_up_within_six_seconds(
    autojump_clock: MockClock,
) -> None:
    text = " ".join([ANSWER] * 5)
    async with voice_stage({"pace": 20, "faults": {"silent_after_ms": 15_000}}) as stage:
        _, heard = await spoken(stage, text, for_s=30)
        last = max(at for at, e in heard.events if isinstance(e, Spoken))
        lost_at = next(at for at, e in heard.events if e is heard.lost)
        assert lost_at - last < 6


async def test_a_model_that_writes_slowly_does_not_count_as_a_fault_of_the_service(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        voice, heard = await stage.speaking()
        for word in ANSWER.split():
            voice.say(ITEM, f"{word} ")
            await trio.sleep(0.9)
        voice.finish(ITEM)
        await trio.sleep(10)
        assert heard.lost is None
        assert heard.whole(ITEM)
        assert "".join(stage.service.connections[0].texts["answer-1"].split()) == "".join(ANSWER.split())


async def test_unknown_keys_do_no_harm(autojump_clock: MockClock) -> None:
    async with voice_stage({"faults": {"unknown_keys": True}}) as stage:
        sound, heard = await spoken(stage, ANSWER)
        assert sound == Voice().say(ANSWER)
        assert heard.lost is None


async def test_when_all_our_slots_are_taken_no_socket_is_opened(autojump_clock: MockClock) -> None:
    async with voice_stage(slots=2) as stage:
        first, _ = await stage.client.open(), await stage.client.open()
        with pytest.raises(VoiceUnavailable) as caught:
            await stage.client.open()
        assert caught.value.fault is VoiceFault.NO_SLOT
        assert len(stage.service.connections) == 2
        await first.close()
        await stage.client.open()


async def test_when_the_account_has_no_free_slot_the_services_error_is_reported(autojump_clock: MockClock) -> None:
    async with voice_stage({"slots": 1}) as stage:
        await stage.client.open()
        with pytest.raises(VoiceUnavailable) as caught:
            await stage.client.open()
        assert caught.value.fault is VoiceFault.NO_SLOT
        assert stage.client.open_sockets == 1


async def test_closing_a_voice_closes_its_socket_politely_and_frees_its_slot_once(autojump_clock: MockClock) -> None:
    async with voice_stage() as stage:
        voice, heard = await stage.speaking()
        await voice.close()
        await voice.close()
        await trio.sleep(1)
        assert stage.service.connections[0].story == ["closes"]
        assert stage.client.open_sockets == 0
        assert heard.lost is None  # the close was intended
