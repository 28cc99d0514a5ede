"""Serves the stand-in model on a socket, like OpenAI's Realtime endpoint, for the demo, tests and rehearsals.

`StandInModel` is the server. Each connection has a `RealtimePeer`, and `websockets` does the framing. The server serves
a port (`serve`), or one Trio stream (`speak_to`) for tests on a fake clock.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import ssl
import struct
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit

import trio
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from relay.standin.model.realtime_peer import Close, Out, Ping, RealtimePeer, Send
from relay.standin.model.script import Faults, Script, ScriptError
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import Voice

PATH = "/v1/realtime"
FAULTS_HEADER = "x-standin-faults"
READ_BYTES = 65536
SLOW_READ_BYTES = 1024  # With the fault slow_read_s, each read takes at most this many bytes.
# The longest message. An append may have 15 MiB of audio (docs/protocol/openai.md 1.3), and base64 makes it one third
# larger.
MAX_MESSAGE_BYTES = 24 * 2**20
CLOSE_LIMIT_S = 2.0  # How long a client may take to answer a close frame.


class StandInModel:
    """One stand-in model: its script, its voice, and reports about its connections."""

    def __init__(
        self,
        script: Script | None = None,
        utc_now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
        hears: Iterable[str] = (),
    ) -> None:
        """Without a script, the demo's conversation is used. `utc_now` gives the date for `{tomorrow}` in the script.

        `hears` are sentences that callers say and that have no clip. The callers babble them (`speech/voice.py`). With
        `hears`, the model recognises this babble.
        """
        self.script = script if script is not None else Script()
        self.utc_now = utc_now
        self.voice = Voice(self.script.piper)
        self.recogniser = ClipRecogniser(also=hears)
        # All sessions, the newest last. The `report` of a session tells what it heard and said.
        self.sessions: list[RealtimePeer] = []
        self._connections = 0

    @property
    def babbled(self) -> list[str]:
        """Texts that the model babbled, because they have no clip (`speech/voice.py`)."""
        return self.voice.babbled

    def said(self) -> list[str]:
        """All texts that the model has spoken or written so far."""
        return [text for session in self.sessions for text in session.report.said]

    async def serve(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled. With port 0 a free port is taken. `task_status` is started with the port."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        port = listeners[0].socket.getsockname()[1]
        if self.script.faults.connect_refused and not self.script.faults.connections:
            for listener in listeners:
                await listener.aclose()  # The fault: the port is reported, but nothing listens there.
            task_status.started(port)
            await trio.sleep_forever()

        async def serve_one(stream: trio.SocketStream) -> None:
            wire = stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await self.speak_to(wire)

        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve_one, listeners)
            task_status.started(port)

    async def speak_to(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream, from its upgrade on. Never raises, whatever the client does."""
        self._connections += 1
        try:
            await trio.sleep(self.script.connect_ms / 1000)
            await _Connection(self, stream, self._connections).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # The client has closed the connection.
        finally:
            await trio.aclose_forcefully(stream)


