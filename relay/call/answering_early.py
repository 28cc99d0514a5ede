"""The end of the caller's turn: its answer, which was asked for early (early_answer.py), is now heard and counts."""

from __future__ import annotations

from relay.call import function_calls, responses
from relay.call.actions import Action, Report
from relay.call.interruption import go_on
from relay.call.state import Call, Phase
from relay.call.vocabulary import ResponseId


def frame(call: Call, now: float, out: list[Action]) -> bool:
    """A caller frame was measured while a turn is open. True if that is its end."""
    call.early.hear(now, sounds=call.voice.quiet_ms == 0)
    is_over = not call.floor.is_hearing and call.early.is_over(now, call.loud_at, call.voice.quiet_ms)
    if is_over:
        _close(call, now, out)
    return is_over


def tick(call: Call, now: float, out: list[Action]) -> None:
    """What time alone decides about an open turn."""
    if not call.floor.is_hearing and call.early.is_overdue(now):
        _close(call, now, out)


def _close(call: Call, now: float, out: list[Action]) -> None:
    """The turn has ended: its answer is heard, and may do something."""
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
        call.answers.want("turn")  # it was taken back, and what the VAD heard after that was not speech


def _counts(call: Call, response_id: ResponseId, now: float, out: list[Action]) -> None:
    """What was withheld is heard from now on."""
    waits_ms = 0.0
    for item in call.answer_items.get(response_id, []):
        turn = call.conversation.turn(item)
        if turn is not None and turn.said_ms:
            turn.begins(call.ms(now), waits_ms=round(waits_ms))
            waits_ms += turn.said_ms
    if call.answers.has_ended(response_id):
        responses.heed_own_words(call, response_id, now, out)
