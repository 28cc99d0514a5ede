"""The playout compared with a simple simulated caller (`Ear`): audio, holds, resumes and cuts in any order, with any
constant delay.

To check the test itself, each of these faults was put into the playout. The test failed each time:
- marks from before a `clear` are taken as proof;
- `heard` is not limited to what was received;
- a resume begins with the frame after the one that was cut;
- no `clear` is written when only marks are pending;
- `whole` is reported only by marks;
- a clock with many digits rounds, so that the last byte counts as unheard.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.call.actions import ClearPlayback
from relay.call.playout import FRAME_BYTES, Lead, Playout
from relay.call.vocabulary import ItemId
from tests.helpers.playbook import STEP_MS, Ear, tone

SIZES = st.one_of(st.integers(1, 4_000), st.integers(1, 25).map(lambda frames: frames * FRAME_BYTES))
TAILS = st.sampled_from([0, 0, 13, 40])
DOING = st.one_of(
    st.tuples(st.just("delta"), SIZES),
    st.tuples(st.just("delta"), SIZES),
    st.tuples(st.just("finish"), TAILS),
    st.tuples(st.just("hold"), st.just(0)),
    st.tuples(st.just("resume"), st.just(0)),
    st.tuples(st.just("cut"), st.just(0)),
)
LATE_S = 31_000_000.337  # the clock of a machine that has run for a year
CLOCKS_S = st.sampled_from([500.0, 1_234_567.891, LATE_S])
LEADS = st.sampled_from([Lead(), Lead(60, 120), Lead(10**9, 10**9)])  # With the last one, all audio is sent at once.
STEPS = st.lists(st.tuples(DOING, st.sampled_from([0, 1, 3, 11, 25, 60, 110])), min_size=6, max_size=24)


class Bench:
    """A playout, a simulated caller (`Ear`), and notes of what was sent, cut and reported."""

    def __init__(self, delay_ms: int, lead: Lead, clock_s: float) -> None:
        self.playout = Playout(lead)
        self.ear = Ear(delay_ms)
        self.clock_s = clock_s
        self.number = 0
        self.received: dict[ItemId, int] = {}  # in bytes, without the filter's tail
        self.tails: dict[ItemId, int] = {}
        self.cut: set[ItemId] = set()
        self.whole: list[ItemId] = []
        self.clears = 0

    @property
    def now(self) -> float:
        return self.clock_s + self.ear.now_ms / 1000

    @property
    def item(self) -> ItemId:
        return ItemId(f"item_{self.number}")

    def send_due(self) -> None:
        for play in self.playout.due(self.now):
            assert len(play.mulaw) % FRAME_BYTES == 0
            assert play.item_id not in self.cut, "a frame of a cut item was sent"
            self.ear.send(play)

    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.ear.step()
            for name in self.ear.returned():
                heard = self.playout.marked(name, self.now)
                if heard is not None:
                    assert 0 < heard.heard_ms <= self.received[heard.item] / 8
                    assert self.ear.heard[heard.item] >= heard.heard_ms * 8
                    self.told(heard.item, heard.whole)
            if self.ear.now_ms % 20 == 0:
                self.send_due()

    def told(self, item: ItemId, whole: bool) -> None:
        if whole:
            assert item not in self.whole, "the item was reported twice"
            assert self.ear.heard[item] >= self.received[item], "the item was reported too early"
            self.whole.append(item)

    def delta(self, size: int) -> None:
        if self.item in self.tails or self.item in self.cut:
            self.number += 1
        had = self.received.get(self.item, 0)
        self.received[self.item] = had + size
        sound = tone((had + size) // 8 + 1)[had : had + size]
        self.playout.append(self.item, sound, self.now, said_ms=(had + size) / 8)
        self.send_due()

    def finish(self, tail: int) -> None:
        if self.item not in self.received or self.item in self.tails or self.item in self.cut:
            return
        had = self.received[self.item]
        self.tails[self.item] = tail
        heard = self.playout.complete(self.item, tone((had + tail) // 8 + 1)[had : had + tail])
        self.told(self.item, heard is not None and heard.whole)
        self.send_due()

    def stop(self) -> None:
        if self.playout.hold(self.now):
            self.clears += 1
            self.ear.send(ClearPlayback())

    def give_up(self) -> None:
        self.stop()
        cuts = self.playout.cut(self.now)
        self.cut |= {each.item for each in cuts}
        self.wait(self.ear.delay_ms // STEP_MS)  # the `clear` arrives, and the cut items are silent
        for each in cuts:
            truth_ms = min(self.ear.heard.get(each.item, 0), self.received[each.item]) / 8
            assert 0 <= each.heard_ms <= each.said_ms == self.received[each.item] / 8
            assert abs(each.heard_ms - truth_ms) < 0.2, (each, truth_ms)


@settings(max_examples=max(300, settings().max_examples))  # ten thousand in the deep run
@given(STEPS, st.sampled_from([0, 20, 40, 150]), LEADS, CLOCKS_S)
@example([(("delta", 1), 2), (("delta", 2_399), 60), (("hold", 0), 0), (("delta", 1), 0)], 0, Lead(60, 120), LATE_S)
def test_in_any_order_of_audio_and_holds_the_caller_hears_what_the_playout_reports(
    steps: list[tuple[tuple[str, int], int]], delay_ms: int, lead: Lead, clock_s: float
) -> None:
    bench = Bench(delay_ms, lead, clock_s)
    doing: dict[str, Callable[[int], None]] = {
        "delta": bench.delta,
        "finish": bench.finish,
        "hold": lambda _: bench.stop(),
        "resume": lambda _: bench.playout.resume(),
        "cut": lambda _: bench.give_up(),
    }
    for (name, value), pause in steps:
        doing[name](value)
        bench.wait(pause)
    bench.playout.resume()
    bench.finish(0)
    bench.wait((sum(bench.received.values()) // 8 + 3 * delay_ms + 1_500) // STEP_MS)
    assert not bench.ear.holes, bench.ear.holes
    for item, size in bench.received.items():
        if item not in bench.cut:
            assert item in bench.whole, "the item was heard in full, and was not reported"
            assert bench.ear.heard[item] == -(-(size + bench.tails[item]) // FRAME_BYTES) * FRAME_BYTES
    assert sum(bench.ear.repeated.values()) <= bench.clears * (FRAME_BYTES + 8)
