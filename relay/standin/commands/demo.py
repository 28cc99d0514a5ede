"""`relay demo`: makes a simulated call to a real `relay serve`, whose peers are stand-ins.

With `--live` the model is OpenAI's own. The conversation is printed during the call. After it, the figures and the rows
in Postgres are printed, and the recording is written as a WAV (caller left, what the caller heard right). If a step
fails, one sentence says so, and the exit code is not 0.
"""

from __future__ import annotations

import collections
import datetime as dt
import os
import re
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import psycopg
import trio
from hypercorn.typing import ASGIFramework

from relay.business.diary_postgres import PostgresDiary
from relay.business.owner_files import read
from relay.ledger import history
from relay.ledger.dev_postgres.embedded import database
from relay.ledger.migrate import migrate
from relay.ledger.port import LedgerUnavailable
from relay.phrases.prompts import PromptsInvalid
from relay.recordings.cipher import new_key
from relay.recordings.commands import listen
from relay.recordings.listening import NotHeard
from relay.settings import Settings, SettingsInvalid
from relay.settings import load as load_settings
from relay.standin.business.app import BusinessApp, business_app, serve_business, stage_diary
from relay.standin.business.faults import Faults
from relay.standin.commands.call import Target, serve_http, summary, tell_event
from relay.standin.commands.demo_stage import (
    ACCOUNT,
    NOT_HERE,
    NUMBER,
    STAGE,
    DemoFailed,
    TroubleMaker,
    another_voice,
    environment_of,
    say,
    stop_when_told,
)
from relay.standin.elevenlabs.server import StandInVoice
from relay.standin.elevenlabs.voice_script import VoiceScript
from relay.standin.model.script import Script, ScriptError
from relay.standin.model.server import StandInModel
from relay.standin.own_environment import OF_THE_MODEL, only_own_environment
from relay.standin.ports import free_port
from relay.standin.scenario import fitting, own_business
from relay.standin.scenario.report import CallReport, Evidence
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, ScenarioError, load
from relay.standin.speech.audio_files import check_writable
from relay.standin.twilio.exchange import Exchange
from relay.standin.twilio.rest import RestApi, asgi_app
from relay.telemetry.errors import first_error

__all__ = ["DemoFailed", "bugs", "evidence", "lacking", "run", "settings_of"]

# The demo waits this long for the last rows. They come soon after the call, or when Postgres is back.
ROWS_LIMIT_S = 10.0
# Events in the log that only a bug of the relay can cause.
OUR_BUGS = frozenset(
    {
        "call.broke",
        "connection.crashed",
        "function.bug",
        "ledger.row_refused",
        "model.warm_session_broke",
        "relay.task_broke",
        "webhook.broke",
    }
)


def utc_now() -> dt.datetime:
    """The clock of the demo. It is the machine's clock, because the relay's process uses it too."""
    return dt.datetime.now(dt.UTC)


def settings_of(out: Path, *, live: bool) -> Settings:
    """The settings of the demo. Its data folder is beside the WAV, and its database is in the data folder."""
    also = OF_THE_MODEL if live else ()
    environ = {name: value for name, value in os.environ.items() if name in also}
    folder = out.with_suffix("") if out.suffix else out.with_name(f"{out.name}.data")
    return load_settings(environ | {"DATA_DIR": str(folder.absolute())}, serving=False)


def run(
    settings: Settings, scenario_name: str, out: Path, *, live: bool, console: bool = False, voice: str = "openai"
) -> int:
    """Run the demo, and return the exit code. Raises DemoFailed.

    Most variables of the environment are removed first, because exported settings may belong to a relay that takes real
    calls.
    """
    with only_own_environment(OF_THE_MODEL if live else ()):
        return _run(settings, scenario_name, out, live=live, console=console, voice=voice)


