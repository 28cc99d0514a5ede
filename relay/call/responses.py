"""The model's side: its answers, as they are generated, and the functions it calls."""

from __future__ import annotations

from relay.call import ending, greeting, turns, wording
from relay.call.actions import (
    Action,
    DeleteItem,
    Report,
    RunFunction,
    SendFunctionOutput,
)
from relay.call.interruption import drop_unheard, withhold
from relay.call.state import Call, Next, Phase
from relay.call.vocabulary import (
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ModelFinished,
    ModelObjected,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StaySilent,
    TransferCall,
)

# The holding phrase (a complaint of this field: dead air). A function that takes no longer than this needs none ...
HOLDING_AFTER_S = 0.700
# ... unless the caller has been waiting since before it began, because the model thought and called it without a word:
# what counts for them is the silence, of which 0.9 s are too long. The rest of that is a frame, a clip's first and a
# voice's last quiet tenth, and the way to the ear: 160 ms, with a busy machine's worst 310 (bench/functions).
SILENCE_LIMIT_S = 0.560
# Another answer is being thought of while the function runs: it comes first, unless the caller waits for this long.
HOLDING_BEHIND_ANSWER_S = 2.0
HOLDING_AGAIN_S = 5.0
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
        turn.started_ms = call.ms(now)
        if call.waterfall is not None:
            call.waterfall.first_delta = now
            call.waterfalls[item_id], call.waterfall = call.waterfall, None
        if call.notice_item is None and not call.consented and call.answers.active_ref.startswith("greeting"):
            call.notice_item = item_id
    if not call.answers.has_ended(event.response_id):
        call.meter.generated(event.response_id, max(0.0, event.said_ms - turn.said_ms))
    turn.said_ms = max(turn.said_ms, event.said_ms)
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
    turn.said += event.text
    if not turn.whole:
        call.answers.progressed(event.response_id, now, is_audible=False)
        return
    if not turn.interrupted:
        turn.heard = turn.said
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
    _want_output(call)
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
    if call.given_up is not None:  # perhaps it asks what a sneeze was to mean
        call.asked_again.add(asked.item_id)
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
        call.answered_unknown.update(call.awaiting_words)
    out.append(request)


# Functions


def function_asked(call: Call, event: FunctionAsked, now: float, out: list[Action]) -> None:
    """The model calls a function."""
    if call.conversation.knows_call(event.function_call_id) or call.phase is not Phase.TALKING:
        return
    call.conversation.called(event.function_call_id, event.name, event.arguments)
    if call.answers.is_discarded(event.response_id):  # the caller spoke against it before it was done
        call.conversation.returned(event.function_call_id, wording.NOT_RUN)
        out.append(SendFunctionOutput(event.function_call_id, wording.NOT_RUN))
        return
    call.answers.progressed(event.response_id, now)
    call.functions[event.function_call_id] = event.response_id
    call.holding = call.plan.holding.get(event.name, "holding") or ""
    if not call.holding:
        call.quiet_functions.add(event.function_call_id)
    call.held_phrase_at = 0.0
    call.function_at = now
    out.append(RunFunction(event.function_call_id, event.name, event.arguments))


def function_returned(call: Call, event: FunctionReturned, now: float, out: list[Action]) -> None:
    """A function's answer is there."""
    response_id = call.functions.pop(event.function_call_id, None)
    if response_id is None:
        return  # told twice
    call.quiet_functions.discard(event.function_call_id)
    call.conversation.returned(event.function_call_id, event.output)
    call.caller_at = max(call.caller_at, now)
    if call.phase is not Phase.TALKING:
        return
    if call.model_is_ready:
        out.append(SendFunctionOutput(event.function_call_id, event.output))
    match event.effect:
        case TransferCall(reason, summary):
            if ending.transfer(call, EndReason.TRANSFERRED, reason, summary, now, out, by_agent=True):
                return
        case EndCall():
            phrase = None if call.playout.is_speaking(now) else "goodbye"
            ending.leave(call, EndReason.AGENT_SAID_GOODBYE, Next.HANG_UP, now, out, phrase=phrase, after_speech=True)
            return
        case StaySilent():
            pass
        case None:
            call.given_up = None  # there is something else to be told
            call.outputs_wanted.add(response_id)
    if _failed_too_often(call, event):
        what = event.name.replace("_", " ")
        why = f"nobody knows whether {what} was done" if event.unsure else f"{what} failed"
        if ending.transfer(call, EndReason.TRANSFERRED, why, "", now, out, phrase="trouble"):
            return
    _want_output(call)


def _failed_too_often(call: Call, event: FunctionReturned) -> bool:
    """True when the same thing has not worked so often that a human is due. A "no" that the caller can use is none."""
    if event.ok or event.refused:
        call.failed_attempts.pop(event.name, None)
        return False
    attempts = call.failed_attempts[event.name] = call.failed_attempts.get(event.name, 0) + 1
    if attempts < call.plan.rules.human_after_failures:
        return False
    del call.failed_attempts[event.name]
    return True


def _want_output(call: Call) -> None:
    """N outputs of one answer are one request: when the answer is complete, and the last of them is there."""
    running = set(call.functions.values())
    for response_id in list(call.outputs_wanted):
        if response_id not in running and response_id != call.answers.active:
            call.outputs_wanted.discard(response_id)
            call.answers.want("output")


def tick(call: Call, now: float, out: list[Action]) -> None:
    """Nobody waits in silence while a function runs."""
    audible = [function for function in call.functions if function not in call.quiet_functions]
    if not audible or call.playout.is_speaking(now) or call.floor.is_taken or now < _holding_due(call):
        return
    first = call.holding if call.holding in call.plan.phrases else "holding"
    call.say("holding_again" if call.held_phrase_at else first, now, out)
    call.held_phrase_at = now


def _holding_due(call: Call) -> float:
    """When the next phrase is to be heard (Trio clock), if nobody speaks until then."""
    if call.held_phrase_at:
        due = max(call.quiet_since(), call.held_phrase_at) + HOLDING_AGAIN_S
    else:
        silent_since = max(call.loud_at, call.playout.quiet_since_s)  # on a line with a loud noise: never
        due = max(call.quiet_since(), call.function_at) + HOLDING_AFTER_S
        due = min(due, max(silent_since + SILENCE_LIMIT_S, call.function_at))
    another = call.answers.is_busy and call.answers.active not in call.functions.values()
    return max(due, call.quiet_since() + HOLDING_BEHIND_ANSWER_S) if another else due
