"""Decides what follows from the caller's speech, words and keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

from relay.call import ending, failover, refusal, wording
from relay.call.actions import Action, DeleteItem, SendSilence
from relay.call.caller_turns import CallerTurn
from relay.call.conversation import Turn
from relay.call.interruption import carry_out, cut_off, go_on, interrupt, take_back
from relay.call.state import Call, Phase
from relay.call.turn_end import asks_signs
from relay.call.turn_taking import NO_AGENT, SHORT_TURN_MS, Speech, State, Worth, is_echo
from relay.call.vocabulary import CallerTranscribed, EndReason, ItemId
from relay.call.words import Meaning

# If the agent was stopped, and after this time it is still not decided whether the caller speaks, the agent goes on.
# The line may have failed, so that no frames come.
HOLD_LIMIT_S = 2.0
# The server's VAD may hear speech in noise for ever. Then the caller would never get an answer. Our own level VAD takes
# such noise for quiet. If it hears quiet for this long after the caller has spoken, the caller has finished. Then the
# relay sends silence, so that the server's VAD ends the turn. This time is four times the pause after which that VAD
# ends a turn with ANSWER_EARLY=off.
DONE_AFTER_S = 2.0
# After this much quiet, the relay sends silence to the server's VAD even if the caller has not spoken. So the next turn
# does not begin with minutes of noise. If that VAD hears speech even then, it does not work (twilio-samples python #6).
# unheard_speech.py finds out whether it misses the caller's next words.
NOISE_LIMIT_S = 15.0
SILENCE_MS = 1_000
# Nothing waits longer than this for a transcription. Transcriptions took 1.0 to 1.5 s. The transcription of a minute of
# speech may come later, and still counts.
TRANSCRIPTION_LIMIT_S = 5.0


def spoke(call: Call, item_id: ItemId, now: float, out: list[Action]) -> None:
    """The server's VAD heard the caller begin to speak."""
    if call.early.goes_on(now - (call.voice.run_ms / 1000 if call.voice.is_up else 0.0)):
        take_back(call, now, out)
    agent = call.agent(now)
    call.unheard.forget()
    call.caller_turns.begin(item_id, now, agent.silent_since_s)
    carry_out(call, call.floor.spoke(item_id, agent, call.voice), now, out)


def frame(call: Call, now: float, out: list[Action]) -> None:
    speech = call.floor.speech
    if speech is not None:
        # In the other states of the speech, the agent's state changes nothing.
        agent = call.agent(now) if speech.state is State.SPEAKS else NO_AGENT
        carry_out(call, call.floor.frame(agent, call.voice), now, out)


def paused(call: Call, item_id: ItemId, now: float, out: list[Action]) -> None:
    """The server's VAD heard the caller stop speaking."""
    speech = call.floor.speech
    carry_out(call, call.floor.paused(item_id), now, out)
    call.waterfalls.paused(item_id, call.loud_at or now, now)
    if speech is not None and speech.voiced_ms:
        call.presence.perhaps(now)


def committed(call: Call, item_id: ItemId, previous: ItemId | None, now: float, out: list[Action]) -> None:
    """The caller's speech became an item."""
    if call.conversation.turn(item_id) is not None or call.phase is Phase.GONE:
        return  # The event came twice, or after the end of the stream.
    call.ids[item_id] = item_id
    behind, before = call.ours(previous), call.early.piece_before
    turn = call.conversation.place(item_id, "caller", behind, call.ms(now), part_of=before)
    began_at, early = call.caller_turns.became_item(item_id, turn, now + TRANSCRIPTION_LIMIT_S)
    stopped = call.waterfalls.stopped(item_id)
    ended_ms = call.ms(now if stopped is None else stopped)
    turn.was_spoken(item_id, call.ms(now if began_at is None else began_at), ended_ms)
    speech = call.floor.speech if call.floor.speech is not None and call.floor.speech.item_id == item_id else None
    wants_answer = call.floor.became_item(item_id, call.agent(now), now) is Worth.ANSWER
    if call.early.is_on and call.phase is Phase.TALKING:
        wants_answer = _may_go_on(call, item_id, speech, wants_answer, now, out)
    if wants_answer:
        _answer(call, item_id)
    if early is not None and (awaited := call.caller_turns.words_came(early)) is not None:
        _have_come(call, early, awaited, now, out)


