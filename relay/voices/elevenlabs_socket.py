"""Opens sockets to ElevenLabs, sends text to them, and reads their sound.

The socket of a call is opened when the phone rings. A task beside the OpenAI reader reads it. A socket uses one of the
account's concurrent requests for the whole call, even while nobody speaks. So sockets are counted. They carry audio to
the caller, so they use relay/transport. ElevenLabs' v4 models need another endpoint and protocol (Text-to-Dialogue).
They would need another implementation of the protocols in voice.py.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import structlog
import trio

from relay.call.vocabulary import ItemId
from relay.transport.handshake import Refused, dial
from relay.transport.websocket import Gone, WebSocketEnd
from relay.voices import elevenlabs_protocol as protocol
from relay.voices.prices import usd_per_character
from relay.voices.speaking import Speaking
from relay.voices.voice import Spoken, VoiceEvent, VoiceFault, VoiceLost, VoiceUnavailable

log = structlog.get_logger()

DEFAULT_URL = "wss://api.elevenlabs.io"
DEFAULT_MODEL = "eleven_flash_v2_5"
# TCP, TLS and the upgrade must be done within this time. A slower voice would delay the greeting.
CONNECT_LIMIT_S = 3.0
# All sound of a phrase must come within this time. A phrase has fewer than 200 characters, which are 12 s of speech.
# The service generates speech faster than it is played.
RENDER_LIMIT_S = 20.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class VoiceAccess:
    """Where the service is (ELEVENLABS_URL), and with which key and voice it is used."""

    url: str
    key: str = field(repr=False)
    voice_id: str
    model: str = DEFAULT_MODEL
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class Dial(Protocol):
    """Opens a WebSocket. The process uses relay.transport.handshake.dial, tests use memory streams."""

    async def __call__(
        self, url: str, headers: dict[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
    ) -> WebSocketEnd: ...


class ElevenLabs:
    """Opens ElevenLabs' voices. Implements voice.Voices.

    At most `slots` sockets are open at a time. 0 means no limit.
    """

    def __init__(self, access: VoiceAccess, dial_end: Dial = dial, slots: int = 0) -> None:
        self.access = access
        self.open_sockets = 0
        self.trouble = ""  # Why the last attempt failed. "" if it did not.
        self._dial = dial_end
        self._slots = slots

    @property
    def name(self) -> str:
        """The service, the model and the voice."""
        return f"elevenlabs/{self.access.model}/{self.access.voice_id}"

    @property
    def service(self) -> str:
        """The name of the service: the host of its URL.

        For a service on this machine, the port is left out, because it changes.
        """
        parts = urlsplit(self.access.url)
        return parts.hostname or "" if parts.hostname in LOOPBACK else _host(self.access.url).lower()

    @property
    def usd_per_character(self) -> float:
        """See voice.Voices."""
        return usd_per_character(self.access.model)

    async def open(self) -> ElevenLabsVoice:
        """Open a socket. If this fails, no socket stays open. Raises VoiceUnavailable."""
        if self._slots and self.open_sockets >= self._slots:
            words = f"all {self._slots} sockets of ELEVENLABS_SLOTS are taken"
            raise self._in_trouble(VoiceUnavailable(VoiceFault.NO_SLOT, words, protocol.remedy(VoiceFault.NO_SLOT)))
        self.open_sockets += 1
        try:
            voice = ElevenLabsVoice(await self._open(), self._closed)
        except VoiceUnavailable as error:
            self.open_sockets -= 1
            raise self._in_trouble(error) from None
        except BaseException:
            self.open_sockets -= 1
            raise
        self.trouble = ""
        return voice

    async def _open(self) -> WebSocketEnd:
        access = self.access
        url = access.url.rstrip("/") + protocol.path(access.voice_id, access.model)
        try:
            return await self._dial(url, {"xi-api-key": access.key}, access.tls, CONNECT_LIMIT_S)
        except trio.TooSlowError:
            raise VoiceUnavailable(VoiceFault.UNREACHABLE, f"no connection within {CONNECT_LIMIT_S:.0f} s") from None
        except Refused as error:
            raise _refused(error) from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise VoiceUnavailable(VoiceFault.UNREACHABLE, f"no connection to {_host(access.url)}: {error}") from None

    def _in_trouble(self, error: VoiceUnavailable) -> VoiceUnavailable:
        self.trouble = str(error)
        return error

    def _closed(self) -> None:
        self.open_sockets -= 1

    async def render(self, text: str) -> bytes:
        """Have a phrase spoken. Returns all of its sound. Raises VoiceUnavailable."""
        voice = await self.open()
        item, sound = ItemId("phrase"), bytearray()
        lost: VoiceLost | None = None

        async def tell(event: VoiceEvent) -> None:
            nonlocal lost
            if isinstance(event, Spoken):
                sound.extend(event.mulaw)
                return
            lost = event if isinstance(event, VoiceLost) else None
            nursery.cancel_scope.cancel()

        try:
            with trio.move_on_after(RENDER_LIMIT_S) as limit:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(voice.run, tell)
                    voice.say(item, text)
                    voice.finish(item)
                    while True:
                        await trio.sleep(TICK_S)
                        voice.tick()
        finally:
            await voice.close()
        if lost is not None:
            raise VoiceUnavailable(lost.fault, lost.words, lost.do)
        if limit.cancelled_caught or not sound:
            raise VoiceUnavailable(VoiceFault.SILENT, f"a phrase got no sound, or took over {RENDER_LIMIT_S:.0f} s")
        return bytes(sound)


class ElevenLabsVoice:
    """Speaks in one call. Implements voice.Voice."""

    def __init__(self, end: WebSocketEnd, closed: Callable[[], None]) -> None:
        self._end = end
        self._tell_closed = closed
        self._is_closed = False
        self._speaking = Speaking()
        self._speaking.begin(trio.current_time())
        self._news = trio.Event()  # Set if something must be sent or reported.
        self._has_to_drain = False
        self._is_telling = False
        self._post()

    @property
    def characters(self) -> int:
        """See voice.Voice."""
        return self._speaking.characters

    @property
    def is_lost(self) -> bool:
        """See voice.Voice."""
        return self._speaking.is_lost

    @property
    def late_audio(self) -> int:
        """How many pieces of sound were dropped, because their item was cut off or had ended."""
        return self._speaking.late_audio

    def say(self, item_id: ItemId, text: str) -> None:
        """See voice.Voice."""
        self._speaking.say(item_id, text, trio.current_time())
        self._post()

    def finish(self, item_id: ItemId) -> None:
        """See voice.Voice."""
        self._speaking.finish(item_id, trio.current_time())
        self._post()

    def cut(self, item_id: ItemId) -> None:
        """See voice.Voice."""
        self._speaking.cut(item_id, trio.current_time())
        self._post()

    def tick(self) -> None:
        """See voice.Voice."""
        self._speaking.tick(trio.current_time())
        self._post()

    def _post(self) -> None:
        messages = self._speaking.take()
        if messages and not self._is_closed:
            try:
                self._has_to_drain |= self._end.post(*messages)
            except Gone:
                pass  # `_read` gets Gone too. Before that, it may read an error message of the service.
        if self._has_to_drain or self._speaking.has_events:
            self._news.set()

    def _gone(self, gone: Gone) -> None:
        """The connection has ended. If no error message has come, the close frame may say why."""
        code = next((code for code in protocol.KNOWN_ERRORS if code in gone.reason), "")
        if code:
            refused = protocol.refused(code, "")
            self._speaking.lose(refused.fault, str(refused), refused.do)
        else:
            words = f"ElevenLabs' connection ended: {gone.code} {protocol.without_key(gone.reason)}".rstrip()
            self._speaking.lose(VoiceFault.DROPPED, words)

    async def keep(self) -> None:
        """See voice.Voice."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            while not self.is_lost and not self._is_closed:
                await self._read()
            nursery.cancel_scope.cancel()

    async def _keep_alive(self) -> None:
        while True:
            await self._drain()
            await trio.sleep(TICK_S)
            self.tick()

    async def run(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """See voice.Voice."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heed_news, tell)
            while not self.is_lost and not self._is_closed:
                await self._read()
                await self._tell(tell)
            await self._tell(tell)
            nursery.cancel_scope.cancel()
        self._count()

    async def _read(self) -> None:
        """Wait for messages, and handle all that have come. If the connection has ended, the voice is lost."""
        try:
            messages = await self._end.receive()
        except Gone as gone:
            if not self._is_closed:
                self._gone(gone)
            return
        now = trio.current_time()
        for message in messages:
            self._speaking.received(message, now)
        self._post()

    async def _heed_news(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Send what the socket could not take at once. Report events that no message has caused."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            await self._drain()
            await self._tell(tell)

    async def _drain(self) -> None:
        if self._has_to_drain:
            self._has_to_drain = False
            try:
                await self._end.drain()
            except Gone:
                pass  # `_read` gets Gone too.

    async def _tell(self, tell: Callable[[VoiceEvent], Awaitable[None]]) -> None:
        """Report all events in order. If another task is already doing this, return."""
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while (event := self._speaking.next_event()) is not None:
                await tell(event)
        finally:
            self._is_telling = False

    def _count(self) -> None:
        speaking = self._speaking
        if speaking.bad_messages or speaking.unknown_keys:
            log.info("voice.strange_messages", unreadable=speaking.bad_messages, unknown_keys=speaking.unknown_keys)

    async def close(self) -> None:
        """See voice.Voice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._tell_closed()
        try:
            self._end.post(protocol.close_socket())
        except Gone:
            pass  # The socket has closed already.
        await self._end.close(1000)


def _refused(error: Refused) -> VoiceUnavailable:
    """The exception for an upgrade that was refused, with its status and the service's text."""
    code, words = protocol.error_in_body(error.body)
    return protocol.refused(code, words, error.status)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
