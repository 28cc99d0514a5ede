"""Serves the stand-in voice service, like ElevenLabs' multi-context socket, for the demo, tests and rehearsals.

`StandInVoice` serves a port (`serve`), or one Trio stream (`speak_to`) for tests on a fake clock. As at the real
service, a synthesis cannot be stopped: a context that is closed is flushed, and speaks to its end.
"""

from __future__ import annotations

import random
import ssl
import struct
import tomllib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio

import dsp
from relay.standin.elevenlabs import messages
from relay.standin.elevenlabs.messages import Order, RefusedError
from relay.standin.elevenlabs.reading import Piece, Reading, shipped_texts
from relay.standin.elevenlabs.voice_script import VoiceFaults, VoiceScript
from relay.standin.speech.voice import Voice
from relay.transport.handshake import answer
from relay.transport.websocket import Gone, Request, WebSocketEnd, text_frame
from relay.transport.wire import StreamWire

BYTES_PER_MS = 8
PATH = "/v1/text-to-speech/{voice_id}/multi-stream-input"
TIMEOUT_S, LONGEST_TIMEOUT_S = 20.0, 180.0
# A WAV header of 44 bytes for mu-law, one channel, 8 kHz. Its two lengths mean "unknown". Streaming
# servers write such headers.
RIFF = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x07\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\xff\xff\xff\xff"


@dataclass
class Report:
    """What happened in one connection."""

    query: dict[str, str] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # Context -> its text so far.
    spoken: list[str] = field(default_factory=list)  # The texts of the generations, in order.
    first_audio_ms: list[float] = field(default_factory=list)  # The delay before the audio of each generation.
    story: list[str] = field(default_factory=list)
    ended: str = ""


@dataclass
class _Context:
    id: str
    reading: Reading
    texts: deque[str] = field(default_factory=deque)  # Texts that must still be generated, in order.
    held: str = ""  # Text that waits for more text, or for a flush.
    has_text: bool = False
    is_closing: bool = False
    is_speaking: bool = False
    last_input_s: float = 0.0


