"""The stage of `relay demo`: relay processes that can be killed, and connections that can be cut.

A connection gets a part that can be cut only if the scenario cuts it. Otherwise the relay talks to its peers directly.
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
# A relay is ready two seconds after its start. The stand-in of Fly's edge proxy waits this long for it, as Fly's does.
EDGE_PATIENCE_S = 12.0
ACCOUNT = Account("AC" + "0" * 31 + "1", "the-token-of-the-demo")
NUMBER = "+12125550190"
# The relay's settings that callers can notice. A scenario's [relay] may change them.
STAGE = {
    "BUSINESS_NAME": "Harbor Table",
    "AGENT_NAME": "Robin",
    "BUSINESS_TZ": "America/New_York",
    "HUMAN_TRANSFER_NUMBER": "+12125550102",
}

# The troubles that this stage cannot make. A drain gives running calls 260 s, and the demo does not wait so long.
NOT_HERE = frozenset({"relay_drains"})


class DemoFailed(Exception):
    """A step of the demo failed. The message is one sentence for the terminal."""


def say(text: str) -> None:
    """A line of the demo's own."""
    print(f"demo: {text}", flush=True)


class Hands:
    """Makes a scenario's troubles with real processes and sockets. `needs` are the troubles that will come."""

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

    # The lines

    async def model_port(self, port: int) -> int:
        """The port at which the relay finds the model that listens at this port."""
        if not self._needs & {"model_dies", "model_stays_away"}:
            return port
        self._model = Line(partial(trio.open_tcp_stream, "127.0.0.1", port))
        return int(await self._nursery.start(self._model.serve))

    async def database_url(self, url: str) -> str:
        """The URL by which the relay finds the database that has this URL."""
        if not self._needs & {"postgres_leaves", "postgres_returns"}:
            return url
        self._postgres = Line(partial(_open_postgres, url))
        port = await self._nursery.start(self._postgres.serve)
        return psycopg.conninfo.make_conninfo(url, host="127.0.0.1", port=port)

    async def public_port(self, port: int) -> int:
        """The port at which Twilio finds the relay that listens at this port."""
        if "relay_starts" not in self._needs:
            return port
        edge = Line(partial(self._open_relay, port), EDGE_PATIENCE_S)
        return int(await self._nursery.start(edge.serve))

    async def _open_relay(self, port: int) -> trio.abc.Stream:
        if self._killed:  # A dying process accepts connections until it ends, and answers none of them.
            raise ConnectionRefusedError("the relay is being killed")
        return await trio.open_tcp_stream("127.0.0.1", port)

    # The relay

    async def start_relay(self, environment: dict[str, str]) -> None:
        """A relay process that takes calls. Raises DemoFailed."""
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
        """Start a relay in place of the dead one. Troubles of the same moment come in any order."""
        assert self._daemon is not None
        while self._daemon.poll() is None:  # noqa: ASYNC110 -- a process tells nobody that it has ended
            await trio.sleep(0.02)
        self._spawn()


async def _open_postgres(url: str) -> trio.abc.Stream:
    """A connection to where a libpq URL points: a host, or the folder of a Unix socket."""
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
    """The settings of a relay whose model writes, and whose voice is the stand-in of ElevenLabs at this port."""
    return {
        "VOICE": "elevenlabs",
        "ELEVENLABS_API_KEY": "sk_demo",
        "ELEVENLABS_VOICE_ID": "demo",
        "ELEVENLABS_URL": f"ws://127.0.0.1:{port}",
    }


@contextmanager
def serving(environment: dict[str, str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `relay serve` of its own while the block runs."""
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


async def stop_when_told() -> None:
    """End on SIGTERM as on Ctrl-C. The relay and the database that the demo started end with it."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            raise KeyboardInterrupt


async def wait_until_ready(url: str, daemon: subprocess.Popen[bytes], log_path: Path) -> None:
    """Return when the relay takes calls. Raises DemoFailed with the relay's last log line."""
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
                    pass  # Not yet.
                await trio.sleep(0.1)
    lines = (await trio.Path(log_path).read_text(errors="replace")).strip().splitlines()
    last = lines[-1:] or ["(nothing was logged)"]
    if daemon.poll() is not None:
        raise DemoFailed(f"the relay stopped at its start with code {daemon.returncode}: {last[0][:300]}")
    raise DemoFailed(f"the relay was not ready within {START_LIMIT_S:.0f} s ({words}); its log is {log_path}")
