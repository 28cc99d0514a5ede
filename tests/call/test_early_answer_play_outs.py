"""Early answers in any order of events: each turn has one answer, and no answer begins while the caller speaks.

The model follows the protocol. It has a VAD (VAD_SILENCE_MS), a round trip, and a delay before its first delta. The
caller speaks in pieces. The checks look only at what the caller said and heard, and never at the call's own state.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.call.actions import AskForResponse, CancelResponse, DeleteItem, Play, RecordTurn, RunFunction
from relay.call.early_answer import VAD_SILENCE_MS
from relay.call.turn_end import LATE_WAIT_MS
from relay.call.turn_taking import GIVE_UP_MS
from relay.call.vocabulary import (
    CallerCommitted,
    CallerPaused,
    CallerSpoke,
    CallerTranscribed,
    DigitPressed,
    Event,
    FunctionAsked,
    FunctionReturned,
    ItemId,
    ItemPlaced,
    ModelFinished,
    ModelSpoke,
    ModelWorded,
    ResponseBegan,
    ResponseEnded,
    ResponseId,
)
from tests.helpers.playbook import PLAIN, SILENCE_DBFS, SPEECH_DBFS, Stage, tone

ONSET_MS = 60  # the model's VAD reports speech after it has lasted this long
DELTA_MS = 250
# Rounded up to whole frames: the VAD reports the silence with the frame that completes it.
VAD_TOLD_MS = -(-VAD_SILENCE_MS // 20) * 20


@dataclass
class Answer:
    """One answer of the model."""

    response: ResponseId
    item: ItemId
    calls: bool
    over: bool = False


@dataclass(frozen=True)
class Line:
    """The caller's line at one moment: how long the latest silence was or is, and the speech after it, in ms."""

    quiet_ms: int
    loud_ms: int

    def is_after_a_turn(self, notices_ms: int) -> bool:
        """True if the silence was long enough to end a turn, and nobody can know yet that the caller speaks again."""
        return self.quiet_ms >= LATE_WAIT_MS - 20 and self.loud_ms <= notices_ms


