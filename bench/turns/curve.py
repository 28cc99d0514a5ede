"""`python -m bench.turns.curve`: how long callers would wait, and how often they would be cut off, with other rules.

A rule says how long the relay waits in a silence before the caller hears the answer. No call is played. The silences of
each turn are found with the VAD of the stand-in model and with our own level. The rule then gives the moment at which
the answer would be heard. After the caller's last sound, the time until this moment is the caller's wait. In a pause,
the answer is a false cut if the caller has not gone on by this moment.
"""

from __future__ import annotations

import itertools
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

import dsp
from bench.turns.ends import FIRST_DELTA_S
from bench.turns.sounds import FRAME_MS, QUIET, Say, turns
from relay.call import turn_end
from relay.call.early_answer import VAD_SILENCE_MS
from relay.call.level_vad import QUIETEST_SPEECH_DBFS
from relay.standin.model.vad import Started, Vad

CALLS, TURNS_A_CALL = 100, 20
TODAY_MS = 500
LEAD_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence of a turn."""

    told_ms: float  # when the VAD reported the silence
    loud_ms: float  # when the last sound before it ended, by our own level
    spoken_ms: float  # how long the caller had spoken by then
    goes_on_ms: float | None  # when the caller went on; None after the end of the turn


def silences(say: Say, silence_ms: int) -> list[Silence]:
    """The silences of a turn, as a VAD with this `silence_ms` finds them. The last one is after the turn."""
    frames = [QUIET] * LEAD_FRAMES + list(say.frames) + [QUIET] * 60
    events = Vad(8_000, prefix_ms=0, silence_ms=silence_ms).feed(dsp.decode(b"".join(frames)))
    loud = np.flatnonzero([dsp.level_dbfs(frame) > QUIETEST_SPEECH_DBFS for frame in frames])
    found: list[Silence] = []
    begins = [event.audio_start_ms for event in events if isinstance(event, Started)]
    ends = [event.audio_end_ms for event in events if not isinstance(event, Started)]
    for end, following in zip(ends, [*begins[1:], None], strict=True):
        loud_ms = float(loud[loud * FRAME_MS < end].max() + 1) * FRAME_MS
        found.append(Silence(end, loud_ms, loud_ms - begins[0], following))
    return found


class Flat:
    """A rule with the same wait for all turns."""

    def __init__(self, ms: float) -> None:
        self._ms = ms

    def wait_ms(self, spoken_ms: float, came_ms: float) -> float:
        """The wait, which is always the same."""
        return self._ms

    def ended(self, spoken_ms: float) -> None:
        """Learn nothing."""


class Ours:
    """The rule of relay/call/turn_end.py. With `knows_late`, a late answer waits for BEGINNING_WAIT_MS."""

    def __init__(self, *, knows_late: bool = True) -> None:
        self._lengths, self._knows_late = turn_end.TurnLengths(), knows_late
        self.ended = self._lengths.ended

    def wait_ms(self, spoken_ms: float, came_ms: float) -> float:
        """The wait after `spoken_ms` of speech, for an answer that came `came_ms` after the silence had begun."""
        if self._knows_late and came_ms > turn_end.ON_TIME_MS:
            return turn_end.BEGINNING_WAIT_MS
        return self._lengths.wait_ms(spoken_ms)


def measure(silence_ms: int, rule: Callable[[], Flat | Ours]) -> tuple[float, float, float, float]:
    """Return the median wait, the 95th percentile of the waits, the share of pauses that were cut, and the number of
    requests a turn.
    """
    waits: list[float] = []
    cut = paused = asked = 0
    for call in range(CALLS):
        known = rule()
        for number, say in enumerate(itertools.islice(turns(f"curve/{call}"), TURNS_A_CALL)):
            chance = random.Random(f"{call}/{number}")
            was_cut = False
            for silence in silences(say, silence_ms):
                came_ms = silence.told_ms + chance.uniform(*FIRST_DELTA_S) * 1000
                wait_ms = known.wait_ms(silence.spoken_ms, came_ms - silence.loud_ms)
                heard_ms = max(came_ms, silence.loud_ms + wait_ms)
                asked += 1
                if silence.goes_on_ms is not None:
                    was_cut = was_cut or heard_ms <= silence.goes_on_ms
                    continue
                waits.append(heard_ms - (say.last_loud + 1 + LEAD_FRAMES) * FRAME_MS)
                known.ended(silence.spoken_ms)
            paused += bool(say.pause_ms)
            cut += was_cut and bool(say.pause_ms)
    return statistics.median(waits), sorted(waits)[int(0.95 * len(waits))], cut / paused, asked / len(waits)


def main() -> int:
    """Print the curve as the rows of a table."""
    print(
        "| wait | VAD, ms | median, ms | 95 of 100, ms | pauses cut | answers asked a turn |\n|---|---|---|---|---|---|"
    )
    rows: list[tuple[str, int, Callable[[], Flat | Ours]]] = [
        ("`ANSWER_EARLY=off`", TODAY_MS, partial(Flat, 0)),
        *((f"{ms} ms for all", VAD_SILENCE_MS, partial(Flat, ms)) for ms in (500, 600, 740, 800, 900, 1_000)),
        *((f"ours, with a VAD of {ms} ms", ms, Ours) for ms in (120, 140, 160, 180, 200)),
        ("ours, late answers heard at once", VAD_SILENCE_MS, partial(Ours, knows_late=False)),
        ("ours", VAD_SILENCE_MS, Ours),
    ]
    for name, silence_ms, rule in rows:
        _print(name, silence_ms, rule)
    ours = turn_end.BEGINNINGS
    for share in (0.0, 0.15, 0.3, 0.4, 0.5):
        turn_end.BEGINNINGS = share
        _print(f"ours, {share:.0%} of the turns taken for beginnings", VAD_SILENCE_MS, Ours)
    turn_end.BEGINNINGS = ours
    return 0


def _print(name: str, silence_ms: int, rule: Callable[[], Flat | Ours]) -> None:
    median_ms, p95_ms, cut, asked = measure(silence_ms, rule)
    print(f"| {name} | {silence_ms} | {median_ms:.0f} | {p95_ms:.0f} | {cut:.1%} | {asked:.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
