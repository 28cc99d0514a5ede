"""The caller says that their words are not to be kept: from that moment on none are, and the agent confirms it."""

from __future__ import annotations

from relay.call import wording
from relay.call.actions import Action, StopKeepingWords
from relay.call.consent import refuses
from relay.call.interruption import cut_off
from relay.call.state import Call, Phase
from relay.call.vocabulary import CallerTranscribed


def heed(call: Call, event: CallerTranscribed, now: float, out: list[Action]) -> bool:
    """True if the caller says so with these words. Asked before they are recorded: they are not kept either."""
    turn = call.conversation.turn(event.item_id)
    text = event.text or ""
    if turn is not None:
        text = turn.said_with(event.item_id, text)  # one more piece of it
    if call.consent.refused or not refuses(text):
        return False
    call.consent.refused = True
    waiting, call.unconsented = call.unconsented, []
    for row in waiting:
        call.record(row, out)
    out.append(StopKeepingWords(call.ms(now)))
    return True


def confirm(call: Call, now: float, out: list[Action]) -> None:
    """The agent says that it is so; what it was saying to these words meanwhile is not heard."""
    if call.phase is not Phase.TALKING or not call.model_is_ready:
        return
    cut_off(call, now, out)
    out.append(call.note(wording.NOT_KEPT))
    call.answers.want("consent", wording.CONFIRM_NOT_KEPT)