class _Connection:
    """One WebSocket: a task that reads, and a task that writes. Only the writing task sends."""

    def __init__(self, house: StandInModel, stream: trio.abc.Stream, number: int) -> None:
        self._house, self._stream, self._number = house, stream, number
        self._protocol = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory()],
            select_subprotocol=_choose_subprotocol,
            max_size=MAX_MESSAGE_BYTES,
        )
        self._peer: RealtimePeer | None = None
        self._parts: list[bytes] = []  # The parts so far of a message that comes in several frames.
        self._text = True
        self._unsent: list[bytes] = []  # Bytes to send. b"" means the end of the stream.
        self._cut = False
        self._news = trio.Event()  # Set to wake the writer.
        self._wakes_at_s = math.inf  # The time at which the writer wakes by itself.

    async def run(self) -> None:
        """Serve the connection until one side has ended it."""
        if _applying(self._house.script.faults, self._number).connect_refused:
            _reset(self._stream)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            await self._write()
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        while True:
            slow_s = self._peer.faults.slow_read_s if self._peer else 0.0
            data = await self._stream.receive_some(SLOW_READ_BYTES if slow_s else READ_BYTES)
            if data:
                self._protocol.receive_data(bytes(data))
            else:
                self._protocol.receive_eof()
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._upgrade(event)
                elif isinstance(event, Frame):
                    self._take(event)
            self._collect()
            if self._has_news():
                self._news.set()
            if not data:
                return
            if slow_s:
                await trio.sleep(slow_s)

    async def _write(self) -> None:
        """Send what the session and the WebSocket protocol want to send, until the stream ends."""
        while True:
            self._news = trio.Event()
            self._speak()
            while self._unsent:
                data = self._unsent.pop(0)
                if not data:
                    return
                await self._stream.send_all(data)
            if self._cut:
                _reset(self._stream)
                return
            if self._protocol.state is State.CLOSING:
                with trio.move_on_after(CLOSE_LIMIT_S) as patience:
                    await self._news.wait()
                if patience.cancelled_caught:
                    return
                continue
            self._wakes_at_s = self._peer.next_deadline if self._peer else math.inf
            with trio.move_on_at(self._wakes_at_s):
                await self._news.wait()

    def _has_news(self) -> bool:
        """True if the writer must be woken. Most audio frames of a caller need no answer."""
        if self._peer is None or self._unsent or self._protocol.state is not State.OPEN:
            return True
        return self._peer.next_deadline < self._wakes_at_s

    def _speak(self) -> None:
        if self._peer is None:
            return
        self._peer.due(trio.current_time())
        for out in self._peer.take():
            if self._protocol.state is State.OPEN:
                self._say(out)

    def _say(self, out: Out) -> None:
        match out:
            case Send(text):
                self._protocol.send_text(text.encode())
            case Ping():
                self._protocol.send_ping(struct.pack(">I", self._number))
            case Close(1006, _):
                self._cut = True
                self._unsent[-1:] = [each[: len(each) // 2] for each in self._unsent[-1:]]
            case Close(code, reason):
                self._protocol.send_close(code, reason)
        self._collect()

    def _upgrade(self, request: Request) -> None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        try:
            ordered = _applying(self._house.script.faults.with_header(headers.get(FAULTS_HEADER, "")), self._number)
        except ScriptError as wrong:
            self._protocol.send_response(self._protocol.reject(400, f"{FAULTS_HEADER}: {wrong}\n"))
            return
        if ordered.handshake_hangs:
            return
        if ordered.connect_refused:
            self._cut = True
            return
        if urlsplit(request.path).path != PATH:
            self._protocol.send_response(self._protocol.reject(404, f"The stand-in model listens at {PATH}.\n"))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if response.status_code == 101:
            house = self._house
            self._peer = RealtimePeer(
                house.script,
                house.voice,
                house.recogniser,
                request.path,
                headers,
                int(house.utc_now().timestamp()),
                self._number,
            )
            house.sessions.append(self._peer)
            self._peer.opened(trio.current_time())

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return  # `websockets` answers pings and close frames itself.
        self._parts.append(bytes(frame.data))
        if frame.fin and self._peer is not None:
            data, self._parts = b"".join(self._parts), []
            self._peer.receive(data.decode("utf-8", "replace") if self._text else data, trio.current_time())

    def _collect(self) -> None:
        self._unsent += self._protocol.data_to_send()


async def serve_model(
    port: int,
    script: Script | None = None,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a new `StandInModel` with this script. Its reports cannot be read."""
    await StandInModel(script).serve(port, host=host, tls=tls, task_status=task_status)


async def speak_to(stream: trio.abc.Stream, script: Script | None = None) -> None:
    """Serve one connection of a new `StandInModel` with this script. Its reports cannot be read."""
    await StandInModel(script).speak_to(stream)


async def main_model(port: int, script: Script, host: str = "127.0.0.1") -> None:
    """`relay standin model`: serve until interrupted, and print what happens in each session.

    Raises OSError if the port is taken.
    """
    house = StandInModel(script)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(lambda *, task_status: house.serve(port, host=host, task_status=task_status))
        print(f"stand-in model: OPENAI_REALTIME_URL=ws://{host}:{port}{PATH}", flush=True)
        await _tell(house)


def load_script(path: str | None, faults: str = "", time_zone: str = "") -> Script:
    """The script of `relay standin model --script path --faults "name=value, name"`.

    The file is a scenario, or any TOML file with a `[model]` table. Without a file, the script is the demo's
    conversation. If piper is installed, it speaks a text that has no clip, unless the file has `piper = false`.
    `time_zone` is the business's time zone. It is used if the file names none.
    Raises ScriptError that names what is wrong, and OSError, UnicodeDecodeError or tomllib.TOMLDecodeError
    if the file cannot be read.
    """
    table = tomllib.loads(Path(path).read_text("utf-8")).get("model", {}) if path else {}
    script = Script.from_table(table, time_zone)
    return dataclasses.replace(
        script, faults=script.faults.with_header(faults), piper=script.piper or "piper" not in table
    )


async def _tell(house: StandInModel) -> None:
    """Print what was heard and said, during the calls."""
    told = 0
    lines: dict[int, int] = {}
    while True:
        await trio.sleep(0.5)
        for number, session in enumerate(house.sessions, 1):
            story = session.report.story
            for line in story[lines.get(number, 0) :]:
                print(f"session {number}: {line}", flush=True)
            lines[number] = len(story)
        for text in house.babbled[told:]:
            print(f"no clip, babbled: {text}", flush=True)
        told = len(house.babbled)


def _applying(faults: Faults, connection: int) -> Faults:
    """The faults that the n-th connection has."""
    return faults if not faults.connections or connection <= faults.connections else Faults()


def _choose_subprotocol(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose `realtime` if the client is a browser. A browser offers two subprotocols: `realtime`, and its key.

    Other clients offer none (docs/protocol/openai.md 1.1).
    """
    return Subprotocol("realtime") if "realtime" in offered else None


def _reset(stream: trio.abc.Stream) -> None:
    """If the stream is TCP, make the next close a TCP reset."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        transport.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
