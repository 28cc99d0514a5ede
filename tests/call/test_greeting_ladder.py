"""The caller hears a greeting, whatever is broken. Each kind of greeting (each rung of the ladder) is played in a whole
call, on a fake clock.

Times are exact here, because the fake clock moves only while every task waits.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from relay.call import greeting as ladder
from relay.call.actions import Play
from relay.call.call_config import CallPlan, Greeting, Limits, Phrase, Price
from relay.call.escalation import Rules
from relay.call.machine import Machine
from relay.call.vocabulary import (
    CallerArrived,
    ItemId,
    ModelReady,
    ModelSpoke,
    ResponseBegan,
    ResponseId,
    Rung,
    StreamSid,
    Ticked,
)
from relay.phrases.phrase_book import shipped_clip
from relay.realtime.client import WARM_PER_MINUTE, Wanted
from relay.standin.model.script import Faults, Script
from tests.helpers.greeting_play import CLIP, NOTICE, OPENING, QUESTION, TROUBLE, WHOLE, items, prompt_model, ring
from tests.helpers.play import keep_greeting, stage

# The kept greeting


async def test_a_kept_greeting_is_written_in_the_same_step_in_which_start_is_read(autojump_clock: MockClock) -> None:
    async with stage() as play:
        told = await ring(play)
        assert told.first_ms == [0]
        assert told.heard == WHOLE
        call = told.call
        assert (call.greeting_rung, call.greeting_ms, call.greeting_heard_ms) == ("kept", 0.0, 20)
        # Twilio itself takes this long to open its socket.
        assert call.webhook_greeting_ms == pytest.approx(365, abs=2)
        assert call.webhook_greeting_heard_ms == pytest.approx(385, abs=2)
        text = play.daemon.desk.metrics.text().decode()
        for name in ("greeting_ms", "greeting_heard_ms", "webhook_greeting_ms", "webhook_greeting_heard_ms"):
            assert f'relay_{name}_count{{rung="kept"}} 1.0' in text
        assert "relay_greeting_slo_broken_total{" not in text


async def test_the_model_knows_that_it_has_greeted(autojump_clock: MockClock) -> None:
    async with stage() as play:
        told = await ring(play)
        assert items(play)[:2] == [("assistant", f"{OPENING} {NOTICE}"), ("assistant", QUESTION)]
        assert play.model.sessions[0].report.said == []
        assert [turn.said for turn in told.turns] == [f"{OPENING} {NOTICE}", QUESTION]
        assert len(play.model.sessions) == 1


async def test_the_greeting_comes_without_postgres_and_without_the_business(autojump_clock: MockClock) -> None:
    async with stage() as play:
        play.ledger.away = True
        play.business.faults = None  # type: ignore[assignment] # whoever asks it now gets an exception
        told = await ring(play)
        assert (told.first_ms, told.heard) == ([0], WHOLE)


# The live greeting


async def test_a_live_greeting_that_was_asked_for_at_the_webhook_waits_for_start_and_is_stored_for_later_calls(
    autojump_clock: MockClock,
) -> None:
    async with stage(script=prompt_model(), kept=False) as play:
        play.nursery.start_soon(play.daemon.desk.phrases._taught.receive)  # as PhraseBook.keep does
        first = await ring(play)
        assert first.call.greeting_rung == "live"
        assert first.first_ms[0] <= 5
        assert first.heard == WHOLE
        assert play.model.sessions[0].report.said == [WHOLE]
        second = await ring(play)
        assert second.call.greeting_rung == "kept"
        assert second.first_ms == [0]
        assert second.heard == WHOLE
        assert play.model.sessions[1].report.said == []
        assert items(play)[0] == ("assistant", WHOLE)
        assert [consent.heard_at is not None for consent in second.consents] == [True]


async def test_a_live_greeting_that_is_late_comes_after_the_clip(autojump_clock: MockClock) -> None:
    async with stage(script=Script(first_delta_ms=(1_500, 1_500)), kept=False) as play:
        told = await ring(play)
        assert told.call.greeting_rung == "clip"
        assert 150 <= told.first_ms[0] <= 175
        assert told.heard == f"{CLIP} {WHOLE}" or told.report.heard == [CLIP, WHOLE]
        assert "relay_greeting_slo_broken_total{" not in play.daemon.desk.metrics.text().decode()


async def test_a_greeting_that_was_rendered_between_ring_and_start_is_not_said_twice(autojump_clock: MockClock) -> None:
    async with stage(script=prompt_model(), kept=False) as play:

        async def keep_soon() -> None:
            while not play.model.sessions:  # noqa: ASYNC110 -- until the webhook has dialled
                await trio.sleep(0.01)
            keep_greeting(play.daemon.desk.phrases)

        play.nursery.start_soon(keep_soon)
        told = await ring(play)
        assert told.call.greeting_rung == "kept"
        assert told.heard == WHOLE
        assert len(play.model.sessions) == 2  # the session that was asked for a greeting is closed


async def test_after_a_failure_of_the_warm_session_the_call_opens_another_session(autojump_clock: MockClock) -> None:
    faults = Faults(connect_error="insufficient_quota", connections=1)
    async with stage(script=prompt_model(faults), kept=False) as play:
        told = await ring(play)
        assert told.first_ms[0] <= 200
        assert WHOLE in told.heard
        assert told.end_reason == "caller_hung_up"


async def test_a_call_that_gets_no_warm_session_opens_its_own(autojump_clock: MockClock) -> None:
    async with stage(script=prompt_model(), kept=False) as play:
        warm = play.daemon.desk.warm
        for number in range(WARM_PER_MINUTE):
            sid = f"CA{number:032x}"
            warm.ring(sid, lambda: Wanted("gpt-realtime-2.1-mini", "…"), trio.current_time())  # type: ignore[arg-type]
        told = await ring(play)
        assert told.first_ms[0] <= 200
        assert WHOLE in told.heard


# The model is broken


BROKEN: list[dict[str, Any]] = [
    {"connect_refused": True},
    {"handshake_hangs": True},
    {"silent_after_connect": True},
    {"connect_error": "invalid_api_key"},
    {"refuse_update": True},
    {"wrong_format": True},
    {"response_failed": "server_error"},
    {"empty_response": True},
    {"close_after_deltas": 1, "close_code": 1011},
]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("faults", BROKEN, ids=lambda faults: next(iter(faults)))
async def test_the_first_audio_comes_within_200_ms_whatever_the_model_does(
    autojump_clock: MockClock, faults: dict[str, Any], kept: bool
) -> None:
    async with stage(script=Script(faults=Faults(**faults)), kept=kept) as play:
        told = await ring(play, "{ listen = true }, { silent_s = 15 }, { hang_up = true }")
        assert told.first_ms[0] <= (5 if kept else 200)
        assert told.call.greeting_rung == ("kept" if kept else told.call.greeting_rung)
        assert told.heard.startswith(WHOLE if kept else "")
        never = {"connect_refused", "handshake_hangs", "silent_after_connect", "connect_error", "refuse_update"}
        if never & faults.keys():
            assert told.report.dialled == ["+12125550102"]
            assert told.end_reason == "model_unreachable"
            assert kept or told.heard == f"{CLIP} | {TROUBLE}" or told.heard == f"{CLIP} {TROUBLE}"


@pytest.mark.parametrize(("kept", "after_s"), [(False, ladder.HUMAN_AFTER_S), (True, ladder.MODEL_LIMIT_S)])
@pytest.mark.parametrize("fault", ["connect_refused", "silent_after_connect"])
async def test_the_human_is_dialled_when_the_models_time_to_connect_is_over(
    autojump_clock: MockClock, kept: bool, after_s: float, fault: str
) -> None:
    async with stage(script=Script(faults=Faults.from_table({fault: True})), kept=kept) as play:
        told = await ring(play, '{ until = "bridged" }, { hang_up = true }')
        started, dialled = (
            next(fields["at_s"] for kind, fields in told.events if kind == name)
            for name in ("stream_started", "dialled")
        )
        said_s = len(play.daemon.desk.phrases.phrases()["trouble"].mulaw or b"") / 8000
        assert dialled - started == pytest.approx(after_s + said_s, abs=1.0)  # the greeting is 8.6 s long
        assert (CLIP in told.heard) is not kept


async def test_if_the_model_can_be_reached_again_during_the_greeting_it_serves_the_call(
    autojump_clock: MockClock,
) -> None:
    async with stage(script=Script(faults=Faults(connect_error="server_error", connections=3))) as play:
        told = await ring(play, '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }')
        assert told.end_reason == "caller_hung_up"
        assert told.report.dialled == []
        assert "We are open tomorrow" in told.heard


# Callers who speak during the greeting


@pytest.mark.parametrize("record", ["transcripts", "off"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "live"])
async def test_a_hello_300_ms_after_pickup_does_not_cancel_the_greeting(
    autojump_clock: MockClock, kept: bool, record: str
) -> None:
    async with stage(script=prompt_model(), settings={"RECORD": record}, kept=kept) as play:
        told = await ring(play, '{ say = "hello", after_ms = 665 }, { silent_s = 10 }, { hang_up = true }')
        assert told.heard.replace(" | ", " ") == (WHOLE if record != "off" else f"{OPENING} {QUESTION}")
        assert not [turn for turn in told.turns if turn.interrupted]
        assert not [fields for kind, fields in told.events if kind == "cleared"]
        assert play.model.sessions[0].report.heard == ["Hello?"]  # it was heard and not answered
        assert play.model.sessions[0].report.said == ([] if kept else [told.heard])


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "live"])
async def test_speech_over_the_notice_does_not_stop_it(autojump_clock: MockClock, kept: bool) -> None:
    async with stage(script=prompt_model(), kept=kept) as play:
        steps = (
            '{ interrupt_after_ms = 3000, say = "ask_hours" }, { listen = true }, { listen = true }, { hang_up = true }'
        )
        told = await ring(play, steps)
        assert told.heard.startswith(f"{OPENING} {NOTICE}")
        assert not [fields for kind, fields in told.events if kind == "cleared" and fields["at_s"] < 7]
        assert "We are open tomorrow" in told.heard  # the question is answered after the notice


async def test_speech_over_the_question_is_a_barge_in_and_the_model_is_told_what_was_heard(
    autojump_clock: MockClock,
) -> None:
    async with stage() as play:
        steps = '{ interrupt_after_ms = 8000, say = "ask_hours" }, { listen = true }, { hang_up = true }'
        told = await ring(play, steps)
        opening, question = told.turns[:2]
        assert (opening.interrupted, question.interrupted) == (False, True)
        assert question.said == QUESTION
        assert question.heard != QUESTION
        agent = [text for role, text in items(play) if role == "assistant"]
        assert agent[0] == f"{OPENING} {NOTICE}"
        assert QUESTION not in agent
        assert (question.heard or "") in agent if question.heard else True
        assert "We are open tomorrow" in told.heard


async def test_without_a_notice_the_whole_greeting_can_be_interrupted(autojump_clock: MockClock) -> None:
    async with stage(settings={"RECORD": "off"}) as play:
        told = await ring(
            play, '{ interrupt_after_ms = 3000, say = "ask_hours" }, { listen = true }, { hang_up = true }'
        )
        assert not told.heard.startswith(OPENING)
        assert "We are open tomorrow" in told.heard


# Before the stream


async def test_a_caller_who_hangs_up_while_twilio_connects_leaves_no_session(autojump_clock: MockClock) -> None:
    async with stage() as play:
        events: list[str] = []
        play.exchange.on_event = lambda kind, _: events.append(kind)
        from relay.standin.twilio.exchange import CallerLine, LiveCall

        async def act(call: LiveCall) -> None:
            await trio.sleep(0.2)
            assert len(play.daemon.desk.warm) == 1
            call.hang_up()

        await play.exchange.ring(CallerLine(), act)
        assert "stream_started" not in events
        await trio.sleep(2.5)
        assert len(play.daemon.desk.warm) == 0
        assert [scope for scope in play.model_scopes if not scope.cancel_called] == []


@pytest.mark.parametrize(("fault", "ready_after_s"), [({}, 5.0), ({"silent_after_connect": True}, 10.0)])
async def test_readyz_waits_ten_seconds_for_the_greeting_and_not_longer(
    autojump_clock: MockClock, fault: dict[str, Any], ready_after_s: float
) -> None:
    async with stage(script=Script(faults=Faults(**fault)), kept=False) as play:
        assert await play.daemon.not_ready() == "rendering the greeting"
        play.nursery.start_soon(play.daemon.desk.tasks["phrases"])
        await trio.sleep(ready_after_s - 0.5 if fault else ready_after_s)
        if fault:
            assert await play.daemon.not_ready() == "rendering the greeting"
            await trio.sleep(1)
        assert await play.daemon.not_ready() is None


async def test_a_late_greeting_is_an_error_in_the_log_with_its_rung(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "CLIP_AFTER_S", 0.7)
    with structlog.testing.capture_logs() as lines:
        async with stage(script=Script(faults=Faults(connect_refused=True)), kept=False) as play:
            told = await ring(play)
            (line,) = [line for line in lines if line["event"] == "greeting.slo_broken"]
            assert line["rung"] == "clip"
            assert line["log_level"] == "error"
            assert line["greeting_ms"] == told.call.greeting_ms
            assert line["greeting_ms"] >= 700
            assert 'relay_greeting_slo_broken_total{rung="clip"} 1.0' in play.daemon.desk.metrics.text().decode()


# The state machine alone, without a relay


def waiting_plan() -> CallPlan:
    nothing = Price(0, 0, 0, 0, 0, 0)
    clip = shipped_clip("one_moment")
    return CallPlan(
        call_sid="CA" + hashlib.md5(b"1").hexdigest(),
        greeting=Greeting(Phrase("Hello."), Phrase("")),
        phrases={"one_moment": clip},
        limits=Limits(),
        rules=Rules(),
        model="m",
        model_hard="h",
        price=nothing,
        price_hard=nothing,
        transcription_usd_per_minute=0.0,
        keep_words=True,
    )


@pytest.mark.parametrize("first_delta_ms", [1, 10, 19, 20, 59])
def test_a_first_delta_that_is_too_small_to_be_played_does_not_delay_the_clip(first_delta_ms: int) -> None:
    machine = Machine(waiting_plan())
    plays: list[tuple[float, Play]] = []

    def take(actions: list[Any], now: float) -> None:
        plays.extend((now, action) for action in actions if isinstance(action, Play))

    take(machine.handle(CallerArrived(StreamSid("MZ")), 10.0), 10.0)
    take(machine.handle(ModelReady("sess", "m", greeting_asked=True), 10.01), 10.01)
    take(machine.handle(ResponseBegan(ResponseId("r"), "greeting"), 10.02), 10.02)
    sound = b"\x80" * (8 * first_delta_ms)
    take(machine.handle(ModelSpoke(ResponseId("r"), ItemId("i"), sound, first_delta_ms), 10.12), 10.12)
    for tick in range(1, 9):
        take(machine.handle(Ticked(), 10.0 + 0.025 * tick), 10.0 + 0.025 * tick)
    assert plays
    assert plays[0][0] <= 10.2
    assert machine.figures.rung in (Rung.CLIP, Rung.LIVE)
