"""Holds the state of one call.

The files of call/ that decide have functions which get this object, and no state of their own. Among them are
greeting, turns, responses, failover and ending. What several of these files need is a method here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from relay.call.actions import (
    Action,
    CreateItem,
    RecordConsent,
    Report,
)
from relay.call.call_config import CallPlan, Phrase
from relay.call.caller_turns import CallerTurns
from relay.call.consent import Consent
from relay.call.conversation import Conversation, Turn, is_said
from relay.call.cost import Meter
from relay.call.early_answer import EarlyAnswer
from relay.call.gap_filling import Lateness
from relay.call.keypad import Keypad
from relay.call.level_vad import CallerVoice
from relay.call.liveness import Liveness
from relay.call.playout import Heard, Playout
from relay.call.presence import Presence
from relay.call.response_queue import Answers
from relay.call.rest import Rest
from relay.call.running_functions import RunningFunctions
from relay.call.sessions import Sessions
from relay.call.turn_taking import EARLY_S, SHORT_TURN_MS, Agent, Floor
from relay.call.unheard_speech import UnheardSpeech
from relay.call.vocabulary import (
    EndReason,
    ItemId,
    ResponseId,
    Rung,
)
from relay.call.waterfall import Waterfalls

# A mark usually comes back within a second. If the notice was played and its mark does not come within this time, the
# call goes on without storing words.
NOTICE_PROOF_LIMIT_S = 2.0


class Phase(enum.Enum):
    """Which part of the call is running (machine.py explains them)."""

    ARRIVING = "arriving"
    TALKING = "talking"
    LEAVING = "leaving"
    GONE = "gone"


class Next(enum.StrEnum):
    """What happens to the caller after this stream."""

    HANG_UP = "hang_up"
    HUMAN = "human"
    RESUME = "resume"
    NOTHING = "nothing"  # The caller has gone.


@dataclass(slots=True)
class Ending:
    """How the call will end, once that is decided."""

    reason: EndReason
    then: Next
    deadline: float
    # The phrase with the last words. If it is None, the call ends when the caller has heard all audio.
    item: ItemId | None
    summary: str = ""
    began_at: float = 0.0


@dataclass(slots=True)
class Figures:
    """Figures of this stream for the call's last log line."""

    rung: Rung = Rung.NONE
    greeting_ms: int | None = None
    greeting_heard_ms: int | None = None
    barge_ins: int = 0
    false_stops: int = 0
    late_deltas: int = 0
    reconnects: int = 0
    model_errors: int = 0
    crossings: int = 0  # Harmless errors: a message of ours and a message of the model's crossed on their way.
    misunderstandings: int = 0


