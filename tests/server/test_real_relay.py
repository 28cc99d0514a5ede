"""The real daemon in its own process, with real sockets and a real Postgres. When a peer dies, calls go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest
import trio
from hypercorn.typing import ASGIFramework

from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.migrate import migrate
from relay.standin.business.app import BusinessApp, business_app, serve_business
from relay.standin.commands.call import Target, serve_http
from relay.standin.commands.demo import evidence
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
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.standin.twilio.exchange import Exchange
from relay.standin.twilio.relay_connections import NetworkConnections
from relay.standin.twilio.rest import RestApi, asgi_app

pytestmark = pytest.mark.real


class CuttingDoor(NetworkConnections):
    """The exchange's connections to the relay. It keeps the media sockets, so that a test can break one."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[trio.abc.Stream] = []

    async def open_stream(self, url: str) -> trio.abc.Stream:
        self.streams.append(await super().open_stream(url))
        return self.streams[-1]


@dataclass
class House:
    """A relay process with its stand-ins."""

    url: str
    database_url: str
    daemon: subprocess.Popen[bytes]
    exchange: Exchange
    door: CuttingDoor
    model: trio.CancelScope
    business: BusinessApp

    async def call(self, steps: str) -> CallReport:
        scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "real")
        return await run_scenario(scenario, self.exchange, partial(evidence, self.database_url, self.business))

    async def is_alive(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            return self.daemon.poll() is None and (await client.get(f"{self.url}/healthz")).status_code == 200


@asynccontextmanager
async def house(database_url: str, folder: Path) -> AsyncIterator[House]:
    business = business_app()
    port = free_port()
    target = Target(f"http://127.0.0.1:{port}", ACCOUNT, NUMBER)
    exchange = target.exchange(lambda kind, fields: None)
    exchange.connections = door = CuttingDoor()
    model, scope = StandInModel(), trio.CancelScope()

    async def serve_model(task_status: trio.TaskStatus[int]) -> None:
        with scope:
            await model.serve(0, task_status=task_status)

    async with trio.open_nursery() as nursery:
        model_port = await nursery.start(serve_model)
        business_urls = await nursery.start(partial(serve_business, 0, business))
        rest_port = await nursery.start(serve_http, cast("ASGIFramework", asgi_app(RestApi(exchange))), 0)
        environment = environment_of(target.url, port, database_url, folder, model_port, rest_port, business_urls[0])
        environment |= STAGE
        environment["RECORD"] = "off"  # for a shorter greeting, because these tests wait for it in real time
        with serving(environment, folder / "relay.log") as daemon:
            await wait_until_ready(target.url, daemon, folder / "relay.log")
            yield House(target.url, database_url, daemon, exchange, door, scope, business)
        assert daemon.returncode == 0, (folder / "relay.log").read_text()[-2000:]
        nursery.cancel_scope.cancel()


async def test_after_a_cut_socket_the_agent_goes_on_and_when_the_model_is_dead_the_human_is_dialled(
    database_url: str, tmp_path: Path
) -> None:
    async with house(database_url, tmp_path) as h:
        calls: list[CallReport] = []

        async def call(steps: str) -> None:
            calls.append(await h.call(steps))

        # The caller's socket breaks. Twilio goes on to /twilio/after, and the same conversation is resumed.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }')
            await trio.sleep(2.5)
            await trio.aclose_forcefully(h.door.streams[-1])
        assert calls[0].streams == 2
        assert calls[0].evidence is not None
        assert calls[0].evidence.end_reason == "caller_hung_up"
        assert any("We are open tomorrow" in text for text in calls[0].heard)
        # The model dies for good, and the human gets the call.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, '{ until = "bridged" }, { silent_s = 1 }, { hang_up = true }')
            await trio.sleep(2.5)
            h.model.cancel()
        assert calls[1].bridged_s > 0
        assert calls[1].evidence is not None
        assert calls[1].evidence.end_reason == "model_lost"
        assert await h.is_alive()


async def test_callers_do_not_notice_a_killed_postgres_and_rows_are_stored_when_it_is_back(
    open_folder: Path, tmp_path: Path
) -> None:
    with embedded(open_folder, durable=False) as url:
        migrate(url)
        async with house(url, tmp_path) as h:
            steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { hang_up = true }'
            scenario = parse(f'title = "t"\n[caller]\nsteps = [{steps}]\n', "postgres")
            reports: list[CallReport] = []

            async def call() -> None:
                reports.append(await run_scenario(scenario, h.exchange))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(2)
                pid = int(next((open_folder / "postgres").rglob("postmaster.pid")).read_text().splitlines()[0])
                os.kill(pid, signal.SIGQUIT)  # Postgres shuts down at once, and every connection breaks
            assert any("We are open tomorrow" in text for text in reports[0].heard)
            assert await h.is_alive()