def _may_go_on(
    call: Call, item_id: ItemId, speech: Speech | None, wants_answer: bool, now: float, out: list[Action]
) -> bool:
    """Early answers are on: keep the caller's turn open until the silence is long enough.

    Returns True if the turn wants an answer, with all pieces that it has so far.
    """
    if speech is not None and speech.idle:
        return wants_answer  # By our own level this turn ended long ago. What the VAD has heard since is noise.
    if call.early.is_asked:
        take_back(call, now, out)  # The VAD did not report that this speech began, so `spoke` did not take it back.
    call.floor.opens_turn()
    reads_out = asks_signs(call.conversation.asked())
    return call.early.piece(
        item_id,
        now,
        reads_out=reads_out,
        in_function=call.functions.is_awaited,
        sounds=call.voice.is_up,
        wants_answer=wants_answer,
    )


def _answer(call: Call, item_id: ItemId) -> None:
    call.answers.want("turn")
    call.waterfalls.answer(item_id)


def transcribed(call: Call, event: CallerTranscribed, now: float, out: list[Action]) -> None:
    """The words of a piece of the caller's turn have come."""
    turn = call.caller_turns.words_came(event)
    _, words = _with_others(turn, event)
    refused = refusal.heed(call, words, now, out)
    if turn is not None:  # None if the words came too early or twice, or belong to another session.
        _have_come(call, event, turn, now, out)
    if refused:
        refusal.confirm(call, now, out)


def _with_others(turn: CallerTurn | None, event: CallerTranscribed) -> tuple[str, str]:
    """Returns the words of the turn's other pieces, and the words of all pieces together."""
    words = (event.text or "").strip()
    spoken = turn.spoken if turn is not None else None
    if spoken is None or len(spoken.pieces) < 2:
        return "", words
    return spoken.said_without(event.item_id), spoken.said_with(event.item_id, words)


def _have_come(call: Call, event: CallerTranscribed, turn: CallerTurn, now: float, out: list[Action]) -> None:
    """The words of a turn have come. Decide what the turn was, and what follows from it."""
    call.meter.transcribed(event.usage)
    said = _what_was_it(call, event, turn, now)
    if said.is_nothing:
        _follow_nothing(call, said, now, out)
    elif said.worth is Worth.DELETE:
        _delete(call, said.item_id, out)
    else:
        _write_down(call, said, out)
        _follow(call, said, now, out)


@dataclass(frozen=True, slots=True)
class _Said:
    """What a turn was, judged by its words."""

    item_id: ItemId
    text: str  # The words of all pieces that are known. "" if the piece `item_id` has no words.
    piece: str  # The words of the piece `item_id`, which have come now.
    meaning: Meaning
    worth: Worth
    is_nothing: bool  # True if it was no speech but a noise.
    is_answered: bool  # True if a response answers this turn, too, although it was asked for before these words came.
    turn: CallerTurn


def _what_was_it(call: Call, event: CallerTranscribed, turn: CallerTurn, now: float) -> _Said:
    item_id, text = event.item_id, (event.text or "").strip()
    meaning = call.plan.rules.words.judge(text)
    is_nothing, worth = meaning.is_nothing, Worth.LEAVE  # If nobody waits for the words, the sound has decided already.
    is_open = item_id in call.floor.awaited
    lately_said = call.conversation.lately_said() if is_open or turn.has_interrupted else ""
    if is_open:
        is_nothing = is_nothing or call.floor.is_soundless(item_id, call.voice)
        worth = call.floor.transcribed(item_id, event.text, call.agent(now), lately_said, meaning)
    is_nothing = is_nothing and event.text is not None
    if turn.has_interrupted and (is_nothing or not text or is_echo(text, lately_said)):
        # The agent's answer was given up for a sound without words of the caller, perhaps for the agent's own echo.
        # From now on only a louder sound stops the agent.
        call.voice.was_echo()
    before, whole = _with_others(turn, event)
    if before and text:  # What the other pieces meant was followed earlier, so it is left out here.
        meaning = call.plan.rules.words.judge(whole)
        meaning = replace(meaning, says=meaning.says - call.plan.rules.words.judge(before).says)
    return _Said(item_id, whole if text else "", text, meaning, worth, is_nothing, turn.is_answered, turn)


def _follow_nothing(call: Call, said: _Said, now: float, out: list[Action]) -> None:
    """The turn was a noise. Undo what was done for it, as far as the caller has not heard it."""
    call.presence.was_nothing(said.turn.silent_since)
    if call.caller_turns.was_not_misunderstood(said.item_id):  # The agent had asked what the noise meant.
        call.figures.misunderstandings -= 1
    if go_on(call, now, out) or said.worth is not Worth.LEAVE:
        _delete(call, said.item_id, out)
    elif _is_answered_alone(call, said.item_id, now):
        cut_off(call, now, out)
        call.waterfalls.nobody_waits()
        call.liveness.forgive()
        _delete(call, said.item_id, out)


