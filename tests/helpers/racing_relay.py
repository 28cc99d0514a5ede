"""Runs function calls in a process of its own, with the embedded backend and a real Postgres, but without phone calls.

Start it with `python -m tests.helpers.racing_relay DATABASE_URL BUSINESS_FILE`. Each line on stdin is a function call
and the time at which it runs. Each line on stdout is the output that the model would get.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from pathlib import Path
from typing import Any

import trio

from relay.business.diary_postgres import PostgresDiary
from relay.business.embedded import Embedded
from relay.business.file import load
from relay.functions import CallContext, Once, run
from relay.functions import load as load_functions


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def main(url: str, file: str) -> None:
    business, registry = load(Path(file)), load_functions()
    diary = PostgresDiary(url)
    backend = Embedded(business, diary, utc_now)
    await backend.hours(dt.date(2026, 11, 26))
    await diary.read(lambda store: store.last_name(""), limit_s=10)  # wait until Postgres is connected
    print("ready", flush=True)
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        sid, number = asked["call"], asked["number"]
        call = CallContext(sid, number, backend.for_call(sid), business.tz, utc_now, Once())
        await trio.sleep(max(0.0, asked["at"] - time.time()))
        outcome = await run(registry, call, "book_appointment", json.dumps(asked["wish"]))
        print(json.dumps({"ok": outcome.ok, **json.loads(outcome.output)}), flush=True)
    await diary.close()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
