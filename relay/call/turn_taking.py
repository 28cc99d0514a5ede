"""Decides who speaks: what the caller's speech does to the agent's speech, and whether a turn must be answered.

Only this room decides who speaks. The room keeps the caller's `Speech`, and gets the state of the `Agent` with each
event. This room only decides. interruption.py and turns.py carry the decisions out. The caller is in one of four
states, by the server's VAD and by our own level (level_vad.py):

    QUIET         the VAD hears nobody
    SPEAKS        the VAD hears speech; the agent goes on, or is silent anyway
    STOPS_AGENT   the agent was stopped at once; it may be a cough, so nothing is given up yet
    INTERRUPTS    it was no cough, so the agent's answer was given up

    event                         QUIET     SPEAKS                      STOPS_AGENT                 INTERRUPTS
    the VAD hears it begin *      SPEAKS    SPEAKS                      stays: its end got lost     SPEAKS
    frame, the voice is up,       -         STOPS_AGENT: hold, if the   stays                       -
    shorter than 250 ms                     agent speaks or thinks
    frame, the voice is up,       -         INTERRUPTS: give up, if     INTERRUPTS: give up         -
    for 250 ms or longer                    the agent speaks or thinks
    frame, the voice is down      -         -                           SPEAKS: resume              -
    nothing comes for 2 s         -         -                           SPEAKS: resume              -
    the VAD hears it end          -         pause                       SPEAKS: resume, pause       pause
    its item is made              (waits)   QUIET: answer, if long      QUIET: its words decide     QUIET: answer
                                            enough; else its words do
    the session is lost           -         QUIET                       QUIET                       QUIET

The words of an item come later, in any state. They may be nothing, a listener's "mm-hmm", a turn to answer, or an
interruption after all. If our own level was quiet for 2 s while the VAD still hears speech, the speech is marked as
idle: the VAD hears noise, and nobody waits for it. After 15 s the speech is dropped (turns.py).

* After this, the speech is judged at once, as at a frame. The VAD reports speech later than our level hears it. The
  250 ms count from the level's rise. So they may be over already: then the answer is given up without a hold.

Protected words of the agent (the notice, last words) are not stopped. Nor does a short "Hello?" stop the first words of
the greeting. Such speech of the caller is only noted, and its words decide later.
bench/barge_in simulates other values of GIVE_UP_MS with clips.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass, replace

from relay.call.level_vad import CallerVoice, Sound
from relay.call.vocabulary import ItemId
from relay.call.words import Meaning

# Longer than a cough (150 to 200 ms), and shorter than the shortest word that stops the agent ("stop": 300 ms).
# Measured by bench/barge_in.
GIVE_UP_MS = 250
# A shorter turn is answered only if its transcript has words. A turn without words may be a cough, a door, or a key.
SHORT_TURN_MS = 250
# Transcripts come 1.0 to 1.5 s after the turn was committed (docs/protocol/openai.md 3).
WORDS_LIMIT_S = 2.5
# A short "Hello?" over the first words of the greeting is not a barge-in. Callers say it 250 to 450 ms after the answer
# (Patter #95).
EARLY_S = 1.5
EARLY_WORD_MS = 1_000

# Echo repeats whole pieces of our speech. This many equal words in a row are no longer chance.
ECHO_WORDS = 2


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold())


def is_echo(text: str, said: str) -> bool:
    """True if these words are a piece of what the agent said (`said`), word for word."""
    words, ours = _words(text), _words(said)
    if len(words) < ECHO_WORDS:
        return False
    return any(ours[at : at + len(words)] == words for at in range(len(ours) - len(words) + 1))


class Step(enum.Enum):
    """What the caller's speech does to the agent's speech."""

    NOTHING = "nothing"
    HOLD = "hold"
    GIVE_UP = "give up"
    RESUME = "resume"


class State(enum.Enum):
    """The state of the caller's speech. If there is no speech, the state is QUIET."""

    SPEAKS = "speaks"
    STOPS_AGENT = "stops the agent"
    INTERRUPTS = "interrupts"


class Worth(enum.Enum):
    """What follows from a caller's turn."""

    ANSWER = "answer"  # Ask for a response.
    BARGE_IN = "barge_in"  # Stop the agent, then ask for a response.
    WAIT = "wait"  # Wait for its words.
    LEAVE = "leave"  # Keep it in the conversation, without an answer.
    DELETE = "delete"  # The turn has no words: remove it.