def _is_answered_alone(call: Call, item_id: ItemId, now: float) -> bool:
    """True if an answer to this turn alone is on its way, and the caller has heard nothing of it."""
    if call.phase is not Phase.TALKING or not call.answers.is_pending or call.agent(now).speaking:
        return False
    if call.functions or call.keypad.untold or call.floor.caller_waits or call.awaits_words(now):
        return False
    turns, asked = call.conversation.turns(), call.conversation.turn(item_id)
    place = next((at for at, turn in enumerate(turns) if turn is asked), 0)
    before = turns[place - 1] if place else None
    return before is not None and before.role == "agent" and before.whole and not before.interrupted


def _delete(call: Call, item_id: ItemId, out: list[Action]) -> None:
    """Remove a noise from the conversation: a turn, or a piece of a turn."""
    turn = call.conversation.turn(item_id)
    call.conversation.drop(item_id)
    call.early.was_nothing(item_id)
    if turn is not None and turn.said and any(each is turn for each in call.conversation.turns()):
        out += call.consent.record(turn.row())
    call.waterfalls.forget(item_id)
    known = call.ids.pop(item_id, None)
    if call.sessions.serves and known is not None and call.phase is not Phase.GONE:
        out.append(DeleteItem(known))


def _write_down(call: Call, said: _Said, out: list[Action]) -> None:
    turn = said.turn.spoken
    if turn is None:
        return
    call.presence.sign((call.arrived_at or 0.0) + turn.ended_ms / 1000)
    if said.piece:
        out += call.consent.record(turn.was_written_down(said.item_id, said.piece))
        if call.early.turn is not None:
            call.early.words_are(said.item_id, said.piece)


# Complex because it checks one after another what a turn may be, and stops at the first that fits.
def _follow(call: Call, said: _Said, now: float, out: list[Action]) -> None:
    """Carry out what follows from a turn's words: call a human, keep the call, answer, or let the agent go on."""
    text, spoken = said.text, said.turn.spoken
    item_id = said.item_id if spoken is None else spoken.item_id  # A turn has the id of its first piece.
    if call.phase is Phase.GONE or _bring_a_human(call, said, now, out):
        return
    if call.ending is not None and ending.can_be_taken_back(call) and _goes_on(call, said):
        ending.take_back(call, now, out)
    if call.phase is not Phase.TALKING or _heed(call, item_id, said, now, out):
        return
    if _was_only_listening(call, said, now, out):
        return
    if text and item_id in call.caller_turns.asked_again and misunderstood(call, item_id, text, now, out):
        return
    if said.is_answered:
        return
    if said.worth is Worth.BARGE_IN:
        interrupt(call, now, out)
    if said.worth in (Worth.ANSWER, Worth.BARGE_IN):
        _answer(call, said.item_id)


def _goes_on(call: Call, said: _Said) -> bool:
    """True if the caller said something after the goodbye that is more than a goodbye. Then the call goes on."""
    turn, leaving = said.turn.spoken, call.ending
    if turn is None or leaving is None or turn.ended_ms <= call.ms(leaving.began_at):
        return False  # The caller said this before the goodbye.
    if not said.text:
        return said.worth in (Worth.ANSWER, Worth.BARGE_IN)
    if leaving.reason is EndReason.SILENCE_CAP:
        return not said.meaning.is_goodbye
    return not said.meaning.is_farewell


def _was_only_listening(call: Call, said: _Said, now: float, out: list[Action]) -> bool:
    """True if the caller only listened ("mm-hmm", "okay"), and the agent goes on with the answer that it gave up."""
    is_yes = call.rest.kept is not None and call.rest.kept.was_asking
    if said.meaning.is_backchannel and not is_yes:
        if go_on(call, now, out):
            call.waterfalls.forget(said.item_id)
            return True
    elif call.rest.kept is not None and not (said.worth is Worth.LEAVE and _is_older(call, said.turn.spoken)):
        call.rest.forget()
    return False


def _is_older(call: Call, turn: Turn | None) -> bool:
    """True if the turn was before the interruption. Its late words then do not decide about the interruption."""
    kept = call.rest.kept
    return turn is not None and kept is not None and turn.ended_ms < call.ms(kept.at)


