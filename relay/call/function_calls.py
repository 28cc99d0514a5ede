"""The functions that the model calls: how they start, how their outputs are answered, and what is heard meanwhile."""

from __future__ import annotations

from relay.call import ending, wording
from relay.call.actions import Action, Report, RunFunction, SendFunctionOutput
from relay.call.running_functions import ANY
from relay.call.state import Call, Next, Phase
from relay.call.vocabulary import (
    EndCall,
    EndReason,
    FunctionAsked,
    FunctionReturned,
    PauseRecording,
    ResumeRecording,
    StaySilent,
    TakeMessage,
    TransferCall,
)

# A holding phrase is due this long after the function began, against dead air. A faster function needs no phrase.
HOLDING_AFTER_S = 0.700
# But the caller may already have waited before the function began: the model was silent, and then called it without a
# word. Then all the silence counts, and it must stay below 0.9 s. The remaining 0.34 s are for the time until the
# phrase is heard: 160 ms, at worst 310 ms on a busy machine. This time is a frame, the quiet beginning of a clip, the
# quiet end of a voice, and the way to the caller (bench/functions).
SILENCE_LIMIT_S = 0.560
# If another answer is coming while the function runs, the phrase waits for that answer. But the caller waits no longer
# than this time.
HOLDING_BEHIND_ANSWER_S = 2.0
HOLDING_AGAIN_S = 5.0
PHRASES_AGAIN = ("one_moment_again", "holding_again")
# A human takes over when one function has failed too often (escalation.py: two failures in a row). A clear no is not
# such a failure. But this many more failures in a row bring a human too, even if all of them were a clear no.
REFUSALS_BEFORE_HUMAN = 3


def asked(call: Call, event: FunctionAsked, now: float, out: list[Action]) -> None:
    """The model calls a function."""
    if call.phase is not Phase.TALKING:
        return
    runs = call.early.called(event)
    if runs == "never":
        call.soundless_items.setdefault(event.response_id, set()).add(event.item_id)  # The item is deleted too.
        return
    if runs == "held":  # No function runs before the caller's turn has ended.
        call.functions.are_called_by(event.response_id)
        call.answers.called(event.response_id, now)
        return
    newest = call.conversation.called(event.function_call_id, event.name, event.arguments)
    if newest is None:
        return  # The event was reported twice.
    may = call.answers.called(event.response_id, now)
    if may == "nothing":  # The caller spoke against it before it was done.
        call.conversation.returned(event.function_call_id, wording.NOT_RUN)
        out.append(SendFunctionOutput(event.function_call_id, wording.NOT_RUN))
        return
    phrase = call.plan.holding.get(event.name, "holding") or ""
    if not call.functions.begin(
        event.function_call_id, event.response_id, phrase, now, newest=newest, may_call=may == "call"
    ):
        call.conversation.returned(event.function_call_id, wording.TOO_MANY)
        out.append(SendFunctionOutput(event.function_call_id, wording.TOO_MANY))
        return
    out.append(RunFunction(event.function_call_id, event.name, event.arguments, newest[0]))


def returned(call: Call, event: FunctionReturned, now: float, out: list[Action]) -> None:
    """A function's answer has come."""
    wants_answer = call.phase is Phase.TALKING and not isinstance(event.effect, TransferCall | EndCall | StaySilent)
    if not call.functions.end(event.function_call_id, wants_answer=wants_answer):
        return  # The event was reported twice.
    newest = call.conversation.returned(event.function_call_id, event.output)
    call.presence.was_served(now)
    if call.phase is not Phase.TALKING:
        return
    if call.sessions.serves:
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
            call.liveness.stays_silent(now)
        case TakeMessage() | PauseRecording() | ResumeRecording() | None:
            if call.rest.kept is not None:
                call.rest.forget()  # There is something else to say.
    if _failed_too_often(call, event):
        what = event.name.replace("_", " ")
        why = f"nobody knows whether {what} was done" if event.unsure else f"{what} failed"
        if ending.transfer(call, EndReason.TRANSFERRED, why, "", now, out, phrase="trouble"):
            return
    want_answer(call, newest, now, out)


def _failed_too_often(call: Call, event: FunctionReturned) -> bool:
    """True if the same thing has failed so often that a human must take over.

    A clear no that helps the caller does not count as a failure.
    """
    if event.ok:
        if call.functions.failed_attempts:
            call.functions.worked(event.name)
        return False
    # A clear no alone brings no human. But a model that gets only refusals and failures cannot go on.
    limit = call.plan.rules.human_after_failures
    if call.functions.failed(ANY) < limit + REFUSALS_BEFORE_HUMAN and (
        event.refused or call.functions.failed(event.name) < limit
    ):
        return False
    call.functions.worked(event.name)
    return True


def want_answer(call: Call, newest: tuple[int, int], now: float, out: list[Action]) -> None:
    """Answer the outputs of one response's functions together, when the response and all outputs are complete.

    `newest` are the newest turns, as in `Conversation.newest`.

    A model that calls functions again and again is asked for an answer without functions. After that a human takes
    over.
    """
    answer = call.functions.next_answer(call.answers.active, newest)
    if answer == "none":
        return
    if answer == "any":
        call.answers.want("output")
        return
    rounds = call.functions.rounds
    if answer == "in words":
        hears = "an answer without another look-up"
        out.append(Report("functions.without_end", "warning", (("calls", rounds.calls), ("caller_hears", hears))))
        call.answers.want("output", wording.ANSWER_NOW)
        return
    hears = "that there is a problem, and a person"
    out.append(Report("functions.without_end", "error", (("calls", rounds.calls), ("caller_hears", hears))))
    why = "functions led to no answer"
    if not ending.transfer(call, EndReason.TRANSFERRED, why, "", now, out, phrase="trouble"):
        ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")


def tick(call: Call, now: float, out: list[Action]) -> None:
    """Say a phrase if the caller waits in silence while a function runs."""
    functions = call.functions
    if not functions.is_awaited or call.playout.is_speaking(now) or call.floor.is_taken or now < _phrase_due(call):
        return
    say_phrase(call, now, out)


def say_phrase(call: Call, now: float, out: list[Action]) -> None:
    """Tell the caller that the function takes a while. The same words are never said twice in a row."""
    functions = call.functions
    first = functions.phrase if functions.phrase in call.plan.phrases else "holding"
    again = PHRASES_AGAIN[functions.phrases % len(PHRASES_AGAIN)]
    call.say(again if functions.phrases else first, now, out, bridges=True)
    functions.said_phrase(now)


def _phrase_due(call: Call) -> float:
    """When the next phrase must be heard if nobody speaks before (Trio clock)."""
    functions = call.functions
    if functions.phrase_at:
        due = max(call.quiet_since(), functions.phrase_at) + HOLDING_AGAIN_S
    else:
        # Each loud sound on the line moves this time on, even noise. So the wait of HOLDING_AFTER_S is a limit too.
        silent_since = max(call.loud_at, call.playout.quiet_since_s)
        due = max(call.quiet_since(), functions.asked_at) + HOLDING_AFTER_S
        due = min(due, max(silent_since + SILENCE_LIMIT_S, functions.asked_at))
    another = call.answers.is_busy and not functions.were_called_by(call.answers.active)
    return max(due, call.quiet_since() + HOLDING_BEHIND_ANSWER_S) if another else due
