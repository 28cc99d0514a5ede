"""The stage of `relay demo`: starts and kills relay processes, and cuts connections.

A connection of the relay goes through a proxy (net/line.py) only if a trouble of the scenario needs this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psycopg.conninfo
import trio

from relay.standin.model.server import PATH
from relay.standin.net.line import Line
from relay.standin.own_environment import own_environment
from relay.standin.twilio.exchange import Account
from relay.standin.twilio.rest import RestApi

START_LIMIT_S = 45.0
STOP_LIMIT_S = 15.0
# How long the stand-in of Fly's edge proxy waits for a relay, as Fly's own proxy does. A relay is ready two seconds
# after its start.
EDGE_PATIENCE_S = 12.0
ACCOUNT = Account("AC" + "0" * 31 + "1", "the-token-of-the-demo")
NUMBER = "+12125550190"
# The settings of the relay that callers can notice. A scenario's [relay] may change them.
STAGE = {
    "BUSINESS_NAME": "Harbor Table",
    "AGENT_NAME": "Robin",
    "BUSINESS_TZ": "America/New_York",
    "HUMAN_TRANSFER_NUMBER": "+12125550102",
}

# Troubles that this stage cannot make. After `relay_drains`, running calls may go on for 260 s. The demo does not wait
# so long.
NOT_HERE = frozenset({"relay_drains"})


class DemoFailed(Exception):
    """A step of the demo failed. The message is one sentence for the terminal."""


def say(text: str) -> None:
    """Print a line of the demo itself."""
    print(f"demo: {text}", flush=True)


class TroubleMaker:
    """Makes a scenario's troubles with real processes and sockets. `needs` are the troubles that the scenario has."""

    def __init__(self, needs: set[str], daemons: ExitStack, nursery: trio.Nursery, log_path: Path) -> None:
        self._needs, self._daemons, self._nursery, self._log_path = needs, daemons, nursery, log_path
        self._environment: dict[str, str] = {}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._model: Line | None = None
        self._postgres: Line | None = None
        self.rest: RestApi | None = None
        self.spend_the_day: Callable[[], Awaitable[None]] | None = None
        self.owner: Callable[[str], Awaitable[None]] | None = None

    # Connections that can be cut

    async def model_port(self, port: int) -> int:
        """The port that the relay must use for the model at `port`.

        It is a proxy's port if the scenario cuts this connection.
        """
        if not self._needs & {"model_dies", "model_stays_away"}:
            return port
        self._model = Line(partial(trio.open_tcp_stream, "127.0.0.1", port))
        return int(await self._nursery.start(self._model.serve))

    async def database_url(self, url: str) -> str:
        """The URL that the relay must use for the database at `url`.

        It is a proxy's URL if the scenario cuts this connection.
        """
        if not self._needs & {"postgres_leaves", "postgres_returns"}:
            return url
        self._postgres = Line(partial(_open_postgres, url))
        port = await self._nursery.start(self._postgres.serve)
        return psycopg.conninfo.make_conninfo(url, host="127.0.0.1", port=port)

    async def public_port(self, port: int) -> int:
        """The port that Twilio must use for the relay at `port`.

        It is a proxy's port if another relay takes the place of this one in the scenario.
        """
        if "relay_starts" not in self._needs:
            return port
        edge = Line(partial(self._open_relay, port), EDGE_PATIENCE_S)
        return int(await self._nursery.start(edge.serve))

    async def _open_relay(self, port: int) -> trio.abc.Stream:
        if self._killed:  # A process that is being killed may still accept connections, but it answers none of them.
            raise ConnectionRefusedError("the relay is being killed")
        return await trio.open_tcp_stream("127.0.0.1", port)

    # The relay

    async def start_relay(self, environment: dict[str, str]) -> None:
        """Start a relay process, and wait until it takes calls. Raises DemoFailed."""
        self._environment = environment
        daemon = self._spawn()
        await wait_until_ready(f"http://127.0.0.1:{environment['PORT']}", daemon, self._log_path)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._daemon = self._daemons.enter_context(serving(self._environment, self._log_path))
        self._killed = False
        say(f"relay serve is process {self._daemon.pid}, its log is {self._log_path}")
        return self._daemon

    @property
    def relay_fell(self) -> bool:
        """True if the relay has ended although this stage did not kill it."""
        return self._daemon is not None and self._daemon.poll() is not None and not self._killed

    # Troubles

    async def make(self, trouble: str) -> None:
        """Make one trouble. `trouble` is its name in a scenario."""
        match trouble:
            case "relay_dies":
                await self._kill()
            case "relay_starts":
                await self._start_another()
            case "model_dies" | "model_stays_away":
                assert self._model is not None
                self._model.cut()
                if trouble == "model_dies":
                    self._model.mend()
            case "postgres_leaves":
                assert self._postgres is not None
                self._postgres.cut()
            case "postgres_returns":
                assert self._postgres is not None
                self._postgres.mend()
            case "business_changes" | "business_breaks" | "slot_is_taken":
                assert self.owner is not None
                await self.owner(trouble)
            case "day_is_spent":
                assert self.spend_the_day is not None
                await self.spend_the_day()
            case _:
                assert self.rest is not None
                assert self.rest.faults.make(trouble), f"nobody here can make {trouble}"

    async def _kill(self) -> None:
        assert self._daemon is not None
        self._killed = True
        self._daemon.send_signal(signal.SIGKILL)
        say(f"killed process {self._daemon.pid}")
        await trio.to_thread.run_sync(self._daemon.wait)

    async def _start_another(self) -> None:
        """Start a relay in place of the killed one.

        First wait until the process has ended. If the scenario has `relay_dies` and `relay_starts` at the same moment,
        they come in any order.
        """
        assert self._daemon is not None
        while self._daemon.poll() is None:  # noqa: ASYNC110 -- the process was killed, so it ends within milliseconds
            await trio.sleep(0.02)
        self._spawn()


