"""Stops the agent, lets it go on, gives its answer up, or plays the rest of an answer that was given up.

An answer is given up long before the words of the interruption are known. If these words mean nothing ("mm-hmm", a
sneeze), the agent plays the rest of the answer, from the last pause that was heard. The model's own item was truncated,
and this cannot be undone. So the rest becomes a new text item in the model's conversation. The model's answer to the
interruption is then dropped. If the given-up answer was not generated to its end, the relay does not have its rest.
Then the model itself goes on (prompts/system.md, Interruptions).
"""

from __future__ import annotations

import re

import dsp
from relay.call.actions import (
    Action,
    ClearPlayback,
    CreateItem,
    DeleteItem,
    TruncateItem,
)
from relay.call.call_config import Phrase
from relay.call.playout import BYTES_PER_MS, FRAME_BYTES, RESUME_EARLIER_BYTES, Cut
from relay.call.rest import GivenUp
from relay.call.state import Call, Phase
from relay.call.turn_taking import Step
from relay.call.vocabulary import ItemId, ResponseId

# A listener's "mm-hmm" takes 250 to 600 ms. If the caller is heard for less than this after the answer was given up,
# the interruption was short.
SHORT_S = 0.400
# The words of a short interruption come 1.65 to 1.8 s after its last sound (0.5 s for the VAD, then 1.15 to 1.3 s for
# the transcription). The model's answer to it comes after 1.15 to 1.5 s (0.5 s, then 0.65 to 1.0 s). Captures of real
# sessions show both. So the answer waits up to WITHHELD_LIMIT_S for the words. If the answer comes so early that it
# would wait longer, it does not wait.
WORDS_BEHIND_VOICE_S = 1.8
WITHHELD_LIMIT_S = 0.5
# With early answers, the answer comes sooner by this much. So it may wait for the words longer by this much.
EARLIER_S = 0.3
# When the agent goes on, it begins at the last pause that was heard, so that the sentence can be understood. The pause
# must be at most REWIND_BYTES before the stop. Three quiet frames count as a pause, because a consonant is shorter.
REWIND_BYTES = 1_500 * BYTES_PER_MS
PAUSE_FRAMES = 3
PAUSE_DBFS = -45.0
# If less than this is left of an answer, the agent does not go on with it. The caller has heard nearly all of it.
LEAST_REST_MS = 500
_SENTENCE_ENDS = re.compile(r"[.!?](?=\s|$)")  # The point in "7.30" does not end a sentence.


def carry_out(call: Call, step: Step, now: float, out: list[Action]) -> None:
    """Carry out a decision of turn_taking.py: hold the agent, let it go on, or give its answer up."""
    if step is Step.NOTHING or call.phase is not Phase.TALKING:
        return
    speech = call.floor.speech
    # True if the caller heard the agent when it was stopped. While the rest of an answer is kept, the next answer may
    # still wait for words, so the caller has not heard it.
    was_heard = speech is not None and speech.over_agent and call.rest.kept is None
    if step is Step.HOLD:
        call.held_at = now
        if call.playout.hold(now):
            out.append(ClearPlayback())
    elif step is Step.RESUME:
        if call.playout.is_held:
            call.figures.false_stops += was_heard
            call.playout.resume()
    else:
        call.figures.barge_ins += was_heard
        # True if the answer was generated to its end, and nothing else is wanted from the model.
        is_all = not (call.answers.is_busy or call.answers.is_wanted or call.functions or call.keypad.untold)
        cuts = cut_off(call, now, out, by=speech.item_id if speech is not None else None)
        if was_heard and is_all:
            _keep_rest(call, cuts, now)


def _keep_rest(call: Call, cuts: list[Cut], now: float) -> None:
    parts, was_asking = [], False
    for cut in cuts:
        turn = call.conversation.turn(cut.item)
        if turn is None:
            return
        was_asking |= _asks(turn.heard or "", turn.said)
        at = _pause_before(cut.mulaw, int(cut.heard_ms * BYTES_PER_MS))
        before = turn.heard_until(at / BYTES_PER_MS, cut.said_ms)
        if words := turn.said[len(before) :].strip():
            parts.append((words, bytes(cut.mulaw[at:])))
    if sum(cut.said_ms - cut.heard_ms for cut in cuts) >= LEAST_REST_MS and parts:
        call.rest.keep(GivenUp(now, tuple(parts), was_asking))


def _asks(heard: str, said: str) -> bool:
    """True if the heard part asks something, or stops inside a question.

    Callers often answer before the last word of a question.
    """
    began = _SENTENCE_ENDS.split(heard)[-1].strip()
    end = _SENTENCE_ENDS.search(said, len(heard))
    return "?" in heard or (bool(began) and end is not None and end.group() == "?")


def _pause_before(mulaw: bytearray, heard_bytes: int) -> int:
    """The byte from which the agent goes on: at the last pause before the stop, or where it stopped if none is near."""
    stopped = max(0, heard_bytes - RESUME_EARLIER_BYTES) // FRAME_BYTES * FRAME_BYTES
    quiet = 0
    for at in range(stopped, max(0, stopped - REWIND_BYTES) - 1, -FRAME_BYTES):
        quiet = quiet + 1 if dsp.level_dbfs(bytes(mulaw[at : at + FRAME_BYTES])) < PAUSE_DBFS else 0
        if quiet == PAUSE_FRAMES:
            return at
    return stopped


