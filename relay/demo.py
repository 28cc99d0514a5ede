"""`relay demo`: a simulated call through the real daemon, in its own process, against all stand-ins; then the proof.

The transcript is printed as it happens; afterwards the figures, a stereo WAV (caller left, what the caller heard right)
and the rows in Postgres. A failure at any step is one sentence, and the exit code is not 0.
Upstream: cli.py.  Downstream: standin/, ledger/.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import trio
from hypercorn.typing import ASGIFramework

from relay.ledger import history
from relay.ledger.embedded import database
from relay.ledger.migrate import migrate
from relay.ledger.port import LedgerUnavailable
from relay.settings import Settings
from relay.standin.business import BusinessApp, business_app, serve_business
from relay.standin.business_faults import Faults
from relay.standin.call import Target, serve_http, summary, tell_event
from relay.standin.caller import Account
from relay.standin.model import PATH, StandInModel
from relay.standin.report import CallReport, Evidence
from relay.standin.run import run_scenario
from relay.standin.scenario import Scenario, ScenarioError, load
from relay.standin.script import Script, ScriptError
from relay.standin.twilio_rest import RestApi, asgi_app

START_LIMIT_S = 45.0
STOP_LIMIT_S = 15.0
# Rows are written in batches of 50 ms; the last ones of a call are there soon after it.
ROWS_LIMIT_S = 5.0
ACCOUNT = Account("AC" + "0" * 31 + "1", "the-token-of-the-demo")
NUMBER, HUMAN = "+15550100099", "+15550100002"


# Troubles that one daemon on one machine can be put to; the others need a second relay, or a clock that waits.
MAKEABLE = frozenset({"socket_cut", "model_dies", "model_stays_away", "rest_fails"})


class DemoFailed(Exception):
    """A step of the demo failed; the message is the one sentence for the terminal."""


def run(settings: Settings, scenario_name: str, out: Path, *, live: bool) -> int:
    """The whole demo; returns the exit code. Raises DemoFailed."""
    try:
        scenario = load(scenario_name)
        script = Script.from_table(scenario.model)
    except (ScenarioError, ScriptError) as error:
        raise DemoFailed(str(error)) from None
    beyond = sorted({trouble.does for trouble in scenario.trouble} - MAKEABLE)
    if beyond:
        raise DemoFailed(f"{scenario.name} needs {', '.join(beyond)}, which only the plays of `make test` can make")
    _say(f"the scenario is {scenario.name}: {scenario.title}")
    _say(f"starting Postgres in {settings.data_dir}/postgres")
    with database(settings.database_url, settings.data_dir) as url:
        applied = migrate(url)
        _say("applied " + ", ".join(applied) if applied else "its tables are up to date")
        return trio.run(partial(_play, settings, scenario, script, url, out, live=live))


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


async def _play(settings: Settings, scenario: Scenario, script: Script, url: str, out: Path, *, live: bool) -> int:
    model = StandInModel(script)
    business = business_app(faults=Faults.from_table(scenario.backend) if scenario.backend else None)
    port = settings.port if "PORT" in os.environ else free_port()
    target = Target(f"http://127.0.0.1:{port}", ACCOUNT, NUMBER)
    exchange = target.exchange(partial(tell_event, print))
    exchange.seed = secrets.randbits(32)  # a CallSid of its own, in a database that keeps older demos
    rest = RestApi(exchange)
    async with trio.open_nursery() as nursery:
        line = _ModelLine(model)
        model_port = 0 if live else await nursery.start(line.serve)
        business_urls = await nursery.start(partial(serve_business, 0, business))
        rest_port = await nursery.start(serve_http, cast("ASGIFramework", asgi_app(rest)), 0)
        environment = environment_of(target.url, url, settings.data_dir, model_port, rest_port, business_urls[0])
        if live:
            environment |= {
                "OPENAI_API_KEY": settings.openai_api_key,
                "OPENAI_REALTIME_URL": settings.openai_realtime_url,
            }
        environment |= scenario.relay
        log_path = settings.data_dir / "demo-relay.log"
        with ExitStack() as daemons:
            hands = _Hands(environment, log_path, daemons, line, rest)
            daemon = await hands.start_relay()
            _say("it takes calls; the stand-in Twilio rings\n")
            began_at = time.monotonic()
            ask = partial(evidence, url, business)
            got = await run_scenario(scenario, exchange, ask, narrate=True, stagehand=hands.make)
            if daemon.poll() is not None:
                raise DemoFailed(f"the relay stopped in the middle of the call; see {log_path}")
            wall_s = time.monotonic() - began_at
        nursery.cancel_scope.cancel()
    wrong = got.check(scenario.expect if not live else scenario.expect.without_ledger())
    _conclude(got, wrong, url, out, wall_s, model)
    return 1 if wrong and not live else 0


class _ModelLine:
    """The stand-in model's port: it can be cut, for a moment or for good."""

    def __init__(self, model: StandInModel) -> None:
        self._model = model
        self._scope = trio.CancelScope()
        self._port = 0
        self.is_gone = False

    async def serve(self, task_status: trio.TaskStatus[int]) -> None:
        """Serve; after a cut again, on the same port."""
        told = False
        while not self.is_gone:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    self._port = await nursery.start(partial(self._model.serve, self._port))
                    if not told:
                        task_status.started(self._port)
                        told = True
                    await trio.sleep_forever()

    def cut(self, *, for_good: bool) -> None:
        """Every connection breaks."""
        self.is_gone = for_good
        self._scope.cancel()


