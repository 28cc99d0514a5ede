"""Moves a call from one model session to the next: after a loss, for a planned move, or against dead air.

A new session gets the conversation as text, and is told to continue. For a planned move, the new session is opened
while the call still uses the present session. The call switches to the new session when nobody speaks and no words of
the caller are missing. If the present session seems stuck before it has begun an answer, the call still uses it, and
another session is opened. If the stuck session answers first, the call stays with it. If not, the call switches as soon
as the other session is ready. A session that stops in the middle of an answer is given up at once.
"""

from __future__ import annotations

from relay.call import ending, function_calls, wording
from relay.call.actions import Action, CreateItem, Report
from relay.call.interruption import cut_off, take_back
from relay.call.sessions import Why
from relay.call.state import Call, Next, Phase
from relay.call.vocabulary import EndReason, ItemId, ModelLost, ModelReady, MoveFailed, NextModelLost

# A lost or stuck session is replaced at most this often in one stream. After that a human takes over.
RECONNECTS = 2
# OpenAI ends a session after 60 minutes (docs/protocol/openai.md 1.4). After 50 minutes the relay opens a new one, and
# switches to it when nobody speaks.
SESSION_LIMIT_S = 50 * 60.0
# If a planned move has failed, it is tried again after this time. 10 of the 60 minutes remain for such attempts.
MOVE_AGAIN_AFTER_S = 60.0
_PAUSE = ("caller_hears", "a pause, or a request to wait; then the same conversation")
_NO_SESSION_YET = (
    "caller_hears",
    "the greeting, or a request to wait; if no session opens within some seconds, a person's phone",
)
_SILENT = ("caller_hears", "a request to wait after five seconds of silence")


def ready(call: Call, event: ModelReady, now: float, out: list[Action]) -> None:
    """A session is configured. Send it the conversation so far."""
    call.sessions.began(event.model, now)
    if call.sessions.count == 1:
        call.figures.reconnects = 0  # Failed attempts before the first session are no reconnects.
    call.unheard.forget()
    call.meter.serves(call.model, call.plan.price_hard if call.model == call.plan.model_hard else call.plan.price)
    call.ids.clear()
    if call.phase in (Phase.LEAVING, Phase.GONE):
        return
    first = call.sessions.count == 1 and not call.plan.history
    prefix = f"r{call.plan.first_seq}_{call.sessions.count}_"
    items, call.ids = call.conversation.replay(prefix)
    out += items
    was_deaf, call.sessions.was_deaf = call.sessions.was_deaf, False
    if not first and items:
        out.append(CreateItem(ItemId(f"{prefix}note"), "system", wording.CONTINUE))
        if call.conversation.words_are_missing() or was_deaf:
            out.append(CreateItem(ItemId(f"{prefix}lost"), "system", wording.LAST_WORDS_LOST))
    if first and not call.plan.greeting.is_kept and call.plan.resumed is None:
        instructions = wording.say_exactly(call.plan.greeting.text)
        if event.greeting_asked:
            call.answers.expect("greeting", now, instructions)
        else:
            call.answers.want("greeting", instructions)


def lost(call: Call, event: ModelLost, now: float, out: list[Action]) -> None:
    """The session has ended, or the session that was ordered could not be opened."""
    if not call.sessions.was_lost(event.code):
        return  # Another session is being opened already.
    caller_waits = call.answers.is_pending or call.floor.caller_waits
    caller_speaks = call.floor.caller_speaks
    _leave_session(call, now, out)
    if call.phase in (Phase.LEAVING, Phase.GONE):
        return
    fields = (("code", event.code), ("reason", event.reason[:120]))
    call.figures.reconnects += 1
    if call.sessions.count and _is_lost_for_good(call, fields, now, out):
        return
    out.append(Report("model.lost", "warning", (*fields, _PAUSE if call.sessions.count else _NO_SESSION_YET)))
    if call.sessions.count and caller_waits:
        if not caller_speaks:
            ask_for_patience(call, now, out)
        call.answers.want("again")
    _dial(call, out)


def _dial(call: Call, out: list[Action]) -> None:
    """There is no session. Order the next one, if none is being opened.

    RECONNECTS does not limit the attempts to open the first session, because greeting.py limits their time.
    """
    order = call.sessions.dial(_replacement(call), "lost")
    if order is not None:
        out.append(order)


