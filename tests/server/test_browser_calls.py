"""A test call from the page "Talk to it" works like any call. It is marked as a test, and causes no news."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import dsp
from relay.business.diary import MemoryDiary
from relay.ledger import rows
from relay.notify.news import News
from relay.server import browser_calls
from relay.standin.elevenlabs.voice_script import VoiceScript
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.transport.handshake import Refused
from tests.helpers.browser_caller import LOCAL, OWN, BrowserCaller, ask, browser_call, open_console, open_socket
from tests.helpers.play import ANOTHER_VOICE, Play, stage

NUMBER = "+12125550107"


def understood(caller: BrowserCaller) -> list[str]:
    """The clips of the agent's sentences that were played to their end."""
    return [heard.clip.id for heard in ClipRecogniser(("agent",)).hear(dsp.decode(caller.heard()), 8000)]


async def say(caller: BrowserCaller, clip: str) -> None:
    await trio.sleep_until(caller.say(clip))


async def book(caller: BrowserCaller) -> None:
    await caller.until_quiet()
    await say(caller, "ask_booking")
    await caller.until_quiet()
    await say(caller, "yes_right")
    await caller.until_quiet(3.0)


def outcome_of(play: Play) -> rows.OutcomeRow:
    (found,) = play.ledger.of(rows.OutcomeRow)
    return found


def figure(play: Play, name: str) -> list[str]:
    """The lines of a metric whose value is not zero."""
    lines = play.daemon.desk.metrics.text().decode().splitlines()
    return [line for line in lines if line.startswith(name) and float(line.rpartition(" ")[2])]


