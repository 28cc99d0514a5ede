"""Ends a call: at a limit, after silence, for a transfer, or with a goodbye. Words of the caller may undo a goodbye."""

from __future__ import annotations

from relay.call import wording
from relay.call.actions import (
    Action,
    HangUp,
    LeaveStream,
    ReleaseModel,
    Report,
)
from relay.call.interruption import cut_off
from relay.call.interruption import take_back as take_back_early_answer
from relay.call.state import Call, Ending, Next, Phase
from relay.call.vocabulary import EndReason

# The model is told to end the call this long before the time limit.
WARN_BEFORE_CAP_S = 30.0
# The agent asks "are you still there" twice. This is the time between the two questions, and from the second question
# to the goodbye.
STILL_THERE_AGAIN_S = 10.0
# The caller is not asked within this time after either side has spoken.
BEHIND_WORDS_S = 4.0
ASKED_STILL_THERE = 2
# If the mark of the last words does not come back, the stream ends this long after the time at which, by our own clock,
# the last words have ended. The model may add words while the last words play. This can delay the end, at most until
# LAST_WORDS_LIMIT_S after `leave` was called.
LAST_WORDS_SLACK_S = 2.0
LAST_WORDS_LIMIT_S = 120.0
FRAME_MS = 20
# If the caller speaks over a goodbye, the end is delayed by at most this much, until the caller's words have come. The
# sound may be a sentence or a noise, and only the words show this.
SPOKEN_OVER_LIMIT_S = 30.0
# With these end reasons, the caller's words can keep the call going. With any other reason, such as a limit, they
# cannot.
_TAKEN_BACK_BY_WORDS = frozenset({EndReason.AGENT_SAID_GOODBYE, EndReason.SILENCE_CAP})
# How long the call waits for words after the end of the stream. A transcription takes 1.0 to 1.5 s
# (docs/protocol/openai.md 3).
LATE_WORDS_S = 2.0
# How long the call waits for words if the caller stays on the line, for another stream or for a human. The next stream
# begins after about a second. It needs these words, and waits for them at most 1.5 s (SETTLE_LIMIT_S in
# session/call_file.py).
LATE_WORDS_OF_A_WAITING_CALLER_S = 1.0


def check_caps(call: Call, now: float, out: list[Action]) -> None:
    """End the call at a limit of money or time, or if the process will stop.

    Tell the model when midnight is past, and WARN_BEFORE_CAP_S before the limit of time.
    """
    limits, age_s = call.plan.limits, call.since_arrival_s(now)
    if call.meter.usd >= limits.call_usd:
        leave(call, EndReason.COST_CAP, Next.HANG_UP, now, out, phrase="limit")
    elif age_s >= limits.call_s:
        leave(call, EndReason.DURATION_CAP, Next.HANG_UP, now, out, phrase="limit")
    elif call.drain_until is not None and now >= call.drain_until:
        leave(call, EndReason.DRAINED, Next.RESUME, now, out, phrase=None)
    elif _midnight_is_past(call, age_s):
        call.told_midnight = True
        assert call.plan.midnight is not None
        out.append(call.note(wording.PAST_MIDNIGHT.format(day=call.plan.midnight.day)))
    elif not call.warned and age_s >= limits.call_s - WARN_BEFORE_CAP_S and call.sessions.serves:
        call.warned = True
        out.append(call.note(wording.COME_TO_AN_END))


def _midnight_is_past(call: Call, age_s: float) -> bool:
    """True if midnight is past and the model was not told the new date."""
    midnight = call.plan.midnight
    return midnight is not None and not call.told_midnight and age_s >= midnight.in_s and call.sessions.serves


def check_silence(call: Call, now: float, out: list[Action]) -> None:
    """If nobody says anything, ask the caller twice whether they are there. Then say goodbye.

    The silence before the first question is counted from the last audio that the caller heard, or from earlier if that
    audio only answered a noise (presence.py). Words of the caller that got no answer do not end this silence.
    liveness.py handles a caller who waits for an answer.
    """
    if not call.is_silent(now) or call.liveness.is_owed or now - call.quiet_since() < BEHIND_WORDS_S:
        return
    limit_s = STILL_THERE_AGAIN_S if call.presence.asked else call.plan.limits.silence_s
    agent_quiet_since = max(call.playout.quiet_since_s, call.arrived_at or 0.0)
    silent_s = call.presence.silent_s(now, agent_quiet_since, STILL_THERE_AGAIN_S)
    if not call.presence.asked:
        silent_s = max(silent_s, now - agent_quiet_since)
    if call.awaits_words(now) or silent_s < limit_s:
        return
    call.presence.ask()
    if call.presence.asked <= ASKED_STILL_THERE:
        call.say("still_there", now, out)
    else:
        leave(call, EndReason.SILENCE_CAP, Next.HANG_UP, now, out, phrase="nobody_there")