class StandInVoice:
    """One stand-in service: its script, its voice, and reports about its connections."""

    def __init__(
        self, script: VoiceScript | None = None, foretold: Callable[[], Sequence[str]] = shipped_texts
    ) -> None:
        """`foretold` gives the texts that may come, the newest last (see reading.py)."""
        self.script = script or VoiceScript()
        self.voice = Voice(self.script.piper)
        self.foretold = foretold
        self.connections: list[Report] = []
        self.open_sockets = 0
        self.characters = 0

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

        async def serve_one(stream: trio.SocketStream) -> None:
            wire = stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await self.speak_to(wire)

        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve_one, listeners)
            task_status.started(listeners[0].socket.getsockname()[1])

    async def speak_to(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream, with its upgrade. Never raises, whatever the client does."""
        report = Report()
        self.connections.append(report)
        faults = self.script.faults
        if not faults.strikes(len(self.connections)):
            faults = VoiceFaults()
        try:
            await trio.sleep(self.script.connect_ms / 1000)
            await _Connection(self, stream, faults, report).run()
        except* (Gone, trio.BrokenResourceError, trio.ClosedResourceError, OSError) as gone:
            report.ended = report.ended or str(gone.exceptions[0])
        finally:
            await trio.aclose_forcefully(stream)

    def spend(self, text: str, faults: VoiceFaults) -> None:
        """Charge the account for a text. Raises RefusedError if the account has not enough characters left."""
        limit = faults.quota_after if faults.quota_after is not None else self.script.characters
        if limit is not None and self.characters + len(text) > limit:
            raise messages.QUOTA
        self.characters += len(text)


class _Connection:
    """One socket. It has a task that reads, a task that watches the time, and one task for each context that speaks."""

    def __init__(self, house: StandInVoice, stream: trio.abc.Stream, faults: VoiceFaults, report: Report) -> None:
        self._house, self._stream, self._faults, self._report = house, stream, faults, report
        self._script = house.script
        self._chance = random.Random(house.script.seed + len(house.connections))
        self._spelling = messages.Spelling(house.script.spelling, faults.unknown_keys)
        self._contexts: dict[str, _Context] = {}
        self._end: WebSocketEnd
        self._nursery: trio.Nursery
        self._timeout_s = TIMEOUT_S
        self._last_input_s = 0.0
        # Without auto_mode: the first number of the default schedule (docs/protocol/elevenlabs.md 1.1).
        self._hold_characters = 120
        self._audio_ms = 0.0
        self._is_dumb = False

    async def run(self) -> None:
        """Serve the connection until one side has ended it."""
        if self._faults.connect_refused:
            _reset(self._stream)
            return
        request, self._end = await answer(StreamWire(self._stream))
        if self._faults.connect_hangs:
            await trio.sleep_forever()
        refused, place = self._refusal(request)
        if refused is not None and place == "http":
            self._report.story.append(f"refuses the upgrade: {refused.error}")
            await self._end.reject(refused.status, refused.body(), {"Content-Type": "application/json"})
            return
        await self._end.accept(request)
        if refused is not None:
            await self._refuse(refused)
            return
        self._house.open_sockets += 1
        self._last_input_s = trio.current_time()
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._mind_the_time)
                await self._read()
                self._nursery.cancel_scope.cancel()
        finally:
            self._house.open_sockets -= 1

    def _refusal(self, request: Request) -> tuple[RefusedError | None, str]:
        """The refusal of this client: the error, and how it is sent ("http" or "socket"). None if it is served."""
        faults, script = self._faults, self._script
        parts = urlsplit(request.path)
        segments = parts.path.strip("/").split("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._report.query = query
        if len(segments) != 4 or segments[:2] != ["v1", "text-to-speech"] or segments[3] != "multi-stream-input":
            return RefusedError("not_found", f"The stand-in voice listens at {PATH}.", 404), "http"
        if query.get("output_format") != "ulaw_8000":
            return RefusedError("unsupported_output_format", "The stand-in speaks ulaw_8000 only.", 400), "http"
        try:
            self._timeout_s = float(query.get("inactivity_timeout", TIMEOUT_S))
        except ValueError:
            self._timeout_s = 0.0
        if not 0 < self._timeout_s <= LONGEST_TIMEOUT_S:
            return RefusedError("invalid_inactivity_timeout", "inactivity_timeout must be 1 to 180.", 400), "http"
        if query.get("model_id", "").startswith(("eleven_v3", "eleven_v4")):
            return RefusedError("unsupported_model", "This model speaks over Text-to-Dialogue only.", 400), "http"
        self._hold_characters = script.holds_characters if query.get("auto_mode") == "true" else 120
        key = request.headers.get("xi-api-key", "")
        if faults.wrong_key or not key or (script.api_key and key != script.api_key):
            return messages.WRONG_KEY, faults.wrong_key or "socket"
        if faults.unknown_voice or (script.voices and segments[2] not in script.voices):
            return messages.UNKNOWN_VOICE, faults.unknown_voice or "socket"
        if faults.no_slot or (script.slots and self._house.open_sockets >= script.slots):
            return messages.NO_SLOT, faults.no_slot or script.slot_refusal
        return None, ""

    # Reading

    async def _read(self) -> None:
        while True:
            for message in await self._end.receive():
                self._report.received.append(message)
                try:
                    if self._take(messages.order_of(message)):
                        await self._end.close(1000)
                        return
                except RefusedError as refused:
                    await self._refuse(refused)
                    return

    def _take(self, order: Order) -> bool:
        """Carry out a client's message. Returns True if the client wants to close the socket."""
        now = self._last_input_s = trio.current_time()
        if order.close_socket:
            self._report.story.append("closes")
            return True
        context = self._contexts.get(order.context_id)
        if order.close_context:
            if context is not None and not context.is_closing:
                self._report.story.append(f"closes {context.id}")
                context.is_closing = True
                self._generate(context)
            return False
        # The id of a closed context may be used again. The new context is independent of the old one.
        if context is None or context.is_closing:
            if len(self._contexts) >= self._script.contexts:
                raise messages.TOO_MANY_CONTEXTS
            context = self._contexts[order.context_id] = _Context(
                order.context_id, Reading(self._house.voice, self._house.foretold)
            )
            self._report.texts.setdefault(context.id, "")
        elif order.has_settings:
            raise messages.LATE_SETTINGS
        context.last_input_s = now
        self._add(context, order)
        return False

    def _add(self, context: _Context, order: Order) -> None:
        if order.text.strip():
            self._house.spend(order.text, self._faults)
            self._report.texts[context.id] += order.text
            context.held += order.text
            context.has_text = True
        if order.flush or len(context.held) >= self._hold_characters:
            self._generate(context)

    def _generate(self, context: _Context) -> None:
        text, context.held = context.held, ""
        if text.strip():
            context.texts.append(text)
        if not context.is_speaking and (context.texts or context.is_closing):
            context.is_speaking = True
            self._nursery.start_soon(self._speak, context)

    async def _mind_the_time(self) -> None:
        """End the socket if an open context gets no input for `_timeout_s`.

        If no context is open, the last input of the socket counts.
        """
        while True:
            inputs = [each.last_input_s for each in self._contexts.values() if not each.is_closing]
            over_at = min(inputs, default=self._last_input_s) + self._timeout_s
            if trio.current_time() >= over_at:
                await self._refuse(messages.timed_out(self._timeout_s))
                self._nursery.cancel_scope.cancel()
                return
            await trio.sleep_until(over_at)

    async def _refuse(self, refused: RefusedError) -> None:
        self._report.story.append(f"refuses: {refused.error}")
        self._report.ended = refused.error
        await self._send(refused.wire())
        await self._end.close(messages.POLICY, refused.message)

    # Speaking

    async def _speak(self, context: _Context) -> None:
        """Speak the texts of one context. If the context was closed, send its last message at the end."""
        while context.texts:
            text = context.texts.popleft()
            self._report.spoken.append(text)
            self._report.story.append(f"{context.id} says {text.strip()!r}")
            await self._say(context, context.reading.read(text))
        context.is_speaking = False
        if not context.is_closing:
            return
        if self._contexts.get(context.id) is context:
            del self._contexts[context.id]
        if not self._faults.never_final and not self._is_dumb:
            await self._send(self._spelling.final(context.id))
        for _ in range(self._faults.late_chunks):
            late = b"\x2a\xaa" * 800  # Loud audio, so that a test notices if the relay plays it.
            await self._send(self._spelling.audio(context.id, late, [("x", 0, 200)]))

    async def _say(self, context: _Context, piece: Piece) -> None:
        faults, script = self._faults, self._script
        delay_ms = self._chance.uniform(*script.first_audio_ms) + faults.slow_ms
        self._report.first_audio_ms.append(delay_ms)
        await trio.sleep(delay_ms / 1000)
        size = script.chunk_ms * BYTES_PER_MS
        for begin in range(0, len(piece.mulaw), size):
            mulaw = piece.mulaw[begin : begin + size]
            await self._mishap(context)
            if self._is_dumb:
                return
            chars = None if faults.no_alignment else _spread(piece, begin, begin + len(mulaw))
            data = _misformed(mulaw, faults, is_first=begin == 0)
            message = self._spelling.audio(context.id, data, chars)
            self._audio_ms += len(mulaw) / BYTES_PER_MS
            if faults.drops_after_ms is not None and self._audio_ms > faults.drops_after_ms:
                await self._cut_inside(message)
                return
            await self._send(message)
            await trio.sleep(len(mulaw) / BYTES_PER_MS / 1000 / (faults.pace or script.pace))

    async def _mishap(self, context: _Context) -> None:
        """Do a fault before the next piece of sound is sent, if the script orders one for this moment."""
        faults = self._faults
        if faults.silent_after_ms is not None and self._audio_ms >= faults.silent_after_ms:
            self._is_dumb = True
        elif faults.error_after_ms is not None and self._audio_ms >= faults.error_after_ms:
            self._is_dumb = True
            await self._refuse(messages.BUSY)
        elif faults.json_after_ms is not None and self._audio_ms >= faults.json_after_ms:
            await self._send(self._spelling.audio(context.id, messages.BUSY.body().encode(), None))

    async def _cut_inside(self, message: str) -> None:
        """Break the connection in the middle of a frame."""
        self._report.ended = "cut"
        frame = text_frame(message.encode(), b"")
        await self._stream.send_all(frame[: len(frame) // 2])
        _reset(self._stream)
        await trio.aclose_forcefully(self._stream)
        self._nursery.cancel_scope.cancel()

    async def _send(self, message: str) -> None:
        self._report.sent.append(message)
        await self._end.send(message.encode())


def _spread(piece: Piece, begin: int, end: int) -> list[tuple[str, int, int]]:
    """The characters whose sound begins in these bytes of a piece. Their times count from `begin`."""
    total, count = max(1, len(piece.mulaw)), len(piece.text)
    chars = []
    for number, char in enumerate(piece.text):
        at, after = total * number // count, total * (number + 1) // count
        if begin <= at < end:
            start_ms = (at - begin) // BYTES_PER_MS
            chars.append((char, start_ms, (after - begin) // BYTES_PER_MS - start_ms))
    return chars


def _misformed(mulaw: bytes, faults: VoiceFaults, *, is_first: bool) -> bytes:
    if faults.wrong_format == "pcm_8000":
        return dsp.decode(mulaw).astype("<i2").tobytes()
    if faults.wrong_format == "pcm_16000":
        return dsp.decode(mulaw).repeat(2).astype("<i2").tobytes()
    # Noise with headers of MP3 frames. A program that only looks at the first bytes takes it for MP3.
    if faults.wrong_format == "mp3":
        noise = random.Random(len(mulaw)).randbytes(max(16, len(mulaw) // 2))
        return (b"ID3\x04" if is_first else b"\xff\xfb\x90\xc4") + noise
    if faults.wrong_format == "empty":
        return b""
    return RIFF + mulaw if faults.riff and is_first else mulaw


def _reset(stream: trio.abc.Stream) -> None:
    """If the stream is TCP, make the next close a TCP reset."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        transport.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


def load_voice_script(path: str | None, faults: str = "") -> VoiceScript:
    """The script of `relay standin elevenlabs --script path --faults "name=value, name"`.

    The file is a scenario, or any TOML file with a `[voice]` table.
    Raises VoiceScriptError, OSError, UnicodeDecodeError or tomllib.TOMLDecodeError.
    """
    table = tomllib.loads(Path(path).read_text("utf-8")).get("voice", {}) if path else {}
    script = VoiceScript.from_table(table)
    return msgspec.structs.replace(script, piper=script.piper or "piper" not in table).with_faults(faults)


async def main_elevenlabs(port: int, script: VoiceScript, host: str = "127.0.0.1") -> None:
    """`relay standin elevenlabs`: serve until interrupted, and print what happens in each connection.

    Raises OSError if the port is taken.
    """
    house = StandInVoice(script)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(lambda *, task_status: house.serve(port, host=host, task_status=task_status))
        print(f"stand-in elevenlabs: VOICE=elevenlabs ELEVENLABS_URL=ws://{host}:{port}", flush=True)
        told: dict[int, int] = {}
        while True:
            await trio.sleep(0.5)
            for number, report in enumerate(house.connections, 1):
                for line in report.story[told.get(number, 0) :]:
                    print(f"connection {number}: {line}", flush=True)
                told[number] = len(report.story)
