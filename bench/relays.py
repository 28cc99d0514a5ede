"""The relay that is measured, as it runs in production: `relay serve`, a Postgres, both on the core they belong to."""

from __future__ import annotations

import gc
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.ledger.embedded import database
from relay.ledger.migrate import migrate
from relay.standin.load import Relay

OUT = Path(__file__).parents[1] / "out"
RELAY_CORE, LOAD_CORE = 0, 1


def machine() -> str:
    """This machine in one line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{model}, {os.cpu_count()} CPUs, {system}, load average {load}"


@contextmanager
def ours(extra: dict[str, str] | None = None) -> Iterator[Relay]:
    """`relay serve` with all that a real call has on; its Postgres runs beside it, not on its core."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder, database("embedded", Path(folder)) as url:
        migrate(url)
        yield relay_serve(url, Path(folder), extra)


def relay_serve(database_url: str, data_dir: Path, extra: dict[str, str] | None = None) -> Relay:
    """How `relay serve` is started for the load."""
    environ = {
        "OPENAI_API_KEY": "sk-load",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "load",
        "TWILIO_PHONE_NUMBER": "+15550100200",
        "BUSINESS_API_BASE": "http://127.0.0.1:9",
        "HUMAN_TRANSFER_NUMBER": "+15550100201",
        "PUBLIC_URL": "http://127.0.0.1:{port}",
        "TWILIO_API_BASE": "http://127.0.0.1:9",
        "PORT": "{port}",
        "OPENAI_REALTIME_URL": "{model_url}",
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
        "RECORD": "transcripts",
        "MAX_CALLS": "10000",
        "MAX_CALL_S": "3600",
        "MAX_CALL_USD": "1000",
        "MAX_DAY_USD": "1000000",
        "LOG_FORMAT": "json",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = (sys.executable, "-m", "relay", "serve")
    return Relay("relay", command, environ | (extra or {}), ready_path="/readyz")


def quieten() -> None:
    """Keep the load's own collector from stopping it; BENCH_REALTIME=1 (as root) keeps a busy machine's other work off.

    Real-time priority, for us and all that is started from here, makes a shared machine look like one's own.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    if os.environ.get("BENCH_REALTIME"):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
