"""`python -m bench.turns [SECONDS] [NAME…]`: how long callers wait, and how often they are cut off in a pause.

In each round the relays run one after the other: our relay with ANSWER_EARLY=off ("today"), our relay with
ANSWER_EARLY=on, and the named relays of bench.peers (passthrough, agents, pipecat). All get the same turns and the same
delays of the model. There are two rounds (`--rounds N`). The goals are judged only with the turns that were played
with both settings of our relay. Writes out/turns.json. `--after` adds rounds with other turns to those of that file,
and judges all of them together. `python -m bench.turns.paired` plays many more turns without a relay process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace

from bench.peers.environments import PEERS
from bench.relays import LOAD_CORE, OUT, RELAY_CORE, machine, ours, quieten
from bench.turns.ends import Found, Turn, TurnsLoad
from bench.turns.sounds import PAUSES_MS
from relay.standin.load.generator import LoadFailed, Relay, running

CALLS = 20
GOAL_MS = 250
ROUNDS = 2


@contextmanager
def _ours(answer_early: str) -> Iterator[Relay]:
    with ours() as relay:
        name = "relay, early" if answer_early == "on" else "relay, today"
        yield replace(relay, name=name, environ={**relay.environ, "ANSWER_EARLY": answer_early})


def _measure(name: str, seconds: float, round_: int) -> Found | None:
    try:
        relay = _ours(name) if name in ("on", "off") else nullcontext(PEERS[name]())
        with relay as one:
            log = OUT / f"turns-{name}.log"
            with running(one, tls=True, core=RELAY_CORE, log=log, run_id=round_ + 1, load_class=TurnsLoad) as (load, _):
                assert isinstance(load, TurnsLoad)
                load.ring_up_to(CALLS)
                load.is_on = True
                load.loop.run(lambda: False, seconds + 7.0)
                return load.found
    except LoadFailed as error:
        print(f"{name}: {error}", flush=True)
        return None


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def line(name: str, found: Found) -> str:
    """One row of the table."""
    waits = [turn.wait_ms for turn in found.turns if turn.wait_ms is not None]
    paused = [turn for turn in found.turns if turn.pause_ms]
    cuts = {ms: [turn.was_cut for turn in paused if turn.pause_ms == ms] for ms in PAUSES_MS}
    by_pause = "  ".join(f"{ms}: {sum(cut)}/{len(cut)}" for ms, cut in cuts.items())
    cut = sum(turn.was_cut for turn in paused)
    waited = f"{_at(waits, 0.5):6.0f} {_at(waits, 0.95):6.0f}"
    return (
        f"{name:14} {len(found.turns):5} {len(found.turns) - len(waits):6} {waited} {cut:5}/{len(paused):<5} "
        f"{by_pause:52} {found.asked:6} {found.cancelled:6} {found.refused:6}"
    )


HEAD = (
    f"{'relay':14} {'turns':>5} {'silent':>6} {'p50':>6} {'p95':>6} {'cuts':>11} {'cuts by pause, ms':52} {'asked':>6} "
    f"{'cancel':>6} {'refuse':>6}"
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.turns")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("peers", nargs="*")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--after", action="store_true")
    return parser.parse_args()


def _kept() -> list[dict[str, Found]]:
    """The rounds of out/turns.json."""
    rounds = json.loads((OUT / "turns.json").read_text())["rounds"]
    return [
        {name: Found([Turn(**turn) for turn in found.pop("turns")], **found) for name, found in each.items()}
        for each in rounds
    ]


def _sum(rounds: list[dict[str, Found]]) -> dict[str, Found]:
    sums: dict[str, Found] = {}
    for each in rounds:
        for name, found in each.items():
            total = sums.setdefault(name, Found())
            total.turns = total.turns + found.turns
            total.asked, total.cancelled = total.asked + found.asked, total.cancelled + found.cancelled
            total.refused += found.refused
    return sums


def main() -> int:
    """Measure all in turn, and print. Return 1 if our relay misses a goal."""
    wanted = _arguments()
    os.sched_setaffinity(0, {LOAD_CORE})
    quieten()
    print(machine())
    print(HEAD, flush=True)
    rounds = _kept() if wanted.after else []
    for _ in range(wanted.rounds):
        taken: dict[str, Found] = {}
        for name in ("off", "on", *wanted.peers):
            found = _measure(name, wanted.seconds, len(rounds))
            if found is not None:
                taken[name] = found
                print(line(name, found), flush=True)
        rounds.append(taken)
        OUT.mkdir(exist_ok=True)
        kept = [{name: asdict(found) for name, found in each.items()} for each in rounds]
        (OUT / "turns.json").write_text(json.dumps({"machine": machine(), "rounds": kept}, indent=1))
    print(f"all {len(rounds)} rounds together")
    sums = _sum(rounds)
    for name, found in sums.items():
        print(line(name, found))
    pairs: list[tuple[Turn, Turn]] = []
    for each in rounds:
        early = {turn.key: turn for turn in each["on"].turns} if "on" in each else {}
        pairs += [(turn, early[turn.key]) for turn in each.get("off", Found()).turns if turn.key in early]
    return _judge(pairs, sums["on"].refused if "on" in sums else 0)


def _judge(pairs: list[tuple[Turn, Turn]], refused: int) -> int:
    """Judge pairs of turns: the turn with ANSWER_EARLY=off, and the same turn with ANSWER_EARLY=on. Return the exit
    code.
    """
    if not pairs:
        return 1
    today, early = ([t.wait_ms for t in turns if t.wait_ms is not None] for turns in zip(*pairs, strict=True))
    sooner = statistics.median(today) - statistics.median(early)
    before, now = (sum(turn.was_cut for turn in turns) for turns in zip(*pairs, strict=True))
    both = sum(a.was_cut and b.was_cut for a, b in pairs)
    paused = sum(bool(a.pause_ms) for a, _ in pairs)
    print(
        f"{len(pairs)} turns that both took: the median is {sooner:.0f} ms sooner (goal {GOAL_MS}), p95 "
        f"{_at(early, 0.95):.0f} ms (today's median {statistics.median(today):.0f}); of {paused} with a pause cut: "
        f"today {before}, ours {now}, the same turn {both}"
    )
    is_met = sooner >= GOAL_MS and _at(early, 0.95) <= statistics.median(today) and now <= before
    return 0 if is_met and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
