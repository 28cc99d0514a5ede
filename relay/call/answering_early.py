"""Ends the caller's open turn when the caller has been silent for long enough.

Then the caller hears the early answer to this turn, and the functions that the answer calls run. early_answer.py
explains open turns and early answers.
"""

from __future__ import annotations

from relay.call import function_calls, responses
from relay.call.actions import Action, Report
from relay.call.interruption import go_on
from relay.call.state import Call, Phase
from relay.call.vocabulary import ResponseId


def frame(call: Call, now: float, out: list[Action]) -> bool:
    """A caller frame came while a turn is open. Returns True if the turn has ended with this frame."""
    call.early.hear(now, sounds=call.voice.quiet_ms == 0)
    return look(call, now, out)


def look(call: Call, now: float, out: list[Action]) -> bool:
    """End the open turn if the silence is long enough. Returns True if the turn has ended."""
    is_here = call.is_withheld() or call.early.calls_function
    is_over = not call.floor.is_hearing and call.early.is_over(now, call.loud_at, call.voice.quiet_ms, is_here=is_here)
    if is_over:
        _close(call, now, out)
    return is_over


def tick(call: Call, now: float, out: list[Action]) -> None:
    """End an open turn if no caller frames come, because without frames the silence cannot be measured."""
    if not call.floor.is_hearing and call.early.is_overdue(now):
        _close(call, now, out)


def _close(call: Call, now: float, out: list[Action]) -> None:
    """End the turn. Let the caller hear the early answer, and run its functions. If none was asked for, ask now."""
    turn, response_id, held = call.early.close(now, call.loud_at)
    call.floor.closes_turn()
    if why := call.early.governor.news():
        hears = "answers as late as with ANSWER_EARLY=off, for the rest of this call"
        out.append(Report("early_answers.off", "info", (("why", why), ("caller_hears", hears))))
    if call.phase is not Phase.TALKING or turn is None:
        return
    if call.rest.kept is not None and call.rest.kept.was_none and go_on(call, now, out):
        return
    if response_id is not None:
        _counts(call, response_id, now, out)
    for event in held:
        function_calls.asked(call, event, now, out)
    if turn.wants_answer and response_id is None and not call.answers.is_pending:
        # There is no early answer: it was not asked for, or it was taken back for a sound that was no speech.
        call.answers.want("turn")


def _counts(call: Call, response_id: ResponseId, now: float, out: list[Action]) -> None:
    """Let the caller hear the early answer. The turns of its items begin now."""
    waits_ms = 0.0
    for item in call.answer_items.get(response_id, []):
        turn = call.conversation.turn(item)
        if turn is not None and turn.said_ms:
            turn.begins(call.ms(now), waits_ms=round(waits_ms))
            waits_ms += turn.said_ms
    if call.answers.has_ended(response_id):
        responses.heed_own_words(call, response_id, now, out)
