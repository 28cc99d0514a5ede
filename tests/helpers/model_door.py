"""Connects the relay with the stand-in model over memory streams. In production relay/transport/handshake.py dials."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import trio
from trio.testing import memory_stream_pair

from relay.realtime.client import ModelAccess, Realtime
from relay.standin.model.script import Script
from relay.standin.model.server import StandInModel
from relay.transport.handshake import upgrade
from relay.transport.websocket import WebSocketEnd
from relay.transport.wire import StreamWire

ACCESS = ModelAccess("ws://model.example/v1/realtime", "sk-of-the-test", "marin", "gpt-transcribe")
MODEL = "gpt-realtime-2.1-mini"


class ModelDoor:
    """Records each dial, and keeps our end of each connection."""

    def __init__(self, nursery: trio.Nursery, script: Script | None = None, connect_s: float = 0.0) -> None:
        self.model = StandInModel(script)
        self.ends: list[WebSocketEnd] = []
        self.urls: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.realtime = Realtime(ACCESS, self.dial)
        self._nursery = nursery
        self._connect_s = connect_s

    async def dial(
        self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
    ) -> WebSocketEnd:
        self.urls.append(url)
        self.headers.append(headers)
        if self.model.script.faults.connect_refused:
            raise ConnectionRefusedError("nobody listens")
        with trio.fail_after(limit_s):
            await trio.sleep(self._connect_s)
            ours, theirs = memory_stream_pair()
            self._nursery.start_soon(self.model.speak_to, theirs)
            end = await upgrade(StreamWire(ours), url, headers)
        self.ends.append(end)
        return end

    @property
    def open_ends(self) -> int:
        """The number of our sessions that are still open."""
        return sum(end.is_open for end in self.ends)
