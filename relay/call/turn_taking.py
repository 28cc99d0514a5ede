"""Decides who speaks: what the caller's speech does to the agent's speech, and whether a turn must be answered.

This file keeps the caller's `Speech`, and gets the state of the `Agent` with each event. It only decides:
interruption.py and turns.py carry the decisions out. "VAD" is the server's VAD, "voice" is the caller's voice by our
own level (level_vad.py). The caller is in one of four states:

    QUIET         the VAD hears nobody
    SPEAKS        the VAD hears speech, and the agent is not stopped for it
    STOPS_AGENT   the agent is stopped; the sound may be a cough, so the answer is not given up yet
    INTERRUPTS    the sound is no cough, so the agent's answer was given up

    event                         QUIET     SPEAKS                      STOPS_AGENT                 INTERRUPTS
    the VAD hears speech begin *  SPEAKS    SPEAKS                      stays (a report was lost)   SPEAKS
    frame, the voice is up,       -         STOPS_AGENT: hold, if the   stays                       -
    shorter than 250 ms                     agent speaks or thinks
    frame, the voice is up,       -         INTERRUPTS: give up, if     INTERRUPTS: give up         -
    for 250 ms or longer                    the agent speaks or thinks
    frame, the voice is down      -         -                           SPEAKS: resume              -
    nothing comes for 2 s         -         -                           SPEAKS: resume              -
    the VAD hears speech end      -         pause                       SPEAKS: resume, pause       pause
    the speech becomes an item    (waits)   QUIET: answer, if long      QUIET: the words decide     QUIET: answer
                                            enough; else the words
                                            decide
    the session is lost           -         QUIET                       QUIET                       QUIET

In the column QUIET, "(waits)" means that the VAD has not reported that this speech began. So its words decide.

The words of an item come later, in any state. They may mean nothing, or "go on" (a backchannel), or they may need an
answer, or show an interruption that the sound did not show. If our own level was quiet for 2 s while the VAD still
hears speech, the VAD hears noise: the speech is marked as idle, and nothing waits for its end. After 15 s the speech is
dropped (turns.py).

* The speech is then judged at once, as at a frame. The VAD reports speech later than our level hears it, and the 250 ms
count from the rise of the level. If the 250 ms are over already, the answer is given up without a hold.

The caller's sound never stops protected words of the agent (the notice, last words). A short "Hello?" does not stop
the first words of the greeting either. Such speech is marked as overheard, and its words decide later. bench/barge_in
tries other values of GIVE_UP_MS with clips.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass, replace

from relay.call.level_vad import CallerVoice, Sound
from relay.call.vocabulary import ItemId
from relay.call.words import Meaning

# After this much speech the answer is given up. It is longer than a cough (150 to 200 ms) and shorter than "stop" (300
# ms), the shortest word that must stop the agent. bench/barge_in measures both.
GIVE_UP_MS = 250
# A shorter turn may be a cough, a door or a key. It is answered only if it has words.
SHORT_TURN_MS = 250
# If only its words can decide about a turn, they are awaited this long. They come 1.0 to 1.5 s after the commit
# (docs/protocol/openai.md 3).
DECIDING_WORDS_LIMIT_S = 2.5
# In the first EARLY_S of the stream, speech that is shorter than EARLY_WORD_MS is not a barge-in. It may be a "Hello?",
# which callers say 250 to 450 ms after the call was answered (Patter #95).
EARLY_S = 1.5
EARLY_WORD_MS = 1_000

# This many equal words in a row are an echo of the agent. One equal word may be chance.
ECHO_WORDS = 2


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold())


def is_echo(text: str, said: str) -> bool:
    """True if these words are a part of what the agent said (`said`), word for word. A single word is no echo."""
    words, ours = _words(text), _words(said)
    if len(words) < ECHO_WORDS:
        return False
    return any(ours[at : at + len(words)] == words for at in range(len(ours) - len(words) + 1))


class Step(enum.Enum):
    """What must happen to the agent's speech because of the caller's speech."""

    NOTHING = "nothing"
    HOLD = "hold"
    GIVE_UP = "give up"
    RESUME = "resume"


class State(enum.Enum):
    """The state of the caller's speech. QUIET means that there is no `Speech`."""

    SPEAKS = "speaks"
    STOPS_AGENT = "stops the agent"
    INTERRUPTS = "interrupts"


class Worth(enum.Enum):
    """What must follow from a caller's turn."""

    ANSWER = "answer"  # Ask for a response.
    BARGE_IN = "barge_in"  # Stop the agent, then ask for a response.
    WAIT = "wait"  # Wait for its words.
    LEAVE = "leave"  # Keep the turn in the conversation, without an answer.
    DELETE = "delete"  # The turn has no words, or is an echo of the agent: remove it.


@dataclass(slots=True)
class Agent:
    """What the agent is doing now."""

    speaking: bool  # The caller hears the agent, or will in a moment.
    thinking: bool  # An answer was asked for or is being generated.
    protected: bool  # What the caller hears now must not be interrupted.
    early: bool  # The first EARLY_S of the stream are not over, and the agent speaks.
    silent_since_s: float = 0.0  # When both sides became silent. While audio is playing: when that audio will end.


NO_AGENT = Agent(speaking=False, thinking=False, protected=False, early=False)