def _replacement(call: Call) -> str:
    """The model of the session that replaces a lost or stuck one. For the last replacement, it is the harder model."""
    return call.plan.model_hard if call.figures.reconnects >= RECONNECTS else call.model


def _leave_session(call: Call, now: float, out: list[Action]) -> None:
    """Stop using this session: end its answers, and do not wait for words that it has not transcribed yet."""
    _let_go_of_answers(call, now, out)
    call.lose_speech(now)
    call.caller_turns.forget_words()
    call.playout.resume()


def _let_go_of_answers(call: Call, now: float, out: list[Action]) -> None:
    """No more audio of this session's answers will come. Each answer ends with the audio that has come."""
    if call.early.is_asked:
        take_back(call, now, out)
    call.early.lost()
    call.rest.forget()
    call.answers.lost()
    for item in [i for items in call.answer_items.values() for i in items]:
        call.heard(call.playout.finish(item), now, out)


def _is_lost_for_good(call: Call, fields: tuple[tuple[str, object], ...], now: float, out: list[Action]) -> bool:
    """True if the model was lost too often. The call is then given to a human."""
    if call.figures.reconnects <= RECONNECTS:
        return False
    hears = ("caller_hears", "that there is a problem; then a person's phone, or a tone for a message")
    out.append(Report("model.lost_for_good", "error", (*fields, hears)))
    ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")
    return True


def ask_for_patience(call: Call, now: float, out: list[Action]) -> None:
    """Say a phrase that asks for patience, if nobody is speaking."""
    if not call.playout.is_speaking(now) and not call.voice.is_up and call.phase is Phase.TALKING:
        call.say("one_moment_again", now, out, bridges=True)


# Moves


def begin(call: Call, model: str, why: Why, out: list[Action], *, urgent: bool = False) -> None:
    """Open another session beside the present one. Do nothing if another session is being opened or is ready.

    `urgent`: the call switches to the other session as soon as it is ready.
    """
    order = call.sessions.dial_beside(model, why, urgent=urgent)
    if order is not None:
        fields = (("to", model), ("why", why), ("usd", round(call.meter.usd, 4)))
        out.append(Report("model.moving", "info", fields))
        out.append(order)


def failed(call: Call, event: MoveFailed | NextModelLost, now: float, out: list[Action]) -> None:
    """The session beside the present one could not be opened, or was closed.

    If the caller waits for this session, another one is opened.
    """
    was_urgent = call.sessions.is_urgent
    if not call.sessions.next_failed():
        return
    out.append(Report("model.move_failed", "warning", (("reason", event.reason),)))
    sessions = call.sessions
    sessions.expires_no_sooner(now - SESSION_LIMIT_S + MOVE_AGAIN_AFTER_S)
    if (sessions.serves and not was_urgent) or call.phase is not Phase.TALKING:
        return
    call.figures.reconnects += 1
    if _is_lost_for_good(call, (("reason", event.reason),), now, out):
        return
    if not call.floor.caller_speaks and call.liveness.is_owed:
        ask_for_patience(call, now, out)
    begin(call, _replacement(call), sessions.why, out, urgent=True)


def settle(call: Call, now: float, out: list[Action]) -> None:
    """If another session is ready, switch to it when nobody speaks. If the caller waits for it, switch at once.

    If the call does not need it any more, close it.
    """
    sessions = call.sessions
    if not sessions.next_is_ready or call.phase is not Phase.TALKING:
        return
    waits = sessions.is_urgent or not sessions.serves
    if not waits and sessions.why not in ("expiry", "escalation"):
        out.append(sessions.forget_next())  # The present session works again, so the other one is not needed.
        return
    nobody_speaks = call.is_silent(now) and not call.voice.is_up
    all_said = not call.floor.caller_waits and not call.awaits_words(now)
    if waits or (nobody_speaks and all_said):
        caller_waits = call.answers.is_pending or call.floor.caller_waits
        out.append(sessions.switch())
        _leave_session(call, now, out)
        if caller_waits and not call.answers.is_wanted:
            call.answers.want("again")


def tick(call: Call, now: float, out: list[Action]) -> None:
    """Check whether this session is stuck, does not hear the caller (deaf), or will expire soon."""
    sessions = call.sessions
    if not sessions.serves:
        return
    if call.unheard.is_enough(now - call.talked_at) and not call.voice.is_up:
        _give_up(call, "deaf", now, out, caller_waits=True)
    elif call.answers.is_stuck(now) and not sessions.is_urgent:
        caller_waits = call.answers.is_pending or call.floor.caller_waits
        if caller_waits and not call.answers.has_begun:
            _find_another(call, "stuck", now, out)
        else:  # The agent may have said a phrase meanwhile. More audio of this session would not fit after the phrase.
            _give_up(call, "stuck", now, out, caller_waits=caller_waits)
    elif now - sessions.ready_at > SESSION_LIMIT_S:
        begin(call, call.model, "expiry", out)