@dataclass(slots=True)
class Agent:
    """What the agent is doing now."""

    speaking: bool  # The caller hears the agent, or is about to.
    thinking: bool  # An answer was asked for or is being generated.
    protected: bool  # What the caller hears must not be interrupted.
    early: bool  # The caller hears the greeting's first words.
    silent_since_s: float = 0.0  # When both sides fell silent. While audio plays, this time is in the future.


NO_AGENT = Agent(speaking=False, thinking=False, protected=False, early=False)


@dataclass(slots=True)
class Speech:
    """The caller's speech, from the VAD's start to the commit of its item."""

    item_id: ItemId
    voiced_ms: int = 0  # The longest run of the caller's own voice in it.
    sound: Sound | None = None  # How loud it was. None: its beginning was never reported.
    state: State = State.SPEAKS
    overheard: bool = False  # True if it began while the agent could not be interrupted.
    over_agent: bool = False  # True if a part of it was over the agent's words.
    paused: bool = False
    idle: bool = False  # True if, by our own level, nobody has spoken in it for a while.


@dataclass(frozen=True, slots=True)
class _Awaited:
    until: float
    voiced_ms: int
    overheard: bool
    over_agent: bool
    sound: Sound | None


class Floor:
    """The caller's side of the turn-taking: whose turn it is to speak."""

    def __init__(self) -> None:
        self.speech: Speech | None = None
        self.awaited: dict[ItemId, _Awaited] = {}  # Turns whose words decide what they are worth.
        self.turn_is_open = False  # True while the caller may go on with the last turn (early_answer.py).

    @property
    def is_hearing(self) -> bool:
        """True from the VAD's start to the commit of the item. False if the VAD hears only noise."""
        return self.speech is not None and not self.speech.idle

    @property
    def is_taken(self) -> bool:
        """True from the VAD's start to the end of the turn. False if the VAD hears only noise."""
        return self.turn_is_open or self.is_hearing

    def opens_turn(self) -> None:
        """A piece of a turn is an item, and the caller may go on."""
        self.turn_is_open = True

    def closes_turn(self) -> None:
        """The silence after the turn is long enough."""
        self.turn_is_open = False

    @property
    def caller_speaks(self) -> bool:
        """True between the VAD's start and its stop, except for noise."""
        return self.speech is not None and not (self.speech.paused or self.speech.idle)

    @property
    def caller_waits(self) -> bool:
        """True if the caller has said, or is saying, something that wants an answer."""
        speaks = self.speech is not None and (not self.speech.idle or self.speech.voiced_ms >= SHORT_TURN_MS)
        return speaks or self.is_waiting

    @property
    def is_holding(self) -> bool:
        """True while it is not decided whether the caller's sound is speech."""
        return self.speech is not None and self.speech.state is State.STOPS_AGENT

    @property
    def is_waiting(self) -> bool:
        """True while the words of a turn are awaited to decide about it."""
        return any(awaited.until < math.inf for awaited in self.awaited.values())

    def spoke(self, item_id: ItemId, agent: Agent, voice: CallerVoice) -> Step:
        """The VAD heard speech begin."""
        if self.speech is not None and self.speech.item_id == item_id:
            return Step.NOTHING  # The event was reported twice.
        voiced_ms = voice.run_ms if voice.is_up else 0
        speech = Speech(item_id, voiced_ms, voice.lately())
        if self.speech is not None and self.is_holding:  # The end of that speech was never reported.
            speech.state, speech.over_agent = State.STOPS_AGENT, self.speech.over_agent
        self.speech = speech
        return self._judge(agent, voice)

    def frame(self, agent: Agent, voice: CallerVoice) -> Step:
        """A caller frame came while the VAD hears speech."""
        if self.speech is None or self.speech.paused:
            return Step.NOTHING
        if self.speech.sound is not None:
            self.speech.sound.hear(voice.level_dbfs)
        if voice.is_up:
            self.speech.voiced_ms = max(self.speech.voiced_ms, voice.run_ms)
            self.speech.idle = False
        return self._judge(agent, voice)

    def _judge(self, agent: Agent, voice: CallerVoice) -> Step:
        speech = self.speech
        if speech is None or speech.state is State.INTERRUPTS:
            return Step.NOTHING
        if speech.state is State.STOPS_AGENT:
            return self._judge_stop(speech, voice)
        if not (agent.speaking or agent.thinking):
            if voice.is_up:
                speech.overheard = False  # The speech goes on while the agent is silent, so it is now a usual turn.
            return Step.NOTHING
        speech.over_agent = speech.over_agent or agent.speaking
        if agent.protected or (agent.early and speech.voiced_ms < EARLY_WORD_MS):
            speech.overheard = True
            return Step.NOTHING
        if not voice.is_up:
            return Step.NOTHING
        speech.overheard = False
        if voice.run_ms >= GIVE_UP_MS:
            speech.state = State.INTERRUPTS
            return Step.GIVE_UP
        speech.state = State.STOPS_AGENT  # A coming answer must wait too, while the caller speaks.
        return Step.HOLD

    @staticmethod
    def _judge_stop(speech: Speech, voice: CallerVoice) -> Step:
        if not voice.is_up:
            speech.state = State.SPEAKS
            return Step.RESUME
        if voice.run_ms >= GIVE_UP_MS:
            speech.state = State.INTERRUPTS
            return Step.GIVE_UP
        return Step.NOTHING

    def paused(self, item_id: ItemId) -> Step:
        """The VAD heard speech end. If the agent was only stopped, it goes on."""
        speech = self.speech
        if speech is None or speech.item_id != item_id:
            return Step.NOTHING
        speech.paused = True
        return self.release()

    def release(self) -> Step:
        """The agent is no longer stopped, whatever the caller does."""
        if self.speech is None or not self.is_holding:
            return Step.NOTHING
        self.speech.state = State.SPEAKS
        return Step.RESUME

    def falls_idle(self) -> None:
        """By our own level the caller has finished. The sound that the VAD still hears is noise."""
        if self.speech is not None:
            self.speech.idle = True

    def drops_noise(self) -> None:
        """The sound that the VAD has heard for this long is no speech."""
        self.speech = None

    def became_item(self, item_id: ItemId, agent: Agent, now: float) -> Worth:
        """The caller's turn became an item."""
        speech = self.speech
        if speech is not None and speech.item_id == item_id:
            self.speech = None
        else:
            speech = Speech(item_id, over_agent=agent.speaking)  # The beginning of the speech was never reported.
        if speech.state is State.INTERRUPTS:
            return Worth.ANSWER
        if speech.voiced_ms >= SHORT_TURN_MS and not speech.overheard and not agent.speaking:
            return Worth.ANSWER
        self.awaited[item_id] = _Awaited(
            now + WORDS_LIMIT_S, speech.voiced_ms, speech.overheard, speech.over_agent, speech.sound
        )
        return Worth.WAIT

    def is_soundless(self, item_id: ItemId, voice: CallerVoice) -> bool:
        """True for a turn whose words are awaited, if it was not louder than the line's noise."""
        awaited = self.awaited.get(item_id)
        return awaited is not None and awaited.sound is not None and not voice.is_above_noise(awaited.sound)

    def transcribed(self, item_id: ItemId, text: str | None, agent: Agent, said: str, meaning: Meaning) -> Worth:
        """The words of a turn have come. None: the transcription failed. `said`: the agent's latest words."""
        awaited = self.awaited.pop(item_id, None)
        if awaited is None:
            return Worth.LEAVE
        if text is None:
            return Worth.ANSWER if awaited.voiced_ms >= SHORT_TURN_MS and not agent.speaking else Worth.LEAVE
        if not text.strip():
            return Worth.DELETE
        if awaited.over_agent and awaited.voiced_ms < SHORT_TURN_MS and is_echo(text, said):
            return Worth.DELETE
        if awaited.overheard and meaning.is_hello:
            return Worth.LEAVE
        if agent.speaking and meaning.is_backchannel:
            return Worth.LEAVE
        if agent.protected or not agent.speaking:
            return Worth.ANSWER
        return Worth.BARGE_IN

    def expired(self, now: float, agent: Agent) -> list[tuple[ItemId, bool]]:
        """The turns whose words did not come in time.

        True marks a turn that is long enough to be answered without words. For all others, and for those that came
        while the agent spoke, the words decide when they come later.
        """
        late = [
            (item, a.voiced_ms >= SHORT_TURN_MS and not agent.speaking)
            for item, a in self.awaited.items()
            if now >= a.until
        ]
        for item, answer in late:
            awaited = self.awaited.pop(item)
            if not answer:
                self.awaited[item] = replace(awaited, until=math.inf)
        return late

    def forget(self) -> None:
        """The model session has ended. The speech that this session was hearing has ended too."""
        self.speech = None
        self.awaited.clear()
