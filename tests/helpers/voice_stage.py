"""A stage for tests of voices: the stand-in voice service on memory streams, and our client that is connected to it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.call.vocabulary import ItemId, Position
from relay.standin.elevenlabs.reading import shipped_texts
from relay.standin.elevenlabs.server import StandInVoice
from relay.standin.elevenlabs.voice_script import VoiceScript
from relay.transport.handshake import upgrade
from relay.transport.websocket import WebSocketEnd
from relay.transport.wire import StreamWire
from relay.voices.elevenlabs_socket import ElevenLabs, ElevenLabsVoice, VoiceAccess
from relay.voices.voice import Spoken, SpokenWhole, VoiceEvent, VoiceLost
from tests.helpers.pipe import pipe

URL = "ws://127.0.0.1:4"
VOICE_ID = "JBFqnCBsd6RMkjVDRZzb"
KEY = "sk_0123456789"
ANSWER = "Your table for two is booked for tomorrow at seven in the evening. Is there anything else?"


@dataclass
class Heard:
    """The events of a voice, with their times."""

    events: list[tuple[float, VoiceEvent]] = field(default_factory=list)

    async def tell(self, event: VoiceEvent) -> None:
        self.events.append((trio.current_time(), event))

    def sound(self, item: ItemId) -> bytes:
        return b"".join(e.mulaw for _, e in self.events if isinstance(e, Spoken) and e.item_id == item)

    def positions(self, item: ItemId) -> list[Position]:
        return [p for _, e in self.events if isinstance(e, Spoken) and e.item_id == item for p in e.positions]

    def whole(self, item: ItemId) -> bool:
        return any(isinstance(e, SpokenWhole) and e.item_id == item for _, e in self.events)

    @property
    def lost(self) -> VoiceLost | None:
        return next((e for _, e in self.events if isinstance(e, VoiceLost)), None)


@dataclass
class VoiceStage:
    """The service, its client, and a nursery."""

    service: StandInVoice
    client: ElevenLabs
    nursery: trio.Nursery

    async def speaking(self) -> tuple[ElevenLabsVoice, Heard]:
        """Open a voice and run it, with a watchdog that ticks. Return the voice and its events."""
        voice, heard = await self.client.open(), Heard()
        self.nursery.start_soon(voice.run, heard.tell)
        self.nursery.start_soon(self._watch, voice)
        return voice, heard

    async def _watch(self, voice: ElevenLabsVoice) -> None:
        while True:
            await trio.sleep(0.2)
            voice.tick()


@asynccontextmanager
async def voice_stage(
    script: VoiceScript | Mapping[str, Any] | None = None,
    foretold: Callable[[], Sequence[str]] = lambda: [*shipped_texts(), ANSWER],
    slots: int = 0,
) -> AsyncIterator[VoiceStage]:
    """Start the stand-in service and make our client. Times follow the clock of the present Trio run."""
    built = script if isinstance(script, VoiceScript) else VoiceScript.from_table(script or {})
    service = StandInVoice(built, foretold)
    async with trio.open_nursery() as nursery:

        async def dial(
            url: str, headers: dict[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
        ) -> WebSocketEnd:
            if built.faults.connect_refused and built.faults.strikes(len(service.connections) + 1):
                raise ConnectionRefusedError("the stand-in voice refuses")
            ours, theirs = pipe()
            nursery.start_soon(service.speak_to, theirs)
            wire = StreamWire(ours)
            try:
                with trio.fail_after(limit_s):
                    return await upgrade(wire, url, headers)
            except BaseException:
                wire.abort()
                raise

        yield VoiceStage(service, ElevenLabs(VoiceAccess(URL, KEY, VOICE_ID), dial, slots), nursery)
        nursery.cancel_scope.cancel()


def write(voice: ElevenLabsVoice, item: ItemId, text: str, size: int = 16) -> None:
    """Write an item's text in pieces, all at once."""
    for at in range(0, len(text), size):
        voice.say(item, text[at : at + size])
    voice.finish(item)
