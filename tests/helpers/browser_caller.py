"""Simulates a caller in a browser, for plays: it does what the page "Talk to it" does, on the play's clock."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import trio

from relay.console.console import Console
from relay.console.reads import Reads
from relay.server import browser_calls, console_door
from relay.server.app import Daemon
from relay.server.browser_calls import BrowserCalls
from relay.server.owner import owner_of
from relay.standin.speech.voice import clips
from relay.standin.twilio.caller_speech import CallerSpeech
from relay.standin.twilio.playback import Playback, samples_at
from relay.transport.handshake import answer, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from tests.helpers.pipe import PipeWire, pipe
from tests.helpers.play import Play

ORIGIN = "http://127.0.0.1:8080"
LOCAL = {"PUBLIC_URL": ORIGIN}
OWN = {"Origin": ORIGIN}
FRAME_S = 0.02


def open_console(daemon: Daemon) -> BrowserCalls:
    """Add the console to a play's relay, as `relay serve` does. Pages that need rows do not work, because there is no
    Postgres.
    """
    calls = BrowserCalls(daemon.desk)
    console = Console(owner_of(daemon.desk, None, calls=calls), Reads("postgresql://nobody@127.0.0.1:1/none"))
    daemon.add_console(console, {browser_calls.SOCKET: calls.serve})
    return calls


async def ask(
    play: Play, method: str, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = OWN
) -> tuple[int, dict[str, Any]]:
    """Send a request as the page does. Return its status and JSON."""
    transport = httpx.ASGITransport(cast(Any, play.daemon.app))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        got = await client.request(method, path, headers=dict(headers), data=dict(form or {}))
    return got.status_code, got.json() if got.headers.get("content-type") == "application/json" else {}


async def open_socket(play: Play, path: str, headers: Mapping[str, str] = OWN) -> WebSocketEnd:
    """Open the page's socket. Raises Refused."""
    ours, theirs = pipe()

    async def serve() -> None:
        try:
            request, end = await answer(PipeWire(theirs))
        except Gone:
            return
        end.peer = "127.0.0.1"
        try:
            await play.daemon.doors[console_door.PREFIX](request, end)
        except Gone:
            pass
        finally:
            await end.close()

    play.nursery.start_soon(serve)
    return await upgrade(PipeWire(ours), f"{ORIGIN.replace('http', 'ws')}{path}", headers)


class BrowserCaller:
    """The browser's side of one call. It says clips, plays audio, and returns marks when their audio was heard."""

    def __init__(self, end: WebSocketEnd, told: Mapping[str, str]) -> None:
        self.end, self.told = end, told
        self.ear, self.mouth = Playback(), CallerSpeech()
        self.began_at = trio.current_time()
        self.gone: Gone | None = None
        self.is_over = trio.Event()
        self.clears = 0
        self.sent_ms = 0
        self.frame_s = FRAME_S

    @property
    def call_sid(self) -> str:
        """The call's sid, which the page gets in the URL of the call's end."""
        return self.told["end"].rpartition("/")[2].partition("?")[0]

    async def send(self, **message: object) -> None:
        """Send a message as the page does. Do nothing if the call is over."""
        try:
            await self.end.send(json.dumps(message).encode())
        except Gone:
            pass

    def say(self, clip: str) -> float:
        """Begin to say a clip. Return the time at which it ends, on the play's clock."""
        found = clips()[clip]
        return self.mouth.say(found.mulaw, trio.current_time(), found.text)

    async def hear(self) -> None:
        """Read the socket until it is closed."""
        try:
            while True:
                for message in await self.end.receive():
                    await self._take(json.loads(message))
        except Gone as gone:
            self.gone = gone
            self.ear.stop(trio.current_time())
            self.is_over.set()

    async def _take(self, message: dict[str, str]) -> None:
        now = trio.current_time()
        match message["kind"]:
            case "audio":
                self.ear.media(base64.b64decode(message["mulaw"]), now)
            case "mark":
                self.ear.mark(message["name"], now)
            case "clear":
                self.clears += 1
                for name in self.ear.clear(now):
                    await self.send(kind="mark", name=name)

    async def speak(self) -> None:
        """Send a frame every 20 ms, and each mark when the audio before it was heard."""
        due = trio.current_time()
        while not self.is_over.is_set():
            mulaw = self.mouth.read(samples_at(due), 160)
            await self.send(kind="audio", ms=self.sent_ms, mulaw=base64.b64encode(mulaw).decode())
            self.sent_ms += 20
            due += self.frame_s
            await trio.sleep_until(due)
            for name in self.ear.played_marks(trio.current_time()):
                await self.send(kind="mark", name=name)

    async def until_quiet(self, for_s: float = 1.0, limit_s: float = 30.0) -> None:
        """Wait until the agent has spoken and then been silent for `for_s`, or until the call is over."""
        began_at = trio.current_time()
        with trio.fail_after(limit_s):
            while not self.is_over.is_set():
                now = trio.current_time()
                last = max((end for _, end in self.ear.runs(now)), default=0.0)
                if last > began_at and now - last >= for_s:
                    return
                await trio.sleep(0.05)

    def heard(self) -> bytes:
        """All audio that was played so far, in mu-law, with silence between its parts."""
        first = samples_at(self.began_at)
        return self.ear.read(first, samples_at(trio.current_time()) - first)


@asynccontextmanager
async def browser_call(play: Play, **form: str) -> AsyncIterator[BrowserCaller]:
    """Start a call and talk while the block runs. Then close the tab, if the call still runs."""
    status, told = await ask(play, "POST", "/console/talk/call", form)
    assert status == 200, told
    caller = BrowserCaller(await open_socket(play, told["socket"]), told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.hear)
        nursery.start_soon(caller.speak)
        yield caller
        await caller.end.close(1001)
        nursery.cancel_scope.cancel()
    with trio.fail_after(10.0):
        while play.daemon.desk.live_calls:  # noqa: ASYNC110 -- a relay tells nobody that a call's rows are written
            await trio.sleep(0.1)
