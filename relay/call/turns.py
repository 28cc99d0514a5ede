"""The caller's turns: speech, its words, keys, and what they lead to."""

from __future__ import annotations

from relay.call import ending, failover, wording
from relay.call.actions import Action, DeleteItem, SendSilence
from relay.call.interruption import carry_out, cut_off, go_on
from relay.call.state import Call, Phase, Waterfall
from relay.call.turn_taking import SHORT_TURN_MS, Worth, is_backchannel, is_echo
from relay.call.vocabulary import CallerTranscribed, EndReason, ItemId

# An agent that was stopped and heard neither a word nor the end of it goes on: the VAD or the line has gone silent.
HOLD_LIMIT_S = 2.0
# A VAD takes a noisy place for speech that never ends, and nobody is answered there. By our own ear, which knows the
# noise, a caller who has said something is done after this long: four times the pause that a VAD asks for. Then it is
# given the silence that it waits for ...
DONE_AFTER_S = 2.0
# ... and noise alone as well, so that the next turn does not begin with minutes of it. A VAD that goes on then is none
# (twilio-samples python #6): if it misses the caller's next words, the session is deaf.
NOISE_LIMIT_S = 15.0
SILENCE_MS = 1_000
# Nobody waits longer for a transcription: live ones took 1.0 to 1.5 s. That of a minute's speech may come later, and
# what it says is heeded all the same.
WORDS_LIMIT_S = 5.0


def spoke(call: Call, item_id: ItemId, now: float, out: list[Action]) -> None:
    """The server's VAD heard the caller start."""
    call.unheard.forget()
    call.spoke_ms.setdefault(item_id, call.ms(now))
    carry_out(call, call.floor.spoke(item_id, call.agent(now), call.voice), now, out)


def frame(call: Call, now: float, out: list[Action]) -> None:
    """A caller frame was measured."""
    if call.floor.speech is not None:
        carry_out(call, call.floor.frame(call.agent(now), call.voice), now, out)


def paused(call: Call, item_id: ItemId, now: float, out: list[Action]) -> None:
    """The server's VAD heard the caller stop."""
    speech = call.floor.speech
    carry_out(call, call.floor.paused(item_id), now, out)
    call.pauses[item_id] = Waterfall(call.loud_at or now, now)
    if speech is not None and speech.voiced_ms:
        _is_there(call, now)


def _is_there(call: Call, at: float) -> None:
    call.caller_at, call.asked_still_there = max(call.caller_at, at), 0


def committed(call: Call, item_id: ItemId, previous: ItemId | None, now: float, out: list[Action]) -> None:
    """The caller's turn became an item."""
    if call.conversation.turn(item_id) is not None or call.phase is Phase.GONE:
        return  # told twice
    call.ids[item_id] = item_id
    call.awaiting_words[item_id] = now + WORDS_LIMIT_S
    turn = call.conversation.place(item_id, "caller", call.ours(previous), call.ms(now))
    turn.started_ms = call.spoke_ms.pop(item_id, turn.started_ms)
    if item_id in call.pauses:
        turn.ended_ms = max(turn.started_ms, call.ms(call.pauses[item_id].stopped))
    turn.gap = True  # until its words are there
    if call.floor.committed(item_id, call.agent(now), now) is Worth.ANSWER:
        _answer(call, item_id)


def _answer(call: Call, item_id: ItemId) -> None:
    call.answers.want("turn")
    call.waterfall = call.pauses.pop(item_id, None) or call.waterfall


def transcribed(call: Call, event: CallerTranscribed, now: float, out: list[Action]) -> None:
    """The words of a caller's turn are there."""
    item_id = event.item_id
    if call.awaiting_words.pop(item_id, None) is None:
        return  # told twice, or an item of another session
    call.meter.transcribed(event.usage)
    is_answered = item_id in call.answered_unknown
    call.answered_unknown.discard(item_id)
    worth = call.floor.transcribed(item_id, event.text, call.agent(now), call.conversation.lately_said())
    text = (event.text or "").strip()
    if item_id in call.interruptions and (not text or is_echo(text, call.conversation.lately_said())):
        call.voice.was_echo()  # an answer was given up for nothing: harder to be had the next time
    if event.text is not None and not text:
        if item_id in call.misunderstood:  # the agent asked what a noise was to mean
            call.misunderstood.discard(item_id)
            call.figures.misunderstandings -= 1
        if go_on(call, now, out):
            worth = Worth.DELETE
    if worth is Worth.DELETE:
        call.conversation.drop(item_id)
        call.pauses.pop(item_id, None)
        known = call.ids.pop(item_id, None)
        if call.model_is_ready and known is not None and call.phase is not Phase.GONE:
            out.append(DeleteItem(known))
        return
    turn = call.conversation.turn(item_id)
    if turn is not None and text:
        _is_there(call, (call.arrived_at or 0.0) + turn.ended_ms / 1000)
        turn.said, turn.gap = text, False
        call.record(turn.row(), out)
    if call.phase is Phase.GONE or (text and _bring_a_human(call, text, now, out)):
        return
    if call.phase is not Phase.TALKING or (text and _heed(call, item_id, text, now, out)):
        return
    if is_backchannel(text) and not (call.given_up is not None and call.given_up.was_asking):
        if go_on(call, now, out):
            call.pauses.pop(item_id, None)
            return
    elif (text or event.text is None) and not (worth is Worth.LEAVE and _is_older(call, item_id)):
        call.given_up = None
    if text and item_id in call.asked_again and misunderstood(call, item_id, text, now, out):
        return
    if is_answered:
        return
    if worth is Worth.BARGE_IN:
        call.figures.barge_ins += 1
        cut_off(call, now, out)
    if worth in (Worth.ANSWER, Worth.BARGE_IN):
        _answer(call, item_id)