def transfer(
    call: Call,
    reason: EndReason,
    why: str,
    summary: str,
    now: float,
    out: list[Action],
    *,
    phrase: str = "connecting",
    by_agent: bool = False,
    by_owner: bool = False,
) -> bool:
    """Connect the caller with the human. Returns False if there is no transfer.

    Outside HUMAN_HOURS, only an emergency or the owner (`by_owner`) causes a transfer. If there is none, the model is
    told that no human is there. But if a goodbye is playing, it just goes on. A transfer cuts the goodbye off. An
    emergency replaces a transfer for another reason. `by_agent`: the model has asked for the transfer.
    """
    if call.ending is not None and call.ending.then is not Next.HANG_UP and not _is_graver(call.ending, reason):
        return False
    if not call.human_is_there(now) and reason is not EndReason.EMERGENCY and not by_owner:
        if call.ending is not None:
            return False
        hears = "that no human is there now; the agent offers a message or help"
        out.append(Report("human.not_there", "info", (("why", "outside HUMAN_HOURS"), ("caller_hears", hears))))
        call.missed_human = True
        if call.sessions.serves:
            out.append(call.note(wording.NO_HUMAN_NOW))
        else:
            call.conversation.noted("system", wording.NO_HUMAN_NOW)  # The next session gets this text.
        call.rest.forget()  # The agent has something else to say now.
        call.answers.want("turn")
        return False
    if call.ending is not None:
        call.phase, call.ending = Phase.TALKING, None
    call.dialled, call.dialled_by_agent, call.dialled_by_owner = why, by_agent, by_owner
    announced = by_agent and call.playout.is_speaking(now)  # The agent's words are played to their end instead.
    words = None if announced else phrase
    leave(call, reason, Next.HUMAN, now, out, phrase=words, after_speech=by_agent, summary=summary)
    return True


def _is_graver(ending: Ending, reason: EndReason) -> bool:
    """True for an emergency during a transfer for another reason.

    The caller must then hear which number to dial.
    """
    return reason is EndReason.EMERGENCY and ending.then is Next.HUMAN and ending.reason is not EndReason.EMERGENCY


def leave(
    call: Call,
    reason: EndReason,
    then: Next,
    now: float,
    out: list[Action],
    *,
    phrase: str | None,
    after_speech: bool = False,
    summary: str = "",
) -> None:
    """Begin to end the call, unless it is ending already: `phrase` is played as the last words.

    If `phrase` is None, no words are added. `settle` ends the stream when the last words were heard.

    `after_speech`: words of the agent that are playing are played to their end first. If it is False, they are cut off.
    """
    if call.phase is not Phase.TALKING:
        return
    if phrase == "trouble" and not call.human_is_there(now):
        phrase = "trouble_message"
    call.floor.release()
    call.rest.forget()
    if after_speech:
        if call.early.is_asked:  # It replies to what the caller said after the words that play.
            take_back_early_answer(call, now, out)
        call.playout.resume()
        cancel = call.answers.cancel(now) if phrase is not None else None
        if cancel is not None:
            out.append(cancel)
    else:
        cut_off(call, now, out)
    item = call.say(phrase, now, out, protected=True) if phrase is not None else None
    call.phase = Phase.LEAVING
    call.ending = Ending(reason, then, now + LAST_WORDS_SLACK_S, item, summary, began_at=now)
    _follow_last_words(call, call.ending, now)
    out.append(Report("call.leaving", "info", (("reason", str(reason)), ("then", str(then)))))


def hang_up(call: Call, reason: EndReason, now: float, out: list[Action]) -> None:
    """End the call at once, without last words."""
    call.floor.release()
    call.rest.forget()
    cut_off(call, now, out)
    call.phase, call.ending = Phase.LEAVING, Ending(reason, Next.HANG_UP, now, None, began_at=now)
    out.append(Report("call.leaving", "info", (("reason", str(reason)), ("then", str(Next.HANG_UP)))))


def say_instead(call: Call, now: float, out: list[Action]) -> None:
    """The model's last words broke off. Say a phrase in their place. If the last words are a phrase, do nothing."""
    if call.phase is Phase.LEAVING and call.ending is not None and call.ending.item is None:
        phrase = "goodbye" if call.ending.then is Next.HANG_UP else "connecting"
        call.ending.item = call.say(phrase, now, out, protected=True)


def can_be_taken_back(call: Call) -> bool:
    """True while a goodbye plays and words of the caller can still keep the call going."""
    return call.phase is Phase.LEAVING and call.ending is not None and call.ending.reason in _TAKEN_BACK_BY_WORDS


def take_back(call: Call, now: float, out: list[Action]) -> None:
    """The caller has more to say after the goodbye, so the call goes on."""
    out.append(Report("call.goodbye_taken_back", "info"))
    cut_off(call, now, out)
    call.phase, call.ending = Phase.TALKING, None
    if call.sessions.serves:
        out.append(call.note(wording.GOODBYE_TAKEN_BACK))
    call.answers.want("turn")


