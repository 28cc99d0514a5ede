"""Handles the model's answers while they are generated. function_calls.py handles the functions that they call."""

from __future__ import annotations

import re

from relay.call import ending, function_calls, turns, wording
from relay.call.actions import CANCEL_PREFIX, Action, CancelResponse, DeleteItem, KeepAudio, LearnGreeting, Report
from relay.call.interruption import cut_off, drop_unheard, withhold
from relay.call.response_queue import Follows
from relay.call.state import Call, Next, Phase
from relay.call.vocabulary import (
    EndReason,
    ItemId,
    ModelFinished,
    ModelObjected,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
)

# Errors because two messages crossed: our request was on its way when the server began or ended an answer. These errors
# do no harm. In captures of 20 calls, 1 of 300 cancellations caused one.
ALREADY_ACTIVE = "conversation_already_has_active_response"
NOT_ACTIVE = "response_cancel_not_active"
CROSSINGS = frozenset({ALREADY_ACTIVE, NOT_ACTIVE})
# If the server asks us to wait longer than this, the caller is asked for patience.
WAIT_WITHOUT_WORDS_S = 1.5
# Finds a transcript in which the model speaks a function call instead of making it.
_READ_ALOUD = re.compile(r"""[{\[]\s*[{"']|["']arguments["']\s*:|^\s*```""")


def wants(call: Call, response_id: ResponseId, item_id: ItemId) -> bool:
    """False for audio that nobody may hear: of a cancelled answer, of an item that has ended, or at the call's end."""
    return _may_sound(call, item_id) and not call.answers.is_discarded(response_id)


def _may_sound(call: Call, item_id: ItemId) -> bool:
    if item_id in call.playout.finished or call.phase is Phase.GONE:
        return False
    return call.ending is None or call.ending.item is None


def _came_late(call: Call, response_id: ResponseId, item_id: ItemId) -> None:
    """A part of a cancelled answer came late.

    In the model's conversation its item counts as heard, so the item is deleted when the response has ended.
    """
    if call.answers.is_discarded(response_id) and call.conversation.turn(item_id) is None:
        call.soundless_items.setdefault(response_id, set()).add(item_id)


def began(call: Call, event: ResponseBegan, now: float, out: list[Action]) -> None:
    """The model began an answer."""
    # If this session was given up, the answer is asked for in the next session.
    if not call.sessions.serves and call.sessions.count:
        call.answers.discard(event.response_id)
        out.append(CancelResponse(event.response_id))
        return
    if call.answers.active not in (None, event.response_id):
        _end_untold(call, call.answers.active, now, out)
    greets = call.answers.is_greeting
    cancel = call.answers.began(event.response_id, event.ref, now)
    call.early.began(event.response_id, event.ref)
    if cancel is not None:
        out.append(cancel)
    elif greets and call.answers.is_greeting:
        out.append(KeepAudio(event.response_id))


def spoke(call: Call, event: ModelSpoke, now: float, out: list[Action]) -> None:
    """A delta of an answer's audio came."""
    item_id = event.item_id
    response = call.answers.sounded(event.response_id, now) if _may_sound(call, item_id) else "unwanted"
    if response == "unwanted":
        call.figures.late_deltas += 1
        _came_late(call, event.response_id, item_id)
        return
    turn, before_ms = call.conversation.sounds(item_id, event.said_ms, event.positions)
    if turn is None:  # The item's sound came before its words.
        turn = call.conversation.place(item_id, "agent", call.before(item_id), call.ms(now))
        turn.sounds(event.said_ms, event.positions)
    _belongs(call, event.response_id, item_id)
    if before_ms == 0:
        withhold(call, now)
        call.waterfalls.began(item_id, now)
        turn.begins(call.ms(now), waits_ms=round(call.playout.left_ms(now)))
        if call.notice_item is None and not call.consented and call.answers.is_greeting:
            call.notice_item = item_id
    if event.positions is None and response == "goes on":
        call.meter.generated(event.response_id, max(0.0, event.said_ms - before_ms))
    protected = item_id == call.notice_item
    call.playout.append(item_id, event.mulaw, now, said_ms=event.said_ms, protected=protected)


