"""The first words of a call: kept, live, a clip in between, or the human."""

from __future__ import annotations

from relay.call import wording
from relay.call.actions import Action
from relay.call.state import Call, Phase
from relay.call.vocabulary import Rung

# The ladder of the first words, in seconds after `start`. A live greeting that has not begun by then: a clip is played.
CLIP_AFTER_S = 0.150
# Still only the clip: the caller is put through to the human.
HUMAN_AFTER_S = 4.0
# The greeting was played, and the model has not come: the caller is put through to the human.
MODEL_LIMIT_S = 8.0


def arrive(call: Call, now: float, out: list[Action]) -> None:
    """The caller can hear us."""
    if call.phase is not Phase.ARRIVING:
        return
    call.phase = Phase.TALKING
    call.arrived_at = now
    call.presence.sign(now)
    greeting, resumed = call.plan.greeting, call.plan.resumed
    if resumed is not None:
        call.figures.rung = Rung.KEPT
        # It was cut off when the stream was lost: say it again
        if not call.consented and greeting.opening.mulaw is not None:
            call.notice_item = call.own(greeting.opening, now, out, protected=True)
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
    """The lower steps of the ladder: the live greeting as soon as it is there, else the clip, else the human.

    What counts is audio that was written. A first delta that is too small to be played is not a greeting yet. True if
    the clip is to be written now.
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
    """True if the caller has waited long enough for a model that does not come."""
    waited_s = call.since_arrival_s(now)
    if call.figures.rung in (Rung.CLIP, Rung.NONE) and not call.answer_items:
        return waited_s >= HUMAN_AFTER_S
    missing = not call.sessions.serves and call.sessions.count == 0 and waited_s >= MODEL_LIMIT_S
    return missing and not call.playout.is_speaking(now)  # a greeting that has begun is said to its end
