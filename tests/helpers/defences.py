"""Lists the relay's defences, and says how a test takes each of them away.

A defence is code that keeps one kind of fault from the caller. A scenario that still passes without its defence would
prove nothing. Each entry has a scenario, a sentence that describes the defence, and a function that takes it away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

import dsp
from relay.business import opening
from relay.business.diary import MemoryStore
from relay.business.embedded import Embedded
from relay.business.rules import Business
from relay.call import (
    ending,
    escalation,
    failover,
    function_calls,
    greeting,
    liveness,
    playout,
    response_queue,
    responses,
    state,
    turn_taking,
    turns,
    unheard_speech,
    words,
)
from relay.call.gap_filling import Gaps
from relay.call.words import Meaning
from relay.functions import Deeds, idempotency, registry
from relay.functions.backend import client, contract
from relay.functions.claims import claims
from relay.ledger.rows import Unavailable
from relay.realtime import client as model_session
from relay.realtime import protocol as model_dialect
from relay.realtime import session_config
from relay.server import admission, briefings, human_transfer, webhooks
from relay.session import briefing, call_file, call_rows, context
from relay.settings import Settings
from relay.transport import websocket
from relay.twilio import media_protocol, twiml

Patch = pytest.MonkeyPatch


def put(where: Any, name: str, value: Any) -> Callable[[Patch], None]:
    """Returns a function that replaces this attribute."""
    return lambda patch: patch.setattr(where, name, value)


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing. It replaces a step that does something."""


async def nothing_async(*_: Any, **__: Any) -> None:
    """Do nothing. It replaces a step that is awaited."""


def no(*_: Any, **__: Any) -> bool:
    return False