def _belongs(call: Call, response_id: ResponseId, item_id: ItemId) -> None:
    items = call.answer_items.setdefault(response_id, [])
    if item_id not in items:
        items.append(item_id)
        call.ids.setdefault(item_id, item_id)


def worded(call: Call, event: ModelWorded, now: float, out: list[Action]) -> None:
    """A piece of an answer's text came. Text usually comes before its audio, and sometimes after it."""
    turn = call.conversation.turn(event.item_id)
    if turn is None:
        if not wants(call, event.response_id, event.item_id):
            _came_late(call, event.response_id, event.item_id)
            return
        turn = call.conversation.place(event.item_id, "agent", call.before(event.item_id), call.ms(now))
        _belongs(call, event.response_id, event.item_id)
    turn.goes_on(event.text)
    if call.plan.voice.name and not call.voice_fault and not call.answers.has_ended(event.response_id):
        call.meter.wrote(event.response_id, len(event.text))
    if _READ_ALOUD.search(turn.said) and event.response_id == call.answers.active and not turn.own:
        _stop_reading_aloud(call, now, out)
        return
    if not turn.whole:
        call.answers.progressed(event.response_id, now, is_audible=False)
        return
    out += call.consent.record(turn.row())


def _stop_reading_aloud(call: Call, now: float, out: list[Action]) -> None:
    """The model speaks the text of a function call. Cut it off, and ask once more."""
    hears = "no part of it: the model is asked again"
    out.append(Report("model.reads_function_aloud", "warning", (("caller_hears", hears),)))
    cut_off(call, now, out)
    if call.answers.ask_again(now) == "again" and call.sessions.serves:
        out.append(call.note(wording.READ_ALOUD))
    _give_up_if_failed(call, now, out)


def finished(call: Call, event: ModelFinished, now: float, out: list[Action]) -> None:
    """The model has sent all audio of an item."""
    if wants(call, event.response_id, event.item_id):
        turn = call.conversation.turn(event.item_id)
        if turn is not None:
            turn.was_spoken_whole()
        call.heard(call.playout.complete(event.item_id, event.mulaw), now, out)
        call.answers.completed(event.response_id, now)


def ended(call: Call, event: ResponseEnded, now: float, out: list[Action], *, is_told: bool = True) -> None:
    """An answer has ended: complete, cancelled, broken off or failed. `is_told`: an event has reported the end."""
    response_id = event.response_id
    if call.answers.has_ended(response_id):  # The end was reported before, or was assumed.
        if call.answers.was_presumed_ended(response_id):
            call.meter.responded(response_id, event.usage, taken_back=call.early.was_taken_back(response_id))
        return
    if is_told:
        call.meter.responded(response_id, event.usage, taken_back=call.early.was_taken_back(response_id))
        if event.status == "completed" and call.answers.is_greeting and response_id == call.answers.active:
            out.append(LearnGreeting(response_id))
    follows = call.answers.ended(response_id, event.status, now, event.retry_after_s)
    for item in call.answer_items.get(response_id, []):
        call.heard(call.playout.finish(item), now, out)
    drop_unheard(call, response_id)
    for item in sorted(call.soundless_items.pop(response_id, ())):
        if call.sessions.serves and call.phase is not Phase.GONE:
            out.append(DeleteItem(item))
    function_calls.want_answer(call, call.conversation.newest(), now, out)
    _follow(call, event, follows, now, out)
    _give_up_if_failed(call, now, out)
    if event.status == "completed" and not call.early.is_early(response_id):
        heed_own_words(call, response_id, now, out)


def _end_untold(call: Call, response_id: ResponseId | None, now: float, out: list[Action]) -> None:
    """Treat a response as ended, although no event has reported its end."""
    if response_id is None:
        return
    call.answers.presume_ended(response_id)
    hears = "no difference: the call goes on as if the end had been reported"
    out.append(Report("model.end_untold", "warning", (("response_id", response_id), ("caller_hears", hears))))
    ended(call, ResponseEnded(response_id, "completed", None, None), now, out, is_told=False)


