"""Serves a relay, its console and a stand-in model in one process.

Start it with `python -m tests.helpers.talk_server DATABASE_URL DATA_DIR`. It prints its address when it takes calls.
"""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import trio

from relay import settings as environment
from relay.ledger.store import PostgresLedger
from relay.phrases.prompts import PROMPTS_DIR
from relay.server import app
from relay.standin.commands.demo_stage import STAGE, environment_of
from relay.standin.model.server import StandInModel
from relay.standin.ports import free_port
from relay.telemetry import logs


async def main(url: str, data_dir: str) -> None:
    """Serve until the process is ended."""
    logs.configure("json")
    model, port = StandInModel(), free_port()
    async with trio.open_nursery() as nursery:
        model_port = await nursery.start(model.serve, 0)
        address = f"http://127.0.0.1:{port}"
        table = environment_of(address, port, url, Path(data_dir), model_port, free_port(), "embedded")
        settings = environment.load(table | STAGE | {"BUSINESS_FILE": str(_never_closed(data_dir))}, serving=True)
        ledger = PostgresLedger(url, spill_dir=Path(data_dir), keep_words=settings.keeps_words)
        nursery.start_soon(app.run, settings, ledger, url)
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await _is_ready(client, address):  # noqa: ASYNC110 -- a server tells nobody that it is ready
                await trio.sleep(0.1)
        print(address, flush=True)


def _never_closed(data_dir: str) -> Path:
    """Copy the shipped business file without the greeting of closed hours. So the greeting is the same at any time."""
    path = Path(data_dir) / "business.toml"
    path.write_text((PROMPTS_DIR / "business.toml").read_text().partition("[after_hours]")[0])
    return path


async def _is_ready(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await client.get(f"{address}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
