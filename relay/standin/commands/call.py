"""`relay call` and `relay standin caller`: the stand-in Twilio calls any relay, local or deployed."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from relay.settings import Settings
from relay.standin.commands.rehearsed import Rehearsed, judged
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import Scenario, ScenarioError, load, of_recording
from relay.standin.speech.audio_files import check_writable
from relay.standin.twilio.call_state import OnEvent
from relay.standin.twilio.exchange import Account, Exchange, PhoneNumber
from relay.standin.twilio.relay_connections import NetworkConnections
from relay.standin.twilio.rest import Receive, RestApi, RestFaults, Scope, Send, asgi_app
from relay.telemetry.errors import first_error

OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: as expected, an expectation failed, wrong use, the relay cannot be reached."""

NO_CONNECTION = (11205, 11220)
WEBHOOK = "/twilio/incoming"
OUR_NUMBER = "+12125550190"

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A relay to call: its public URL, the Twilio account that it uses, and the number to dial."""

    url: str
    account: Account
    number: str = OUR_NUMBER
    rehearsed: Rehearsed = field(default_factory=lambda: Rehearsed(Settings()))

    @property
    def unusable(self) -> str:
        """A sentence that says why this relay cannot be called. "" if it can be called."""
        if not _is_origin(self.url):
            return f"This is not an http or https URL of a relay: {self.url!r}. Write it like http://127.0.0.1:8080"
        if not self.account.auth_token:
            return "TWILIO_AUTH_TOKEN is needed to sign the requests: set the token that the relay has."
        return ""

    def exchange(self, on_event: OnEvent) -> Exchange:
        """An exchange whose number points to this relay, as an operator would set it up.

        Each exchange makes new CallSids, because a relay takes a known CallSid for the same call.
        """
        parts = urlsplit(self.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        url = self.url if parts.path.strip("/") else origin + WEBHOOK
        number = PhoneNumber(self.number, url, status_callback=origin + "/twilio/status")
        return Exchange(NetworkConnections(), self.account, number, on_event=on_event, seed=secrets.randbits(64))


async def main_call(
    target: Target,
    *,
    scenario: str | None = None,
    wav: Path | None = None,
    out: Path | None = None,
    count: int = 1,
    rest_port: int | None = None,
    as_json: bool = False,
    tell: Line = print,
) -> int:
    """Make `count` calls to a relay at the same time. Print what happens, and a report. Returns the exit code.

    With `rest_port`, Twilio's REST API is served at this port, for a relay whose TWILIO_API_BASE leads there.
    """
    if words := target.unusable:
        tell(words)
        return USAGE
    try:
        play = of_recording(wav) if wav is not None else load(scenario or "good_call")
        _check_troubles(play, with_rest=rest_port is not None)
        fitted = [target.rehearsed.fit(play, number) for number in range(count)]
        if out is not None:
            check_writable(out)
    except ScenarioError as error:
        tell(str(error))
        return USAGE
    except OSError as error:
        tell(f"The call cannot be written to {out}: {error}")
        return USAGE
    exchange = target.exchange(partial(tell_event, tell) if count == 1 and not as_json else lambda kind, fields: None)
    rest = RestApi(exchange)
    reports: list[CallReport] = []

    async def one(play: Scenario, known_words: tuple[str, ...]) -> None:
        narrate = count == 1 and not as_json
        reports.append(
            await run_scenario(play, exchange, narrate=narrate, stagehand=rest.make_trouble, known_words=known_words)
        )

    async with trio.open_nursery() as nursery:
        taken: BaseException | None = None
        if rest_port is not None:
            try:
                bound = await nursery.start(serve_http, asgi_app(rest), rest_port)
                if not as_json:
                    tell(f"Twilio's REST API is on {_here(bound)}: point the relay's TWILIO_API_BASE there.")
            except* OSError as group:
                taken = first_error(group)
        if taken is not None:
            tell(f"The port {rest_port} cannot be used: {taken}. Give another with --rest-port")
            return USAGE
        async with trio.open_nursery() as calls:
            for mine in fitted:
                calls.start_soon(one, *mine)
        nursery.cancel_scope.cancel()
    return _conclude(reports, fitted[0][0], out, as_json, tell)


def _check_troubles(play: Scenario, *, with_rest: bool) -> None:
    """Raise ScenarioError if a scenario needs troubles that `relay call` cannot make."""
    ours = {each.does for each in play.trouble if each.does == "socket_cut" or (with_rest and each.of_rest)}
    if beyond := sorted({each.does for each in play.trouble} - ours):
        way = " (or serve the REST API, with --rest-port)" if all(each.of_rest for each in play.trouble) else ""
        raise ScenarioError(f"{play.name} needs {', '.join(beyond)}: only relay demo --scenario makes that{way}")


def _here(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _conclude(reports: list[CallReport], play: Scenario, out: Path | None, as_json: bool, tell: Line) -> int:
    expect = play.expect.without_ledger()
    verdicts = {each.call_sid: judged(each, expect) for each in reports}
    wrong = {call_sid: words for call_sid, (words, _) in verdicts.items()}
    reached = [each for each in reports if each.streams or not any(c.code in NO_CONNECTION for c in each.complaints)]
    if not reached:
        wrong = {call_sid: ["the relay cannot be reached"] for call_sid in wrong}
    if out is not None:
        reports[0].write_wav(out)
    if as_json:
        tell(json.dumps([each.as_dict() | {"wrong": wrong[each.call_sid]} for each in reports], indent=2))
    elif not reached:
        tell(f"\n{_calls(reports)}" + (f": {reports[0].complaints[0]}" if len(reports) > 1 else ""))
        tell("The relay cannot be reached: is `relay serve` running, and is this its address?")
    else:
        for line in summary(reports, wrong):
            tell(line)
        if out is not None:
            tell(f"The first call, caller left, what they heard right: {out}")
        if expect != play.expect:
            tell("What the scenario expects of the ledger cannot be seen from here and was not checked.")
        for note in sorted({note for _, note in verdicts.values() if note}):
            tell(note)
        given = " and ".join(f"[{name}]" for name in ("model", "voice", "backend") if getattr(play, name))
        if given:
            tell(f"This relay was called as it is. Only `relay demo --scenario` uses the scenario's {given}.")
    if not reached:
        return UNREACHABLE
    return FAILED if any(wrong.values()) else OK


def _calls(reports: Sequence[CallReport]) -> str:
    return f"{len(reports)} call{'s' if len(reports) > 1 else ''}, {reports[0].scenario}"


def summary(reports: Sequence[CallReport], wrong: dict[str, list[str]]) -> list[str]:
    """The report as lines of text."""
    lines = ["", _calls(reports)]
    lines.append(_row("greeting", [r.greeting_ms for r in reports if r.greeting_ms is not None], "ms after `start`"))
    lines.append(_row("pick-up", [r.pickup_ms for r in reports if r.pickup_ms is not None], "ms after the ring"))
    lines.append(_row("answers", [ms for r in reports for ms in r.latencies_ms], "ms after the caller's last sound"))
    lines.append(_row("stops", [ms for r in reports for ms in r.stops_ms], "ms after the caller's first sound"))
    lines.append(_row("gaps", [ms for r in reports for ms in r.gaps_ms], "ms in the middle of speech"))
    for each in reports:
        if each.dialled:
            bridged = f", bridged for {each.bridged_s:.0f} s" if each.bridged_s else ", not bridged"
            lines.append(f"  dialled   {', '.join(each.dialled)}{bridged}")
        lines += [f"  complaint {complaint}" for complaint in each.complaints if complaint.level != "note"]
        if any("HTTP 403" in complaint.rule for complaint in each.complaints):
            lines.append("  The relay answered 403: is TWILIO_AUTH_TOKEN the one it has, and PUBLIC_URL this URL?")
        lines.append(f"  ended     by {each.ended_by} after {each.duration_s:.1f} s ({each.call_sid})")
        lines += [f"  babbled   {text} (no recorded clip)" for text in each.babbled]
        lines += [f"  WRONG     {words}" for words in wrong[each.call_sid]]
    lines.append("as expected" if not any(wrong.values()) else "NOT as expected")
    return lines


def _row(name: str, values: list[int], unit: str) -> str:
    if not values:
        return f"  {name:<9} none"
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    if len(values) <= 6:
        return f"  {name:<9} {', '.join(map(str, values))} {unit}"
    return f"  {name:<9} p50 {middle}, p95 {high}, max {ordered[-1]} {unit} (of {len(values)})"


def tell_event(tell: Line, kind: str, fields: dict[str, Any]) -> None:
    """Print a line for an event, if the event is in the table and is not a note."""
    words = {
        "ringing": "rings     {number}, from {caller}",
        "twiml": "twiml     {url} in {took_ms} ms",
        "stream_started": "stream    {url}",
        "first_media": "audio     {after_ms} ms after `start`",
        "caller_said": "caller    {text}",
        "caller_pressed": "caller    presses {key}",
        "agent_said": "agent     {text}",
        "agent_said_by_twilio": "twilio    {text}",
        "cleared": "cut       after {heard_ms} ms, {lost_ms} ms unheard",
        "dialled": "dials     {number}",
        "whisper": "whisper   {text}",
        "human_answered": "human     answers",
        "human_pressed": "human     presses {key}",
        "bridged": "bridged   the caller talks to {number}",
        "redirected_by_rest": "rest      a new document",
        "fallback": "fallback  {url} ({code})",
        "complaint": "complaint {text}",
        "ended": "ended     by {by}",
    }.get(kind)
    if words is None or fields.get("level") == "note":
        return
    if kind == "agent_said" and not fields["text"]:
        fields = fields | {"text": "(cut off, or words without a clip)"}
    tell(f"{fields['at_s']:7.2f}  {words.format(**fields)}")


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # The port or the address is invalid.
        return False


async def serve_http(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    port: int,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application on loopback until cancelled. `task_status` is started with its port."""
    config = Config()
    config.bind, config.graceful_timeout = [f"127.0.0.1:{port}"], 0.2
    config.errorlog = logging.getLogger("relay.standin.http")
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(
            partial(serve, app, config, mode="asgi", shutdown_trigger=trio.sleep_forever)  # type: ignore[arg-type]
        )
        task_status.started(int(binds[0].rpartition(":")[2]))