def tick(call: Call, now: float, out: list[Action]) -> None:
    """Check whether a response has ended without a report."""
    _end_untold(call, call.answers.unended(now), now, out)


def _follow(call: Call, event: ResponseEnded, follows: Follows, now: float, out: list[Action]) -> None:
    """If an answer failed or broke off: write a log line, ask the model for the rest, or ask the caller to wait."""
    match follows:
        case "nothing":
            return
        case "again":
            name, hears = "model.answer_failed", "nothing yet: it is asked again"
        case "later":
            name, hears = "model.asked_to_wait", "a request to wait, then the answer"
        case "rest":
            name, hears = "model.answer_broke_off", "the beginning; the model is asked for the rest"
            if call.sessions.serves and call.phase is not Phase.GONE:
                out.append(call.note(wording.ANSWER_BROKE_OFF))
        case "failed":
            name, hears = "model.answer_failed_for_good", "that there is a problem; then a person"
    fields = (("status", event.status), ("detail", event.detail or ""), ("retry_after_s", event.retry_after_s))
    out.append(Report(name, "warning", (*fields, ("caller_hears", hears))))
    if follows == "later":
        _ask_to_wait(call, event.retry_after_s, now, out)


def _ask_to_wait(call: Call, retry_after_s: float | None, now: float, out: list[Action]) -> None:
    """The server asks us to wait. Ask the caller for patience, and ask for no more early answers."""
    call.early.governor.stop("rate limit")
    quiet = not call.playout.is_speaking(now) and not call.floor.is_taken and call.phase is Phase.TALKING
    if (retry_after_s or 0.0) > WAIT_WITHOUT_WORDS_S and quiet:
        call.say("one_moment_again", now, out, bridges=True)


def heed_own_words(call: Call, response_id: ResponseId, now: float, out: list[Action]) -> None:
    """Act if the agent says that it has not understood, or that it does something for which it called no function."""
    items = call.answer_items.get(response_id, [])
    spoken = [call.conversation.turn(item) for item in items]
    said = " ".join(turn.said for turn in spoken if turn is not None)
    if call.phase is not Phase.TALKING or not said:
        return
    if call.plan.rules.promises(said) and not call.functions.has_called(response_id):
        for item in items:
            call.liveness.bridge(item)  # These words only ask for patience, so the caller still waits for an answer.
        call.liveness.missing("promise", now)
    else:
        call.liveness.was_answered()
    asked = next((turn for turn in reversed(call.conversation.turns()) if turn.role == "caller"), None)
    if asked is None or not call.plan.rules.says("repeat_words", said):
        return
    if call.rest.kept is not None:  # The turn may have been a noise. It counts as misunderstood only if it has words.
        call.caller_turns.ask_again(asked.item_id)
    else:
        turns.misunderstood(call, asked.item_id, asked.said, now, out)


def objected(call: Call, event: ModelObjected, now: float, out: list[Action]) -> None:
    """The server sent an error. Harmless ones (CROSSINGS) are counted and not logged.

    A human takes over if the model has failed too often, or if the server asks us to wait too long (RETRY_LIMIT_S).
    """
    follows = call.answers.refused(event.event_id, event.code == ALREADY_ACTIVE, now, event.retry_after_s)
    call.early.refused(event.event_id)
    if event.code == NOT_ACTIVE:
        cancelled = (event.event_id or "").removeprefix(CANCEL_PREFIX)
        _end_untold(call, call.answers.nothing_is_active(ResponseId(cancelled) if cancelled else None), now, out)
    if event.code in CROSSINGS:
        call.figures.crossings += 1
        return
    call.figures.model_errors += 1
    out.append(Report("model.objected", "warning", (("code", event.code), ("message", event.message[:200]))))
    if follows == "later":
        _ask_to_wait(call, event.retry_after_s, now, out)
    _give_up_if_failed(call, now, out)


def _give_up_if_failed(call: Call, now: float, out: list[Action]) -> None:
    if call.answers.has_failed and call.phase is Phase.TALKING:
        ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")
