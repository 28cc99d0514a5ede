"""Two relays in two processes race for one slot in one Postgres: one books it, and the other offers other times."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

NAMES = ("Dana Reed", "Sam Hill")
NUMBERS = ("+12125550147", "+12125550148")
FILE = """
name = "One Chair"
timezone = "America/New_York"
[hours]
mon-sun = "00:00-24:00"
[[people]]
name = "Maria"
does = ["haircut"]
[[services]]
name = "haircut"
minutes = 30
ahead_days = 366
"""


@contextmanager
def relay(url: str, file: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.helpers.racing_relay", url, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def race(url: str, folder: Path, times: int) -> None:
    """Run this many races, each for one time, and count the results."""
    (folder / "business.toml").write_text(FILE)
    first = dt.datetime.combine(dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3), dt.time(12))
    with ExitStack() as stack:
        relays = [stack.enter_context(relay(url, folder / "business.toml")) for _ in NAMES]
        ends: list[tuple[int, int]] = []
        for number in range(times):
            start = first + dt.timedelta(minutes=30 * number)
            wish = {"service": "haircut", "start": start.isoformat(), "with_whom": "Maria" if number % 2 else ""}
            at = time.time() + 0.03
            for process, name, phone in zip(relays, NAMES, NUMBERS, strict=True):
                assert process.stdin is not None
                asked = {"call": f"CA{number}{phone[-1]}", "number": phone, "at": at, "wish": wish | {"name": name}}
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
            told: list[dict[str, Any]] = []
            for process in relays:
                assert process.stdout is not None
                told.append(json.loads(process.stdout.readline()))
            ends.append((sum(each["ok"] for each in told), sum(len(each.get("free", ())) == 3 for each in told)))
    assert ends == [(1, 1)] * times
    with psycopg.connect(url) as connection:
        (booked,) = connection.execute("select count(*) from appointments where state = 'booked'").fetchone() or (0,)
        (kept,) = connection.execute("select count(*) from appointment_history").fetchone() or (0,)
        doubled = connection.execute(
            "select count(*) from appointments a join appointments b on a.id < b.id and a.span && b.span"
            " and a.resource = b.resource"
        ).fetchone()
    assert (booked, kept, doubled) == (times, times, (0,))


@pytest.mark.real
def test_when_two_relays_race_for_a_slot_one_books_it_and_the_other_offers_free_times(
    database_url: str, tmp_path: Path
) -> None:
    race(database_url, tmp_path, 10)


@pytest.mark.real
@pytest.mark.deep
def test_200_races_give_200_bookings_and_200_refusals(database_url: str, tmp_path: Path) -> None:
    race(database_url, tmp_path, 200)
