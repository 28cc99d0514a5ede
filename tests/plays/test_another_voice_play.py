"""Calls in which the model writes and another voice speaks, without faults and with faults of the voice.

Whatever breaks, the caller hears no noise, waits at most 0.9 s longer than for a model that speaks, and is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio

import dsp
from relay.ledger import rows
from relay.phrases.phrase_book import shipped_clip
from relay.standin.elevenlabs.voice_script import VoiceScript
from relay.standin.model.script import Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import ANOTHER_VOICE, Play, stage

SILENCE_MORE_MS = 900
WINDOW_BYTES = 800  # 100 ms
OFF_TOPIC = "I'm sorry, I can only help with questions about Harbor Table."
TWO_QUESTIONS = """
title = "Two questions"
[caller]
steps = [
  { listen = true }, { say = "ask_hours" }, { listen = 3000 },
  { say = "off_topic" }, { listen = 3000 }, { hang_up = true },
]
[model]
first_delta_ms = 400
[[model.reaction]]
told = "Your last answer broke off"
say = "How can I help you?"
"""

pytestmark = pytest.mark.usefixtures("same_order")


@dataclass(frozen=True)
class Called:
    """A call that is over."""

    got: CallReport
    play: Play

    @property
    def outcome(self) -> rows.OutcomeRow:
        return self.play.ledger.of(rows.OutcomeRow, self.got.call_sid)[-1]

    def turns(self, role: str = "agent") -> list[rows.TranscriptRow]:
        return [row for row in self.play.ledger.of(rows.TranscriptRow, self.got.call_sid) if row.role == role]


def loudest_dbfs(got: CallReport) -> float:
    """The level of the loudest 100 ms that the caller heard."""
    heard = got.heard_mulaw
    return max(dsp.level_dbfs(heard[at : at + WINDOW_BYTES]) for at in range(0, len(heard), WINDOW_BYTES))


async def call(
    faults: dict[str, Any] | None, text: str = TWO_QUESTIONS, settings: dict[str, str] | None = None, **voice: object
) -> Called:
    """Make a call. If `faults` is None, the model speaks by itself."""
    scenario = parse(text, "two questions")
    table = (settings or {}) | (ANOTHER_VOICE if faults is not None else {})
    script = VoiceScript.from_table({"faults": faults or {}, **voice})
    async with stage(script=Script.from_table(scenario.model), settings=table, voice=script) as play:
        got = await run_scenario(scenario, play.exchange)
        await trio.sleep(3.0)
        return Called(got, play)


WITHOUT_HARM: list[dict[str, Any]] = [
    {},
    {"late_chunks": 3},
    {"no_alignment": True},
    {"never_final": True},
    {"unknown_keys": True},
]
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"connect_refused": True}, "unreachable"),
    ({"connect_hangs": True}, "unreachable"),
    ({"wrong_key": "http"}, "wrong_key"),
    ({"wrong_key": "socket"}, "wrong_key"),
    ({"unknown_voice": "http"}, "unknown_voice"),
    ({"unknown_voice": "socket"}, "unknown_voice"),
    ({"no_slot": "http"}, "no_slot"),
    ({"no_slot": "socket"}, "no_slot"),
    ({"quota_after": 30}, "quota"),
    ({"drops_after_ms": 0}, "dropped"),
    ({"drops_after_ms": 1500}, "dropped"),
    ({"silent_after_ms": 0}, "silent"),
    ({"silent_after_ms": 1500}, "silent"),
    ({"slow_ms": 2000}, "silent"),
    ({"pace": 0.5}, "slow"),
    ({"error_after_ms": 800}, "refused"),
    ({"json_after_ms": 0}, "bad_audio"),
    ({"json_after_ms": 900}, "bad_audio"),
    ({"riff": True}, "bad_audio"),
    ({"wrong_format": "pcm_16000"}, "bad_audio"),
    ({"wrong_format": "pcm_8000"}, "bad_audio"),
    ({"wrong_format": "mp3"}, "bad_audio"),
    ({"wrong_format": "empty"}, "silent"),
]


_own: list[Called] = []


async def own_voice() -> CallReport:
    """The report of the call in which the model speaks by itself. All tests of a process share this report."""
    if not _own:
        _own.append(await call(None))
    return _own[0].got


async def compared(faults: dict[str, Any]) -> Called:
    """Make a call with a voice that has these faults. Compare it with the call in which the model speaks by itself."""
    own, spoken = await own_voice(), await call(faults)
    first, last = spoken.got.silences_ms[0], spoken.got.silences_ms[-1]
    assert first <= own.silences_ms[0] + SILENCE_MORE_MS
    assert last <= own.silences_ms[-1] + SILENCE_MORE_MS
    assert max(spoken.got.silences_ms[1:-1], default=0) <= SILENCE_MORE_MS, "silence inside an answer"
    assert max(spoken.got.gaps_ms, default=0) <= SILENCE_MORE_MS
    assert loudest_dbfs(spoken.got) <= loudest_dbfs(own) + 1.0, "the caller heard noise"
    assert spoken.got.heard[-1] == OFF_TOPIC
    assert spoken.got.ended_by == "caller"
    assert len(spoken.play.model.sessions) == 1, "another session was opened, although the first one can speak"
    return spoken


@pytest.mark.parametrize(("faults", "reason"), FAULTS, ids=str)
async def test_after_a_voice_fails_the_models_own_voice_speaks_and_the_reason_is_in_the_ledger(
    faults: dict[str, Any], reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    called = await compared(faults)
    assert called.outcome.voice_fault == reason
    assert called.outcome.fault is None, "a lost voice counts as a fault of the call"
    for turn in called.turns():
        assert (turn.said or "").startswith(turn.heard or "")
    assert f'relay_voices_lost_total{{fault="{reason}"}} 1.0' in called.play.daemon.desk.metrics.text().decode()


@pytest.mark.parametrize("faults", WITHOUT_HARM, ids=str)
async def test_a_voice_with_harmless_faults_speaks_the_whole_call(
    faults: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    called = await compared(faults)
    assert called.outcome.voice_fault is None
    # The phrases of the relay are left out, because the voice does not speak them in the call.
    of_model = [turn for turn in called.turns() if not (turn.item_id or "").startswith("own")]
    characters = sum(len(turn.said or "") for turn in of_model)
    cost = called.outcome.cost or {}
    usd = cost["usd"]
    assert isinstance(usd, dict)
    assert cost["characters"] == pytest.approx(characters, abs=8)
    assert usd[called.play.daemon.desk.voices.source.name] == pytest.approx(float(str(cost["characters"])) * 40e-6)  # type: ignore[union-attr]
    assert all(turn.heard == turn.said for turn in called.turns())


async def test_with_the_models_own_voice_no_voice_service_is_called_or_paid(
    autojump_clock: trio.testing.MockClock,
) -> None:
    called = await call(None)
    assert called.play.voice.connections == []
    assert "characters" not in (called.outcome.cost or {})
    assert called.outcome.voice_fault is None


BARGE_IN = """
title = "An interruption, and no other question"
[caller]
steps = [
  { listen = true }, { say = "ask_hours" }, { interrupt_after_ms = 1500, say = "oh_wait" }, { listen = 3000 },
  { hang_up = true },
]
[model]
first_delta_ms = 400
"""


async def test_after_a_barge_in_the_models_text_item_is_replaced_by_the_words_that_the_caller_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    called = await call({"late_chunks": 3}, BARGE_IN)
    cut = next(turn for turn in called.turns() if turn.interrupted)
    assert cut.heard
    assert (cut.said or "").startswith(f"{cut.heard} ")
    (session,) = called.play.model.sessions
    assert "conversation.item.truncate" not in session.report.received
    assert session.report.errors == []
    texts = [item.text for item in session.history.items if item.role == "assistant"]
    assert cut.heard in texts
    assert cut.said not in texts
    assert called.got.stops_ms[0] <= 60, "ms; three frames are allowed for the VAD and the clear"
    assert called.got.heard[-1] == "No problem. What can I do for you?", "the rest of the old answer was heard"


async def test_phrases_are_rendered_by_the_voice_service_and_kept_separately_from_the_models_phrases(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(settings=ANOTHER_VOICE, kept=False) as play:
        book = play.daemon.desk.phrases
        play.nursery.start_soon(play.daemon.desk.tasks["phrases"])
        await book.complete.wait()
        await trio.sleep(5.0)
        assert book.missing(book.texts()) == []
        assert book.greeting(announces=True).is_kept
        assert play.model.sessions == [], "a model session was opened to render phrases"
        rendered = play.voice.characters
        assert rendered >= sum(map(len, book.texts())), "fewer characters were paid for than were rendered"
        kept = set(play.ledger.greetings)
    async with stage(kept=False) as play:
        play.nursery.start_soon(play.daemon.desk.tasks["phrases"])
        await trio.sleep(30.0)
        assert not kept & set(play.ledger.greetings), "the model's voice uses the same keys"


async def test_a_phrase_that_the_voice_cannot_render_is_said_by_its_clip_and_the_reason_is_logged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(
        settings=ANOTHER_VOICE, kept=False, voice=VoiceScript.from_table({"faults": {"wrong_key": "http"}})
    ) as play:
        book = play.daemon.desk.phrases
        play.nursery.start_soon(play.daemon.desk.tasks["phrases"])
        await book.complete.wait()
        assert not book.greeting(announces=True).is_kept
        assert book.phrases()["one_moment"] == shipped_clip("one_moment")
        assert book.refused is not None
        assert "ELEVENLABS_API_KEY" in book.refused.do


async def test_a_live_greeting_is_spoken_by_the_voice_and_kept_for_the_next_caller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(settings=ANOTHER_VOICE, kept=False) as play:
        play.daemon.desk.phrases.complete.set()
        scenario = parse(TWO_QUESTIONS, "live")
        got = await run_scenario(scenario, play.exchange)
        book = play.daemon.desk.phrases
        assert book.greeting(announces=True).is_kept
        assert any("This call may be transcribed" in text for text in got.heard)
        await trio.sleep(3.0)
        assert play.ledger.of(rows.ConsentRow, got.call_sid)[-1].heard_at is not None


async def test_a_live_greeting_in_the_models_own_voice_is_not_kept_for_the_other_voice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults = VoiceScript.from_table({"faults": {"wrong_key": "socket"}})
    async with stage(settings=ANOTHER_VOICE, kept=False, voice=faults) as play:
        play.daemon.desk.phrases.complete.set()
        got = await run_scenario(parse(TWO_QUESTIONS, "live"), play.exchange)
        assert got.heard[-1] == OFF_TOPIC
        assert not play.daemon.desk.phrases.greeting(announces=True).is_kept


async def test_a_call_that_has_lost_its_voice_does_not_open_it_again_in_its_next_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut = TWO_QUESTIONS + '\n[[trouble]]\ndoes = "socket_cut"\nupon = "stream_started"\nafter_s = 20\n'
    called = await call({"drops_after_ms": 1500}, cut)
    assert called.got.streams == 2
    assert called.outcome.voice_fault == "dropped"
    assert len(called.play.voice.connections) == 1


async def test_when_no_slot_is_left_the_model_speaks_in_the_second_call(autojump_clock: trio.testing.MockClock) -> None:
    cut = TWO_QUESTIONS.replace("[caller]", "[caller]\ncalls_meanwhile = 1")
    called = await call({}, cut, {"ELEVENLABS_SLOTS": "1"})
    assert called.outcome.voice_fault == "no_slot"
    assert called.got.heard[-1] == OFF_TOPIC
