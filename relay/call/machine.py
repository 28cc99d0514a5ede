"""The state machine of one phone call: an event and the time go in, actions come out. It does no I/O.

Rule 1: all decisions about a call are made here and in files that this one uses, directly or not: greeting (the first
        words), turns, answering_early and interruption (the caller), responses and function_calls (the model),
        voice_loss (the other voice), failover (the model's sessions), orders (the owner), ending. state.py holds the
        state that these files share. Parts of this state have files of their own: playout (what was heard), turn_taking
        (who may speak), response_queue (`response.create`), conversation (what was said), cost.
Rule 2: nothing here waits, reads a clock, draws a random number or knows JSON. `now` is the Trio clock in seconds.
Rule 3: `handle` takes an event and returns its actions. Caller audio has a method of its own, because it comes fifty
        times a second and usually causes no action.
Rule 4: nothing that a peer sends raises an exception here. A strange event is counted or ignored.

The phases of a call:

    Arriving   The caller cannot hear us yet. A model session may become ready.
    Talking    The agent greets and answers. If the greeting does not come in time, a clip is played or a human is
               called. A call that costs too much, lasts too long or stays silent is ended.
    Leaving    The last words play. The stream ends when they were heard, or at a deadline. Words of the caller may
               still bring a human, or keep the call going.
    Gone       The stream has ended. Transcripts that come late are still stored. Then this machine is done. The caller
               may come back on another stream, with another machine.
"""

from __future__ import annotations

from relay.call import (
    answering_early,
    ending,
    failover,
    function_calls,
    greeting,
    orders,
    responses,
    turns,
    voice_loss,
)
from relay.call.actions import Action
from relay.call.call_config import CallPlan
from relay.call.response_queue import Wish
from relay.call.state import Call, Ending, Figures, Next, Phase
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    ClaimDoubted,
    DayMoneyShort,
    DigitPressed,
    DrainBegan,
    EndReason,
    Event,
    FunctionAsked,
    FunctionReturned,
    HangUpOrdered,
    ItemId,
    ItemPlaced,
    MarkReturned,
    ModelFinished,
    ModelLost,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    MoveFailed,
    NextModelLost,
    NextModelReady,
    PutThroughOrdered,
    RateLimitsTold,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    Rung,
    SentenceOrdered,
    Ticked,
    VoiceBilled,
    VoiceFailed,
)

__all__ = ["Ending", "Figures", "Machine", "Next", "Phase"]


# The roles of items that belong to an answer of the model.
GENERATED = ("assistant", "function_call")
# A sound that is shorter than this may be a knock on the phone, or cloth that rubs on the phone. It does not prove that
# somebody spoke.
KNOCK_MS = 200


