"""Runs the load: many callers and their model in one small process, against a real relay process.

A step is a measurement with one number of calls. The load returns the figures of each step.

The relay runs on one core and the load on another, so that only the relay is measured. The load measures itself too. If
it uses more than `LOAD_LIMIT` of its core, the figures are not valid, and the step says so. bench/ and `relay bench`
use this load.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.standin.load.caller import Caller
from relay.standin.load.loop import Loop, clock
from relay.standin.load.model import TURN_S, Listener, Session
from relay.standin.load.process_figures import ProcessFigures, rss_mb
from relay.standin.load.stage import CallerEnd, ModelEnd, Target, Window
from relay.standin.own_environment import own_environment
from relay.standin.ports import free_port

LOAD_LIMIT = 0.70
READY_LIMIT_S = 40.0
CALL_LIMIT_S = 15.0
# A step is measured from this long after its last call has begun, when the greeting and the first turns are over.
SETTLE_S = 10.0
# Calls begin one by one, so that it is known to which call a model session belongs. At most this many calls begin in a
# second.
RINGS_PER_S = 20.0
STOP_LIMIT_S = 8.0


class LoadFailed(Exception):
    """There are no figures. The message says what failed and, if possible, what to do."""


@dataclass(frozen=True, slots=True)
class Relay:
    """How to start the relay that is measured. `{port}`, `{model_url}` and `{certificate}` are filled in."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    webhook_path: str = "/twilio/incoming"
    # This path answers 200 when the relay takes calls. None means that the relay takes calls when its port is open.
    ready_path: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in ms."""

    p50: float
    p99: float
    most: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """The distribution of values in seconds. If there are no values, its times are nan."""
        ordered = sorted(seconds)
        if not ordered:
            return cls(float("nan"), float("nan"), float("nan"), 0)

        def at(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2)

        return cls(at(0.50), at(0.99), at(1.0), len(ordered))


@dataclass(frozen=True, slots=True)
class Step:
    """The figures of one step."""

    relay: str
    calls: int
    seconds: float
    up: Spread
    down: Spread
    dry_ms: float  # Silence inside answers in ms, summed over all calls.
    lost_markers: int  # Markers that were sent more than a second ago and that the model has not received.
    appends_a_frame: float
    cpu_ms_per_call_s: float
    relay_busy: float  # The share of its core that the relay used.
    rss_mb: float
    load_busy: float
    load_late: Spread
    others_busy: float  # The share of the relay's core that other programs used.
    failures: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        """False if the load itself was too busy. The figures are then not valid."""
        return self.load_busy <= LOAD_LIMIT

    def keeps_up(self, limit_ms: float = 40.0) -> bool:
        """True if no call failed and no audio was late: p99 within the limit in both directions, no lost marker, and
        less than 1 ms of gaps a call."""
        in_time = self.up.p99 <= limit_ms and self.down.p99 <= limit_ms
        return in_time and not self.failures and not self.lost_markers and self.dry_ms < self.calls


class Load:
    """The callers and the model of one relay. Each caller takes a turn every `turn_s` seconds."""

    # bench/turns uses other callers and another model.
    caller_class: type[Caller] = Caller
    session_class: type[Session] = Session

    def __init__(self, target: Target, loop: Loop, run_id: int, turn_s: float = TURN_S) -> None:
        self.target, self.loop, self.run_id, self.turn_s = target, loop, run_id, turn_s
        self.window = Window()
        self.failures: list[str] = []
        self.callers: list[Caller] = []
        self.sessions = 0
        self._ringing: CallerEnd | None = None

    def new_session(self, session: ModelEnd) -> None:
        """The relay has opened a model session. It belongs to the call that is being set up, if this has none yet."""
        self.sessions += 1
        caller = self._ringing
        if caller is not None and caller.session is None:
            session.caller, caller.session = caller, session

    def ring_up_to(self, calls: int) -> None:
        """Set up calls, one after the other, until `calls` of them run. Raises LoadFailed."""
        while len(self.callers) < calls:
            self._ring()
        self._ringing = None

    def _ring(self) -> None:
        began = clock()
        caller = self.caller_class(self, len(self.callers) + 1)
        self._ringing = caller
        self.callers.append(caller)
        done = self.loop.run(lambda: self._is_up(caller), CALL_LIMIT_S)
        if caller.failure or not done or caller.session is None:
            raise LoadFailed(f"call {caller.number} did not come about: {caller.failure or 'no model session'}")
        caller.session.begin_turns(caller)
        self.loop.run(lambda: clock() - began >= 1 / RINGS_PER_S, 1.0)

    @staticmethod
    def _is_up(caller: Caller) -> bool:
        return bool(caller.failure) or (caller.is_streaming and caller.session is not None)

    def measure(self, name: str, calls: int, seconds: float, pid: int, core: int | None) -> Step:
        """Measure `calls` running calls for `seconds` seconds."""
        window = self.window = Window()
        self.failures.clear()
        for caller in self.callers:
            # Old markers do not count, because a relay may drop audio from the time before its model session was open.
            caller.up_pending.clear()
        before = ProcessFigures.of(pid, core)
        self.loop.run(lambda: False, seconds)
        spent = ProcessFigures.of(pid, core).since(before)
        lost = sum(clock() - sent > 1.0 for caller in self.callers for sent in caller.up_pending)
        frames = max(1.0, calls * spent.seconds * 50)
        return Step(
            relay=name,
            calls=calls,
            seconds=round(spent.seconds, 1),
            up=Spread.of(window.up),
            down=Spread.of(window.down),
            dry_ms=round(sum(window.dry_s) * 1000, 1),
            lost_markers=lost,
            appends_a_frame=round(window.up_messages / frames, 3),
            cpu_ms_per_call_s=round(spent.relay_s / spent.seconds / calls * 1000, 2),
            relay_busy=round(spent.relay_s / spent.seconds, 3),
            rss_mb=round(rss_mb(pid), 1),
            load_busy=round(spent.own_s / spent.seconds, 3),
            load_late=Spread.of(window.late_s),
            others_busy=round(max(0.0, spent.core_s - spent.relay_s) / spent.seconds, 3),
            failures=tuple(self.failures),
        )

    def hang_up(self) -> None:
        """End all calls."""
        for caller in self.callers:
            caller.hang_up()
        self.loop.run(lambda: False, 1.0)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for localhost and its key, with the openssl command. Raises LoadFailed."""
    cert, key = folder / "certificate.pem", folder / "key.pem"
    if shutil.which("openssl") is None:
        raise LoadFailed("the openssl command is missing: install it, because wss needs a certificate")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 -- fixed words, our own folder
    if made.returncode != 0:
        raise LoadFailed(f"openssl made no certificate: {made.stderr.decode(errors='replace')[-200:]}")
    return cert, key


