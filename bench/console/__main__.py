"""`python -m bench.console`: the time and size of the console's pages with 10,000 calls in Postgres.

The time is measured in the console's process, from the request to the end of the answer, without network and browser.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psycopg
import trio

from relay.console.reads import Reads
from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.migrate import migrate
from tests.helpers.console_app import console_app
from tests.helpers.owner_data import fill, sid

CALLS, ROUNDS = 10_000, 20
GOAL_MS, GOAL_BYTES = 100.0, 100_000
PAGES = (
    "",
    "calls",
    "calls?q=peanuts",
    "calls?q=zo",
    "calls?q=5550107",
    "calls?outcome=booked&slow=1",
    "calls?function=book_appointment",
    "calls?heard=no&end=fault",
    "calls?day=2026-10-01",
    f"calls/{sid(1)}",
    "messages",
    "diary",
    "words",
    "listen",
)


async def measure(url: str) -> bool:
    """Print each page's figures. Return True if all pages meet the goals."""
    reads = Reads(url)
    client = console_app(url, reads=reads).test_client()
    good = True
    print(f"{'page':40} {'median ms':>10} {'p95 ms':>8} {'bytes':>8}")
    for page in PAGES:
        times, size = [], 0
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = await client.get(f"/console/{page}", headers={"Host": "localhost"})
            size = len(await answer.get_data())
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, await answer.get_data(as_text=True)
        median, p95 = statistics.median(times), sorted(times)[int(0.95 * ROUNDS) - 1]
        good = good and median <= GOAL_MS and size <= GOAL_BYTES
        print(f"{page or '(today)':40} {median:10.1f} {p95:8.1f} {size:8}")
    await reads.close()
    return good


def main() -> int:
    """Return 0 if every page meets the goals."""
    with tempfile.TemporaryDirectory(prefix="bench-console-") as folder:
        Path(folder).chmod(0o711)
        with embedded(Path(folder), durable=False) as url:
            migrate(url)
            fill(url, CALLS)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("vacuum analyze")
            return 0 if trio.run(partial(measure, url)) else 1


if __name__ == "__main__":
    sys.exit(main())