async def main_caller(
    target: Target, port: int, tell: Line = print, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run the exchange as a server: Twilio's REST API, `POST /standin/ring?scenario=NAME`, `GET /standin/calls`."""
    exchange = target.exchange(partial(tell_event, tell))
    reports: dict[str, dict[str, Any]] = {}
    rest = RestApi(exchange)
    rest_app = asgi_app(rest)
    async with trio.open_nursery() as nursery:

        async def ring(play: Scenario) -> None:
            rest.faults = RestFaults()
            fitted, known_words = target.rehearsed.fit(play)
            done = await run_scenario(
                fitted, exchange, narrate=True, stagehand=rest.make_trouble, known_words=known_words
            )
            wrong, _ = judged(done, fitted.expect.without_ledger())
            reports[done.call_sid] = done.as_dict() | {"wrong": wrong}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/standin/"):
                await rest_app(scope, receive, send)
                return
            status, value = 404, dict[str, Any](error="POST /standin/ring?scenario=NAME or GET /standin/calls")
            if (scope["method"], scope["path"]) == ("POST", "/standin/ring"):
                name = parse_qs(scope["query_string"].decode("latin-1")).get("scenario", ["good_call"])[0]
                try:
                    play = load(name)
                    _check_troubles(play, with_rest=True)
                    target.rehearsed.fit(play)
                    nursery.start_soon(ring, play)
                    status, value = 202, {"scenario": name}
                except ScenarioError as error:
                    status, value = 400, {"error": str(error)}
            elif (scope["method"], scope["path"]) == ("GET", "/standin/calls"):
                status, value = 200, reports
            body = json.dumps(value).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        bound = await nursery.start(serve_http, app, port)
        tell(f"The stand-in Twilio listens on {_here(bound)}: point the relay's TWILIO_API_BASE there.")
        tell(f"To ring {target.url}: curl -X POST '{_here(bound)}/standin/ring?scenario=good_call'")
        tell(f"The reports of the calls that are over: curl {_here(bound)}/standin/calls")
        task_status.started(bound)