def _is_older(call: Call, item_id: ItemId) -> bool:
    """True for a turn before the interruption: late words that were answered say nothing of what came in between."""
    turn, kept = call.conversation.turn(item_id), call.given_up
    return turn is not None and kept is not None and turn.ended_ms < call.ms(kept.at)


def _bring_a_human(call: Call, text: str, now: float, out: list[Action]) -> bool:
    """Words that lead to a human at any time, over a goodbye too. True if the call is on its way there."""
    rules = call.plan.rules
    if rules.says("emergency_words", text):
        return ending.transfer(call, EndReason.EMERGENCY, "emergency", text, now, out, phrase="emergency")
    if rules.says("human_words", text):
        return ending.transfer(call, EndReason.TRANSFERRED, "asked for a person", text, now, out)
    return False


def _heed(call: Call, item_id: ItemId, text: str, now: float, out: list[Action]) -> bool:
    """What else a caller's words set off. True if the call is on its way to a human."""
    rules = call.plan.rules
    if rules.says("misunderstood_words", text) and misunderstood(call, item_id, text, now, out):
        return True
    if rules.says("topics_hard", text) or call.figures.misunderstandings >= rules.hard_after_misunderstandings:
        _bring_the_harder_model(call, out)
    if rules.says("angry_words", text) and call.model_is_ready and not call.offered_human:
        call.offered_human, call.given_up = True, None  # there is something else to be told
        out.append(call.note(wording.OFFER_HUMAN))
        call.answers.want("offer")  # the answer to these words was asked for a second before they were known
    return False


def misunderstood(call: Call, item_id: ItemId, text: str, now: float, out: list[Action]) -> bool:
    """The two do not understand each other in this turn of the caller's, whichever of them says so; it counts once.

    True if the call is on its way to a human.
    """
    if item_id in call.misunderstood:
        return False
    call.misunderstood.add(item_id)
    call.figures.misunderstandings += 1
    if call.figures.misunderstandings >= call.plan.rules.human_after_misunderstandings:
        transferred = ending.transfer(call, EndReason.TRANSFERRED, "misunderstood too often", text, now, out)
        if transferred:
            call.figures.misunderstandings = 0  # heeded: if nobody takes the call, the next one alone rings no human
            call.misunderstood.clear()
        return transferred
    if call.figures.misunderstandings >= call.plan.rules.hard_after_misunderstandings:
        _bring_the_harder_model(call, out)
    return False


def _bring_the_harder_model(call: Call, out: list[Action]) -> None:
    if call.model != call.plan.model_hard:
        failover.begin(call, call.plan.model_hard, "escalation", out)


def digit(call: Call, key: str, now: float, out: list[Action]) -> None:
    """The caller pressed a key."""
    if call.phase in (Phase.ARRIVING, Phase.GONE):
        return
    _is_there(call, now)
    call.given_up = None
    call.keypad.press(key, now)


def judge_keys(call: Call, now: float, out: list[Action]) -> None:
    """A row of keys has ended: the key for a human alone brings one, also over a goodbye; others want an answer."""
    if not call.keypad.is_complete(now):
        return
    if call.keypad.may_ask_for_human:
        call.keypad.take_call_for_human()
        ending.transfer(call, EndReason.TRANSFERRED, "pressed a key for a person", "", now, out)
    elif call.model_is_ready and call.phase is Phase.TALKING:
        call.answers.want("keys")


def _end_noise(call: Call, now: float, out: list[Action]) -> None:
    """Speech that only the server's VAD hears comes to its end."""
    speech = call.floor.speech
    if speech is None or not call.model_is_ready:
        return
    began_at = (call.arrived_at or 0.0) + call.spoke_ms.get(speech.item_id, 0) / 1000
    quiet_s = now - max(call.loud_at, began_at)
    if quiet_s > NOISE_LIMIT_S:
        call.floor.speech = None
        out.append(SendSilence(SILENCE_MS))
    elif quiet_s > DONE_AFTER_S and not (speech.idle or speech.paused):
        speech.idle = True
        if speech.voiced_ms >= SHORT_TURN_MS:
            out.append(SendSilence(SILENCE_MS))


def tick(call: Call, now: float, out: list[Action]) -> None:
    """What time alone decides about the caller's turns."""
    if call.floor.is_holding and now - call.held_at > HOLD_LIMIT_S:
        carry_out(call, call.floor.release(), now, out)
    _end_noise(call, now, out)
    kept = call.given_up
    if kept is not None and kept.was_none and not call.answers.is_pending:
        go_on(call, now, out)  # the model says nothing to it either: the agent would be silent until asked
    for item_id, answer in call.floor.expired(now, call.agent(now)):
        if answer and item_id not in call.answered_unknown:
            _answer(call, item_id)
