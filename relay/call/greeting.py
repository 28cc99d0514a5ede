"""Decides the first words of a call. If no greeting is stored and the model is late, the caller hears a clip.

If the model still does not come, a human is called.
"""

from __future__ import annotations

from relay.call import wording
from relay.call.actions import Action
from relay.call.state import Call, Phase
from relay.call.vocabulary import Rung

# All three times count from Twilio's `start`. If a live greeting has not begun after CLIP_AFTER_S, a clip is played.
CLIP_AFTER_S = 0.150
# If the caller has heard at most a clip, and no answer of the model has begun by then, the caller is put through to the
# human.
HUMAN_AFTER_S = 4.0
# If a stored greeting was played and no model session has come by then, the caller is put through to the human.
MODEL_LIMIT_S = 8.0


def arrive(call: Call, now: float, out: list[Action]) -> None:
    """The caller can hear us now. Play the greeting if its sound is stored. A caller who is back hears a phrase."""
    if call.phase is not Phase.ARRIVING:
        return
    call.phase = Phase.TALKING
    call.arrived_at = now
    call.presence.sign(now)
    greeting, resumed = call.plan.greeting, call.plan.resumed
    if resumed is not None:
        call.figures.rung = Rung.KEPT
        # The notice was not heard in the earlier stream, so it must be said again.
        if not call.consented and greeting.opening.mulaw is not None:
            call.notice_item = call.own(greeting.opening, now, out, protected=True)
        elif not call.consented:
            out += call.consent.give_up()
        unanswered = resumed == "lost" and bool(call.plan.history) and call.plan.history[-1].role == "user"
        if unanswered:
            call.answers.want("again")
        phrase = "one_moment_again" if unanswered else wording.RESUMED.get(resumed, "resumed")
        call.say(phrase, now, out, bridges=unanswered)
    elif greeting.is_kept:
        call.figures.rung = Rung.KEPT
        if greeting.opening.text:
            item = call.own(greeting.opening, now, out, protected=greeting.announces)
            call.notice_item = item if greeting.announces else None
        if greeting.question.text:
            call.own(greeting.question, now, out, protected=False)


def climb(call: Call, now: float, out: list[Action]) -> bool:
    """Note that the live greeting has begun, or play the clip if it is late. Called until the caller hears something.

    Returns True if the clip must be written now. A live greeting has begun when audio of it was written. A first delta
    that is too small to be played is not enough.
    """
    if call.figures.greeting_ms is not None:
        call.figures.rung = Rung.LIVE
        return False
    if call.since_arrival_s(now) < CLIP_AFTER_S:
        return False
    call.figures.rung = Rung.CLIP
    call.say("one_moment", now, out, protected=True, first=True, bridges=True)
    return True


def overdue(call: Call, now: float) -> bool:
    """True if the model has not come in time. The caller is then put through to the human."""
    waited_s = call.since_arrival_s(now)
    if call.figures.rung in (Rung.CLIP, Rung.NONE) and not call.answer_items:
        return waited_s >= HUMAN_AFTER_S
    missing = not call.sessions.serves and call.sessions.count == 0 and waited_s >= MODEL_LIMIT_S
    return missing and not call.playout.is_speaking(now)  # If a greeting is playing, it is played to its end first.
