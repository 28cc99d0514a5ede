"""A stage for the call machine alone: a test gives it events, and compares the actions that follow.

`Ear` simulates Twilio's buffer and what the caller hears. The tests compare what the machine believes with it. The ear
counts bytes instead of times: it plays 40 bytes every 5 ms.
"""

from __future__ import annotations

import difflib
from collections import deque
from dataclasses import dataclass, field, replace

from relay.call.actions import (
    Action,
    ClearPlayback,
    Play,
    Report,
)
from relay.call.call_config import CallPlan, Greeting, Limits, Phrase, Price
from relay.call.escalation import Rules
from relay.call.machine import Machine
from relay.call.vocabulary import (
    CallerArrived,
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    Event,
    ItemId,
    MarkReturned,
    ModelFinished,
    ModelReady,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
    StreamSid,
    Ticked,
)
from relay.phrases import prompts
from relay.settings import Settings

NOTICE = "This call may be transcribed."
PRICE = Price(0.6, 0.06, 2.4, 10.0, 0.3, 20.0)
SPEECH_DBFS, SILENCE_DBFS = -20.0, -75.0
KEYS = (
    "one_moment one_moment_again holding holding_again still_there nobody_there goodbye limit trouble connecting "
    "emergency nobody_answered resumed"
).split()


CODES = bytes([*range(0x40, 0x7C), *range(0xC0, 0xFC)])