def _run(settings: Settings, scenario_name: str, out: Path, *, live: bool, console: bool, voice: str) -> int:
    try:
        scenario = load(scenario_name)
        table = STAGE | {"RECORD": "on", "RECORDING_KEY": key_of(settings)} | fitting.settings_of(scenario, utc_now())
        if scenario.business.file:
            zone = load_settings(table, serving=False).tz
            table |= own_business.settings_of(scenario.business, settings.data_dir, zone, utc_now())
        played = load_settings(table, serving=False)
        found = read(played)
        own = fitting.own_words(played, found.prompts, utc_now(), is_closed=found.is_closed(utc_now()))
        scenario = msgspec.structs.replace(fitting.fitted(scenario, own), relay=table)
        if voice != "openai" and scenario.voice is None:
            scenario = msgspec.structs.replace(scenario, voice={})
        script = Script.from_table(scenario.model, played.business_tz)
    except (ScenarioError, ScriptError, SettingsInvalid, PromptsInvalid) as error:
        raise DemoFailed(str(error)) from None
    try:
        check_writable(out)
    except OSError as error:
        raise DemoFailed(f"the call cannot be written to {out}: {error}") from None
    beyond = sorted({trouble.does for trouble in scenario.trouble} & NOT_HERE)
    if beyond:
        raise DemoFailed(
            f"{scenario.name} needs {', '.join(beyond)}, which takes minutes: the plays of `make test` do it"
        )
    say(f"the scenario is {scenario.name}: {scenario.title}")
    say(f"starting Postgres in {settings.data_dir}/postgres")
    with database(settings.database_url, settings.data_dir) as url:
        applied = migrate(url)
        say("applied " + ", ".join(applied) if applied else "its tables are up to date")
        if settings.database_url == "embedded":  # The demo has its own database, in its own folder.
            _empty_diary(url)
        try:
            stage = _Stage(settings, played, scenario, script, own.spoken)
            return trio.run(partial(_play, stage, url, out, live=live, console=console))
        except BaseExceptionGroup as group:  # The nursery wraps the error in a group.
            failed, others = group.split(DemoFailed)
            if failed is None or others is not None:
                raise
            raise DemoFailed(str(first_error(failed))) from None


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the demo plays: the scenario, the settings of the demo, and the settings of its relay (`relays`)."""

    settings: Settings
    relays: Settings
    scenario: Scenario
    script: Script
    known_words: tuple[str, ...]

    @property
    def is_embedded(self) -> bool:
        """True if the backend is embedded. False if the scenario needs the stand-in backend, or takes Postgres away."""
        asks = self.scenario.backend or self.scenario.expect.asked
        return not asks and not any(trouble.does.startswith("postgres") for trouble in self.scenario.trouble)


async def _play(stage: _Stage, url: str, out: Path, *, live: bool, console: bool) -> int:
    settings, scenario = stage.settings, stage.scenario
    expect = scenario.expect if not live else scenario.expect.without_ledger()
    model = StandInModel(stage.script, utc_now, scenario.sayings())
    faults = Faults.from_table(scenario.backend) if scenario.backend else None
    business = business_app(stage_diary(stage.relays.tz, utc_now), faults)
    log_path = settings.data_dir / "demo-relay.log"
    log_path.unlink(missing_ok=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_when_told)
        with ExitStack() as daemons:
            hands = TroubleMaker({trouble.does for trouble in scenario.trouble}, daemons, nursery, log_path)
            port = free_port()
            target = Target(f"http://127.0.0.1:{await hands.public_port(port)}", ACCOUNT, NUMBER)
            exchange = target.exchange(partial(tell_event, print))
            hands.rest = RestApi(exchange)
            hands.spend_the_day = partial(_spend_the_day, exchange)
            hands.owner = partial(_owner_does, stage, url)
            model_port = 0 if live else await hands.model_port(await nursery.start(model.serve, 0))
            speaks: dict[str, str] = {}
            if scenario.voice is not None and not live:
                voice = StandInVoice(VoiceScript.from_table(scenario.voice), model.said)
                speaks = another_voice(await nursery.start(voice.serve, 0))
                say("the model writes, and the stand-in of ElevenLabs speaks")
            backend = "embedded"
            if not stage.is_embedded:
                (backend, *_) = await nursery.start(partial(serve_business, 0, business))
            rest_port = await nursery.start(serve_http, cast("ASGIFramework", asgi_app(hands.rest)), 0)
            relays_url = await hands.database_url(url)
            environment = environment_of(
                target.url, port, relays_url, settings.data_dir, model_port, rest_port, backend
            )
            if live:
                environment |= {name: str(getattr(settings, name.lower())) for name in OF_THE_MODEL}
            await hands.start_relay(environment | scenario.relay | speaks)
            say("it takes calls; the stand-in Twilio rings\n")
            began_at = time.monotonic()
            ask = partial(evidence, url, None if stage.is_embedded else business)
            got = await run_scenario(
                scenario, exchange, ask, narrate=True, stagehand=hands.make, known_words=stage.known_words
            )
            if hands.relay_fell:
                raise DemoFailed(f"the relay stopped in the middle of the call; see {log_path}")
            wall_s = time.monotonic() - began_at
            if console:
                _conclude(got, got.check(expect) + bugs(log_path), settings, url, out, wall_s, model)
                await _show_console(f"http://127.0.0.1:{port}/console/")
        nursery.cancel_scope.cancel()
    wrong = got.check(expect) + bugs(log_path)  # The log has the relay's stop now.
    if not console:
        _conclude(got, wrong, settings, url, out, wall_s, model)
    return 1 if wrong and not live else 0


async def _show_console(address: str) -> None:
    """Keep the demo running until Ctrl-C, so that the user can see and hear the call in the console."""
    print(f"\nthe console is at {address} (Ctrl-C ends the demo)", flush=True)
    print(f"talk to the agent yourself at {address}talk", flush=True)
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)


async def _owner_does(stage: _Stage, url: str, trouble: str) -> None:
    """Do what the scenario wants the owner to do during the call."""
    business, path = stage.scenario.business, stage.settings.data_dir / own_business.FILE_NAME
    match trouble:
        case "business_changes":
            own_business.change(business, path, stage.relays.tz, utc_now())
        case "business_breaks":
            own_business.break_(path)
        case "slot_is_taken":
            diary = PostgresDiary(url)
            await diary.write(partial(own_business.take_slot, business, path, utc_now()), limit_s=10.0)
            await diary.close()


async def _spend_the_day(exchange: Exchange) -> None:
    """Make another call. It costs more than the scenario's MAX_DAY_USD."""
    say("another call spends the day's money first\n")
    await run_scenario(load("good_call"), exchange)