async def test_a_caller_in_the_browser_can_ask_and_interrupt_and_book_and_hears_the_goodbye(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as caller:
            await caller.until_quiet()
            await say(caller, "ask_hours")
            await trio.sleep(4.0)  # in the middle of the answer
            await say(caller, "oh_wait")
            await book(caller)
            await say(caller, "bye")
            await caller.is_over.wait()
        said = ["no_problem", "confirm_booking", "booking", "booked", "goodbye"]
        assert understood(caller) == ["greeting", "how_help", *said]
        assert caller.clears == 1
        assert caller.gone is not None
        assert caller.gone.code == 1000
        assert await ask(play, "GET", caller.told["end"]) == (
            200,
            {"words": "The agent said goodbye.", "href": f"/console/calls/{caller.call_sid}"},
        )
        assert outcome_of(play).end_reason == "agent_said_goodbye"
        assert outcome_of(play).barge_ins == 1
        (interrupted,) = [turn for turn in play.ledger.of(rows.TranscriptRow) if turn.interrupted]
        assert interrupted.said is not None
        assert interrupted.heard is not None
        assert 20 < len(interrupted.heard) < len(interrupted.said) - 40


async def test_a_booking_of_a_test_call_is_in_the_test_diary_and_the_next_test_call_cannot_book_the_same_time(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as first:
            await book(first)
        async with browser_call(play, number="+12125550108") as second:
            await book(second)
        assert not play.business.diary.bookings
        assert understood(first)[-1] == "booked"
        outputs = [row.output or {} for row in play.ledger.of(rows.FunctionCallRow)]
        assert sorted(str(each.get("error", each.get("done")))[-9:] for each in outputs) == ["booked", "is taken."]


async def test_a_relay_with_the_embedded_backend_has_a_separate_diary_for_test_calls(autojump_clock: MockClock) -> None:
    diary = MemoryDiary()
    async with stage(settings=LOCAL | {"BUSINESS_API_BASE": "embedded"}, diary=diary) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as caller:
            await book(caller)
        functions = play.ledger.of(rows.FunctionCallRow)
        assert [row.name for row in functions] == ["book_appointment"]
        assert diary.store.appointments == {}


async def test_with_the_box_ticked_a_test_call_books_in_the_real_diary(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER, real="yes") as caller:
            await book(caller)
        assert understood(caller)[-1] == "booked"
        assert [each.phone for each in play.business.diary.bookings.values()] == [NUMBER]


async def test_a_test_call_is_marked_and_not_counted_and_nobody_is_notified(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        desk = play.daemon.desk
        desk.news = News(("email", "webhook"), desk.utc_now)
        async with browser_call(play, number=NUMBER) as caller:
            await book(caller)
        (call,) = play.ledger.of(rows.CallRow)
        assert (call.call_sid[:2], call.is_test, call.from_number) == ("TC", True, NUMBER)
        assert play.ledger.of(rows.OutboxRow) == []
        assert await play.ledger.calls_from(NUMBER, 3600, limit_s=1.0) == 0
        for name in ("relay_calls_total", "relay_rings", "relay_turn_ms_count", "relay_functions", "relay_greeting_ms"):
            assert figure(play, name) == [], name
        # A test call costs real money. So it counts for the day's limit and for the figure of the spending.
        assert desk.spent_today_usd > 0
        assert figure(play, "relay_usd_total") != []
        assert not desk.calls_in_hand


async def test_a_voice_that_is_lost_in_a_test_call_is_not_counted(autojump_clock: MockClock) -> None:
    voice = VoiceScript.from_table({"faults": {"error_after_ms": 800}})
    async with stage(settings=LOCAL | ANOTHER_VOICE, voice=voice) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as caller:
            await book(caller)
        assert outcome_of(play).voice_fault == "refused"
        assert figure(play, "relay_voices_lost_total") == []


async def test_a_transfer_in_a_test_call_is_shown_and_nobody_is_dialled(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        dialled: list[str] = []
        play.exchange.on_event = lambda kind, fields: dialled.append(kind)
        async with browser_call(play, number=NUMBER) as caller:
            await caller.until_quiet()
            await say(caller, "ask_human")
            await caller.is_over.wait()
        status, told = await ask(play, "GET", caller.told["end"])
        assert (status, told["href"]) == (200, f"/console/calls/{caller.call_sid}")
        assert told["words"].startswith("A caller would be put through now: the phone … 0102 would ring.")
        assert "asked for a person: Okay, Can I talk to a human please." in told["words"]
        assert (outcome_of(play).end_reason, outcome_of(play).transfer_result) == ("transferred", "shown")
        assert dialled == []
        assert play.ledger.of(rows.MessageRow) == []
        assert not play.daemon.desk.calls_in_hand


@pytest.mark.parametrize("how", ["hang_up", "closed_tab"])
async def test_a_caller_who_hangs_up_or_closes_the_tab_ends_the_call(how: str, autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            await trio.sleep(2.0)
            if how == "hang_up":
                await caller.send(kind="hang_up")
                await caller.is_over.wait()
        await trio.sleep(3.0)
        assert outcome_of(play).end_reason == "caller_hung_up"
        assert play.model_scopes == []
        assert (await ask(play, "GET", caller.told["end"]))[1]["words"] == "You hung up."


async def test_a_key_on_the_page_reaches_the_agent_like_a_key_on_a_phone(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as caller:
            await caller.until_quiet()
            await caller.send(kind="key", digit="0")
            await caller.is_over.wait()
        assert outcome_of(play).transfer_result == "shown"


async def test_a_socket_can_be_opened_only_once_and_only_by_the_page_that_started_the_call(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            with pytest.raises(Refused, match=r"403.*has begun already"):
                await open_socket(play, caller.told["socket"])
            with pytest.raises(Refused, match="403"):
                await open_socket(play, caller.told["socket"][:-3] + "abc")
            with pytest.raises(Refused, match=r"403.*another page"):
                await open_socket(play, caller.told["socket"], {"Origin": "https://evil.example.com"})
            await caller.until_quiet()
        assert understood(caller)[:1] == ["greeting"]


async def test_a_call_whose_socket_never_opens_is_logged_and_soon_no_longer_counts_as_a_call(
    autojump_clock: MockClock,
) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        _, told = await ask(play, "POST", "/console/talk/call", {"number": ""})
        assert play.daemon.desk.lines_taken == 1
        await trio.sleep(11.0)
        assert play.daemon.desk.lines_taken == 0
        assert (await ask(play, "GET", told["end"]))[1]["words"].startswith("The call did not begin")
        assert play.ledger.of(rows.CallRow) == []


BAD = (
    b"\x00\xff\x00hello",
    b'{"kind":"audio","ms":40,"mulaw":"Hello, what time do you open?"}',
    b'{"event":"media","media":{"payload":"/w==","timestamp":"20"}}',
)
ODD = b'{"kind":"video","frame":7}'
NOBODYS = b'{"kind":"mark","name":"r9-99"}'


async def test_an_invalid_message_is_counted_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            for _ in range(20):
                await caller.end.send(*BAD, ODD, NOBODYS)
            await caller.until_quiet()
            await say(caller, "ask_human")
            await caller.is_over.wait()
        assert outcome_of(play).transfer_result == "shown"
        counted = play.daemon.desk.test_metrics.text().decode()
        assert 'relay_bad_messages_total{peer="browser"} 60.0' in counted
        assert 'relay_unknown_events_total{peer="browser"} 20.0' in counted


async def test_a_message_that_is_too_large_ends_the_call_with_its_code(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            await caller.send(kind="audio", ms=0, mulaw="/" * 70_000)
            await caller.is_over.wait()
        assert caller.gone is not None
        assert caller.gone.code == 1009
        assert outcome_of(play).end_reason == "caller_socket_lost"
        assert "broke off" in (await ask(play, "GET", caller.told["end"]))[1]["words"]


async def test_audio_that_comes_faster_than_real_time_ends_the_call(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            for number in range(40):  # a second of audio each
                await caller.send(kind="audio", ms=1000 * number, mulaw="/w" + "/" * 10_664 + "==")
            await caller.is_over.wait()
        assert outcome_of(play).end_reason == "twilio_protocol"
        assert "faster than time passes" in (await ask(play, "GET", caller.told["end"]))[1]["words"]


async def test_audio_that_comes_at_half_speed_does_no_harm(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            caller.frame_s = 0.04
            await trio.sleep(20.0)
            caller.frame_s = 0.02
            await say(caller, "ask_human")
            await caller.is_over.wait()
        assert outcome_of(play).transfer_result == "shown"


async def test_a_silent_caller_is_asked_and_then_the_agent_hangs_up(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL | {"MAX_SILENCE_S": "20"}) as play:
        open_console(play.daemon)
        async with browser_call(play) as caller:
            await caller.is_over.wait()
        assert outcome_of(play).end_reason == "silence_cap"
        assert understood(caller)[-2:] == ["still_there", "hanging_up"]


async def test_a_tab_that_sends_no_audio_ends_the_call(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        _, told = await ask(play, "POST", "/console/talk/call", {"number": ""})
        caller = BrowserCaller(await open_socket(play, told["socket"]), told)
        await caller.hear()
        await trio.sleep(3.0)
        assert outcome_of(play).end_reason == "no_caller_audio"
        assert not play.daemon.desk.calls_in_hand


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("lines", "All lines are taken (MAX_CALLS)"),
        ("money", "The day's money is spent (MAX_DAY_USD)"),
        ("drain", "about to restart"),
        ("number", "12 is not a phone number"),
    ],
)
async def test_the_page_gets_the_reason_why_a_call_is_not_possible(
    trouble: str, words: str, autojump_clock: MockClock
) -> None:
    async with stage(settings=LOCAL | {"MAX_CALLS": "1"}) as play:
        open_console(play.daemon)
        if trouble == "lines":
            assert (await ask(play, "POST", "/console/talk/call", {"number": ""}))[0] == 200
        if trouble == "money":
            play.daemon.desk.day_usd = 1_000.0
        if trouble == "drain":
            play.daemon.desk.begin_drain(10.0)
        form = {"number": "12" if trouble == "number" else ""}
        status, told = await ask(play, "POST", "/console/talk/call", form)
        assert (status, "socket" in told) == (200, False)
        assert words in told["words"]


async def test_another_page_cannot_make_calls(autojump_clock: MockClock) -> None:
    async with stage(settings=LOCAL) as play:
        open_console(play.daemon)
        for headers in ({"Origin": "https://evil.example.com"}, {}):
            status, _ = await ask(play, "POST", "/console/talk/call", {"number": ""}, headers)
            assert status == 403
        assert (await ask(play, "POST", "/console/talk/call", {"number": ""}, OWN))[0] == 200


async def test_a_request_for_a_call_on_another_machine_is_sent_there(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(settings=LOCAL | {"FLY_MACHINE_ID": "a1"}) as play:
        open_console(play.daemon)
        with pytest.raises(Refused, match="307"):
            await open_socket(play, f"/console/socket/{browser_calls.SOCKET}/b2/token")
        status, _ = await ask(play, "GET", "/console/talk/TC00?machine=b2")
        assert status == 307
        status, told = await ask(play, "GET", "/console/talk/TC00?machine=a1")
        assert (status, told["words"][:30]) == (404, "This relay does not know the c")


@pytest.mark.parametrize("record", ["off", "transcripts"])
async def test_the_words_of_a_test_call_are_stored_like_those_of_any_call(
    record: str, autojump_clock: MockClock
) -> None:
    async with stage(settings=LOCAL | {"RECORD": record}) as play:
        open_console(play.daemon)
        async with browser_call(play, number=NUMBER) as caller:
            await book(caller)
        heard_notice = [row.heard_at for row in play.ledger.of(rows.ConsentRow)]
        words = [turn.said for turn in play.ledger.of(rows.TranscriptRow) if turn.said]
        assert (len(heard_notice), bool(words)) == ((0, False) if record == "off" else (1, True))