def withhold(call: Call, now: float) -> None:
    """Let an answer wait for the words of the interruption before it, if this interruption was short.

    Called when the first sound of the answer has come. If the words mean nothing, the answer is dropped.
    """
    kept = call.rest.kept
    if kept is None or kept.withheld_until or not call.awaits_words(now) or call.loud_at - kept.at >= SHORT_S:
        return
    limit_s = WITHHELD_LIMIT_S + EARLIER_S * call.early.is_on
    if now < call.loud_at + WORDS_BEHIND_VOICE_S <= now + limit_s:
        kept.withheld_until = call.loud_at + WORDS_BEHIND_VOICE_S


def go_on(call: Call, now: float, out: list[Action]) -> bool:
    """The caller's words meant nothing. Play the rest of the answer that was given up.

    Returns False if this is not possible now.
    """
    kept = call.rest.kept
    if kept is None or call.phase is not Phase.TALKING:
        return False
    if call.floor.is_taken or call.awaits_words(now) or call.functions:
        kept.was_none = True
        return False
    cut_off(call, now, out)
    call.waterfalls.nobody_waits()
    call.figures.barge_ins -= 1
    call.figures.false_stops += 1
    for words, mulaw in kept.parts:
        call.own(Phrase(words, mulaw), now, out, protected=False, rest=True)
    return True


def interrupt(call: Call, now: float, out: list[Action]) -> None:
    """Stop the agent, because the words of a turn show an interruption. The sound of the turn did not show it."""
    call.figures.barge_ins += 1
    cut_off(call, now, out)


def take_back(call: Call, now: float, out: list[Action]) -> None:
    """Take back the early answer of the open turn. The caller has heard nothing of it.

    Its items are deleted at the model, too.
    """
    response_id, items, held = call.early.take_back()
    cancel = call.answers.cancel(now)
    if cancel is not None and call.sessions.serves:
        out.append(cancel)
    call.caller_turns.answer_was_given_up()
    if response_id is None:
        return
    for event in held:
        if event.item_id:
            items.append(event.item_id)
    for item in call.answer_items.get(response_id, []):
        call.playout.withdraw(item)
        call.conversation.drop(item)
        call.waterfalls.take(item)
        items.append(item)
    for item in items:
        call.ids.pop(item, None)
    call.meter.taken_back_early(response_id)
    if not call.answers.has_ended(response_id):
        call.soundless_items.setdefault(response_id, set()).update(items)
    elif call.sessions.serves and call.phase is not Phase.GONE:
        out += [DeleteItem(item) for item in sorted(set(items))]


def cut_off(call: Call, now: float, out: list[Action], *, by: ItemId | None = None) -> list[Cut]:
    """Give up the agent's answer. Its items are cut at the place that the caller has heard.

    `by`: the caller's turn that is the reason, if there is one.
    """
    if call.early.turn is not None and call.early.is_asked:
        take_back(call, now, out)
    if call.playout.held is None and call.playout.hold(now):
        out.append(ClearPlayback())
    cuts = call.playout.cut(now)
    call.caller_turns.answer_was_given_up(by)
    active = call.answers.active
    cancel = call.answers.cancel(now)
    if cancel is not None:
        out.append(cancel)
    for cut in cuts:
        _cut_item(call, cut, now, out)
    if active is not None and not {cut.item for cut in cuts}.issuperset(call.answer_items.get(active, ())):
        drop_unheard(call, active)
    return cuts


def drop_unheard(call: Call, response_id: ResponseId) -> None:
    """Remember the response's items that will have no sound. They are deleted when the response has ended."""
    dropped = call.conversation.drop_soundless(call.answer_items.get(response_id, []))
    if dropped:
        call.soundless_items.setdefault(response_id, set()).update(dropped)


def _cut_item(call: Call, cut: Cut, now: float, out: list[Action]) -> None:
    turn = call.conversation.was_cut(cut, call.ms(now), call.waterfalls.take(cut.item))
    if turn is None:
        return
    if turn.row is not None:
        out += call.consent.record(turn.row)
    known = call.ids.get(cut.item)
    if not call.sessions.serves or known is None or turn.in_full:
        return
    if cut.own or known != cut.item or turn.is_text:  # A text item cannot be truncated, so it is created again.
        say_anew(call, cut.item, turn.heard, out)
    elif cut.heard_ms < 1.0:
        out.append(DeleteItem(known))
        del call.ids[cut.item]
    else:
        out.append(TruncateItem(known, int(cut.heard_ms)))


def say_anew(call: Call, item: ItemId, words: str, out: list[Action]) -> None:
    """Shorten a text item to these words: delete it, and create it again in the same place if there are words."""
    known = call.ids.pop(item, None)
    if known is None:
        return
    if words:  # The new item must be placed directly behind the old one, because the caller's words may follow there.
        call.ids[item] = ItemId(f"{known}_h")
        out.append(CreateItem(call.ids[item], "assistant", words, behind=known))
    out.append(DeleteItem(known))