class Call:
    """The state of a call during one stream."""

    # Long because it lists all parts of a call, one on each line.
    def __init__(self, plan: CallPlan) -> None:
        self.plan = plan
        self.phase = Phase.ARRIVING
        self.ending: Ending | None = None
        # After the stream's end: until when late words of the caller are awaited. None if nothing is awaited.
        self.over_at: float | None = None
        self.drain_until: float | None = None
        self.figures = Figures(misunderstandings=plan.misunderstandings)
        # What was heard, who may speak, which answers are wanted, what was said, what it has cost
        self.playout = Playout()
        self.voice = CallerVoice()
        self.lateness = Lateness()
        self.floor = Floor()
        self.early = EarlyAnswer(plan.answer_early, governor=replace(plan.early))
        self.answers = Answers()
        self.conversation = Conversation(plan.history, plan.first_seq)
        self.meter = Meter(plan.model, plan.price, plan.transcription_usd_per_minute, plan.bill, voice=plan.voice)
        # The model's session
        self.sessions = Sessions(plan.model)
        self.liveness = Liveness()
        self.ids: dict[ItemId, ItemId] = {}  # Our name of an item -> the name that the present session uses for it.
        self._before: dict[ItemId, ItemId | None] = {}  # An item of the present session -> the item before it.
        self.answer_items: dict[ResponseId, list[ItemId]] = {}
        # Items of a response that will have no sound. They are deleted.
        self.soundless_items: dict[ResponseId, set[ItemId]] = {}
        # The caller's turns
        self.arrived_at: float | None = None
        self.presence = Presence()
        self.loud_at = 0.0  # When our own level last heard the caller's voice.
        self.talked_at = 0.0  # When the caller last spoke for longer than a knock, or pressed a key.
        self.held_at = 0.0
        self.caller_turns = CallerTurns()
        self.rest = Rest()
        self.unheard = UnheardSpeech()
        self.offered_human = plan.offered_human
        self.waterfalls = Waterfalls()
        self.keypad = Keypad(plan.rules.human_digit)
        # The notice
        self.notice_item: ItemId | None = None
        self.notice_until = 0.0  # Until when the mark of the notice is awaited.
        self.consent = Consent(plan.keep_words, plan.greeting.announces, plan.notice_heard, plan.words_refused)
        # Functions
        self.functions = RunningFunctions.of(plan.failed_attempts)
        # The end
        self.dialled = ""  # Why a human is called. "" if none is called, or if `ending.reason` says why.
        self.dialled_by_agent = False  # True if the model wrote this reason. Then it may hold words of the caller.
        self.dialled_by_owner = False  # True if the owner ordered it. The owner may do so outside HUMAN_HOURS.
        self.missed_human = False  # True if a human was wanted outside HUMAN_HOURS.
        self.warned = False
        self.told_midnight = False  # True if the model was told the new date.
        self.sentence, self.sentence_at = "", 0.0  # The owner's last sentence, and when they ordered it.
        self.voice_fault = ""  # Why the other voice was lost. "" if it was not lost.
        self._own_number = 0

    @property
    def model(self) -> str:
        """The model of the present session, or of the last one."""
        return self.sessions.model

    def ms(self, now: float) -> int:
        """The time since the caller arrived, in milliseconds. 0 before that."""
        return round((now - self.arrived_at) * 1000) if self.arrived_at is not None else 0

    def since_arrival_s(self, now: float) -> float:
        """The time since the caller arrived, in seconds. 0 before that."""
        return now - self.arrived_at if self.arrived_at is not None else 0.0

    def human_is_there(self, now: float) -> bool:
        """True inside HUMAN_HOURS. They may begin or end during the call."""
        after_s = self.plan.human_changes_s
        return self.plan.human_available != (after_s is not None and self.since_arrival_s(now) >= after_s)

    def agent(self, now: float) -> Agent:
        """What the agent is doing now.

        A greeting with a notice is protected already before its first sound comes.
        """
        playing, until_s = self.playout.heard_now(now)
        speaking = playing is not None and not self.is_withheld()
        announcing = self.notice_item is None and not self.consented and self.answers.is_greeting
        protected = announcing or bool(playing and playing.protected) or self.phase is not Phase.TALKING
        early = speaking and self.since_arrival_s(now) < EARLY_S
        return Agent(speaking, self.answers.is_busy, protected, early, self._silent_since(until_s))

    def is_silent(self, now: float) -> bool:
        """True while nobody speaks, nobody is about to speak, and no function runs."""
        busy = self.playout.is_speaking(now) or self.floor.is_taken or bool(self.functions)
        return not busy and not self.answers.is_busy and not self.answers.is_wanted

    def awaits_words(self, now: float) -> bool:
        """True while the words of a caller's turn are awaited.

        Words that come very late still count, but nothing waits for them.
        """
        return self.caller_turns.awaits_words(now)

    def quiet_since(self) -> float:
        """When both sides stopped speaking (Trio clock). While audio is playing: when that audio will end."""
        return self._silent_since(self.playout.quiet_since_s)

    def _silent_since(self, played_until_s: float) -> float:
        return max(self.presence.sign_at, self.presence.perhaps_at, played_until_s, self.arrived_at or 0.0)

    def notice_is_open(self, now: float) -> bool:
        """True while the notice waits or plays, and while its mark may still come back."""
        if self.consented or self.notice_item is None:
            return False
        if self.playout.heard_ms(self.notice_item, now) is not None:
            self.notice_until = now + NOTICE_PROOF_LIMIT_S
        return now < self.notice_until

    def placed(self, item_id: ItemId, previous: ItemId | None) -> None:
        """The present session has placed this item after `previous`."""
        self.ids.setdefault(item_id, item_id)
        self._before[item_id] = previous

    def before(self, item_id: ItemId) -> ItemId | None:
        """Our name of the item before this one."""
        return self.ours(self._before.get(item_id))

    def ours(self, known: ItemId | None) -> ItemId | None:
        """Our name of an item. `known` is the present session's name of it.

        The two differ if the item was deleted and created again, in this session or for a new one.
        """
        return next((our for our, its in self.ids.items() if its == known), known)

    def note(self, text: str) -> CreateItem:
        """An item that tells the model something. The caller does not hear it."""
        self._own_number += 1
        return CreateItem(ItemId(f"note_{self.plan.first_seq}_{self._own_number}"), "system", text)

    def keys(self, text: str) -> CreateItem:
        """An item that says which keys the caller pressed. For the model it is a turn of the caller."""
        text = f"[keys: {text}]"
        self._own_number += 1
        self.conversation.noted("user", text)
        return CreateItem(ItemId(f"keys_{self.plan.first_seq}_{self._own_number}"), "user", text)

    def say(
        self,
        key: str,
        now: float,
        out: list[Action],
        *,
        protected: bool = False,
        first: bool = False,
        bridges: bool = False,
    ) -> ItemId:
        """Play a phrase. `first`: play it before the audio that waits.

        `bridges`: the caller still waits for an answer after it.
        """
        return self.own(self.plan.phrases[key], now, out, protected=protected, first=first, bridges=bridges)

    def own(
        self,
        phrase: Phrase,
        now: float,
        out: list[Action],
        *,
        protected: bool,
        first: bool = False,
        rest: bool = False,
        bridges: bool = False,
    ) -> ItemId:
        """Play a sentence of the relay's own. The model gets it as words of the agent, unless the call is about to end.

        `rest`: the sentence is the rest of an answer of the model's. `bridges`: the caller still waits for an answer
        after it.
        """
        self._own_number += 1
        item = ItemId(f"{'rest' if rest else 'own'}_{self.plan.first_seq}_{self._own_number}")
        self.rest.forget()
        if bridges:
            self.liveness.bridge(item)
        turn = self.conversation.place(item, "agent", None, self.ms(now), own=not rest)
        turn.begins(self.ms(now), waits_ms=0 if first else round(self.playout.left_ms(now)))
        self.playout.append(item, phrase.mulaw or b"", now, own=True, protected=protected, first=first)
        turn.has_words(phrase.text, len(phrase.mulaw or b"") / 8)
        self.heard(self.playout.finish(item), now, out)
        if self.sessions.serves and self.phase in (Phase.ARRIVING, Phase.TALKING):
            out.append(CreateItem(item, "assistant", phrase.text))
            self.ids[item] = item
        return item

    def heard(self, heard: Heard | None, now: float, out: list[Action]) -> None:
        """Marks have proved that audio was heard. If an item was heard to its end, its turn ends.

        If this item has the notice, words may be stored from now on.
        """
        if heard is None or not heard.whole:
            return
        turn = self.conversation.turn(heard.item)
        if turn is not None and not turn.whole:
            self.finish_turn(turn, turn.spoken, now, out, interrupted=False)
        if heard.item == self.notice_item and not self.consented:
            if turn is None or not is_said(self.plan.greeting.notice, turn.spoken):
                out.append(Report("notice.not_said", "error", (("caller_hears", "no notice: no word is stored"),)))
                out += self.consent.give_up()
                return
            out.append(RecordConsent(self.ms(now)))
            out += self.consent.was_heard()

    def lose_speech(self, now: float) -> None:
        """Forget the speech that has no item yet, because the session that heard it, or the stream, has ended.

        If the speech was long enough to be words, its turn stays in the conversation without words, because nobody will
        transcribe it.
        """
        speech = self.floor.speech
        if speech is not None and speech.voiced_ms >= SHORT_TURN_MS and self.phase is not Phase.GONE:
            item_id, now_ms = speech.item_id, self.ms(now)
            turn = self.conversation.place(item_id, "caller", None, now_ms, part_of=self.early.piece_before)
            began_at = self.caller_turns.take_began_at(item_id)
            turn.was_spoken(item_id, now_ms if began_at is None else self.ms(began_at), now_ms)
        self.floor.forget()

    def finish_turn(self, turn: Turn, heard: str, now: float, out: list[Action], *, interrupted: bool) -> None:
        """A turn of the agent's has ended. `heard` is what the caller heard of it."""
        latency = self.waterfalls.take(turn.item_id)
        out += self.consent.record(turn.was_heard(heard, self.ms(now), interrupted=interrupted, latency=latency))

    @property
    def consented(self) -> bool:
        """True if no notice is needed any more: it was heard, or this caller need not hear it."""
        return self.consent.is_given

    def is_withheld(self) -> bool:
        """True while the next audio is an early answer that nobody may hear yet."""
        response_id = self.early.response if self.early.turn is not None else None
        if response_id is None or not self.playout.queue or self.phase is not Phase.TALKING:
            return False
        return self.playout.queue[0].item in self.answer_items.get(response_id, ())
