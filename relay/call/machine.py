"""One phone call, as a state machine that does no I/O.

Rule 1: everything that decides what a call does next lives here and in the pure rooms it is made of: playout (what was
heard), floor (who may speak), answers (`response.create`), conversation (what was said), meter (what it cost).
Rule 2: nothing here waits, reads a clock, draws a random number or knows JSON. `now` is the Trio clock in seconds.
Rule 3: an event in, all its actions out. Caller audio is the one other door: fifty times a second, and mostly ().
Rule 4: what a peer does is never an exception here; a strange event is counted and answered with nothing.

            CallerArrived       Talking                      Leaving               Gone
model       greeting item       answers, barge-in            ignored               ignored
caller      greeting            turns, digits                heard: finish         ignored
clock       ladder, caps        caps, silence, holding       deadline: finish      late words, then over

Upstream: session.py (events).  Downstream: session.py (actions).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from relay.call import wording
from relay.call.answers import Answers
from relay.call.caller_voice import CallerVoice
from relay.call.conversation import Conversation, Turn, heard_words
from relay.call.floor import EARLY_S, Agent, Floor, Move, Worth
from relay.call.meter import Meter
from relay.call.plan import CallPlan, Phrase
from relay.call.playout import BYTES_PER_MS, Cut, Playout
from relay.call.vocabulary import (
    Action,
    CallerArrived,
    CallerCommitted,
    CallerLeft,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    ClaimDoubted,
    ClearPlayback,
    CreateItem,
    DeleteItem,
    DialModel,
    DigitPressed,
    DrainBegan,
    EndCall,
    EndReason,
    Event,
    FunctionAsked,
    FunctionReturned,
    HangUp,
    ItemId,
    ItemPlaced,
    LeaveStream,
    MarkReturned,
    ModelFinished,
    ModelLost,
    ModelObjected,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    MoveFailed,
    RecordConsent,
    RecordTurn,
    ReleaseModel,
    Report,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    RunFunction,
    Rung,
    SendFunctionOutput,
    StaySilent,
    Ticked,
    TransferCall,
    TruncateItem,
    TurnLatency,
)

# The greeting's ladder (DESIGN 4.4): a live greeting that is this late after `start` is bridged by a clip.
CLIP_AFTER_S = 0.150
# With nothing but the clip, the human comes after this.
HUMAN_AFTER_S = 4.0
# With the greeting played, the model has until this long after `start` to be there.
MODEL_LIMIT_S = 8.0
# A lost session is dialled again this often in one call before the human comes.
RECONNECTS = 2
# The holding phrase: nobody waits longer in silence while a function runs (issue of this field: dead air).
HOLDING_AFTER_S = 0.700
HOLDING_AGAIN_S = 5.0
# The model is told to come to an end this long before the cap.
WARN_BEFORE_CAP_S = 30.0
# After the first "are you still there", the second and then the goodbye come this much later.
STILL_THERE_AGAIN_S = 10.0
# A goodbye whose mark never comes back does not keep the line for longer than this.
GOODBYE_LIMIT_S = 12.0
GOODBYE_SLACK_S = 2.0
# Words that come after the call's end are awaited this long (transcription takes 1.0-1.5 s).
LATE_WORDS_S = 2.0
# Twilio sends 50 frames a second; gaps to 233 ms are normal, this is a dead socket.
NO_FRAMES_S = 15.0
# A row of keys is read as one input once this long nothing was pressed.
KEYS_TOGETHER_S = 1.5
# OpenAI ends a session at 60 minutes; at 50 a silent moment is used to move to a new one.
SESSION_LIMIT_S = 50 * 60.0


class Phase(enum.Enum):
    """Where the call is."""

    ARRIVING = "arriving"
    TALKING = "talking"
    LEAVING = "leaving"
    GONE = "gone"


class Next(enum.StrEnum):
    """What happens to the caller when the stream is over."""

    HANG_UP = "hang_up"
    HUMAN = "human"
    RESUME = "resume"
    NOTHING = "nothing"  # the caller has gone


@dataclass(slots=True)
class Ending:
    """How the call is coming to its end."""

    reason: EndReason
    then: Next
    deadline: float
    item: ItemId | None  # the last words; None: as soon as nothing is playing
    summary: str = ""


@dataclass(slots=True)
class _Waterfall:
    """Times of one turn, Trio clock; 0 = not seen yet."""

    stopped: float
    stopped_heard: float
    first_delta: float = 0.0
    first_written: float = 0.0
    first_heard: float = 0.0

    def latency(self) -> TurnLatency:
        def after(at: float) -> int | None:
            return round((at - self.stopped) * 1000) if at else None

        return TurnLatency(
            after(self.stopped_heard), after(self.first_delta), after(self.first_written), after(self.first_heard)
        )


@dataclass(slots=True)
class Figures:
    """What the call's one closing line says."""

    rung: Rung = Rung.NONE
    greeting_ms: int | None = None
    greeting_heard_ms: int | None = None
    barge_ins: int = 0
    false_stops: int = 0
    late_deltas: int = 0
    reconnects: int = 0
    model_errors: int = 0
    misunderstandings: int = 0
    failed_functions: int = 0