@contextmanager
def running(
    relay: Relay,
    *,
    tls: bool,
    core: int | None,
    log: Path,
    run_id: int = 1,
    turn_s: float = TURN_S,
    load_class: type[Load] = Load,
    looks_every_s: float = 0.0,
) -> Iterator[tuple[Load, int]]:
    """Start the model and a relay that uses this model. Yields the load and the relay's process id.

    Raises LoadFailed.
    """
    with tempfile.TemporaryDirectory(prefix="relay-load-") as temporary:
        loop, context, cert = Loop(looks_every_s), None, Path()
        if tls:
            cert, key = certificate(Path(temporary))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
        port = free_port()
        load = load_class(Target(f"http://127.0.0.1:{port}", relay.webhook_path), loop, run_id, turn_s)
        listener = Listener(load, context)
        loop.watch(listener)
        process = _start(relay, {"port": str(port), "model_url": listener.url, "certificate": str(cert)}, core, log)
        try:
            _wait_until_ready(load, relay, process, port, log)
            yield load, process.pid
        finally:
            load.hang_up()
            process.send_signal(signal.SIGTERM)
            if not loop.run(lambda: process.poll() is not None, STOP_LIMIT_S):
                process.kill()
                process.wait()
            loop.forget(listener)
            listener.close()


def _start(relay: Relay, words: Mapping[str, str], core: int | None, log: Path) -> subprocess.Popen[bytes]:
    def fill(text: str) -> str:
        for name, value in words.items():
            text = text.replace("{" + name + "}", value)
        return text

    command = [fill(part) for part in relay.command]
    if core is not None and shutil.which("taskset") is not None:
        command = ["taskset", "-c", str(core), *command]
    environ = own_environment(os.environ) | {name: fill(value) for name, value in relay.environ.items()}
    if words["certificate"] != ".":
        environ |= {"SSL_CERT_FILE": words["certificate"], "NODE_EXTRA_CA_CERTS": words["certificate"]}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(command, env=environ, stdout=out, stderr=subprocess.STDOUT, cwd=relay.folder)  # noqa: S603


def _wait_until_ready(load: Load, relay: Relay, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    if not load.loop.run(lambda: process.poll() is not None or _is_ready(relay, port), READY_LIMIT_S):
        raise LoadFailed(f"{relay.name} took no calls within {READY_LIMIT_S:.0f} s: see {log}")
    if process.poll() is not None:
        raise LoadFailed(f"{relay.name} ended with code {process.returncode}: see {log}")
    quiet_since, known = clock(), load.sessions

    def is_quiet() -> bool:  # At its start the relay renders phrases, in sessions that belong to no call.
        nonlocal quiet_since, known
        if load.sessions != known:
            quiet_since, known = clock(), load.sessions
        return clock() - quiet_since > 2.0

    load.loop.run(is_quiet, READY_LIMIT_S)


def _is_ready(relay: Relay, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as sock:
            if relay.ready_path is None:
                return True
            sock.sendall(f"GET {relay.ready_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
