"""`python -m bench.turns.paired [TURNS]` plays the same turns with ANSWER_EARLY=off ("today") and on ("ours").

The turns are played with the state machine alone (core.py). There are several kinds of speech and of models, because
those of real calls are not known. For each kind a row is printed: medians, false cuts, and the turns that were cut with
only one of the two settings.
"""

from __future__ import annotations

import itertools
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import dsp
from bench.turns import sounds
from bench.turns.core import CoreCall, Peer
from bench.turns.ends import Turn
from bench.turns.sounds import FRAME_BYTES, FRAME_MS, PAUSES_MS, QUIET, Say
from relay.call.early_answer import VAD_SILENCE_MS

TODAY_MS = 500
TURNS_A_CALL = 20
SEEDS = ("paired", "b", "c")
PEERS = (
    Peer(),
    Peer("far away, 120 ms", way_ms=60.0),
    Peer("tells speech 150 ms late", told_late_ms=150.0),
    Peer("hears soft sounds", threshold=0.1),
    Peer("hears loud sounds only", threshold=0.9),
    Peer("ends cancelled ones late", cancels_ms=400.0),
    Peer("ignores cancellations", cancels_ms=1e9),
)


def _bursts(seed: str, longest_ms: int = 900) -> Iterator[Say]:
    """Turns of noise in syllables instead of a voice. A turn has 0.8 to 4 s of sound. Half of the turns have a pause of
    200 to 900 ms.
    """
    chance = random.Random(seed)
    noise = np.random.default_rng(random.Random(f"{seed}/noise").getrandbits(32))
    syllable = [dsp.encode((noise.standard_normal(FRAME_BYTES) * 1_500).astype(np.int16)) for _ in range(200)]

    def speech(ms: float) -> list[bytes]:
        frames: list[bytes] = []
        while len(frames) * FRAME_MS < ms:
            frames += chance.sample(syllable, chance.randint(6, 14)) + [QUIET] * chance.randint(1, 4)
        return frames[: -1 if frames[-1] is QUIET else None]

    while True:
        whole_ms = chance.uniform(800, 4_000)
        pause_ms = chance.randrange(200, longest_ms + 1, FRAME_MS) if chance.random() < sounds.WITH_A_PAUSE else 0
        before_ms = chance.uniform(300, max(301, whole_ms - 300))
        frames = speech(whole_ms)
        if pause_ms:
            frames = speech(before_ms) + [QUIET] * (pause_ms // FRAME_MS) + speech(whole_ms - before_ms)
        yield Say(tuple(frames), max(at for at, frame in enumerate(frames) if frame is not QUIET), pause_ms)


def _measured(seed: str) -> Iterator[Say]:
    """The turns of sounds.py with shorter pauses. There, silence is put between frames that are already quiet, so the
    pause is longer than `pause_ms`. Here, the whole run of quiet frames is `pause_ms` long.
    """
    for say in sounds.turns(seed):
        if not say.pause_ms:
            yield say
            continue
        frames, quiet = list(say.frames), [dsp.level_dbfs(frame) < sounds.LOUD_DBFS for frame in say.frames]
        runs = [list(run) for is_quiet, run in itertools.groupby(range(len(frames)), quiet.__getitem__) if is_quiet]
        longest = max((run for run in runs if run[-1] < say.last_loud), key=len)
        too_many = max(0, len(longest) - say.pause_ms // FRAME_MS)
        del frames[longest[0] : longest[0] + too_many]
        yield Say(tuple(frames), say.last_loud - too_many, say.pause_ms)


SPEECH: dict[str, Callable[[str], Iterator[Say]]] = {
    "clips, pauses put in": sounds.turns,
    "clips, pauses measured": _measured,
    "noise in syllables": _bursts,
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same turns with ANSWER_EARLY=off and on."""

    today: list[Turn]
    ours: list[Turn]
    asked: int
    cancelled: int
    refused: int


def play(speech: Callable[[str], Iterator[Say]], peer: Peer, turns: int, seed: str) -> Pairs:
    """Play this many turns, in calls of TURNS_A_CALL turns."""
    today: list[Turn] = []
    ours: list[Turn] = []
    asked = cancelled = refused = 0
    for number in range(-(-turns // TURNS_A_CALL)):
        says = list(itertools.islice(speech(f"{seed}/{number}"), TURNS_A_CALL))
        today += CoreCall(f"{seed}/{number}", peer, answer_early=False, silence_ms=TODAY_MS).run(says)
        call = CoreCall(f"{seed}/{number}", peer, answer_early=True, silence_ms=VAD_SILENCE_MS)
        ours += call.run(says)
        asked, cancelled, refused = asked + call.asked, cancelled + call.cancelled, refused + call.refused
    return Pairs(today, ours, asked, cancelled, refused)


def row(name: str, pairs: Pairs) -> str:
    """One line of the table."""
    both = list(zip(pairs.today, pairs.ours, strict=True))
    before, now = ([t.wait_ms for t in turns if t.wait_ms is not None] for turns in (pairs.today, pairs.ours))
    paused = sum(bool(turn.pause_ms) for turn in pairs.today)
    cut = [sum(turn.was_cut for turn in turns) for turns in (pairs.today, pairs.ours)]
    only = [sum(a.was_cut and not b.was_cut for a, b in both), sum(b.was_cut and not a.was_cut for a, b in both)]
    p50 = [statistics.median(waits) for waits in (before, now)]
    p95 = sorted(now)[int(0.95 * len(now))]
    silent = 2 * len(both) - len(before) - len(now)
    by_pause = ""
    if len({turn.pause_ms for turn in pairs.today}) <= len(PAUSES_MS) + 1:
        by_pause = "  ".join(
            f"{ms}: {sum(a.was_cut for a, _ in of)} {sum(b.was_cut for _, b in of)} of {len(of)}"
            for ms in PAUSES_MS
            for of in [[pair for pair in both if pair[0].pause_ms == ms]]
        )
    return (
        f"{name:50} {len(both):5} {silent:3} {p50[0]:6.0f} {p50[1]:6.0f} {p50[1] - p50[0]:+6.0f} {p95:6.0f} "
        f"{cut[0]:5} {cut[1]:5} /{paused:<5} {only[0]:4} {only[1]:4}  {pairs.cancelled:4}/{pairs.asked:<5} "
        f"{pairs.refused:3}  {by_pause}"
    )


HEAD = (
    f"{'speech, model':50} {'turns':>5} {'mute':>3} {'off':>6} {'on':>6} {'sooner':>6} {'p95':>6} {'cuts':>5} "
    f"{'on':>5} {'of':>6} {'only':>4} {'only':>4}  {'taken back':>10} {'ref':>3}  cuts by pause (off, on)"
)


def main() -> int:
    """Play all kinds, and print a row for each."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    print(HEAD, flush=True)
    for name, speech in SPEECH.items():
        for seed in SEEDS:
            print(row(f"{name}; {PEERS[0].name}", play(speech, PEERS[0], turns, seed)), flush=True)
    for peer in PEERS[1:]:
        print(row(f"clips, pauses put in; {peer.name}", play(sounds.turns, peer, turns, SEEDS[0])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
