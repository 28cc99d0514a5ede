"""Starts the functions that the model calls, asks for answers to their outputs, and says phrases while they run."""

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

# If a function runs for this long and nobody speaks, a holding phrase ("One moment, I'm checking that.") is due.
HOLDING_AFTER_S = 0.700
# The caller may have waited in silence before the function was called, because a model can call a function without a
# word. So a phrase is also due after this much silence in all. The caller should hear the phrase after at most 0.9 s of
# silence. A phrase that is due is heard 160 ms later, at worst 310 ms later on a busy machine. This time consists of a
# frame, the quiet end of the agent's last words, the quiet beginning of the clip, and the way to the caller
# (bench/functions).
SILENCE_LIMIT_S = 0.560
# If another answer will come while the function runs, the phrase waits for this answer, but at most this long.
HOLDING_BEHIND_ANSWER_S = 2.0
# If the function still runs after this much silence behind a phrase, one of PHRASES_AGAIN follows.
HOLDING_AGAIN_S = 5.0
PHRASES_AGAIN = ("one_moment_again", "holding_again")
# `human_after_failures` (escalation.toml) says after how many failures of one function in a row a human takes over. For
# all functions together, refusals ("taken") count like failures, and the limit is higher by this number.
REFUSALS_BEFORE_HUMAN = 3


def asked(call: Call, event: FunctionAsked, now: float, out: list[Action]) -> None:
    """The model calls a function. Start it now or later, or refuse it."""
    if call.phase is not Phase.TALKING:
        return
    runs = call.early.called(event)
    if runs == "never":
        # Its item is deleted with the other items of the answer.
        call.soundless_items.setdefault(event.response_id, set()).add(event.item_id)
        return
    if runs == "held":  # The caller's turn has not ended. The function waits until it has.
        call.functions.are_called_by(event.response_id)
        call.answers.called(event.response_id, now)
        return
    newest = call.conversation.called(event.function_call_id, event.name, event.arguments)
    if newest is None:
        return  # The event came twice.
    may = call.answers.called(event.response_id, now)
    if may == "nothing":  # The caller has interrupted this answer before the function could run.
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
    """A function has returned. Send its output to the model, and carry out its effect."""
    wants_answer = call.phase is Phase.TALKING and not isinstance(event.effect, TransferCall | EndCall | StaySilent)
    if not call.functions.end(event.function_call_id, wants_answer=wants_answer):
        return  # The event came twice.
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
            _say_goodbye(call, now, out)
            return
        case StaySilent():
            call.liveness.stays_silent(now)
        case TakeMessage() | PauseRecording() | ResumeRecording() | None:
            if call.rest.kept is not None:
                call.rest.forget()  # The agent has something else to say now.
    if _failed_too_often(call, event):
        what = event.name.replace("_", " ")
        why = f"nobody knows whether {what} was done" if event.unsure else f"{what} failed"
        if ending.transfer(call, EndReason.TRANSFERRED, why, "", now, out, phrase="trouble"):
            return
    want_answer(call, newest, now, out)


def _say_goodbye(call: Call, now: float, out: list[Action]) -> None:
    """End the call. The relay itself says goodbye if the caller does not hear the agent now."""
    phrase = None if call.playout.is_speaking(now) and not call.is_withheld() else "goodbye"
    ending.leave(call, EndReason.AGENT_SAID_GOODBYE, Next.HANG_UP, now, out, phrase=phrase, after_speech=True)


def _failed_too_often(call: Call, event: FunctionReturned) -> bool:
    """Count how a function ended. Returns True if a human must take over, because functions failed too often."""
    if event.ok:
        if call.functions.failed_attempts:
            call.functions.worked(event.name)
        return False
    # A single refusal brings no human. But a model that gets nothing but refusals and failures cannot help the caller.
    limit = call.plan.rules.human_after_failures
    in_all = call.functions.failed(ANY)
    own = 0 if event.refused else call.functions.failed(event.name)
    if in_all < limit + REFUSALS_BEFORE_HUMAN and own < limit:
        return False
    # Counted from zero again, also if no human is there. Otherwise each further failure would try to transfer the call.
    call.functions.worked(event.name)
    return True


def want_answer(call: Call, newest: tuple[int, int], now: float, out: list[Action]) -> None:
    """Ask for one answer to all outputs of a response, when the response has ended and all its functions have returned.

    `newest`: the newest turns, as `Conversation.newest` returns them. A model that calls functions again and again is
    asked for an answer without functions. If it still calls functions, a human takes over.
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
    """Say a phrase if a function runs and the caller waits in silence."""
    functions = call.functions
    if not functions.is_awaited or call.playout.is_speaking(now) or call.floor.is_taken or now < _phrase_due(call):
        return
    say_phrase(call, now, out)


def say_phrase(call: Call, now: float, out: list[Action]) -> None:
    """Tell the caller that the function takes a while. The phrases alternate."""
    functions = call.functions
    first = functions.phrase if functions.phrase in call.plan.phrases else "holding"
    again = PHRASES_AGAIN[functions.phrases % len(PHRASES_AGAIN)]
    call.say(again if functions.phrases else first, now, out, bridges=True)
    functions.said_phrase(now)


def _phrase_due(call: Call) -> float:
    """When the next phrase is due, if nobody speaks before that (Trio clock)."""
    functions = call.functions
    if functions.phrase_at:
        due = max(call.quiet_since(), functions.phrase_at) + HOLDING_AGAIN_S
    else:
        # Each loud sound of the caller's line, even noise, makes `loud_at` later. So HOLDING_AFTER_S limits the wait,
        # too.
        silent_since = max(call.loud_at, call.playout.quiet_since_s)
        due = max(call.quiet_since(), functions.asked_at) + HOLDING_AFTER_S
        due = min(due, max(silent_since + SILENCE_LIMIT_S, functions.asked_at))
    another = call.answers.is_busy and not functions.were_called_by(call.answers.active)
    return max(due, call.quiet_since() + HOLDING_BEHIND_ANSWER_S) if another else due
