"""Runs `relay greet` and `relay serve` as real processes. With several cores, `relay serve` gets the last core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import httpx
import trio

from relay.standin.own_environment import own_environment
from relay.standin.twilio.exchange import Account

ACCOUNT = Account("AC" + "0" * 31 + "2", "the-token-of-the-bench")
NUMBER = "+12125550120"
START_LIMIT_S = 40.0
STOP_LIMIT_S = 15.0


class RelayFailed(Exception):
    """The relay did not start, or stopped, or `relay greet` failed. The message has the error, or the log's path."""


def environment(port: int, model_url: str, database_url: str, folder: Path) -> dict[str, str]:
    """The environment of a deployed relay, on loopback. The business backend and Twilio's REST API do not answer."""
    return {
        **own_environment(os.environ),
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_REALTIME_URL": model_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
        "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
        "TWILIO_PHONE_NUMBER": NUMBER,
        "TWILIO_API_BASE": "http://127.0.0.1:9",
        "BUSINESS_API_BASE": "http://127.0.0.1:9",
        "HUMAN_TRANSFER_NUMBER": "+12125550121",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "BUSINESS_NAME": "Harbor Table",
        "AGENT_NAME": "Robin",
        "LOG_FORMAT": "json",
        "OPENBLAS_NUM_THREADS": "1",
    }


async def greet(environ: Mapping[str, str]) -> None:
    """Render the greeting beforehand. Raises RelayFailed."""
    done = await trio.run_process(
        [sys.executable, "-m", "relay", "greet"],
        env=dict(environ),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode:
        raise RelayFailed(f"relay greet: {done.stderr.decode()[-300:]}")


@asynccontextmanager
async def serving(environ: Mapping[str, str], log: Path, *, ready: bool) -> AsyncIterator[str]:
    """Run a relay, and yield its origin. With `ready` wait for `/readyz` first, otherwise only for `/healthz`."""
    origin = environ["PUBLIC_URL"]
    with log.open("ab") as out:
        process = await trio.to_thread.run_sync(_begin, environ, out)
        try:
            if (cores := os.cpu_count() or 1) > 1:
                os.sched_setaffinity(process.pid, {cores - 1})
            await _wait(f"{origin}/{'readyz' if ready else 'healthz'}", process, log)
            yield origin
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_leave, process)


def _begin(environ: Mapping[str, str], out: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "relay", "serve"], env=dict(environ), stdout=out, stderr=out)


def _leave(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with trio.move_on_after(START_LIMIT_S):
            while process.poll() is None:
                try:
                    if (await client.get(url, timeout=2.0)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # the relay does not answer yet
                await trio.sleep(0.02)
    raise RelayFailed(f"the relay was not ready within {START_LIMIT_S:.0f} s, or stopped; its log is {log}")