def tone(ms: int, first_frame: int = 0) -> bytes:
    """Mu-law in which each frame can be recognised: it repeats one of 120 codes. It sounds as loud as quiet speech."""
    frames = b"".join(CODES[(first_frame + k) % len(CODES) :][:1] * 160 for k in range(ms // 20 + 1))
    return frames[: ms * 8]


def phrase(text: str, ms: int = 1_000) -> Phrase:
    """A phrase of the relay's own, with audio of this length."""
    return Phrase(text, tone(ms))


LANGUAGES = prompts.load(Settings()).rules.languages
PLAN = CallPlan(
    call_sid="CA" + "0" * 32,
    greeting=Greeting(phrase(f"Hello. {NOTICE}", 2_000), phrase("How can I help you?", 1_000), NOTICE),
    phrases={key: phrase(key.replace("_", " ")) for key in KEYS},
    limits=Limits(600.0, 30.0, 2.0),
    rules=Rules(
        languages=LANGUAGES,
        human_words=("operator",),
        emergency_words=("on fire",),
        angry_words=("ridiculous",),
        topics_hard=("allergy",),
        misunderstood_words=("you misunderstood",),
    ),
    model="mini",
    model_hard="hard",
    price=PRICE,
    price_hard=PRICE,
    transcription_usd_per_minute=0.003,
    keep_words=True,
)
PLAIN = replace(PLAN, greeting=Greeting(Phrase("", None), phrase("How can I help you?", 1_000)))


STEP_MS = 5


@dataclass
class Run:
    """The bytes of one item from `at` up to `end`, in the buffer of an `Ear`."""

    item: ItemId
    at: int
    end: int


@dataclass
class Ear:
    """What the caller hears: a buffer that plays 8 bytes per ms. Audio and marks take `delay_ms` in each direction.

    An item's audio must be `tone`, so that a frame in the wrong place is noticed.
    """

    delay_ms: int = 0
    # How many bytes of an item were heard, counted from its beginning
    heard: dict[ItemId, int] = field(default_factory=dict)
    repeated: dict[ItemId, int] = field(default_factory=dict)  # bytes that were heard a second time
    holes: list[str] = field(default_factory=list)
    now_ms: int = 0
    # The number of the first frame of an item: 0, but a rest of an answer begins at a later frame of the answer
    begins: dict[ItemId, int] = field(default_factory=dict)
    _next: dict[ItemId, int] = field(default_factory=dict)
    _coming: deque[tuple[int, Action]] = field(default_factory=deque)
    _buffer: deque[Run | str] = field(default_factory=deque)
    _going: deque[tuple[int, str]] = field(default_factory=deque)

    def send(self, action: Play | ClearPlayback) -> None:
        """Take an action that the relay wrote at this moment."""
        self._coming.append((self.now_ms + self.delay_ms, action))
        self._take()

    def _take(self) -> None:
        while self._coming and self._coming[0][0] <= self.now_ms:
            _, action = self._coming.popleft()
            if isinstance(action, Play):
                self._buffer.append(self._placed(action))
                if action.mark is not None:
                    self._buffer.append(action.mark)
            else:
                names = [each for each in self._buffer if isinstance(each, str)]
                self._buffer.clear()
                self._going.extend((self.now_ms + self.delay_ms, name) for name in names)

    def _placed(self, play: Play) -> Run:
        """Where these bytes are in their item. The code of a frame of `tone` shows the number of the frame."""
        item, frame = play.item_id, CODES.index(play.mulaw[0])
        begins = self.begins.setdefault(item, frame if item.startswith("rest_") else 0)
        following = self._next.get(item, 0)
        at = following - (following // 160 + begins - frame) % len(CODES) * 160
        size = len(play.mulaw.rstrip(b"\xff"))
        if play.mulaw[:size] != tone((at + size) // 8 + 1, begins)[at : at + size]:
            self.holes.append(f"{item}: wrong audio at byte {at}")
        self._next[item] = at + len(play.mulaw)
        return Run(item, at, at + len(play.mulaw))

    def step(self) -> None:
        """Let 5 ms pass."""
        left = 8 * STEP_MS
        while left and self._buffer:
            head = self._buffer[0]
            if isinstance(head, str):
                self._return_marks()
                continue
            heard = self.heard.get(head.item, 0)
            if head.at > heard:
                self.holes.append(f"{head.item}: bytes {heard} to {head.at} were never heard")
            size = min(left, head.end - head.at)
            again = min(size, max(0, heard - head.at))
            self.repeated[head.item] = self.repeated.get(head.item, 0) + again
            self.heard[head.item] = max(heard, head.at + size)
            head.at += size
            left -= size
            if head.at >= head.end:
                self._buffer.popleft()
        self.now_ms += STEP_MS
        self._return_marks()
        self._take()
        self._return_marks()

    def _return_marks(self) -> None:
        while self._buffer and isinstance(self._buffer[0], str):
            self._going.append((self.now_ms + self.delay_ms, self._buffer.popleft()))  # type: ignore[arg-type] # a mark

    def returned(self) -> list[str]:
        """The marks that have come back by now."""
        names = []
        while self._going and self._going[0][0] <= self.now_ms:
            names.append(self._going.popleft()[1])
        return names

    @property
    def is_silent(self) -> bool:
        """True if no audio is playing or on its way."""
        return not self._buffer and not self._coming


class Stage:
    """A call machine, a simulated caller, and a clock in steps of five milliseconds."""

    def __init__(self, plan: CallPlan = PLAN, delay_ms: int = 0) -> None:
        self.machine = Machine(plan)
        self.ear = Ear(delay_ms)
        self.actions: list[Action] = []  # all actions in their order, except Play and ClearPlayback
        self.level_dbfs = SILENCE_DBFS
        self.frames_come = True
        self._frame_ms = 0

    @property
    def now(self) -> float:
        """The clock, in seconds. It does not begin at zero."""
        return 1_000.0 + self.ear.now_ms / 1000

    def tell(self, *events: Event) -> list[Action]:
        """Feed events. Return all actions that follow."""
        done: list[Action] = []
        for event in events:
            done += self._do(self.machine.handle(event, self.now))
        return done

    def _do(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Play | ClearPlayback):
                self.ear.send(action)
            else:
                self.actions.append(action)
        return actions

    def wait(self, ms: int) -> list[Action]:
        """Let time pass. Frames come every 20 ms, marks when they are due, and the watchdog's tick every 200 ms."""
        done: list[Action] = []
        for _ in range(ms // STEP_MS):
            self.ear.step()
            for name in self.ear.returned():
                done += self.tell(MarkReturned(name))
            if self.ear.now_ms % 20 == 0 and self.frames_come:
                done += self._do(self.machine.caller_audio(self.level_dbfs, 20, self.now))
            if self.ear.now_ms % 200 == 0:
                done += self.tell(Ticked())
        return done

    def arrive(self, wait_ms: int = 0) -> Stage:
        """Let the model be ready and the stream begin, and then let `wait_ms` pass."""
        self.tell(ModelReady("sess_1", "mini"), CallerArrived(StreamSid("MZ1")))
        self.wait(wait_ms)
        return self

    def answer(self, number: int, ms: int, text: str = "", *, ended: bool = True, ref: str | None = None) -> ItemId:
        """Let the model answer with `ms` of audio, all at once, in deltas of 250 ms. Return the answer's item."""
        response, item = ResponseId(f"resp_{number}"), ItemId(f"item_{number}")
        asked = self.machine.answers._asked_ref if ref is None else ref
        self.tell(ResponseBegan(response, asked or None))
        if text:
            self.tell(ModelWorded(response, item, text))
        sound = tone(ms)
        for start in range(0, len(sound), 2_000):
            piece = sound[start : start + 2_000]
            self.tell(ModelSpoke(response, item, piece, (start + len(piece)) / 8))
        if ended:
            self.tell(ModelFinished(response, item, b""), ResponseEnded(response, "completed", None, None))
        return item

    def caller_says(self, text: str | None, number: int, ms: int = 600) -> list[Action]:
        """Let the caller speak. The VAD reports the speech after 60 ms, and its end after 500 ms of silence.

        The words come 1 s later.
        """
        item = ItemId(f"caller_{number}")
        self.level_dbfs = SPEECH_DBFS
        done = self.wait(60)
        done += self.tell(CallerSpoke(item, 0))
        done += self.wait(ms - 60)
        self.level_dbfs = SILENCE_DBFS
        done += self.wait(500)
        done += self.tell(CallerPaused(item, 0), CallerCommitted(item, None))
        if text is not None:
            done += self.wait(1_000)
            done += self.tell(CallerTranscribed(item, text))
        return done


def without_reports(actions: list[Action]) -> list[Action]:
    """The actions without log lines for the operator."""
    return [action for action in actions if not isinstance(action, Report)]


def expect(got: list[Action], wanted: list[Action]) -> None:
    """Check that these are the wanted actions. Play and Report do not count. If they differ, show the differences."""
    ours = [str(a) for a in without_reports(got) if not isinstance(a, Play)]
    theirs = [str(a) for a in wanted]
    assert ours == theirs, "\n" + "\n".join(difflib.ndiff(theirs, ours))