class _Hands:
    """Makes a scenario's troubles with real processes and sockets."""

    def __init__(
        self, environment: dict[str, str], log_path: Path, daemons: ExitStack, line: _ModelLine, rest: RestApi
    ) -> None:
        self._environment, self._log_path, self._daemons = environment, log_path, daemons
        self._line, self._rest = line, rest

    async def start_relay(self) -> subprocess.Popen[bytes]:
        """A relay process that takes calls. Raises DemoFailed."""
        daemon = self._daemons.enter_context(serving(self._environment, self._log_path))
        _say(f"relay serve is process {daemon.pid}, its log is {self._log_path}")
        await wait_until_ready(self._environment["PUBLIC_URL"], daemon, self._log_path)
        return daemon

    async def make(self, trouble: str) -> None:
        """One trouble, by its name in a scenario."""
        match trouble:
            case "model_dies" | "model_stays_away":
                self._line.cut(for_good=trouble == "model_stays_away")
            case "rest_fails":
                self._rest.faults.broken = 1_000
            case _:
                raise AssertionError(f"{trouble} is none of {sorted(MAKEABLE)}")


def environment_of(
    public_url: str, database_url: str, data_dir: Path, model_port: int, rest_port: int, business_url: str
) -> dict[str, str]:
    """The environment of a relay that has only stand-ins around it."""
    return {
        **os.environ,
        "OPENAI_API_KEY": "sk-demo",
        "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{model_port}{PATH}",
        "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
        "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
        "TWILIO_PHONE_NUMBER": NUMBER,
        "TWILIO_API_BASE": f"http://127.0.0.1:{rest_port}",
        "BUSINESS_API_BASE": business_url,
        "HUMAN_TRANSFER_NUMBER": HUMAN,
        "PUBLIC_URL": public_url,
        "PORT": public_url.rpartition(":")[2],
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
        "BUSINESS_NAME": "Harbor Table",
        "AGENT_NAME": "Robin",
    }


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(environment: dict[str, str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `relay serve` of its own while the block runs."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "relay", "serve"], env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


async def wait_until_ready(url: str, daemon: subprocess.Popen[bytes], log_path: Path) -> None:
    """Return once the relay takes calls. Raises DemoFailed with what it said."""
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
                    pass  # not yet
                await trio.sleep(0.1)
    lines = (await trio.Path(log_path).read_text(errors="replace")).strip().splitlines()
    last = lines[-1:] or ["(nothing was logged)"]
    if daemon.poll() is not None:
        raise DemoFailed(f"the relay stopped at its start with code {daemon.returncode}: {last[0][:300]}")
    raise DemoFailed(f"the relay was not ready within {START_LIMIT_S:.0f} s ({words}); its log is {log_path}")


async def evidence(url: str, business: BusinessApp, call_sid: str) -> Evidence:
    """What the ledger and the business know, once the outcome's row is there."""
    tables: dict[str, list[dict[str, object]]] = {}
    deadline = trio.current_time() + ROWS_LIMIT_S
    while not tables.get("call_outcomes") and trio.current_time() < deadline:
        await trio.sleep(0.2)
        try:
            tables = await trio.to_thread.run_sync(history.rows_of_call, url, call_sid)
        except LedgerUnavailable as error:
            raise DemoFailed(f"Postgres could not be read: {error}") from None
    outcome = (tables.get("call_outcomes") or [{}])[-1]
    return Evidence(
        end_reason=str(outcome.get("end_reason") or ""),
        outcome=str(outcome.get("outcome") or ""),
        functions=[str(row["name"]) for row in tables.get("function_calls", []) if row.get("ok") is not None],
        transcript=[(str(row["role"]), str(row["said"] or "")) for row in tables.get("transcripts", [])],
        rows={name: len(found) for name, found in tables.items()},
        bookings=len(business.diary.bookings),
        messages=len(business.diary.messages),
        asked=business.asked,
    )


def _conclude(got: CallReport, wrong: list[str], url: str, out: Path, wall_s: float, model: StandInModel) -> None:
    for line in summary([got], {got.call_sid: wrong}):
        print(line)
    try:
        tables = history.rows_of_call(url, got.call_sid)
    except LedgerUnavailable as error:
        raise DemoFailed(f"Postgres could not be read: {error}") from None
    outcome = (tables["call_outcomes"] or [{}])[-1]
    functions = ", ".join(f"{row['name']} ({'ok' if row['ok'] else 'failed'})" for row in tables["function_calls"])
    print(f"  functions {functions or 'none'}")
    print(f"  barge-in  {outcome.get('barge_ins')} of the caller")
    print(f"  cost      {outcome.get('cost_usd')} USD of model tokens")
    print(f"  end       {outcome.get('end_reason')}, outcome {outcome.get('outcome')}; {wall_s:.0f} s in real time")
    if model.babbled:
        print(f"  babbled   {len(model.babbled)} texts have no recorded clip and were babbled")
    out.parent.mkdir(parents=True, exist_ok=True)
    got.write_wav(out)
    print(f"  wav       {out} (caller left, what the caller heard right)")
    print(f"\nthe rows in Postgres ({got.call_sid}):")
    for name, found in tables.items():
        print(f"{name}: {len(found)}")
        for row in found:
            shown = {key: value for key, value in row.items() if value is not None and key != "call_sid"}
            print("    " + "  ".join(f"{key}={_short(value)}" for key, value in shown.items()))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