class Machine:
    """The state of one call on one stream."""

    def __init__(self, plan: CallPlan) -> None:
        self.plan = plan
        self.phase = Phase.ARRIVING
        self.ending: Ending | None = None
        self.figures = Figures()
        self.playout = Playout()
        self.voice = CallerVoice()
        self.floor = Floor()
        self.answers = Answers()
        self.conversation = Conversation(plan.history, plan.first_seq)
        self.meter = Meter(plan.price, plan.transcription_usd_per_minute, plan.spent_usd)
        self.model_is_ready = False
        self.model = plan.model
        self.dialled = ""  # whom the caller is to be connected with, and why, for the ledger
        self._arrived_at = 0.0
        self._ready_at = 0.0
        self._over_at: float | None = None
        self._own_number = 0
        self._sessions = 0
        self._known: set[str] = set()  # items that the present model session has
        self._cut: set[str] = set()  # items that must not be heard any more
        self._response_items: dict[str, list[ItemId]] = {}
        self._notice_item: ItemId | None = None
        self._consented = not plan.greeting.announces
        self._unconsented: list[RecordTurn] = []
        self._functions: dict[str, str] = {}  # running: call id -> response id
        self._quiet_functions: set[str] = set()  # running, without a holding phrase
        self._holding = "holding"
        self._outputs_wanted: set[str] = set()  # responses whose outputs want an answer
        self._held_phrase_at = 0.0
        self._quiet_since = 0.0
        self._asked_still_there = 0
        self._warned = False
        self._digits = ""
        self._digit_at = 0.0
        self._waterfall: _Waterfall | None = None
        self._waterfalls: dict[str, _Waterfall] = {}
        self._awaiting_words: set[str] = set()
        self._moving_to: str | None = None
        self._drain_until: float | None = None

    # The two doors

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in an event; return everything it wants done, in order."""
        out: list[Action] = []
        match event:
            case CallerArrived():
                self._arrive(now, out)
            case MarkReturned(name):
                self._mark(name, now, out)
            case DigitPressed(digit):
                self._digit(digit, now, out)
            case CallerLeft(reason):
                self._caller_left(reason, now, out)
            case ModelReady():
                self._model_ready(event, now, out)
            case CallerSpoke(item_id):
                self._move(self.floor.spoke(item_id, self._agent(now), self.voice), now, out)
            case CallerPaused(item_id):
                self._paused(item_id, now, out)
            case CallerCommitted(item_id, previous):
                self._committed(item_id, previous, now, out)
            case CallerTranscribed():
                self._transcribed(event, now, out)
            case ResponseBegan(response_id, ref):
                self._append(self.answers.began(response_id, ref, now), out)
            case ItemPlaced():
                self._known.add(event.item_id)
            case ModelSpoke():
                self._model_spoke(event, now, out)
            case ModelWorded():
                self._model_worded(event, now)
            case ModelFinished(response_id, item_id, mulaw):
                if self.wants(response_id, item_id):
                    self.playout.finish(item_id, mulaw)
            case FunctionAsked():
                self._function_asked(event, now, out)
            case ResponseEnded():
                self._response_ended(event, now, out)
            case ModelObjected(code):
                self._model_objected(event, code, out)
            case ModelLost():
                self._model_lost(event, now, out)
            case FunctionReturned():
                self._function_returned(event, now, out)
            case Ticked():
                self._tick(now, out)
            case MoveFailed(reason):
                self._moving_to = None
                self._ready_at = now  # tried again after as long a time
                out.append(Report("model.move_failed", "warning", (("reason", reason),)))
            case ClaimDoubted(correction):
                out.append(self._note(correction))
                self.answers.want("correct")
            case DrainBegan(limit_s):
                self._drain_until = now + limit_s
        self._settle(now, out)
        return out

    def caller_audio(self, level_dbfs: float, ms: int, now: float) -> list[Action]:
        """Take in `ms` of caller audio by its level; return what is due, nearly always nothing."""
        voice = self.voice
        if level_dbfs > -60.0 and self.playout.is_speaking(now) and voice.is_candidate(level_dbfs):
            voice.hear(level_dbfs, ms, self.playout.echo_level_dbfs(now))
        else:
            voice.hear(level_dbfs, ms)
        out: list[Action] = []
        if self.floor.speech is not None:
            self._move(self.floor.frame(self._agent(now), voice), now, out)
        if self.phase is Phase.ARRIVING:
            return out
        if self.figures.rung is Rung.NONE:
            self._climb(now, out)
        out += self._due(now)
        return out

    @property
    def is_over(self) -> bool:
        """True once nothing more is awaited: the session can be torn down."""
        return self.phase is Phase.GONE and self._over_at is None

    def wants(self, response_id: ResponseId, item_id: ItemId) -> bool:
        """False for audio that must not be heard any more: of a cancelled response or a cut item."""
        if item_id in self._cut or self.answers.is_discarded(response_id) or self.phase is Phase.GONE:
            self.figures.late_deltas += 1
            return False
        return self.ending is None or self.ending.item is None

    # Greeting

    def _arrive(self, now: float, out: list[Action]) -> None:
        self.phase = Phase.TALKING
        self._arrived_at = self._quiet_since = now
        greeting = self.plan.greeting
        if self.plan.resumed is not None:
            key = wording.RESUMED.get(self.plan.resumed, "resumed")
            self.figures.rung = Rung.KEPT
            self._say(key, now, out, protected=False)
        elif greeting.is_kept:
            self.figures.rung = Rung.KEPT
            if greeting.opening.text:
                self._notice_item = self._own(greeting.opening, now, out, protected=True)
            if greeting.question.text:
                self._own(greeting.question, now, out, protected=False)
        self._climb(now, out)
        out += self._due(now)

    def _climb(self, now: float, out: list[Action]) -> None:
        """The ladder's lower rungs: the live greeting as soon as it is there, else the clip, else the human."""
        if self.figures.rung is Rung.NONE:
            if self.playout.is_speaking(now):
                self.figures.rung = Rung.LIVE
            elif now - self._arrived_at >= CLIP_AFTER_S:
                self.figures.rung = Rung.CLIP
                self._say("one_moment", now, out, protected=True)

    def _greeting_overdue(self, now: float) -> bool:
        """True if the caller has waited long enough for a model that is not there."""
        waited_s = now - self._arrived_at
        if self.figures.rung in (Rung.CLIP, Rung.NONE) and not self._response_items:
            return waited_s >= HUMAN_AFTER_S
        return not self.model_is_ready and self._sessions == 0 and waited_s >= MODEL_LIMIT_S

    # Our own words

    def _say(self, key: str, now: float, out: list[Action], *, protected: bool) -> ItemId:
        phrase = self.plan.phrases[key]
        return self._own(phrase, now, out, protected=protected)

    def _own(self, phrase: Phrase, now: float, out: list[Action], *, protected: bool) -> ItemId:
        """Play words of ours and put them into the conversation as the assistant's."""
        self._own_number += 1
        item = ItemId(f"own_{self.plan.first_seq}_{self._own_number}")
        turn = self.conversation.place(item, "agent", None, self._ms(now), own=True)
        turn.said = phrase.text
        mulaw = phrase.mulaw or b""
        turn.said_ms = len(mulaw) / BYTES_PER_MS
        self.playout.append(item, mulaw, now, own=True, protected=protected)
        self.playout.finish(item)
        if self.model_is_ready and self.phase is not Phase.GONE:
            out.append(CreateItem(item, "assistant", phrase.text))
            self._known.add(item)
        return item

    # The model's session

    def _model_ready(self, event: ModelReady, now: float, out: list[Action]) -> None:
        first = self._sessions == 0
        self._sessions += 1
        self._ready_at = now
        self.model_is_ready = True
        self._moving_to = None
        if event.model != self.model:
            self.meter.price = self.plan.price_hard if event.model == self.plan.model_hard else self.plan.price
            self.model = event.model
        self._known.clear()
        if self.phase in (Phase.LEAVING, Phase.GONE):
            return
        items = self.conversation.replay(f"r{self._sessions}_")
        out += items
        if items and (not first or self.plan.history):
            out.append(CreateItem(ItemId(f"r{self._sessions}_note"), "system", wording.CONTINUE))
        if first and not self.plan.history and not self.plan.greeting.is_kept:
            if self.plan.greeting_asked:
                self.answers.expect("greeting", now)
            else:
                self.answers.want("greeting", wording.say_exactly(self.plan.greeting.text))

    def _model_lost(self, event: ModelLost, now: float, out: list[Action]) -> None:
        self.model_is_ready = False
        self.answers.lost()
        self.floor.forget()
        for item in [i for items in self._response_items.values() for i in items]:
            self.playout.finish(item)
        if self.playout.is_held():
            self.playout.resume()
        if self.phase in (Phase.LEAVING, Phase.GONE):
            return
        fields = (("code", event.code), ("reason", event.reason[:120]))
        if self._moving_to is not None:
            return  # the old session made room for the new one, which is being dialled
        self.figures.reconnects += 1
        if self.figures.reconnects > RECONNECTS:
            out.append(Report("model.lost_for_good", "error", fields))
            reason = EndReason.MODEL_LOST if self._sessions else EndReason.MODEL_UNREACHABLE
            self._leave(reason, Next.HUMAN, now, out, phrase="trouble")
            return
        out.append(Report("model.lost", "warning", fields))
        if self._sessions and self.phase is Phase.TALKING:
            if not self.playout.is_speaking(now):
                self._say("one_moment_again", now, out, protected=False)
            self.answers.want("again")
        hard = self.figures.reconnects == RECONNECTS
        out.append(DialModel(self.plan.model_hard if hard else self.model, "lost"))

    def _move_model(self, model: str, why: str, out: list[Action]) -> None:
        """Hand the conversation over to another session."""
        if self._moving_to is None:
            self._moving_to = model
            out.append(Report("model.moving", "info", (("to", model), ("why", why))))
            out.append(DialModel(model, why))

    def _model_objected(self, event: ModelObjected, code: str, out: list[Action]) -> None:
        if code == "conversation_already_has_active_response":
            self.answers.refused_as_active()
        elif code != "response_cancel_not_active":
            self.figures.model_errors += 1
            out.append(Report("model.objected", "warning", (("code", code), ("message", event.message[:200]))))

    # The model's answer

    def _model_spoke(self, event: ModelSpoke, now: float, out: list[Action]) -> None:
        self.answers.progressed(now)
        items = self._response_items.setdefault(event.response_id, [])
        if event.item_id not in items:
            items.append(event.item_id)
            self._known.add(event.item_id)
            turn = self.conversation.place(event.item_id, "agent", None, self._ms(now))
            if self._waterfall is not None:
                self._waterfall.first_delta = now
                self._waterfalls[event.item_id], self._waterfall = self._waterfall, None
            if self._notice_item is None and not self._consented and self.answers.active_ref.startswith("greeting"):
                self._notice_item = event.item_id
        else:
            turn = self.conversation.place(event.item_id, "agent", None, self._ms(now))
        self.meter.generated(event.response_id, event.said_ms - turn.said_ms)
        turn.said_ms = event.said_ms
        protected = event.item_id == self._notice_item
        self.playout.append(event.item_id, event.mulaw, now, said_ms=event.said_ms, protected=protected)
        if self.phase is not Phase.ARRIVING:
            self._climb(now, out)

    def _model_worded(self, event: ModelWorded, now: float) -> None:
        if not self.wants(event.response_id, event.item_id):
            return
        turn = self.conversation.place(event.item_id, "agent", None, self._ms(now))
        turn.said += event.text

    def _response_ended(self, event: ResponseEnded, now: float, out: list[Action]) -> None:
        self.meter.responded(event.response_id, event.usage)
        for item in self._response_items.get(event.response_id, []):
            self.playout.finish(item)
        again = self.answers.ended(event.response_id, event.status)
        if event.status == "failed":
            name = "model.answer_failed" if again else "model.answer_failed_for_good"
            out.append(Report(name, "warning", (("detail", event.detail or ""),)))
        if self.answers.has_failed and self.phase is Phase.TALKING:
            self._leave(EndReason.MODEL_LOST, Next.HUMAN, now, out, phrase="trouble")

    # Functions

    def _function_asked(self, event: FunctionAsked, now: float, out: list[Action]) -> None:
        if event.function_call_id in self._functions or self.phase is not Phase.TALKING:
            return
        self.answers.progressed(now)
        self._functions[event.function_call_id] = event.response_id
        self._holding = self.plan.holding.get(event.name, "holding") or ""
        if not self._holding:
            self._quiet_functions.add(event.function_call_id)
        self._held_phrase_at = 0.0
        self._quiet_since = max(self._quiet_since, now)
        self.conversation.called(event.function_call_id, event.name, event.arguments)
        out.append(RunFunction(event.function_call_id, event.name, event.arguments))

    def _function_returned(self, event: FunctionReturned, now: float, out: list[Action]) -> None:
        response_id = self._functions.pop(event.function_call_id, "")
        self._quiet_functions.discard(event.function_call_id)
        self.conversation.returned(event.function_call_id, event.output)
        if self.phase is not Phase.TALKING:
            return
        if self.model_is_ready:
            out.append(SendFunctionOutput(event.function_call_id, event.output))
        self.figures.failed_functions = 0 if event.ok else self.figures.failed_functions + 1
        match event.effect:
            case TransferCall(reason, summary):
                self._transfer(EndReason.TRANSFERRED, reason, summary, now, out)
                return
            case EndCall():
                spoke = self.playout.is_speaking(now)
                phrase = None if spoke else "goodbye"
                self._leave(EndReason.AGENT_SAID_GOODBYE, Next.HANG_UP, now, out, phrase=phrase, after_speech=True)
                return
            case StaySilent():
                pass
            case None:
                self._outputs_wanted.add(response_id)
        if self.figures.failed_functions >= self.plan.rules.human_after_failures:
            self.figures.failed_functions = 0
            out.append(self._note(wording.OFFER_HUMAN))
        if response_id in self._outputs_wanted and response_id not in self._functions.values():
            self._outputs_wanted.discard(response_id)
            self.answers.want("output")

    def _note(self, text: str) -> CreateItem:
        """A system item: a word to the model that the caller does not hear."""
        self._own_number += 1
        return CreateItem(ItemId(f"note_{self.plan.first_seq}_{self._own_number}"), "system", text)

    # The caller's turns

    def _agent(self, now: float) -> Agent:
        speaking = self.playout.is_speaking(now)
        playing = self.playout.playing(now) if speaking else None
        protected = bool(playing and playing.protected) or self.phase is Phase.LEAVING
        early = speaking and now - self._arrived_at < EARLY_S
        return Agent(speaking, self.answers.is_busy, protected, early)

    def _move(self, move: Move, now: float, out: list[Action]) -> None:
        if move is Move.HOLD:
            if self.playout.hold(now):
                out.append(ClearPlayback())
        elif move is Move.RESUME:
            self.figures.false_stops += 1
            self.playout.resume()
            out += self._due(now)
        elif move is Move.COMMIT:
            self._cut_off(now, out)

    def _cut_off(self, now: float, out: list[Action]) -> None:
        """The caller has the floor: the agent's answer is given up, exactly where it was heard."""
        was_held = self.playout.is_held()
        spoke = self.playout.is_speaking(now)
        if not was_held and self.playout.hold(now):
            out.append(ClearPlayback())
        cuts = self.playout.cut(now)
        self._append(self.answers.cancel(), out)
        if spoke or cuts:
            self.figures.barge_ins += 1
        for cut in cuts:
            self._cut_item(cut, now, out)

    def _cut_item(self, cut: Cut, now: float, out: list[Action]) -> None:
        self._cut.add(cut.item)
        turn = self.conversation.turn(cut.item)
        if turn is None:
            return
        heard = heard_words(turn.said, cut.said_ms, cut.heard_ms)
        self._finish_turn(turn, heard, now, out, interrupted=True)
        known = self.model_is_ready and cut.item in self._known
        if cut.own:
            if known:
                out.append(DeleteItem(cut.item))
                self._known.discard(cut.item)
                if heard:
                    out.append(CreateItem(ItemId(f"{cut.item}_h"), "assistant", heard))
        elif known and cut.heard_ms < 1.0:
            out.append(DeleteItem(cut.item))
        elif known and int(cut.heard_ms) < int(cut.said_ms):
            out.append(TruncateItem(cut.item, int(cut.heard_ms)))

    def _paused(self, item_id: ItemId, now: float, out: list[Action]) -> None:
        self._move(self.floor.paused(item_id), now, out)
        self._waterfall = _Waterfall(now - self.voice.quiet_ms / 1000, now)
        self._quiet_since = max(self._quiet_since, now)
        self._asked_still_there = 0

    def _committed(self, item_id: ItemId, previous: ItemId | None, now: float, out: list[Action]) -> None:
        self._known.add(item_id)
        self._awaiting_words.add(item_id)
        turn = self.conversation.place(item_id, "caller", previous, self._ms(now))
        turn.gap = True  # until its words are there
        worth = self.floor.committed(item_id, self._agent(now), now)
        if worth is Worth.ANSWER:
            self.answers.want("turn")

    def _transcribed(self, event: CallerTranscribed, now: float, out: list[Action]) -> None:
        self.meter.transcribed(event.usage)
        self._awaiting_words.discard(event.item_id)
        turn = self.conversation.turn(event.item_id)
        worth = self.floor.transcribed(event.item_id, event.text, self._agent(now))
        text = (event.text or "").strip()
        if turn is not None and text:
            turn.said, turn.gap = text, False
            self._record(turn.row(), out)
        if worth is Worth.DELETE:
            self.conversation.drop(event.item_id)
            if self.model_is_ready:
                out.append(DeleteItem(event.item_id))
        if text and self.phase is Phase.TALKING and self._heed(text, now, out):
            return
        if worth is Worth.BARGE_IN:
            self._cut_off(now, out)
        if worth in (Worth.ANSWER, Worth.BARGE_IN):
            self.answers.want("turn")

    def _heed(self, text: str, now: float, out: list[Action]) -> bool:
        """The ways to a human that need no model. True if the call is on its way there."""
        rules = self.plan.rules
        if rules.says("emergency_words", text):
            self._transfer(EndReason.EMERGENCY, "emergency", text, now, out, phrase="emergency")
            return True
        if rules.says("human_words", text):
            self._transfer(EndReason.TRANSFERRED, "asked for a person", text, now, out)
            return True
        if rules.says("misunderstood_words", text):
            self.figures.misunderstandings += 1
            if self.figures.misunderstandings >= rules.human_after_misunderstandings:
                self._transfer(EndReason.TRANSFERRED, "misunderstood three times", text, now, out)
                return True
        hard_wanted = rules.says("topics_hard", text) or (
            self.figures.misunderstandings >= rules.hard_after_misunderstandings
        )
        if hard_wanted and self.model != self.plan.model_hard:
            self._move_model(self.plan.model_hard, "escalation", out)
        if rules.says("angry_words", text):
            out.append(self._note(wording.OFFER_HUMAN))
        return False

    def _digit(self, digit: str, now: float, out: list[Action]) -> None:
        if self.phase is not Phase.TALKING:
            return
        if digit and digit == self.plan.rules.human_digit:
            self._transfer(EndReason.TRANSFERRED, "pressed a key for a person", "", now, out)
            return
        self._digits += digit
        self._digit_at = self._quiet_since = now

    # What was heard

    def _mark(self, name: str, now: float, out: list[Action]) -> None:
        heard = self.playout.marked(name, now)
        if heard is None:
            return
        if self.figures.greeting_heard_ms is None:
            self.figures.greeting_heard_ms = self._ms(now)
        waterfall = self._waterfalls.get(heard.item)
        if waterfall is not None and not waterfall.first_heard:
            waterfall.first_heard = now
        if heard.whole:
            self._heard_whole(heard.item, now, out)

    def _heard_whole(self, item: ItemId, now: float, out: list[Action]) -> None:
        turn = self.conversation.turn(item)
        if turn is not None and not turn.whole:
            self._finish_turn(turn, turn.said, now, out, interrupted=False)
        if item == self._notice_item and not self._consented:
            self._consented = True
            out.append(RecordConsent(self._ms(now)))
            out += self._unconsented
            self._unconsented = []

    def _finish_turn(self, turn: Turn, heard: str, now: float, out: list[Action], *, interrupted: bool) -> None:
        turn.heard, turn.whole, turn.interrupted, turn.ended_ms = heard, True, interrupted, self._ms(now)
        waterfall = self._waterfalls.pop(turn.item_id, None)
        if waterfall is not None:
            turn.latency = waterfall.latency()
        self._record(turn.row(), out)

    def _record(self, row: RecordTurn, out: list[Action]) -> None:
        """A row of the transcript: at once, after the notice was heard, or never."""
        if not self.plan.keep_words:
            out.append(replace(row, said=None, heard=None))
        elif self._consented:
            out.append(row)
        else:
            self._unconsented.append(row)

    # The clock

    def _tick(self, now: float, out: list[Action]) -> None:
        if self.phase is Phase.TALKING:
            self._climb(now, out)
            self._check_caps(now, out)
        if self.phase is Phase.TALKING:
            self._check_model(now, out)
        if self.phase is Phase.TALKING:
            self._check_silence(now, out)
            self._check_functions(now, out)
            self._check_words(now, out)
            self._check_digits(now)
        if self.phase is Phase.GONE and self._over_at is not None and now >= self._over_at:
            self._over_at = None

    def _check_caps(self, now: float, out: list[Action]) -> None:
        limits, age_s = self.plan.limits, now - self._arrived_at
        if self.meter.usd >= limits.call_usd:
            self._leave(EndReason.COST_CAP, Next.HANG_UP, now, out, phrase="limit")
        elif age_s >= limits.call_s:
            self._leave(EndReason.DURATION_CAP, Next.HANG_UP, now, out, phrase="limit")
        elif self._drain_until is not None and now >= self._drain_until:
            self._leave(EndReason.DRAINED, Next.RESUME, now, out, phrase=None)
        elif not self._warned and age_s >= limits.call_s - WARN_BEFORE_CAP_S and self.model_is_ready:
            self._warned = True
            out.append(self._note(wording.COME_TO_AN_END))

    def _check_model(self, now: float, out: list[Action]) -> None:
        if self._greeting_overdue(now):
            reason = EndReason.MODEL_UNREACHABLE if self._sessions == 0 else EndReason.MODEL_LOST
            self._leave(reason, Next.HUMAN, now, out, phrase="trouble")
        elif self.answers.is_stuck(now) and self.model_is_ready:
            out.append(Report("model.stuck", "warning"))
            self._append(self.answers.cancel(), out)
            self.answers.lost()
            self.model_is_ready = False
            self._model_lost(ModelLost(0, "it neither answered nor said why"), now, out)
        elif now - self._ready_at > SESSION_LIMIT_S and self.model_is_ready and self._is_silent(now):
            self._move_model(self.model, "expiry", out)

    def _is_silent(self, now: float) -> bool:
        busy = self.playout.is_speaking(now) or self.floor.speech is not None or self._functions
        return not busy and not self.answers.is_busy and not self.answers.is_wanted

    def _check_silence(self, now: float, out: list[Action]) -> None:
        if not self._is_silent(now):
            return
        quiet_s = now - self._quiet_since
        if self._asked_still_there == 0 and quiet_s >= self.plan.limits.silence_s:
            self._asked_still_there = 1
            self._say("still_there", now, out, protected=False)
        elif 0 < self._asked_still_there <= 2 and quiet_s >= STILL_THERE_AGAIN_S:
            self._asked_still_there += 1
            if self._asked_still_there == 2:
                self._say("still_there", now, out, protected=False)
            else:
                self._leave(EndReason.SILENCE_CAP, Next.HANG_UP, now, out, phrase="nobody_there")

    def _check_functions(self, now: float, out: list[Action]) -> None:
        audible = [call for call in self._functions if call not in self._quiet_functions]
        if not audible or self.playout.is_speaking(now) or self.floor.speech is not None or self.answers.is_busy:
            return
        since = max(self._quiet_since, self._held_phrase_at)
        wait_s = HOLDING_AGAIN_S if self._held_phrase_at else HOLDING_AFTER_S
        if now - since >= wait_s:
            own = self._holding if self._holding in self.plan.phrases else "holding"
            key = "holding_again" if self._held_phrase_at else own
            self._held_phrase_at = now
            self._say(key, now, out, protected=False)

    def _check_words(self, now: float, out: list[Action]) -> None:
        for _item, answer in self.floor.expired(now):
            if answer and not self.playout.is_speaking(now):
                self.answers.want("turn")

    def _check_digits(self, now: float) -> None:
        if self._digits and now - self._digit_at >= KEYS_TOGETHER_S and self.model_is_ready:
            self.answers.want("keys")

    # The end

    def _transfer(
        self, reason: EndReason, why: str, summary: str, now: float, out: list[Action], phrase: str = "connecting"
    ) -> None:
        if not self.plan.human_available and reason is not EndReason.EMERGENCY:
            out.append(self._note(wording.NO_HUMAN_NOW))
            self.answers.want("turn")
            return
        self.dialled = why
        by_function = self.playout.is_speaking(now) and summary != "" and phrase == "connecting"
        self._leave(
            reason, Next.HUMAN, now, out, phrase=None if by_function else phrase, after_speech=True, summary=summary
        )

    def _leave(
        self,
        reason: EndReason,
        then: Next,
        now: float,
        out: list[Action],
        *,
        phrase: str | None,
        after_speech: bool = False,
        summary: str = "",
    ) -> None:
        """Come to an end: say the last words, wait until they were heard, then go."""
        if self.phase is not Phase.TALKING:
            return
        if not after_speech and self.playout.is_speaking(now):
            self._cut_off(now, out)
        if phrase is not None and after_speech and self.floor.caller_speaks and self.playout.is_held():
            self.playout.resume()
        item = self._say(phrase, now, out, protected=True) if phrase is not None else None
        self._append(self.answers.cancel() if not after_speech or phrase is not None else None, out)
        limit_s = min(GOODBYE_LIMIT_S, self.playout.left_ms(now) / 1000 + GOODBYE_SLACK_S)
        self.phase = Phase.LEAVING
        self.ending = Ending(reason, then, now + max(limit_s, 0.2), item, summary)
        out.append(Report("call.leaving", "info", (("reason", str(reason)), ("then", str(then)))))

    def _check_ending(self, now: float, out: list[Action]) -> None:
        ending = self.ending
        if ending is None or self.phase is not Phase.LEAVING:
            return
        if ending.item is not None:
            turn = self.conversation.turn(ending.item)
            heard = turn is not None and turn.whole
        else:
            heard = not self.playout.is_speaking(now) and self.answers.active is None
        if heard or now >= ending.deadline:
            out.append(LeaveStream() if ending.then in (Next.HUMAN, Next.RESUME) else HangUp())
            self._go(now, out)

    def _caller_left(self, reason: EndReason, now: float, out: list[Action]) -> None:
        if self.phase is Phase.GONE:
            return
        if self.ending is None:
            then = Next.NOTHING if reason is EndReason.CALLER_HUNG_UP else Next.RESUME
            self.ending = Ending(reason, then, now, None)
        elif self.ending.then is Next.HANG_UP or reason is EndReason.CALLER_HUNG_UP:
            self.ending.then = Next.NOTHING
        self._go(now, out)

    def _go(self, now: float, out: list[Action]) -> None:
        """The stream is over: write down what is left, release what costs money."""
        self.phase = Phase.GONE
        for cut in self.playout.cut(now):
            turn = self.conversation.turn(cut.item)
            if turn is not None and not turn.whole:
                heard = heard_words(turn.said, cut.said_ms, cut.heard_ms)
                self._finish_turn(turn, heard, now, out, interrupted=True)
        for turn in self.conversation.turns():
            if turn.role == "agent" and not turn.whole:  # played to its end, its last mark not back yet
                self._finish_turn(turn, turn.said, now, out, interrupted=False)
        waits = bool(self._awaiting_words) and self.model_is_ready
        self._over_at = now + LATE_WORDS_S if waits else None
        if not waits:
            self._close_books(out)

    def _close_books(self, out: list[Action]) -> None:
        for turn in self.conversation.turns():
            if turn.role == "caller" and turn.gap:
                self._record(turn.row(), out)
        self._unconsented = []
        out.append(ReleaseModel())

    # What every event ends with

    def _settle(self, now: float, out: list[Action]) -> None:
        self._check_ending(now, out)
        if self.phase is Phase.GONE:
            if self._over_at is not None and not self._awaiting_words:
                self._over_at = None
                self._close_books(out)
            return
        if self.phase is Phase.ARRIVING:
            return
        if self.playout.is_speaking(now):
            self._quiet_since = now + self.playout.left_ms(now) / 1000
        if self.phase is Phase.TALKING and self.model_is_ready and self.floor.speech is None:
            self._ask(now, out)
        out += self._due(now)

    def _ask(self, now: float, out: list[Action]) -> None:
        if not self.answers.is_wanted or self.answers.is_busy or self.playout.is_held():
            return
        if self._digits:
            out.append(
                CreateItem(ItemId(f"keys_{self._own_number}_{self._ms(now)}"), "user", f"[keys: {self._digits}]")
            )
            self._digits = ""
        self._append(self.answers.due(now), out)

    def _due(self, now: float) -> list[Action]:
        plays = self.playout.due(now)
        if plays and self.figures.greeting_ms is None:
            self.figures.greeting_ms = self._ms(now)
        for play in plays:
            waterfall = self._waterfalls.get(play.item_id)
            if waterfall is not None and not waterfall.first_written:
                waterfall.first_written = now
        return list(plays)

    def _ms(self, now: float) -> int:
        return round((now - self._arrived_at) * 1000) if self._arrived_at else 0

    @staticmethod
    def _append(action: Action | None, out: list[Action]) -> None:
        if action is not None:
            out.append(action)
