"""The conversation's model sessions: the first, the next after a loss, and a move to another one at a silent moment.

A new session is given everything as text and told to continue. A planned move opens the new session while the present
one still serves, and switches when nobody speaks and every word of the caller is known.
"""

from __future__ import annotations

from relay.call import ending, wording
from relay.call.actions import (
    Action,
    CreateItem,
    DialModel,
    Report,
    SwitchModel,
)
from relay.call.state import Call, Move, Next, Phase
from relay.call.vocabulary import (
    EndReason,
    ItemId,
    ModelLost,
    ModelReady,
    MoveFailed,
)

# A lost session is dialled again this often in one call before the human comes.
RECONNECTS = 2
# A caller who has spoken for this long while the server's VAD heard nothing talks to a session that is deaf. Real VADs
# hear a voice within 0.3 s; what is loud on a line and no voice (a car, music) comes and goes.
DEAF_AFTER_MS = 1_500
# OpenAI ends a session at 60 minutes; at 50 a silent moment is used to move to a new one.
SESSION_LIMIT_S = 50 * 60.0
# A move that failed is tried again after this long: ten of the 60 minutes are left for it.
MOVE_AGAIN_AFTER_S = 60.0
_PAUSE = ("caller_hears", "a pause, or a request to wait; then the same conversation")


def ready(call: Call, event: ModelReady, now: float, out: list[Action]) -> None:
    """A session is configured: give it the conversation so far."""
    call.sessions += 1
    if call.sessions == 1:
        call.figures.reconnects = 0  # a first session that came late was never lost
    call.ready_at = now
    call.model_is_ready = True
    call.unheard_ms = 0
    call.move = None
    call.model = event.model
    call.meter.serves(call.model, call.plan.price_hard if call.model == call.plan.model_hard else call.plan.price)
    call.ids.clear()
    if call.phase in (Phase.LEAVING, Phase.GONE):
        return
    first = call.sessions == 1 and not call.plan.history
    prefix = f"r{call.plan.first_seq}_{call.sessions}_"
    items, call.ids = call.conversation.replay(prefix)
    out += items
    if not first and items:
        out.append(CreateItem(ItemId(f"{prefix}note"), "system", wording.CONTINUE))
        if call.conversation.words_are_missing() or call.was_deaf:
            out.append(CreateItem(ItemId(f"{prefix}lost"), "system", wording.LAST_WORDS_LOST))
    call.was_deaf = False
    if first and not call.plan.greeting.is_kept and call.plan.resumed is None:
        instructions = wording.say_exactly(call.plan.greeting.text)
        if event.greeting_asked:
            call.answers.expect("greeting", now, instructions)
        else:
            call.answers.want("greeting", instructions)


def lost(call: Call, event: ModelLost, now: float, out: list[Action]) -> None:
    """The session is gone, or none could be had."""
    move, call.move = call.move, None
    caller_waits = call.answers.is_pending or call.floor.caller_waits
    caller_speaks = call.floor.caller_speaks
    call.model_is_ready = False
    _let_go_of_answers(call, now, out)
    call.lose_speech(now)
    call.caller_turns.forget_words()
    call.playout.resume()
    if call.phase in (Phase.LEAVING, Phase.GONE):
        return
    if move is not None and move.switching:
        call.move = move
        return  # it made room for the new one, which is open
    fields = (("code", event.code), ("reason", event.reason[:120]))
    call.figures.reconnects += 1
    if call.sessions and _is_lost_for_good(call, fields, now, out):
        return
    out.append(Report("model.lost", "warning", (*fields, _PAUSE)))
    if call.sessions and caller_waits:
        if not caller_speaks:
            _ask_for_patience(call, now, out)
        call.answers.want("again")
    hard = call.figures.reconnects >= RECONNECTS  # before the first session: until the greeting is overdue
    out.append(DialModel(call.plan.model_hard if hard else call.model, "lost"))


def _let_go_of_answers(call: Call, now: float, out: list[Action]) -> None:
    """Nothing more comes of what the session was asked: what it has said of it is all."""
    call.rest.forget()
    call.answers.lost()
    for item in [i for items in call.answer_items.values() for i in items]:
        call.heard(call.playout.finish(item), now, out)


def _is_lost_for_good(call: Call, fields: tuple[tuple[str, object], ...], now: float, out: list[Action]) -> bool:
    """True when the model was lost too often: the human comes."""
    if call.figures.reconnects <= RECONNECTS:
        return False
    hears = ("caller_hears", "that there is trouble; then a person's phone, or a tone for a message")
    out.append(Report("model.lost_for_good", "error", (*fields, hears)))
    ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")
    return True


def _ask_for_patience(call: Call, now: float, out: list[Action]) -> None:
    if not call.playout.is_speaking(now) and call.phase is Phase.TALKING:
        call.say("one_moment_again", now, out)


def begin(call: Call, model: str, why: str, out: list[Action]) -> None:
    """Open another session; the present one serves until then."""
    if call.move is None:
        call.move = Move(model, why)
        fields = (("to", model), ("why", why), ("usd", round(call.meter.usd, 4)))
        out.append(Report("model.moving", "info", fields))
        out.append(DialModel(model, why))


def next_ready(call: Call) -> None:
    """The new session is open. (If it is not wanted any more, the shell sees that no move is under way.)"""
    if call.move is not None:
        call.move.is_ready = True


def failed(call: Call, event: MoveFailed, now: float, out: list[Action]) -> None:
    """The new session could not be had: the present one goes on, or is lost if it was stuck."""
    move, call.move = call.move, None
    if move is None:
        return
    out.append(Report("model.move_failed", "warning", (("reason", event.reason),)))
    call.ready_at = max(call.ready_at, now - SESSION_LIMIT_S + MOVE_AGAIN_AFTER_S)
    if not call.model_is_ready:
        lost(call, ModelLost(0, event.reason), now, out)


def settle(call: Call, now: float, out: list[Action]) -> None:
    """Switch when the new session is open and the moment is silent."""
    move = call.move
    if move is None or not move.is_ready or move.switching or call.phase is not Phase.TALKING:
        return
    nobody_speaks = call.is_silent(now) and not call.voice.is_up
    all_said = not call.floor.caller_waits and not call.awaits_words(now)
    if (nobody_speaks and all_said) or not call.model_is_ready:
        move.switching = True
        call.model_is_ready = False
        out.append(SwitchModel())


def tick(call: Call, now: float, out: list[Action]) -> None:
    """A session that is stuck, or about to expire."""
    if not call.model_is_ready or call.move is not None:
        return
    deaf = call.unheard_ms >= DEAF_AFTER_MS and not call.voice.is_up and call.figures.reconnects < RECONNECTS
    if deaf or call.answers.is_stuck(now):
        why = "deaf" if deaf else "stuck"
        out.append(Report(f"model.{why}", "warning", (_PAUSE,)))
        call.was_deaf = deaf
        # An answer that was taken back is missed by nobody
        caller_waits = deaf or call.answers.is_pending or call.floor.caller_waits
        _let_go_of_answers(call, now, out)
        if caller_waits:
            call.answers.want("again")
        call.model_is_ready = False
        call.figures.reconnects += 1
        if _is_lost_for_good(call, (("why", why),), now, out):
            return
        if caller_waits and not call.floor.caller_speaks:
            _ask_for_patience(call, now, out)
        begin(call, call.model, why, out)
    elif now - call.ready_at > SESSION_LIMIT_S:
        begin(call, call.model, "expiry", out)
