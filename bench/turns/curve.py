"""`python -m bench.turns.curve`: the share of false cuts and the median wait, for other waits than those of the relay.
No call is played.

The silences of each turn are found with the stand-in's VAD and our level. A wait then decides when an answer would be
heard. After the caller's last sound, this time is the caller's wait. In a pause the answer is a false cut, unless the
caller goes on before it would be heard.
"""

from __future__ import annotations

import itertools
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

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
    """One silence: when the VAD reported it, the last sound before it by our level, and when the caller went on."""

    told_ms: float
    loud_ms: float
    spoken_ms: float
    goes_on_ms: float | None


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


Wait = Callable[[float], float]  # from the length of the speech until now to the wait, both in ms


def _flat(ms: float) -> Callable[[], turn_end.TurnLengths | Wait]:
    return lambda: lambda _: ms


def measure(silence_ms: int, lengths: Callable[[], turn_end.TurnLengths | Wait]) -> tuple[float, float, float, float]:
    """Return the median wait, the 95th percentile, the share of cut pauses, and the requests for each turn."""
    waits: list[float] = []
    cut = paused = asked = 0
    for call in range(CALLS):
        known = lengths()
        wait_ms = known.wait_ms if isinstance(known, turn_end.TurnLengths) else known
        for number, say in enumerate(itertools.islice(turns(f"curve/{call}"), TURNS_A_CALL)):
            chance = random.Random(f"{call}/{number}")
            was_cut = False
            for silence in silences(say, silence_ms):
                heard_ms = silence.told_ms + chance.uniform(*FIRST_DELTA_S) * 1000
                heard_ms = max(heard_ms, silence.loud_ms + wait_ms(silence.spoken_ms))
                asked += 1
                if silence.goes_on_ms is not None:
                    was_cut = was_cut or heard_ms <= silence.goes_on_ms
                    continue
                waits.append(heard_ms - (say.last_loud + 1 + LEAD_FRAMES) * FRAME_MS)
                if isinstance(known, turn_end.TurnLengths):
                    known.ended(silence.spoken_ms)
            paused += bool(say.pause_ms)
            cut += was_cut and bool(say.pause_ms)
    return statistics.median(waits), sorted(waits)[int(0.95 * len(waits))], cut / paused, asked / len(waits)


def main() -> int:
    """Print the curve as the rows of a table."""
    print(
        "| wait | VAD, ms | median, ms | 95 of 100, ms | pauses cut | answers asked a turn |\n|---|---|---|---|---|---|"
    )
    rows: list[tuple[str, int, Callable[[], turn_end.TurnLengths | Wait]]] = [
        ("`ANSWER_EARLY=off`", TODAY_MS, _flat(0)),
        *((f"{ms} ms for all", VAD_SILENCE_MS, _flat(ms)) for ms in (500, 600, 720, 800, 900, 1_000, 1_100)),
        *((f"ours, with a VAD of {ms} ms", ms, turn_end.TurnLengths) for ms in (120, 140, 180, 200)),
        ("ours", VAD_SILENCE_MS, turn_end.TurnLengths),
    ]
    for name, silence_ms, lengths in rows:
        median_ms, p95_ms, cut, asked = measure(silence_ms, lengths)
        print(f"| {name} | {silence_ms} | {median_ms:.0f} | {p95_ms:.0f} | {cut:.1%} | {asked:.2f} |", flush=True)
    ours = turn_end.BEGINNINGS
    for share in (0.0, 0.1, 0.2, 0.4, 0.5):
        turn_end.BEGINNINGS = share
        median_ms, p95_ms, cut, asked = measure(VAD_SILENCE_MS, turn_end.TurnLengths)
        name = f"ours, {share:.0%} of the turns taken for beginnings"
        print(f"| {name} | {VAD_SILENCE_MS} | {median_ms:.0f} | {p95_ms:.0f} | {cut:.1%} | {asked:.2f} |", flush=True)
    turn_end.BEGINNINGS = ours
    return 0


if __name__ == "__main__":
    sys.exit(main())