class Machine:
    """Decides what one call does on one stream. Two methods take events and caller audio. Properties show the state."""

    def __init__(self, plan: CallPlan) -> None:
        self.call = Call(plan)
        self.plan = plan
        self.figures = self.call.figures
        self.playout = self.call.playout
        self.voice = self.call.voice
        self.floor = self.call.floor
        self.answers = self.call.answers
        self.conversation = self.call.conversation
        self.meter = self.call.meter

    # What comes in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Handle an event. Returns the actions that follow from it, in order."""
        out: list[Action] = []
        self._dispatch(event, now, out)
        self._settle(now, out)
        return out

    # Complex because it checks here, for each module of call/, whether the module has something to do. This method runs
    # for every frame, and a check is faster than a function call.
    def caller_audio(self, level_dbfs: float, ms: int, now: float) -> list[Action]:
        """Handle `ms` of caller audio by its level: a frame, a pair of frames, or silence that fills a gap.

        Pairs come only while the loop is behind (session/uplink.py). If more audio arrives at once, this method is
        called for each frame or pair. Returns the actions, usually none.
        """
        call = self.call
        voice, playout, speech = call.voice, call.playout, call.floor.speech
        call.lateness.heard(ms, now)
        voice.hear(level_dbfs, ms, playout.echo.level_dbfs(now, playout.usual_lag_s or 0.0))
        if voice.quiet_ms == 0:
            call.loud_at = now
            if voice.run_ms >= KNOCK_MS:
                call.talked_at = now
        if voice.is_up and speech is None and call.sessions.serves and not playout.is_speaking(now):
            call.unheard.hear(level_dbfs, voice.run_ms, ms, is_loud=voice.quiet_ms == 0)
        out: list[Action] = []
        if speech is not None and call.phase in (Phase.TALKING, Phase.LEAVING):
            turns.frame(call, now, out)
        has_ended = call.early.turn is not None and answering_early.frame(call, now, out)
        if has_ended:
            self._settle(now, out)
        # Each frame checks whether a holding phrase is due, because the watchdog ticks only every 200 ms. If the turn
        # has ended with this frame, its functions have just begun. They get the time of one frame first, because a
        # quick function needs no phrase.
        if call.functions.running and not has_ended and call.phase is Phase.TALKING:
            function_calls.tick(call, now, out)
        if (playout.queue and now > playout.due_s) or call.figures.rung is Rung.NONE:
            self._play(now, out)
        return out

    # What other packages read

    @property
    def phase(self) -> Phase:
        """Which part of the call is running."""
        return self.call.phase

    @property
    def ending(self) -> Ending | None:
        """How the call will end. None if that is not decided."""
        return self.call.ending

    @property
    def model_is_ready(self) -> bool:
        """True while the call has a model session that seems to work."""
        return self.call.sessions.serves

    @property
    def is_moving(self) -> bool:
        """True while the call is about to move to another model session."""
        return self.call.sessions.is_moving and self.call.phase is Phase.TALKING

    @property
    def notice_was_begun(self) -> bool:
        """True if audio of the notice has come, and audio was written to the caller."""
        return self.call.notice_item is not None and self.call.figures.greeting_ms is not None

    @property
    def dialled(self) -> str:
        """Why a human is called. "" if none is called, or if the reason in `ending` says why."""
        return self.call.dialled

    @property
    def is_over(self) -> bool:
        """True when the stream has ended, and no late words or function outputs are awaited."""
        return self.call.phase is Phase.GONE and self.call.over_at is None

    def wants(self, response_id: ResponseId, item_id: ItemId) -> bool:
        """False for audio that nobody may hear: see `responses.wants`."""
        return responses.wants(self.call, response_id, item_id)

    def is_early(self, response_id: ResponseId) -> bool:
        """True for the early answer of an open turn: nobody may hear it yet."""
        return self.call.early.is_early(response_id)

    # Dispatch

    # Long because it is the table of all events.
    def _dispatch(self, event: Event, now: float, out: list[Action]) -> None:
        call = self.call
        match event:  # The frequent events come first.
            case Ticked():
                self._tick(now, out)
            case ModelSpoke():
                responses.spoke(call, event, now, out)
                if call.early.turn is not None:
                    answering_early.look(call, now, out)
            case MarkReturned(name):
                self._marked(name, now, out)
            case ModelWorded():
                responses.worded(call, event, now, out)
            case CallerArrived():
                greeting.arrive(call, now, out)
            case DigitPressed(digit):
                call.talked_at = now
                call.liveness.owe(now)
                turns.digit(call, digit, now, out)
            case CallerLeft(reason):
                ending.caller_left(call, reason, now, out)
            case ModelReady():
                failover.ready(call, event, now, out)
            case CallerSpoke(item_id):
                turns.spoke(call, item_id, now, out)
            case CallerPaused(item_id):
                turns.paused(call, item_id, now, out)
            case CallerCommitted(item_id, previous):
                turns.committed(call, item_id, previous, now, out)
            case CallerTranscribed():
                turns.transcribed(call, event, now, out)
            case ResponseBegan():
                responses.began(call, event, now, out)
            case ItemPlaced(item_id, previous, role):
                ours = item_id in call.ids
                call.placed(item_id, previous)
                call.early.placed(item_id, is_generated=role in GENERATED and not ours)
            case ModelFinished():
                responses.finished(call, event, now, out)
            case FunctionAsked():
                function_calls.asked(call, event, now, out)
            case ResponseEnded():
                responses.ended(call, event, now, out)
            case ModelObjected():
                responses.objected(call, event, now, out)
            case RateLimitsTold(left):
                call.early.governor.limits_are(left)
            case DayMoneyShort():
                call.early.governor.day_is_short()
            case ModelLost():
                failover.lost(call, event, now, out)
            case FunctionReturned():
                function_calls.returned(call, event, now, out)
            case VoiceBilled(characters, response_id):
                call.meter.spoken(characters, response_id)
            case VoiceFailed():
                voice_loss.lost(call, event, now, out)
            case NextModelReady():
                call.sessions.next_began()
            case MoveFailed() | NextModelLost():
                failover.failed(call, event, now, out)
            case ClaimDoubted(correction):
                if call.phase is Phase.TALKING and call.sessions.serves:
                    call.rest.forget()
                    out.append(call.note(correction))
                    call.answers.want("correct")
            case DrainBegan(limit_s):
                call.drain_until = now + limit_s
            case PutThroughOrdered() | HangUpOrdered() | SentenceOrdered():
                orders.obey(call, event, now, out)

    def _marked(self, name: str, now: float, out: list[Action]) -> None:
        call = self.call
        heard = call.playout.marked(name, now - call.lateness.late_s)
        if heard is None or call.phase is Phase.GONE:
            return
        if call.figures.greeting_heard_ms is None:
            call.figures.greeting_heard_ms = call.ms(now)
        call.waterfalls.heard(heard.item, now)
        call.heard(heard, now, out)

    def _tick(self, now: float, out: list[Action]) -> None:
        call = self.call
        if call.phase is Phase.TALKING:
            ending.check_caps(call, now, out)
        if call.phase is Phase.TALKING and greeting.overdue(call, now):
            reason = EndReason.MODEL_LOST if call.sessions.count else EndReason.MODEL_UNREACHABLE
            ending.leave(call, reason, Next.HUMAN, now, out, phrase="trouble")
        if call.phase in (Phase.TALKING, Phase.LEAVING):
            turns.judge_keys(call, now, out)
        if call.phase is Phase.LEAVING:
            turns.end_noise(call, now, out)
        if call.phase is Phase.TALKING:
            responses.tick(call, now, out)
            failover.tick(call, now, out)
            turns.tick(call, now, out)
            answering_early.tick(call, now, out)
            function_calls.tick(call, now, out)
            if call.answers.is_asked:
                call.liveness.owe(now)
            ending.check_silence(call, now, out)
        if call.phase is Phase.TALKING:
            failover.rescue(call, now, out)

    def _settle(self, now: float, out: list[Action]) -> None:
        """Do what must be done after each event."""
        call = self.call
        answers = call.answers
        if call.playout.held is not None and not call.floor.is_holding:
            call.playout.resume()  # The speech for which the agent was stopped has been dropped.
        if call.sessions.next_is_ready:
            failover.settle(call, now, out)
        if answers.wish is not None:
            if call.liveness.owed_at is None:
                call.liveness.owe(now)
            if call.phase is Phase.TALKING and call.sessions.serves and call.playout.held is None:
                self._ask(answers.wish, now, out)
        if call.playout.queue or call.figures.rung is Rung.NONE:
            self._play(now, out)
        if call.phase is not Phase.TALKING:
            ending.settle(call, now, out)

    def _play(self, now: float, out: list[Action]) -> None:
        """Add the audio that must be written now. If a greeting has not come in time, a clip is played."""
        call = self.call
        if call.playout.queue and call.playout.held is None and now > call.playout.due_s:
            self._write(now, out)
        if call.figures.rung is Rung.NONE and call.phase is Phase.TALKING and greeting.climb(call, now, out):
            self._write(now, out)

    def _write(self, now: float, out: list[Action]) -> None:
        call = self.call
        if call.phase in (Phase.ARRIVING, Phase.GONE):
            return
        if call.rest.kept is not None and call.rest.is_withheld(now):
            return
        if call.early.turn is not None and call.is_withheld():
            return
        plays = call.playout.due(now)
        if not plays:
            return
        if call.rest.kept is not None:
            call.rest.forget()
        sounded = call.playout.sounded
        if sounded is not None and call.liveness.owed_at is not None and call.liveness.heard(sounded, now):
            call.sessions.relieved()
        if call.figures.greeting_ms is None:
            call.figures.greeting_ms = call.ms(now)
        if call.waterfalls.unwritten:
            for play in plays:
                call.waterfalls.written(play.item_id, now)
        out += plays

    def _ask(self, wish: Wish, now: float, out: list[Action]) -> None:
        """Ask the model for the wanted answer, if that is allowed now."""
        call = self.call
        if call.floor.speech is not None and call.floor.is_hearing:
            return
        if call.early.turn is not None:
            call.early.governor.spent(call.meter.usd, call.plan.limits.call_usd)
            if not call.early.may_ask(wish):
                return  # The answer will be asked for when the caller's turn has ended.
        if not call.consent.heard and call.notice_is_open(now):
            # The answer's sound would wait until the notice was heard. But its functions would run at once, and could
            # store words before that.
            return
        request = call.answers.due(now)
        if request is None:
            return
        if call.keypad.untold and (keys := call.keypad.take()):
            out.append(call.keys(keys))
        if call.caller_turns.awaited and request.instructions is None and not call.playout.is_speaking(now):
            call.caller_turns.were_asked_about()
        if call.early.turn is not None:
            call.early.asks(request.ref)
            call.meter.asked_early()
        out.append(request)
