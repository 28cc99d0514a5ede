"""Plays a call with the state machine alone: a caller who speaks in frames, a model with a VAD, and a fake clock.

A call takes milliseconds instead of minutes. So thousands of turns can be played with ANSWER_EARLY=off and on. There
are no sockets, no other calls, and no event loop that is late. bench/turns/__main__.py measures with all of these.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dsp
from bench.turns.ends import FIRST_DELTA_S, REST_S, TRANSCRIBED_AFTER_S, Turn
from bench.turns.sounds import FRAME_MS, QUIET, Say
from relay.call.actions import Action, AskForResponse, CancelResponse, ClearPlayback, Play
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
    ItemPlaced,
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
from relay.standin.model.vad import Started, Vad

DELTA = b"\x1f" * 2_000  # 250 ms of loud audio
DELTAS = 4
BYTES_PER_MS = 8
GREETED_MS = 5_000
NO_ANSWER_MS = 6_000
PRICE = Price(0.6, 0.06, 2.4, 10.0, 0.3, 20.0)


@dataclass(frozen=True, slots=True)
class Peer:
    """How a model behaves. The default values are those of the model in bench/turns/ends.py."""

    name: str = "as in bench.turns"
    way_ms: float = 2.0  # the time of a message from the relay to the model, and of a message back
    threshold: float = 0.5  # the threshold of its VAD: 0 to 1 means -55 to -30 dBFS
    told_late_ms: float = 0.0  # speech_started comes later by this time
    # The time from a cancellation to its response.done. With NO_ANSWER_MS or more the model ignores cancellations.
    cancels_ms: float = 0.0


def _plan(*, answer_early: bool) -> CallPlan:
    return CallPlan(
        call_sid="CA" + "0" * 32,
        greeting=Greeting(Phrase("", None), Phrase("How can I help you?", QUIET * 50)),
        phrases={},
        limits=Limits(call_s=1e9, silence_s=1e9, call_usd=1e9),
        rules=Rules(),
        model="model",
        model_hard="model",
        price=PRICE,
        price_hard=PRICE,
        transcription_usd_per_minute=0.0,
        keep_words=False,
        answer_early=answer_early,
    )


@functools.lru_cache(maxsize=10_000)
def _level_dbfs(frame: bytes) -> float:
    return dsp.level_dbfs(frame)


class CoreCall:
    """A call of one caller. All random values depend only on `seed` and the number of the turn, so they are the
    same with `answer_early` and without."""

    def __init__(self, seed: str, peer: Peer, *, answer_early: bool, silence_ms: int) -> None:
        self._machine = Machine(_plan(answer_early=answer_early))
        self._seed, self._peer = seed, peer
        self._vad = Vad(8_000, peer.threshold, silence_ms=silence_ms)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self._ms = 0.0
        self._marks: list[tuple[float, str]] = []
        self._play_end_ms = 0.0
        self._item = ItemId("")
        self._items = 0
        self._active = ""
        self._turn: Turn | None = None
        self._at = 0  # how many frames of the turn were sent
        self._ended_ms: float | None = None  # the time of the turn's last sound
        self.turns: list[Turn] = []
        self.asked = self.cancelled = self.refused = 0

    def run(self, says: Iterable[Say]) -> list[Turn]:
        """Play these turns, one after the other. Return the turns as the caller experienced them."""
        self._tell(ModelReady("sess_1", "model"), CallerArrived(StreamSid("MZ1")))
        self._wait(GREETED_MS)
        for number, say in enumerate(says, 1):
            self._say(number, say)
            self._wait(self._chance("rest").uniform(*REST_S) * 1000)
        return self.turns

    def _say(self, number: int, say: Say) -> None:
        turn = self._turn = Turn(0, number, say.pause_ms)
        self.turns.append(turn)
        self._at, self._ended_ms = 0, None
        for at, frame in enumerate(say.frames):
            self._at = at + 1
            self._frame(frame)
            if at == say.last_loud:
                self._ended_ms = self._ms
        until = self._ms + NO_ANSWER_MS
        while (turn.wait_ms is None or self._play_end_ms > self._ms) and self._ms < until:
            self._frame(QUIET)
        self._turn = None

    def _wait(self, ms: float) -> None:
        for _ in range(round(ms / FRAME_MS)):
            self._frame(QUIET)

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self._seed}/{len(self.turns)}/{what}")

    # Time

    def _after(self, ms: float, act: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._due, (self._ms + ms, self._n, act))

    def _frame(self, frame: bytes) -> None:
        for event in self._vad.feed(dsp.decode(frame)):
            self._vad_says(isinstance(event, Started))
        self._do(self._machine.caller_audio(_level_dbfs(frame), FRAME_MS, self._now))
        if self._ms % 200 == 0:
            self._tell(Ticked())
        ends_ms = self._ms + FRAME_MS
        while self._marks and self._marks[0][0] <= ends_ms:
            at, name = self._marks.pop(0)
            self._after(at - self._ms, functools.partial(self._tell, MarkReturned(name)))
        while self._due and self._due[0][0] <= ends_ms:
            at, _, act = heapq.heappop(self._due)
            self._ms = max(self._ms, at)
            act()
        self._ms = ends_ms

    @property
    def _now(self) -> float:
        return 1_000.0 + self._ms / 1000

    # The model

    def _vad_says(self, begins: bool) -> None:
        way_ms = 2 * self._peer.way_ms
        if begins:
            self._items += 1
            self._item = ItemId(f"caller_{self._items}")
            self._after(way_ms + self._peer.told_late_ms, functools.partial(self._tell, CallerSpoke(self._item, 0)))
            return
        item = self._item
        self._after(way_ms, functools.partial(self._tell, CallerPaused(item, 0), CallerCommitted(item, None)))
        words = CallerTranscribed(item, "I want a table for two.")
        self._after(way_ms + TRANSCRIBED_AFTER_S * 1000, functools.partial(self._tell, words))

    def _asked(self, ref: str) -> None:
        self.asked += 1
        if self._active:
            self.refused += 1
            return
        self._active = response = f"resp_{self.asked}"
        self._after(self._peer.way_ms, functools.partial(self._tell, ResponseBegan(ResponseId(response), ref)))
        delay_ms = self._chance("pause" if self._ended_ms is None else "end").uniform(*FIRST_DELTA_S) * 1000
        self._after(delay_ms + self._peer.way_ms, functools.partial(self._speaks, response, 1))

    def _speaks(self, response: str, number: int) -> None:
        if self._active != response:
            return
        item, answer = ItemId(f"item_{response}"), ResponseId(response)
        if number == 1:
            self._tell(ItemPlaced(item, None, "assistant"), ModelWorded(answer, item, "So it is."))
        self._tell(ModelSpoke(answer, item, DELTA, 250.0 * number))
        if number < DELTAS:
            self._after(50, functools.partial(self._speaks, response, number + 1))
        else:
            self._after(5, functools.partial(self._ends, response, "completed"))

    def _ends(self, response: str, status: str) -> None:
        if self._active != response:
            return
        self._active = ""
        if status == "completed":
            self._tell(ModelFinished(ResponseId(response), ItemId(f"item_{response}"), b""))
        self._tell(ResponseEnded(ResponseId(response), status, None, None))

    def _cancelled(self, response: str) -> None:
        if self._active == response and self._peer.cancels_ms < NO_ANSWER_MS:
            self.cancelled += 1
            self._after(self._peer.way_ms + self._peer.cancels_ms, lambda: self._ends(response, "cancelled"))

    # The relay

    def _tell(self, *events: Event) -> None:
        for event in events:
            self._do(self._machine.handle(event, self._now))

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Play():
                    self._play(action)
                case ClearPlayback():
                    self._play_end_ms = self._ms
                    for _, name in self._marks:
                        self._after(0, functools.partial(self._tell, MarkReturned(name)))
                    self._marks.clear()
                case AskForResponse(ref):
                    self._after(self._peer.way_ms, functools.partial(self._asked, ref))
                case CancelResponse(response_id):
                    self._after(self._peer.way_ms, functools.partial(self._cancelled, response_id))

    def _play(self, play: Play) -> None:
        at = max(self._ms, self._play_end_ms)
        self._play_end_ms = at + len(play.mulaw) / BYTES_PER_MS
        if play.mark is not None:
            self._marks.append((self._play_end_ms, play.mark))
        turn = self._turn
        if turn is None or turn.wait_ms is not None or not self._at or not play.item_id.startswith("item"):
            return
        if self._ended_ms is None:
            turn.was_cut = True
        else:
            turn.wait_ms = at - self._ended_ms