def unrescued(break_it: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Returns a function that takes away a defence, and also the rescue from dead air, which would hide the loss."""

    def both(patch: Patch) -> None:
        patch.setattr(liveness.Liveness, "due", lambda *_, **__: "nothing")
        break_it(patch)

    return both


def deaf_to(kind: str) -> Callable[[Patch], None]:
    """Returns a function after which one kind of the caller's words has no effect."""
    assert kind in escalation.CALLER_SAYS
    judge = words.Words.judge

    def deaf(of: words.Words, text: str) -> Meaning:
        meaning = judge(of, text)
        return dataclasses.replace(meaning, says=meaning.says - {kind})

    return put(words.Words, "judge", deaf)


def unprotected(patch: Patch) -> None:
    agent = state.Call.agent
    patch.setattr(state.Call, "agent", lambda call, now: dataclasses.replace(agent(call, now), protected=False))


def keep_words(patch: Patch) -> None:
    patch.setattr(Settings, "keeps_words", property(lambda _: True))


def whole_samples(patch: Patch) -> None:
    feed = dsp.Downlink.feed
    patch.setattr(dsp.Downlink, "feed", lambda line, pcm24k: feed(line, pcm24k[: len(pcm24k) // 2 * 2]))


def strict(patch: Patch) -> None:
    event_of = model_dialect.event_of

    def known_event(message: Any) -> Any:
        assert model_dialect.is_known(message)
        return event_of(message)

    patch.setattr(model_dialect, "event_of", known_event)


def half_calls_too(patch: Patch) -> None:
    item_done = model_dialect._item_done

    def whole(message: model_dialect.Message) -> Any:
        assert message.item is not None
        message.item.status = "completed"
        return item_done(message)

    patch.setitem(model_dialect._READERS, "response.output_item.done", whole)


def unknown_words_are_words(patch: Patch) -> None:
    transcribed = turn_taking.Floor.transcribed

    def as_if_said(judge: turn_taking.Floor, item: Any, text: str | None, *agent: Any) -> turn_taking.Worth:
        return transcribed(judge, item, "(unknown)" if text is None else text, *agent)

    patch.setattr(turn_taking.Floor, "transcribed", as_if_said)


def take_late_audio(patch: Patch) -> None:
    """Take away all places that refuse late audio: of a cancelled answer, and of an item that was cut off."""
    append = playout.Playout.append

    def append_anyway(line: playout.Playout, item: Any, *audio: Any, **how: Any) -> None:
        line.finished.discard(item)
        append(line, item, *audio, **how)

    patch.setattr(responses, "wants", lambda *_: True)
    patch.setattr(responses, "_may_sound", lambda *_: True)
    patch.setattr(response_queue.Answers, "sounded", lambda *_: "goes on")
    patch.setattr(playout.Playout, "append", append_anyway)


def first_failure_is_final(patch: Patch) -> None:
    open_session = model_session.Realtime.open
    failed: list[str] = []

    async def open_unless_failed(realtime: model_session.Realtime, wanted: model_session.Wanted) -> Any:
        try:
            if failed:
                raise model_session.ModelUnreachable(failed[0])
            return await open_session(realtime, wanted)
        except model_session.ModelUnreachable as error:
            failed.append(str(error))
            raise

    patch.setattr(model_session.Realtime, "open", open_unless_failed)


def believe_anything(patch: Patch) -> None:
    typed = contract.Answer.typed

    def or_closed(answer: contract.Answer, kind: Any) -> Any:
        try:
            return typed(answer, kind)
        except contract.BackendFault:
            return kind(closed=True)

    patch.setattr(contract.Answer, "typed", or_closed)


def wait_for_ever(patch: Patch) -> None:
    """Take away the time limit of the backend client, and the deadline of the function."""
    attempt = registry._attempt

    async def attempt_patiently(function: registry.Function, call: registry.CallContext, arguments: Any) -> Any:
        return await attempt(dataclasses.replace(function, deadline_s=1e6), call, arguments)

    patch.setattr(client, "LIMIT_S", 1e6)
    patch.setattr(registry, "_attempt", attempt_patiently)


def all_is_well(*_: Any) -> registry.Outcome:
    return registry.Outcome('{"status":"ok"}', ok=True)


def without_phrases(patch: Patch) -> None:
    patch.setattr(function_calls, "_phrase_due", lambda _: math.inf)


def american(patch: Patch) -> None:
    from_table = escalation.Rules.from_table
    patch.setattr(escalation.Rules, "from_table", lambda table, country="US": from_table(table))


def deeds_of_the_stream(patch: Patch) -> None:
    begin = call_rows.CallRows.__init__

    def begin_anew(rows: call_rows.CallRows, at: context.Desk, file: call_file.CallFile, *rest: Any) -> None:
        file.deeds = Deeds()
        begin(rows, at, file, *rest)

    patch.setattr(call_rows.CallRows, "__init__", begin_anew)


async def reserve_or_fail(reserving: idempotency.Once, key: str, wish: idempotency.Wish) -> Any:
    assert reserving._reservations is not None
    found = await reserving._reservations.reserve(
        key, wish.call_sid, wish.function, {}, function_call_id=wish.function_call_id, limit_s=1.0
    )
    assert not isinstance(found, Unavailable)
    return found


async def accept_known_calls(transfers: human_transfer.Transfers, fields: dict[str, str]) -> str:
    known = fields["call"] in transfers._desk.files
    return twiml.empty() if known else twiml.hang_up()


def neither_again_nor_looked_up(patch: Patch) -> None:
    async def nothing_booked(*_: Any) -> list[Any]:
        return []

    patch.setattr(client, "WRITE_ATTEMPTS", 1)
    patch.setattr(client.Backend, "appointments", nothing_booked)
    patch.setattr(Embedded, "appointments", nothing_booked)


async def hang_up(*_: Any) -> str:
    return twiml.hang_up()


DEFENCES: list[tuple[str, str, Callable[[Patch], None]]] = [
    # Interruptions
    (
        "barge_in_late",
        "Twilio's buffer is cleared",
        put(media_protocol, "clear", lambda sid: media_protocol.mark(sid, "instead")),
    ),
    (
        "barge_in_early",
        "speech that the server's VAD hears stops the agent",
        put(turn_taking.Floor, "_judge", lambda *_: turn_taking.Step.NOTHING),
    ),
    ("barge_in_notice", "the notice cannot be interrupted", unprotected),
    ("barge_in_function", "a holding phrase is heard while a function runs", without_phrases),
    ("cough", "250 ms of voice make an interruption", put(turn_taking, "GIVE_UP_MS", 20)),
    ("cough_with_words", "words that are made of noise count as nothing", put(words.Words, "_is_nothing", no)),
    ("model_odd_audio", "the first byte of a sample waits for the second", whole_samples),
    # The end
    ("goodbye", "the last words are heard to their end", put(ending, "_last_words_heard", lambda *_: True)),
    ("hangup_before_stream", "a call without a stream has rows", put(webhooks, "record_without_stream", nothing)),
    (
        "hangup_while_ringing",
        "a transfer that did not succeed is written down",
        put(human_transfer.Transfers, "caller_left", nothing),
    ),
    ("dormant", "a silent caller is asked", put(ending, "check_silence", nothing)),
    ("cap_dollars", "a call has a limit in dollars", put(ending, "check_caps", nothing)),
    ("cap_duration", "a call has a limit in time", put(ending, "check_caps", nothing)),
    # Humans
    ("transfer_voicemail", "a human takes the call with a key", put(twiml, "whisper", lambda *_: twiml.empty())),
    ("transfer_declined", "a caller whom no human took goes back to the agent", put(human_transfer, "RESUMES", 0)),
    ("transfer_busy", "a callback entry stands", put(human_transfer.Transfers, "_keep_callback", nothing)),
    ("transfer_out_of_hours", "the human's hours are kept", put(briefing.Briefing, "human_is_there", lambda *_: True)),
    ("key_zero", "0 leads to a human", put(turns, "digit", nothing)),
    ("emergency", "words of an emergency lead to a human", deaf_to("emergency")),
    ("angry", "an angry caller is offered a human", deaf_to("angry")),
    ("misunderstood", "three misunderstandings lead to a human", deaf_to("misunderstood")),
    ("misunderstands", "an answer that asks again is counted", put(responses, "heed_own_words", nothing)),
    ("two_failures", "two failures of one function lead to a human", put(function_calls, "_failed_too_often", no)),
    ("transfer_rest_fails", "without the REST API the next document dials", put(webhooks.Webhooks, "_after", hang_up)),
    ("emergency_handed_on", "an emergency replaces another end reason", put(ending, "_is_graver", no)),
    ("emergency_over_the_goodbye", "a goodbye is cancelled for a human", put(ending, "_has_spoken", no)),
    ("emergency_abroad", "each country has its own number", american),
    # The model
    ("model_dies_twice", "a lost session is dialled again", put(failover, "RECONNECTS", 1)),
    ("model_wrong_format", "a session with another format is not used", put(model_dialect, "check_formats", nothing)),
    ("model_dies_in_answer", "a lost session is dialled again", put(failover, "RECONNECTS", 0)),
    ("model_closes_in_answer", "a session that was closed is dialled again", put(failover, "RECONNECTS", 0)),
    ("model_stalls", "an answer that stops is noticed", unrescued(put(response_queue, "PROGRESS_LIMIT_S", 1e9))),
    ("model_deaf", "a session that hears nothing is noticed", put(unheard_speech.UnheardSpeech, "is_enough", no)),
    (
        "model_fails_once",
        "an answer that failed is asked for again",
        unrescued(put(response_queue.Answers, "_ask_again", no)),
    ),
    ("model_empty_answer", "an empty answer is asked for again", put(response_queue.Answers, "_ask_again", no)),
    ("model_fails_always", "a model that only fails is given up", put(response_queue.Answers, "has_failed", False)),
    ("model_odd_protocol", "an unknown event is ignored", strict),
    ("model_dead", "a model that cannot be reached is given up", put(greeting, "MODEL_LIMIT_S", 1e9)),
    ("model_dead_and_nobody", "a message is recorded", put(twiml, "record_message", lambda *_: twiml.hang_up())),
    (
        "model_huge_event",
        "an event of 15 MiB does not close the session",
        put(websocket, "MAX_FROM_MODEL_BYTES", 1 << 20),
    ),
    ("model_broken_arguments", "a function call that was cancelled is not run", half_calls_too),
    (
        "model_cancel_first",
        "only the relay stops an answer, and not the server",
        lambda patch: patch.setitem(session_config._TURN_DETECTION, "interrupt_response", True),
    ),
    (
        "model_transcription_failed",
        "a sound whose words are not known does not interrupt the agent",
        unknown_words_are_words,
    ),
    ("model_late_deltas", "audio of an answer that was cut is dropped", take_late_audio),
    (
        "model_slow_speech",
        "the audio at Twilio is topped up before it runs out",
        put(playout.Lead.__init__, "__defaults__", (-60, 400)),
    ),
    ("model_refuses_once", "a session that could not be opened is dialled again", first_failure_is_final),
    ("model_hangs_at_connect", "a dial has a time limit", put(model_session, "CONNECT_LIMIT_S", 999.0)),
    (
        "model_silent_after_connect",
        "the configuration of a session has a time limit",
        put(model_session, "CONFIGURE_LIMIT_S", 999.0),
    ),
    ("model_refuses_key", "a model that refuses the key is given up", put(greeting, "MODEL_LIMIT_S", 1e9)),
    ("model_refuses_update", "a model that refuses the settings is given up", put(greeting, "MODEL_LIMIT_S", 1e9)),
    # The backend
    ("backend_500", "the model is told what failed", put(registry, "_failed", all_is_well)),
    ("backend_garbage", "an answer of the backend that breaks the contract is not used", believe_anything),
    ("backend_wrong_types", "an answer of the backend with wrong types is not used", believe_anything),
    ("backend_hang", "a function has a time limit", wait_for_ever),
    ("booking_answer_lost", "a write whose answer was lost is tried again, or looked up", neither_again_nor_looked_up),
    ("backend_slow", "a holding phrase is heard while a function runs", without_phrases),
    (
        "function_without_words",
        "silence counts from the caller's last sound",
        put(function_calls, "SILENCE_LIMIT_S", 99.0),
    ),
    ("postgres_away", "a booking does not wait for Postgres", put(idempotency.Once, "_reserve", reserve_or_fail)),
    # Claims and deeds
    ("claim_without_deed", "a claim is compared with the deeds", put(call_rows.CallRows, "_judge", nothing)),
    ("claim_denied", "a deed that the agent denies is noticed", put(claims, "tells", lambda *_: True)),
    ("claim_unverified", "a claim that stays wrong is written down", put(Deeds, "are_told_right", True)),
    ("transfer_declined_after_booking", "deeds belong to the call, and not to the stream", deeds_of_the_stream),
    # Admission and consent
    ("too_often", "callers who ring too often get the human", put(admission, "CALLS_PER_WINDOW", 10**9)),
    ("capacity", "a full relay takes no more", put(admission.Admission, "judge", nothing_async)),
    ("day_spend", "a day has a limit in dollars", put(admission.Admission, "judge", nothing_async)),
    ("two_party_state", "a caller who must hear the notice hears it", put(context, "must_announce", no)),
    ("record_off", "RECORD=off keeps no words", keep_words),
    # Lines, sockets, relays
    ("muted_line", "missing caller audio is padded", put(Gaps, "while_idle", lambda *_: 0)),
    ("socket_cut", "a lost stream is resumed", put(webhooks.Webhooks, "_after_loss", lambda *_: twiml.hang_up())),
    ("socket_cut_again_and_again", "not for ever", put(webhooks, "RESUMES", 99)),
    ("relay_killed", "a call of a dead relay goes to the human", put(webhooks.Webhooks, "_after_unknown", hang_up)),
    (
        "relay_killed_while_ringing",
        "a key counts at a relay that has just started",
        put(human_transfer.Transfers, "accept", accept_known_calls),
    ),
    ("drained", "running calls are told that the process stops", put(context.Desk, "begin_drain", nothing)),
    # The embedded business
    (
        "business_after_hours",
        "while the business is closed another greeting is said",
        put(briefings, "closed_words", lambda *_: ""),
    ),
    ("business_holiday", "a special day has its own hours", put(Business, "special_day", lambda *_: None)),
    (
        "business_person_off",
        "a person is not booked on a day off",
        put(opening, "_own_hours_on", lambda business, _, day: opening._hours_on(business, day)),
    ),
    (
        "business_slot_lost",
        "a time that others have booked is not free",
        put(MemoryStore, "busy", lambda _, resources, *__: {resource: [] for resource in resources}),
    ),
]