async def evidence(url: str, business: BusinessApp | None, call_sid: str) -> Evidence:
    """Wait for the call's row in call_outcomes, and return what the ledger and the business know of the call.

    If there is no stand-in business, the bookings in the relay's own diary are counted.
    """
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
        cut=sum(bool(row["interrupted"]) for row in tables.get("transcripts", [])),
        transfer=str(outcome.get("transfer_result") or ""),
        rows={name: len(found) for name, found in tables.items()},
        bookings=len(business.diary.bookings) if business else await trio.to_thread.run_sync(_booked, url),
        messages=len(business.diary.messages) if business else len(tables.get("messages", [])),
        asked=business.asked if business else {},
    )


def _booked(url: str) -> int:
    """The number of appointments in the demo's diary. It was empty when the demo began."""
    with psycopg.connect(url) as connection:
        (count,) = connection.execute("select count(*) from appointments").fetchone() or (0,)
    return int(count)


def _empty_diary(url: str) -> None:
    """Remove the bookings of earlier demos. Otherwise, after about ten demos on one day, no table would be free."""
    with psycopg.connect(url) as connection:
        connection.execute("truncate appointments, appointment_history, blocks restart identity")


def key_of(settings: Settings) -> str:
    """The key for the demo's recordings. It is stored beside them, because they contain no secrets."""
    path = settings.data_dir / "recording.key"
    try:
        return path.read_text("ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(key := new_key(), "ascii")
        return key


def write_sound(settings: Settings, url: str, got: CallReport, out: Path) -> str:
    """Write the call's WAV, and return a description of it."""
    try:
        listen(replace(settings, recording_key=key_of(settings)), url, got.call_sid, out)
        return "the relay's recording, decrypted: caller left, what the caller heard right"
    except NotHeard as error:
        got.write_wav(out)
        return f"as the stand-in caller heard it: {error}"


def _conclude(
    got: CallReport, wrong: list[str], settings: Settings, url: str, out: Path, wall_s: float, model: StandInModel
) -> None:
    for line in summary([got], {got.call_sid: wrong}):
        print(line)
    try:
        tables = history.rows_of_call(url, got.call_sid)
    except LedgerUnavailable as error:
        raise DemoFailed(f"Postgres could not be read: {error}") from None
    outcome = next(iter(reversed(tables["call_outcomes"])), None)
    functions = ", ".join(f"{row['name']} ({'ok' if row['ok'] else 'failed'})" for row in tables["function_calls"])
    print(f"  functions {functions or 'none'}")
    if outcome:
        print(f"  barge-in  {outcome['barge_ins']} of the caller")
        print(f"  cost      {outcome['cost_usd']} USD of tokens and characters")
        if outcome.get("voice_fault"):
            print(f"  voice     lost ({outcome['voice_fault']}): the model spoke by itself")
        print(f"  end       {outcome['end_reason']}, outcome {outcome['outcome']}")
    else:
        print("  end       no row in call_outcomes: the relay was not there to write it")
    print(f"  took      {wall_s:.0f} s in real time")
    for line in lacking(model):
        print(f"  {line}")
    print(f"  wav       {out} ({write_sound(settings, url, got, out)})")
    print(f"\nthe rows in Postgres ({got.call_sid}):")
    for name, found in tables.items():
        print(f"{name}: {len(found)}")
        for row in found:
            shown = {key: value for key, value in row.items() if value is not None and key != "call_sid"}
            print("    " + "  ".join(f"{key}={_short(value)}" for key, value in shown.items()))


def bugs(log_path: Path) -> list[str]:
    """A line for each kind of event in the relay's log that shows a bug. No scenario and no fault may cause one."""
    try:
        lines = log_path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = [re.search(r'"event": "([a-z_.]+)"', line) for line in lines]
    found = collections.Counter(event[1] for event in events if event is not None and event[1] in OUR_BUGS)
    return [f"a bug of the relay's own: {event}, {times} times; see {log_path}" for event, times in found.items()]


def lacking(model: StandInModel) -> list[str]:
    """What the scenario asks for and the stand-in model could not do: words without a clip, unknown functions."""
    babbled = [f"babbled   {text} (no recorded clip)" for text in model.babbled]
    return babbled + [f"script    {note}" for session in model.sessions for note in session.report.notes]


def _short(value: object) -> str:
    text = f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