@dataclass(slots=True)
class Speech:
    """Speech of the caller, from the VAD's report that it began until it becomes an item."""

    item_id: ItemId
    voiced_ms: int = 0  # The longest time without a pause in which our own level heard a voice.
    sound: Sound | None = None  # How loud the speech is. None: its start was not reported.
    state: State = State.SPEAKS
    # True if it came while the agent could not be interrupted, and ended before the agent could be interrupted.
    overheard: bool = False
    over_agent: bool = False  # True if a part of it came while the agent spoke.
    paused: bool = False
    idle: bool = False  # True if our own level has heard nobody in it for a while.


@dataclass(frozen=True, slots=True)
class _Awaited:
    until: float
    voiced_ms: int
    overheard: bool
    over_agent: bool
    sound: Sound | None


class Floor:
    """Keeps the caller's speech, and the turns that are judged by their words."""

    def __init__(self) -> None:
        self.speech: Speech | None = None
        self.awaited: dict[ItemId, _Awaited] = {}  # The turns whose words will decide what follows from them.
        self.turn_is_open = False  # True while the caller may continue the last turn (early_answer.py).

    @property
    def is_hearing(self) -> bool:
        """True from the VAD's report of speech until that speech becomes an item. False if the VAD hears only noise."""
        return self.speech is not None and not self.speech.idle

    @property
    def is_taken(self) -> bool:
        """True from the VAD's report of speech until the turn has ended. False if the VAD hears only noise."""
        return self.turn_is_open or self.is_hearing

    def opens_turn(self) -> None:
        """A piece of a turn has become an item, and the caller may continue the turn."""
        self.turn_is_open = True

    def closes_turn(self) -> None:
        """The silence after the turn was long enough: the turn has ended."""
        self.turn_is_open = False

    @property
    def caller_speaks(self) -> bool:
        """True from the VAD's report of speech until its report that the speech has ended.

        False if the VAD hears only noise.
        """
        return self.speech is not None and not (self.speech.paused or self.speech.idle)

    @property
    def caller_waits(self) -> bool:
        """True if the caller waits for an answer, or is saying something that needs one."""
        speaks = self.speech is not None and (not self.speech.idle or self.speech.voiced_ms >= SHORT_TURN_MS)
        return speaks or self.is_waiting

    @property
    def is_holding(self) -> bool:
        """True while the agent is stopped and it is not decided whether the caller speaks."""
        return self.speech is not None and self.speech.state is State.STOPS_AGENT

    @property
    def is_waiting(self) -> bool:
        """True while words are awaited that decide about a turn."""
        return any(awaited.until < math.inf for awaited in self.awaited.values())

    def spoke(self, item_id: ItemId, agent: Agent, voice: CallerVoice) -> Step:
        """The VAD heard speech begin."""
        if self.speech is not None and self.speech.item_id == item_id:
            return Step.NOTHING  # The event came twice.
        voiced_ms = voice.run_ms if voice.is_up else 0
        speech = Speech(item_id, voiced_ms, voice.lately())
        if self.speech is not None and self.is_holding:  # The VAD did not report the end of the earlier speech.
            speech.state, speech.over_agent = State.STOPS_AGENT, self.speech.over_agent
        self.speech = speech
        return self._judge(agent, voice)

    def frame(self, agent: Agent, voice: CallerVoice) -> Step:
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
                # The agent has become silent during this speech, so the speech is a usual turn.
                speech.overheard = False
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
        speech.state = State.STOPS_AGENT  # If the agent has not begun to speak, its answer waits too.
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
        """The VAD heard speech end. If the agent was stopped for it, the agent goes on."""
        speech = self.speech
        if speech is None or speech.item_id != item_id:
            return Step.NOTHING
        speech.paused = True
        return self.release()

    def release(self) -> Step:
        """End a hold, whatever the caller does."""
        if self.speech is None or not self.is_holding:
            return Step.NOTHING
        self.speech.state = State.SPEAKS
        return Step.RESUME

    def falls_idle(self) -> None:
        """By our own level the caller has finished. What the VAD still hears is noise."""
        if self.speech is not None:
            self.speech.idle = True

    def drops_noise(self) -> None:
        """What the VAD has heard is no speech, so it is dropped."""
        self.speech = None

    def became_item(self, item_id: ItemId, agent: Agent, now: float) -> Worth:
        """The caller's speech became an item. Returns what must follow."""
        speech = self.speech
        if speech is not None and speech.item_id == item_id:
            self.speech = None
        else:
            speech = Speech(item_id, over_agent=agent.speaking)  # The VAD did not report the beginning of this speech.
        if speech.state is State.INTERRUPTS:
            return Worth.ANSWER
        if speech.voiced_ms >= SHORT_TURN_MS and not speech.overheard and not agent.speaking:
            return Worth.ANSWER
        self.awaited[item_id] = _Awaited(
            now + DECIDING_WORDS_LIMIT_S, speech.voiced_ms, speech.overheard, speech.over_agent, speech.sound
        )
        return Worth.WAIT

    def is_soundless(self, item_id: ItemId, voice: CallerVoice) -> bool:
        """True if the turn's words are awaited, and its sound was not louder than the noise of the line."""
        awaited = self.awaited.get(item_id)
        return awaited is not None and awaited.sound is not None and not voice.is_above_noise(awaited.sound)

    def transcribed(self, item_id: ItemId, text: str | None, agent: Agent, said: str, meaning: Meaning) -> Worth:
        """The words of a turn have come. Returns what must follow.

        `text` is None if the transcription failed. `said` is what the agent said last.
        """
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

        Each comes with True if it must be answered without words: it is long enough, and the agent is silent. For all
        other turns, the words decide when they come later.
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
