"""Serves a real relay with its stand-ins: `python -m tests.helpers.live_server DATABASE_URL DATA_DIR PASSWORD_HASH`.

It prints the relay's address. Each line of its input starts a call. The line has the caller's steps, as in a scenario.
An empty line makes all callers hang up. Then the process prints NO_CALL.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import trio
from hypercorn.typing import ASGIFramework

from relay.recordings.cipher import new_key
from relay.standin.commands import demo_stage
from relay.standin.commands.call import Target, serve_http
from relay.standin.commands.demo_stage import (
    ACCOUNT,
    NUMBER,
    STAGE,
    environment_of,
    serving,
    wait_until_ready,
)
from relay.standin.model.server import StandInModel
from relay.standin.ports import free_port
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.twilio.exchange import Exchange
from relay.standin.twilio.rest import RestApi, asgi_app

NO_CALL = "no call"
TEXT = """
title = "a caller"
[caller]
steps = [%s]
[human]
ring_s = 3
talk_s = 5
"""


async def main(database_url: str, data_dir: str, password_hash: str) -> None:
    """Serve, and make a call for each line of the input, until the input ends."""
    demo_stage.START_LIMIT_S = 180.0  # a browser starts at the same time, and the machine may be busy
    folder, port = Path(data_dir), free_port()
    target = Target(f"http://127.0.0.1:{port}", ACCOUNT, NUMBER)
    exchange = target.exchange(lambda kind, fields: None)
    async with trio.open_nursery() as nursery:
        model_port = await nursery.start(StandInModel().serve, 0)
        rest_port = await nursery.start(serve_http, cast("ASGIFramework", asgi_app(RestApi(exchange))), 0)
        environment = environment_of(target.url, port, database_url, folder, model_port, rest_port, "embedded")
        environment |= STAGE | {"RECORD": "on", "RECORDING_KEY": new_key(), "CONSOLE_PASSWORD_HASH": password_hash}
        with serving(environment, folder / "relay.log") as daemon:
            await wait_until_ready(target.url, daemon, folder / "relay.log")
            print(target.url, flush=True)
            await _ring_as_told(exchange)
        nursery.cancel_scope.cancel()


async def _ring_as_told(exchange: Exchange) -> None:
    is_over = False
    while not is_over:
        async with trio.open_nursery() as callers:
            while (line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)).strip():
                callers.start_soon(run_scenario, parse(TEXT % line.strip(), "live"), exchange)
            is_over = not line
            for call in exchange.calls.values():
                call.hang_up()
        print(NO_CALL, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