def _bring_a_human(call: Call, said: _Said, now: float, out: list[Action]) -> bool:
    """Call a human if the words ask for one. This also works during a goodbye. Returns True if a human is called."""
    if "emergency" in said.meaning.says:
        return ending.transfer(call, EndReason.EMERGENCY, "emergency", said.text, now, out, phrase="emergency")
    if "human" in said.meaning.says:
        return ending.transfer(call, EndReason.TRANSFERRED, "asked for a person", said.text, now, out)
    return False


def _heed(call: Call, item_id: ItemId, said: _Said, now: float, out: list[Action]) -> bool:
    """Carry out the other effects of the caller's words: a misunderstanding, a hard topic, or anger.

    Returns True if a human is called.
    """
    rules, says = call.plan.rules, said.meaning.says
    if "misunderstood" in says and misunderstood(call, item_id, said.text, now, out):
        return True
    if "topics_hard" in says or call.figures.misunderstandings >= rules.hard_after_misunderstandings:
        _bring_the_harder_model(call, out)
    if "angry" in says and call.sessions.serves and not call.offered_human:
        call.offered_human = True
        call.rest.forget()  # The agent has something else to say now.
        out.append(call.note(wording.OFFER_HUMAN))
        call.answers.want("offer")  # An answer may have been asked for before this note, so ask again.
    return False


def misunderstood(call: Call, item_id: ItemId, text: str, now: float, out: list[Action]) -> bool:
    """The agent or the caller did not understand this turn. Each turn counts once.

    Returns True if a human is called.
    """
    if not call.caller_turns.was_misunderstood(item_id):
        return False
    call.figures.misunderstandings += 1
    if call.figures.misunderstandings >= call.plan.rules.human_after_misunderstandings:
        transferred = ending.transfer(call, EndReason.TRANSFERRED, "misunderstood too often", text, now, out)
        if transferred:
            # Count from zero again. Otherwise, if no human takes the call, a single new misunderstanding would call one
            # again.
            call.figures.misunderstandings = 0
            call.caller_turns.misunderstandings_were_heeded()
        return transferred
    if call.figures.misunderstandings >= call.plan.rules.hard_after_misunderstandings:
        _bring_the_harder_model(call, out)
    return False


def _bring_the_harder_model(call: Call, out: list[Action]) -> None:
    if call.model != call.plan.model_hard:
        failover.begin(call, call.plan.model_hard, "escalation", out)


def digit(call: Call, key: str, now: float, out: list[Action]) -> None:
    if call.phase in (Phase.ARRIVING, Phase.GONE):
        return
    call.presence.sign(now)
    call.rest.forget()
    call.keypad.press(key, now)


def judge_keys(call: Call, now: float, out: list[Action]) -> None:
    """Act on the keys when the caller has stopped pressing them.

    The human's key alone calls a human, also during a goodbye. All other keys are answered by the model, but not during
    a goodbye.
    """
    if not call.keypad.is_complete(now):
        return
    if call.keypad.may_ask_for_human:
        call.keypad.take_call_for_human()
        ending.transfer(call, EndReason.TRANSFERRED, "pressed a key for a person", "", now, out)
    elif call.sessions.serves and call.phase is Phase.TALKING:
        call.answers.want("keys")


def end_noise(call: Call, now: float, out: list[Action]) -> None:
    """End speech that the server's VAD hears although our own level is quiet."""
    speech = call.floor.speech
    if speech is None or not call.sessions.serves:
        return
    quiet_s = now - max(call.loud_at, call.caller_turns.began_at(speech.item_id) or call.arrived_at or 0.0)
    if quiet_s > NOISE_LIMIT_S:
        call.floor.drops_noise()
        out.append(SendSilence(SILENCE_MS))
    elif quiet_s > DONE_AFTER_S and not (speech.idle or speech.paused):
        call.floor.falls_idle()
        if speech.voiced_ms >= SHORT_TURN_MS:
            out.append(SendSilence(SILENCE_MS))


def tick(call: Call, now: float, out: list[Action]) -> None:
    """Do what is due at this time for the caller's turns."""
    if call.floor.is_holding and now - call.held_at > HOLD_LIMIT_S:
        carry_out(call, call.floor.release(), now, out)
    end_noise(call, now, out)
    kept = call.rest.kept
    if kept is not None and kept.was_none and not call.answers.is_pending:
        # The model does not answer the caller's words either. If the agent did not go on, both sides would be silent.
        go_on(call, now, out)
    if not call.awaits_words(now) and call.floor.speech is None:
        call.presence.words_are_overdue()
    for item_id, answer in call.floor.expired(now, call.agent(now)):
        if answer and not call.caller_turns.is_answered(item_id):
            _answer(call, item_id)