async def _open_postgres(url: str) -> trio.abc.Stream:
    """Open a connection to the server of a libpq URL: a host, or the folder of a Unix socket."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    host, port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or 5432)
    if host.startswith("/"):
        return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
    return await trio.open_tcp_stream(host, port)


def environment_of(
    public_url: str, port: int, database_url: str, data_dir: Path, model_port: int, rest_port: int, business_url: str
) -> dict[str, str]:
    """The environment of a relay whose peers are all stand-ins."""
    return {
        **own_environment(os.environ),
        "OPENAI_API_KEY": "sk-demo",
        "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{model_port}{PATH}",
        "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
        "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
        "TWILIO_PHONE_NUMBER": NUMBER,
        "TWILIO_API_BASE": f"http://127.0.0.1:{rest_port}",
        "BUSINESS_API_BASE": business_url,  # Or "embedded".
        "PUBLIC_URL": public_url,
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
    }


def another_voice(port: int) -> dict[str, str]:
    """The settings with which the stand-in of ElevenLabs at `port` speaks for the model."""
    return {
        "VOICE": "elevenlabs",
        "ELEVENLABS_API_KEY": "sk_demo",
        "ELEVENLABS_VOICE_ID": "demo",
        "ELEVENLABS_URL": f"ws://127.0.0.1:{port}",
    }


@contextmanager
def serving(environment: dict[str, str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a `relay serve` in a process of its own while the block runs."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "relay", "serve"], env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def stop_when_told() -> None:
    """Wait for SIGTERM, then end as after Ctrl-C. The relay and the database that the demo has started end too."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            raise KeyboardInterrupt


async def wait_until_ready(url: str, daemon: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until the relay takes calls. Raises DemoFailed, with the last log line if the relay has stopped."""
    words = "it does not listen yet"
    async with httpx.AsyncClient(trust_env=False) as client:
        with trio.move_on_after(START_LIMIT_S):
            while daemon.poll() is None:
                try:
                    answer = await client.get(f"{url}/readyz", timeout=2.0)
                    if answer.status_code == 200:
                        return
                    words = answer.text.strip()
                except httpx.TransportError:
                    pass  # It does not listen yet.
                await trio.sleep(0.1)
    lines = (await trio.Path(log_path).read_text(errors="replace")).strip().splitlines()
    last = lines[-1:] or ["(nothing was logged)"]
    if daemon.poll() is not None:
        raise DemoFailed(f"the relay stopped at its start with code {daemon.returncode}: {last[0][:300]}")
    raise DemoFailed(f"the relay was not ready within {START_LIMIT_S:.0f} s ({words}); its log is {log_path}")
