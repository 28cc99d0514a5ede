"""Goes on with the model's own voice after the voice that spoke its text was lost.

Text that already has sound is played to its end, and the model's item is shortened to this text. The rest of the answer
is asked for. The same model session can begin to speak, so no other session is opened.
"""

from __future__ import annotations

from relay.call import ending, failover, wording
from relay.call.actions import Action, UseOwnVoice
from relay.call.interruption import say_anew, take_back
from relay.call.state import Call, Phase
from relay.call.vocabulary import ItemId, ResponseId, VoiceFailed


def lost(call: Call, event: VoiceFailed, now: float, out: list[Action]) -> None:
    """The voice is lost. This is reported once in a call."""
    if call.voice_fault or call.phase is Phase.GONE:
        return
    call.voice_fault = event.fault
    call.rest.forget()
    if call.early.is_asked:
        take_back(call, now, out)
        call.answers.want("turn")
    caller_waits = call.answers.is_pending
    broke_off = _give_up(call, now, out)
    if call.phase is Phase.LEAVING:
        ending.say_instead(call, now, out)
    elif call.phase is Phase.TALKING and caller_waits:
        if broke_off and call.sessions.serves:
            out.append(call.note(wording.ANSWER_BROKE_OFF))
        if not call.floor.is_taken:
            failover.ask_for_patience(call, now, out)


def _give_up(call: Call, now: float, out: list[Action]) -> bool:
    """Cancel the present answer and ask for its text again.

    Returns True if the caller hears a part of it, so that only its rest is asked for.
    """
    active, greets = call.answers.active, call.answers.is_greeting
    is_heard = active is not None and not call.answers.is_discarded(active)
    begun = active is not None and is_heard and _keep_what_is_spoken(call, active, now, out)
    # If this answer has called a function, the next answer waits for the function's output.
    calls = active is not None and call.functions.has_called(active)
    cancel = call.answers.restart(now, wants_rest=not calls)
    if cancel is not None:
        out.append(cancel)
    out.append(UseOwnVoice())  # This must be sent after the cancellation and before the next request.
    if greets and not call.consented:
        call.notice_item = None  # The notice is said again from its beginning.
    return begun and not greets and not calls


def _keep_what_is_spoken(call: Call, response_id: ResponseId, now: float, out: list[Action]) -> bool:
    """Play the text of this answer that has sound. The model's items are shortened to this text.

    Returns True if there is such text.
    """
    begun = False
    for item in call.answer_items.get(response_id, []):
        turn = call.conversation.turn(item)
        if turn is None or not turn.said_ms:
            continue
        begun = True
        if not turn.is_spoken:
            call.heard(call.playout.finish(item), now, out)
            _tell_model(call, item, turn.spoken, out)
    return begun


def _tell_model(call: Call, item: ItemId, words: str, out: list[Action]) -> None:
    if call.sessions.serves:
        say_anew(call, item, words, out)
