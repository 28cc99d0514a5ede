"""`relay bench`: measures how many calls this machine carries, and prints what to write into the environment and
fly.toml.

It runs the real `relay serve` with its ledger on one core, and the load on another, with TLS to the model. The number
of calls grows until audio is late, or until the load has too little CPU time to measure. If there is only one core, the
relay and the load share it, and the limit is computed from the CPU time of a few calls. Nothing leaves the machine. It
takes about 25 s for each number of calls that is tried.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

from relay.ledger.dev_postgres.embedded import EmbeddedPostgresFailed, database
from relay.ledger.migrate import migrate
from relay.standin.load.generator import SETTLE_S, LoadFailed, Relay, Step, running

# The numbers of calls to try. The last number is more than any core has carried so far (bench/capacity).
STEPS = (10, 20, 40, 80, 120, 160, 200, 240, 280, 320)
ALONE_STEPS = (10, 20, 40)
WINDOW_S = 12.0
# MAX_CALLS is this share of the limit. The rest is for webhooks, the console, bursts of rings, and other programs.
HEADROOM = 0.8
# If other programs use more than this share of the relay's core, the measured limit is too low, and the report says so.
OTHERS_LIMIT = 0.05
# If the limit is computed and not measured, calls may use this share of a core.
RECKONED_BUSY = 0.6


def serve_command(database_url: str, data_dir: Path) -> Relay:
    """How to start `relay serve` for the load. The load never reaches the limits of this relay."""
    environ = {
        "OPENAI_API_KEY": "sk-load",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "load",
        "TWILIO_API_KEY": "",
        "TWILIO_API_SECRET": "",
        "TWILIO_PHONE_NUMBER": "+12125550120",
        "BUSINESS_API_BASE": "http://127.0.0.1:9",
        "HUMAN_TRANSFER_NUMBER": "+12125550121",
        "PUBLIC_URL": "http://127.0.0.1:{port}",
        "TWILIO_API_BASE": "http://127.0.0.1:9",
        "PORT": "{port}",
        "OPENAI_REALTIME_URL": "{model_url}",
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
        "RECORD": "transcripts",
        "FLY_MACHINE_ID": "",
        "MAX_CALLS": "10000",
        "MAX_CALL_S": "3600",
        "MAX_CALL_USD": "1000",
        "MAX_DAY_USD": "1000000",
        "LOG_FORMAT": "json",
        # Early answers are off. An early answer is withheld for a time, and this delay does not come from the machine.
        # bench/turns measures it.
        "ANSWER_EARLY": "off",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    return Relay("relay", (sys.executable, "-m", "relay", "serve"), environ, ready_path="/readyz")


def limit_of(steps: list[Step]) -> int:
    """The most calls that were carried in time. Only steps with valid figures count. 0 if there are none."""
    carried = 0
    for step in steps:
        if not step.keeps_up() or not step.is_valid:
            break
        carried = step.calls
    return carried


def reckoned(steps: list[Step]) -> int:
    """How many calls a core can carry, computed from the CPU time of the largest step that kept up.

    The largest step is used, because with more calls each call needs less CPU time.
    """
    good = [step for step in steps if step.keeps_up()]
    return int(RECKONED_BUSY * 1000 / good[-1].cpu_ms_per_call_s) if good else 0


def advice(limit: int) -> str:
    """The settings for this limit, as text."""
    hard = max(1, int(limit * HEADROOM))
    soft = max(1, int(hard * HEADROOM))
    return (
        f'MAX_CALLS={hard}\n\n[http_service.concurrency]\n  type = "connections"\n'
        f"  soft_limit = {soft}\n  hard_limit = {hard + max(5, hard // 5)}  # calls, and webhooks beside them\n"
    )


def disturbed(steps: list[Step]) -> str:
    """A sentence if the last step was late and other programs used the relay's core. Otherwise ""."""
    last = steps[-1]
    if last.keeps_up() or last.others_busy <= OTHERS_LIMIT:
        return ""
    return f"other programs took {last.others_busy:.0%} of that core meanwhile: on a quiet machine it carries more"


def _say(step: Step) -> None:
    late = "" if step.keeps_up() else "  late"
    print(
        f"{step.calls:4} calls: up p99 {step.up.p99:6.1f} ms, down p99 {step.down.p99:6.1f} ms, "
        f"{step.relay_busy:4.0%} of a core, {step.rss_mb:.0f} MB{late}",
        flush=True,
    )


def _climb(relay: Relay, cores: list[int], log: Path) -> list[Step]:
    alone = len(cores) < 2
    steps: list[Step] = []
    with running(relay, tls=True, core=cores[0], log=log) as (load, pid):
        for calls in ALONE_STEPS if alone else STEPS:
            load.ring_up_to(calls)
            load.loop.run(lambda: False, SETTLE_S)
            for _ in range(2):  # Stop only after two late measurements, because another program may cause one.
                step = load.measure("relay", calls, WINDOW_S, pid, cores[0])
                _say(step)
                if step.keeps_up():
                    break
            steps.append(step)
            if not step.keeps_up() or not step.is_valid:
                break
    return steps


def main_bench() -> int:
    """Measure this machine's limit and print it. Returns 0.

    If there are no figures, or if even the first calls were late, prints a sentence and returns 1.
    """
    cores = sorted(os.sched_getaffinity(0))
    gc.disable()
    try:
        with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
            if len(cores) > 1:
                # The load (this process) and Postgres use the last core, so that the relay has the first for itself.
                os.sched_setaffinity(0, {cores[-1]})
            log = Path(tempfile.gettempdir()) / "relay-bench.log"
            with database("embedded", Path(folder)) as url:
                migrate(url)
                steps = _climb(serve_command(url, Path(folder)), cores, log)
    except (LoadFailed, EmbeddedPostgresFailed) as error:
        print(f"relay bench: {error}", file=sys.stderr)
        return 1
    finally:
        os.sched_setaffinity(0, cores)
        gc.enable()
    limit = reckoned(steps) if len(cores) < 2 else limit_of(steps)
    if limit == 0:
        print("relay bench: even the first calls were late: is the machine busy with other work?")
        return 1
    if len(cores) < 2:
        print(f"\none core, shared with the load: computed from its CPU time, it carries {limit} calls")
    elif steps[-1].keeps_up() and not steps[-1].is_valid:
        print(f"\nat least {limit} calls: the load cannot make more")
    else:
        print(f"\n{limit} calls were carried in time, on one core; one relay process a core, one process a Fly Machine")
    if words := disturbed(steps):
        print(words)
    print(f"with {1 - HEADROOM:.0%} kept free:\n{advice(limit)}")
    return 0