def _find_another(call: Call, why: Why, now: float, out: list[Action]) -> None:
    """Open another session. `why` says what is wrong with the present one."""
    out.append(Report(f"model.{why.replace(' ', '_')}", "warning", (_PAUSE,)))
    call.figures.reconnects += 1
    if _is_lost_for_good(call, (("why", why),), now, out):
        return
    # If the only missing answer is an early one that was taken back, nobody waits for it.
    caller_waits = call.answers.is_pending or call.floor.caller_waits
    if caller_waits and not call.floor.caller_speaks:
        ask_for_patience(call, now, out)
    begin(call, _replacement(call), why, out, urgent=True)


def _give_up(call: Call, why: Why, now: float, out: list[Action], *, caller_waits: bool) -> None:
    """Stop using this session, and open another one."""
    sessions = call.sessions
    _let_go_of_answers(call, now, out)
    if caller_waits:
        call.answers.want("again")
    sessions.was_deaf = why == "deaf"
    sessions.given_up()
    _find_another(call, why, now, out)


# Dead air


def rescue(call: Call, now: float, out: list[Action]) -> None:
    """If the caller has waited too long in silence, do what liveness.py says.

    This is also done while a session is being opened, or while a function runs.
    """
    due = call.liveness.due(
        now,
        heard_until=max(call.playout.audible_until_s, call.arrived_at or 0.0),
        spoke_until=call.talked_at,
        under_way=call.answers.is_going_on,
        function_runs=bool(call.functions) or call.answers.waits_as_told(now),
    )
    match due:
        case "nothing":
            return
        case "nudge":
            _nudge(call, out)
            return
        case "human":
            out.append(Report("call.dead_air", "error", (("caller_hears", "that there is a problem; then a person"),)))
            ending.leave(call, EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")
            return
        case "phrase" | "session":
            _break_silence(call, now, out, find_another=due == "session")


def _break_silence(call: Call, now: float, out: list[Action], *, find_another: bool) -> None:
    """Say a phrase, so that the caller hears something, and make sure that an answer will come."""
    out.append(Report("call.dead_air", "warning", (_SILENT,)))
    has_begun = call.answers.has_begun and call.sessions.serves
    if call.playout.is_speaking(now):  # Audio waits or plays, but it is silent or held.
        cut_off(call, now, out)
    call.floor.falls_idle()  # The server's VAD may take noise for speech. level_vad.py has found no speech.
    call.rest.forget()
    if has_begun:  # The answer stopped in the middle. Its rest would not fit after the phrase.
        _give_up(call, "stuck", now, out, caller_waits=True)
    elif find_another and call.sessions.serves and not call.sessions.is_urgent:
        _find_another(call, "dead air", now, out)
    if call.phase is not Phase.TALKING:
        return
    if call.functions:
        function_calls.say_phrase(call, now, out)
    elif not call.playout.is_speaking(now):
        call.say("one_moment_again", now, out, bridges=True)
    if not call.functions and not call.answers.is_asked:
        call.answers.want("again")


def _nudge(call: Call, out: list[Action]) -> None:
    """Tell the model what has not come, and ask for an answer."""
    missing, first = call.liveness.nudge(), call.liveness.nudges == 1
    if missing == "answer" and first and call.liveness.silent_turns == 1 and not _asks(call):
        # Perhaps no answer is needed: the words were for somebody else, or the caller asked for a pause.
        call.liveness.forgive()
        return
    out.append(Report("call.answer_missing", "warning", (("what", missing), _SILENT)))
    if missing == "promise" and not first:
        call.answers.want("nudge", wording.PROMISED_AGAIN)
        return
    if call.sessions.serves:
        out.append(call.note(wording.PROMISED if missing == "promise" else wording.MET_WITH_SILENCE))
    call.answers.want("nudge")


def _asks(call: Call) -> bool:
    """True if the newest words of the caller are a question."""
    newest = next((turn for turn in reversed(call.conversation.turns()) if turn.role == "caller"), None)
    return newest is not None and any(mark in newest.said for mark in "?？؟")
