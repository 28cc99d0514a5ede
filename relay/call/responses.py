"""The model's side: its answers, as they are generated. (The functions it calls: function_calls.py.)"""

from __future__ import annotations

from relay.call import ending, function_calls, greeting, turns
from relay.call.actions import (
    Action,
    DeleteItem,
    Report,
)
from relay.call.interruption import drop_unheard, withhold
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

# What we sent crossed what the server had just done: it began an answer, or ended one. Nobody's mistake, no harm
# [Realtime captures: a cancellation in 300 interruptions of 20 calls].
ALREADY_ACTIVE = "conversation_already_has_active_response"
CROSSINGS = frozenset({ALREADY_ACTIVE, "response_cancel_not_active"})


def wants(call: Call, response_id: ResponseId, item_id: ItemId) -> bool:
    """False for what must not be heard any more: of a cancelled answer, of a cut or complete item, at the end."""
    if call.answers.is_discarded(response_id):
        if call.conversation.turn(item_id) is None:
            call.unheard_items.setdefault(response_id, set()).add(item_id)
        return False
    if call.playout.is_finished(item_id) or call.phase is Phase.GONE:
        return False
    return call.ending is None or call.ending.item is None


def began(call: Call, event: ResponseBegan, now: float, out: list[Action]) -> None:
    """The model began to answer."""
    cancel = call.answers.began(event.response_id, event.ref, now)
    if cancel is not None:
        out.append(cancel)


def spoke(call: Call, event: ModelSpoke, now: float, out: list[Action]) -> None:
    """A delta of the model's audio."""
    if not wants(call, event.response_id, event.item_id):
        return
    call.answers.progressed(event.response_id, now)
    item_id = event.item_id
    turn = call.conversation.place(item_id, "agent", call.before(item_id), call.ms(now))
    _belongs(call, event.response_id, item_id)
    if turn.said_ms == 0:
        withhold(call, now)
        call.waterfalls.began(item_id, now)
        turn.begins(call.ms(now), waits_ms=round(call.playout.left_ms(now)))
        if call.notice_item is None and not call.consented and call.answers.active_ref.startswith("greeting"):
            call.notice_item = item_id
    if not call.answers.has_ended(event.response_id):
        call.meter.generated(event.response_id, max(0.0, event.said_ms - turn.said_ms))
    turn.sounds(event.said_ms)
    protected = item_id == call.notice_item
    call.playout.append(item_id, event.mulaw, now, said_ms=event.said_ms, protected=protected)
    greeting.climb(call, now, out)


def _belongs(call: Call, response_id: ResponseId, item_id: ItemId) -> None:
    items = call.answer_items.setdefault(response_id, [])
    if item_id not in items:
        items.append(item_id)
        call.ids.setdefault(item_id, item_id)


def worded(call: Call, event: ModelWorded, now: float, out: list[Action]) -> None:
    """A piece of the transcript of what the model says; mostly ahead of the audio, at times behind it."""
    turn = call.conversation.turn(event.item_id)
    if turn is None:
        if not wants(call, event.response_id, event.item_id):
            return
        turn = call.conversation.place(event.item_id, "agent", call.before(event.item_id), call.ms(now))
        _belongs(call, event.response_id, event.item_id)
    turn.goes_on(event.text)
    if not turn.whole:
        call.answers.progressed(event.response_id, now, is_audible=False)
        return
    call.record(turn.row(), out)


def finished(call: Call, event: ModelFinished, now: float, out: list[Action]) -> None:
    """An item's audio is complete."""
    if wants(call, event.response_id, event.item_id):
        call.heard(call.playout.finish(event.item_id, event.mulaw), now, out)


def ended(call: Call, event: ResponseEnded, now: float, out: list[Action]) -> None:
    """The model's answer is generated."""
    response_id = event.response_id
    if call.answers.has_ended(response_id):
        return  # told twice
    call.meter.responded(response_id, event.usage)
    again = call.answers.ended(response_id, event.status, now)
    for item in call.answer_items.get(response_id, []):
        call.heard(call.playout.finish(item), now, out)
    drop_unheard(call, response_id)
    for item in sorted(call.unheard_items.pop(response_id, ())):
        if call.model_is_ready and call.phase is not Phase.GONE:
            out.append(DeleteItem(item))
    function_calls.want_answer(call, now, out)
    if again or event.status == "failed":
        name = "model.answer_failed" if again else "model.answer_failed_for_good"
        hears = "nothing yet: it is asked again" if again else "no answer: they ask again, or are put through"
        fields = (("status", event.status), ("detail", event.detail or ""), ("caller_hears", hears))
        out.append(Report(name, "warning", fields))
    _give_up_if_failed(call, now, out)
    if event.status == "completed":
        _heed_own_words(call, response_id, now, out)


def _heed_own_words(call: Call, response_id: ResponseId, now: float, out: list[Action]) -> None:
    """An agent that has to ask again has not understood the caller's newest turn."""
    spoken = [call.conversation.turn(item) for item in call.answer_items.get(response_id, [])]
    said = " ".join(turn.said for turn in spoken if turn is not None)
    asked = next((turn for turn in reversed(call.conversation.turns()) if turn.role == "caller"), None)
    if asked is None or call.phase is not Phase.TALKING or not call.plan.rules.says("repeat_words", said):
        return
    if call.rest.kept is not None:  # perhaps it asks what a sneeze was to mean
        call.caller_turns.ask_again(asked.item_id)
    else:
        turns.misunderstood(call, asked.item_id, asked.said, now, out)


def objected(call: Call, event: ModelObjected, now: float, out: list[Action]) -> None:
    """An error event: benign ones are benign, and none ends a call by itself."""
    as_active = event.code == ALREADY_ACTIVE
    call.answers.refused(event.event_id, as_active, now)
    if event.code in CROSSINGS:
        call.figures.crossings += 1
    else:
        call.figures.model_errors += 1
        out.append(Report("model.objected", "warning", (("code", event.code), ("message", event.message[:200]))))
        _give_up_if_failed(call, now, out)


def _give_up_if_failed(call: Call, now: float, out: list[Action]) -> None:
    if call.answers.has_failed and call.phase is Phase.TALKING:
        ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")


def ask(call: Call, now: float, out: list[Action]) -> None:
    """Ask for the answer that is wished for, if its time has come."""
    ready = call.phase is Phase.TALKING and call.model_is_ready
    if not ready or not call.answers.is_wanted or call.floor.is_taken or call.playout.is_held:
        return
    if call.notice_is_open(now):
        return  # the answer would wait behind the notice anyway; and a function writes down what it is given
    request = call.answers.due(now)
    if request is None:
        return
    if keys := call.keypad.take():
        out.append(call.keys(keys))
    if request.instructions is None and not call.playout.is_speaking(now):
        call.caller_turns.were_asked_about()
    out.append(request)