def settle(call: Call, now: float, out: list[Action]) -> None:
    """End the stream when the last words were heard, or at the deadline.

    After the stream, wait for late words and for functions that run. Then close the model session.
    """
    if call.phase is Phase.LEAVING and call.ending is not None:
        _follow_last_words(call, call.ending, now)
        has_spoken = _has_spoken(call, now)
        waits = has_spoken or call.keypad.may_ask_for_human or (call.voice.is_up and can_be_taken_back(call))
        is_late = now >= call.ending.deadline
        if has_spoken and can_be_taken_back(call):  # The deadline is later for a caller who speaks over a goodbye.
            is_late = now >= call.ending.deadline + SPOKEN_OVER_LIMIT_S
        if is_late or (_last_words_heard(call) and not waits):
            out.append(LeaveStream() if call.ending.then in (Next.HUMAN, Next.RESUME) else HangUp())
            _go(call, now, out)
    elif call.phase is Phase.GONE and call.over_at is not None and not _is_awaited(call, now):
        _write_what_is_left(call, out)


def _follow_last_words(call: Call, ending: Ending, now: float) -> None:
    """Move the deadline behind the audio that must still be played.

    The last words may be long, and the model may add more while they play.
    """
    left_ms = call.playout.left_ms(now)
    is_a_frame = left_ms >= FRAME_MS  # Less than a frame is never sent: the rest of this frame has not come.
    if now < ending.deadline and is_a_frame and not call.playout.is_held:
        until = now + left_ms / 1000 + LAST_WORDS_SLACK_S
        ending.deadline = min(max(ending.deadline, until), ending.began_at + LAST_WORDS_LIMIT_S)


def _last_words_heard(call: Call) -> bool:
    if call.ending is not None and call.ending.item is not None:
        turn = call.conversation.turn(call.ending.item)
        return turn is not None and turn.whole
    return call.playout.is_all_proved and call.answers.active is None


def _has_spoken(call: Call, now: float) -> bool:
    """True if the caller speaks although the call is about to end, or if their words are awaited.

    The caller may report an emergency, or want one more thing.
    """
    hears = call.sessions.serves and call.ending is not None and call.ending.then is Next.HANG_UP
    return hears and (call.floor.is_taken or call.awaits_words(now))


def caller_left(call: Call, reason: EndReason, now: float, out: list[Action]) -> None:
    """The stream has ended, and `settle` has not ended it."""
    if call.phase is Phase.GONE:
        return
    if call.ending is None:
        then = Next.NOTHING if reason is EndReason.CALLER_HUNG_UP else Next.RESUME
        call.ending = Ending(reason, then, now, None)
    elif call.ending.then is Next.HANG_UP or reason is EndReason.CALLER_HUNG_UP:
        call.ending.then = Next.NOTHING
    _go(call, now, out)


def _go(call: Call, now: float, out: list[Action]) -> None:
    """The stream has ended. Write down the agent's turns that have not ended.

    If nothing is awaited, close the model session. Otherwise `settle` closes it later.
    """
    call.lose_speech(now)
    call.phase = Phase.GONE
    cuts = {cut.item: cut for cut in call.playout.cut(now)}
    for turn in call.conversation.turns():
        if turn.role != "agent" or turn.whole:
            continue
        cut = cuts.get(turn.item_id)
        if cut is None:  # All of the turn was played, but its last mark has not come back. Or the turn had no sound.
            heard = turn.spoken if turn.said_ms > 0 else ""
        else:
            heard = turn.heard_until(cut.heard_ms, cut.said_ms, cut.complete)
        call.finish_turn(turn, heard, now, out, interrupted=heard != turn.said)
    waits = call.ending is not None and call.ending.then in (Next.HUMAN, Next.RESUME)
    call.over_at = now + (LATE_WORDS_OF_A_WAITING_CALLER_S if waits else LATE_WORDS_S)
    if not _is_awaited(call, now):
        _write_what_is_left(call, out)


def _is_awaited(call: Call, now: float) -> bool:
    """True while late words or the output of a function are awaited.

    A function that runs may make a booking, and the row of this booking must be written. So the call waits for the
    function, which ends at its own deadline. If the caller goes to another stream or to a human, the call waits for a
    function only as long as for late words.
    """
    if call.functions and call.ending is not None and call.ending.then in (Next.NOTHING, Next.HANG_UP):
        return True
    more_comes = bool(call.functions) or (call.awaits_words(now) and call.sessions.serves)
    return more_comes and call.over_at is not None and now < call.over_at


def _write_what_is_left(call: Call, out: list[Action]) -> None:
    call.over_at = None
    for turn in call.conversation.turns():
        if turn.role == "caller" and turn.gap:
            out += call.consent.record(turn.row())
    out += call.consent.give_up()
    out.append(ReleaseModel())