@dataclass
class World:
    """A caller's line, a model and a clock. The call itself runs on a stage."""

    rtt_ms: int
    first_ms: list[int]
    calls: list[bool]
    words_ms: int
    stage: Stage = field(init=False)
    answers: list[Answer] = field(default_factory=list)
    refused: int = 0
    heard: list[tuple[int, ItemId, Line]] = field(default_factory=list)  # each item's first Play: time, item, line
    ran: list[tuple[int, str, Line]] = field(default_factory=list)  # each run of a function: time, id, line
    _due: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _n: int = 0
    _active: Answer | None = None
    now: Line = field(default_factory=lambda: Line(10_000, 0))
    _piece: ItemId | None = None
    committed: dict[ItemId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage = Stage(replace(PLAIN, answer_early=True)).arrive(wait_ms=6_000)
        self.stage.ear.heard.clear()

    def after(self, ms: int, act: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._due, (self.stage.ear.now_ms + ms, self._n, act))

    def tell(self, *events: Event) -> None:
        self._look(self.stage.tell(*events))

    def _look(self, done: Sequence[object]) -> None:
        now = self.stage.ear.now_ms
        for action in done:
            match action:
                case Play(item_id=item) if all(item != known for _, known, _ in self.heard):
                    self.heard.append((now, item, self.now))
                case AskForResponse(ref):
                    self.after(self.rtt_ms // 2, lambda ref=ref: self._asked(ref))  # type: ignore[misc]
                case CancelResponse(response):
                    self.after(self.rtt_ms // 2, lambda response=response: self._cancelled(response))  # type: ignore[misc]
                case RunFunction(call, name):
                    self.ran.append((now, call, self.now))
                    self.after(80, lambda call=call, name=name: self.tell(FunctionReturned(call, name, "{}", True, 80)))  # type: ignore[misc]

    # The model

    def _asked(self, ref: str) -> None:
        if self._active is not None:
            self.refused += 1
            return
        n = len(self.answers)
        calls = self.calls[n % len(self.calls)] and not ref.startswith("output")
        answer = Answer(ResponseId(f"resp_{n}"), ItemId(f"item_{n}"), calls)
        self.answers.append(answer)
        self._active = answer
        self.after(self.rtt_ms // 2, lambda: self.tell(ResponseBegan(answer.response, ref)))
        self.after(self.first_ms[n % len(self.first_ms)] + self.rtt_ms // 2, lambda: self._speaks(answer))

    def _speaks(self, answer: Answer) -> None:
        if answer.over:
            return
        if answer.calls:
            function = ItemId(f"function_{answer.response}")
            self.tell(ItemPlaced(function, None, "function_call"))
            self.tell(FunctionAsked(answer.response, f"call_{answer.response}", "create_booking", "{}", function))
        else:
            self.tell(
                ItemPlaced(answer.item, None, "assistant"), ModelWorded(answer.response, answer.item, "So it is.")
            )
            sound = tone(DELTA_MS)
            self.tell(ModelSpoke(answer.response, answer.item, sound, DELTA_MS))
        self.after(60, lambda: self._ends(answer, "completed"))

    def _ends(self, answer: Answer, status: str) -> None:
        if answer.over:
            return
        answer.over = True
        if self._active is answer:
            self._active = None
        if status == "completed" and not answer.calls:
            self.tell(ModelFinished(answer.response, answer.item, b""))
        self.tell(ResponseEnded(answer.response, status, None, None))

    def _cancelled(self, response: ResponseId) -> None:
        answer = next(each for each in self.answers if each.response == response)
        if not answer.over and not answer.calls:  # one more delta is already on its way to the relay
            self.after(self.rtt_ms // 4, lambda: self.tell(ModelSpoke(response, answer.item, tone(20), 20.0)))
        self.after(self.rtt_ms // 2, lambda: self._ends(answer, "cancelled"))

    # The caller

    def line(self, ms: int, *, loud: bool) -> None:
        """The caller speaks for this time, or is silent."""
        self.stage.level_dbfs = SPEECH_DBFS if loud else SILENCE_DBFS
        for _ in range(ms // 20):
            quiet_ms = self.now.quiet_ms if loud else 20 + (0 if self.now.loud_ms else self.now.quiet_ms)
            self.now = Line(quiet_ms, self.now.loud_ms + 20 if loud else 0)
            self._vad()
            while self._due and self._due[0][0] <= self.stage.ear.now_ms:
                heapq.heappop(self._due)[2]()
            self._look(self.stage.wait(20))

    def _vad(self) -> None:
        if self._piece is None and self.now.loud_ms == ONSET_MS:
            self._piece = item = ItemId(f"caller_{len(self.committed)}")
            self.committed[item] = -1
            self.after(self.rtt_ms, lambda: self.tell(CallerSpoke(item, 0)))
        elif self._piece is not None and not self.now.loud_ms and self.now.quiet_ms == VAD_TOLD_MS:
            item, self._piece = self._piece, None
            self.after(self.rtt_ms, lambda: self._commit(item))

    def _commit(self, item: ItemId) -> None:
        self.committed[item] = self.stage.ear.now_ms
        self.tell(CallerPaused(item, 0), CallerCommitted(item, None))
        self.after(self.words_ms, lambda: self.tell(CallerTranscribed(item, "some words of a caller")))


PIECES = st.lists(
    st.tuples(
        st.sampled_from([300, 600, 900, 1_300, 2_000]),
        st.sampled_from([100, 160, 240, 300, 400, 460, 520, 700, 900, 1_000, 1_400, 2_600]),
    ),
    min_size=1,
    max_size=6,
)


# `make deep` plays many more examples.
@settings(max_examples=max(60, settings().max_examples))
@given(
    pieces=PIECES,
    rtt_ms=st.sampled_from([0, 40, 80, 160]),
    first_ms=st.lists(st.sampled_from([20, 120, 300, 500, 700, 1_500]), min_size=1, max_size=4),
    calls=st.lists(st.booleans(), min_size=1, max_size=3),
    words_ms=st.sampled_from([40, 400, 1_200]),
    keys=st.sampled_from(["", "1", "12"]),
)
def test_in_any_order_each_turn_has_one_answer_and_nothing_happens_while_the_caller_speaks(
    pieces: list[tuple[int, int]], rtt_ms: int, first_ms: list[int], calls: list[bool], words_ms: int, keys: str
) -> None:
    world = World(rtt_ms, first_ms, calls, words_ms)
    for number, (speaks_ms, pause_ms) in enumerate(pieces):
        world.line(speaks_ms, loud=True)
        world.line(pause_ms, loud=False)
        if number == 0:
            world.tell(*(DigitPressed(key) for key in keys))
    world.line(6_000, loud=False)
    check(world, pieces)


def check(world: World, pieces: list[tuple[int, int]]) -> None:
    """Check what must be true after any order of events."""
    assert not world.refused, "conversation_already_has_active_response"
    spoken = {answer.item for answer in world.answers}
    notices_ms = ONSET_MS + world.rtt_ms + 40
    for at, item, line in world.heard:
        assert item not in spoken or line.is_after_a_turn(notices_ms), (
            f"{item} begins at {at} ms, while the caller speaks"
        )
    for at, call, line in world.ran:
        assert line.is_after_a_turn(notices_ms + GIVE_UP_MS), f"{call} runs at {at} ms, and the turn is not over"
    assert len({call for _, call, _ in world.ran}) == len(world.ran)
    heard = [item for _, item, _ in world.heard if item in spoken]
    rows = {action.seq: action for action in world.stage.actions if isinstance(action, RecordTurn)}
    turns = [row for row in rows.values() if row.role == "caller"]
    assert len(turns) <= len(pieces)
    # if keys were pressed, there is one more answer
    assert len(heard) <= len(turns) + len(world.ran) + 1, "more answers than turns"
    last = max(row.ended_ms for row in turns)
    begun = [row for row in rows.values() if row.item_id in heard and row.started_ms >= last]
    assert len(begun) in (1, 2), "the last turn has no answer"  # 2 if keys were pressed
    deleted = {action.item_id for action in world.stage.actions if isinstance(action, DeleteItem)}
    assert not [item for item in deleted & spoken if world.stage.ear.heard.get(item, 0) > 160], (
        "an item was heard, and then deleted"
    )
