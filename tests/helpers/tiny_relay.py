"""A relay of a few lines, for tests of the stand-in Twilio. It has fixed documents and a media socket for the test."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trio
import trio.testing
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from relay.standin.twilio.exchange import Account, CallerLine, Exchange, LiveCall, PhoneNumber
from relay.standin.twilio.relay_connections import NoConnection, Reply
from relay.standin.twilio.streaming import Network
from relay.transport.handshake import answer
from relay.transport.websocket import Gone, Request, WebSocketEnd
from relay.transport.wire import StreamWire

ORIGIN = "https://voice.example.com"
ACCOUNT = Account("AC" + "1" * 32, "a-token", "SK" + "2" * 32, "a-secret")
OUR_NUMBER, HUMAN_NUMBER = "+12125550190", "+12125550102"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
VALIDATOR = RequestValidator(ACCOUNT.auth_token)

Page = str | Reply | Exception | Callable[[dict[str, str]], Awaitable[str]]


def twiml(inner: str) -> str:
    return f"{HEAD}<Response>{inner}</Response>"


@dataclass(frozen=True)
class Asked:
    method: str
    url: str
    headers: Mapping[str, str]
    fields: dict[str, str]


class Media:
    """The relay's end of a media socket."""

    def __init__(self, end: WebSocketEnd, request: Request) -> None:
        self.end, self.request = end, request
        self.got: list[dict[str, Any]] = []
        self.stream_sid = ""

    async def next(self, *events: str) -> dict[str, Any]:
        """Read messages until one with one of these events has come, and return it. `got` has all messages."""
        while True:
            for data in await self.end.receive():
                message = json.loads(data)
                self.got.append(message)
                self.stream_sid = message.get("streamSid", self.stream_sid)
            for earlier in self.got[::-1]:
                if earlier["event"] in events:
                    return earlier

    async def drain(self) -> Gone:
        """Read until the socket ends."""
        try:
            while True:
                await self.next("nothing")
        except Gone as gone:
            return gone

    async def send(self, **message: Any) -> None:
        await self.end.send(json.dumps({"streamSid": self.stream_sid, **message}).encode())


@dataclass
class TinyRelay:
    """The relay. To the stand-in Twilio it is a `RelayConnections` (relay/standin/twilio/relay_connections.py)."""

    pages: dict[str, Page]
    stream: Callable[[Media], Awaitable[None]] | None = None
    nursery: trio.Nursery | None = None
    asked: list[Asked] = field(default_factory=list)
    no_socket: Exception | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_limit_s: float = 5.0
    ) -> Reply:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        self.asked.append(Asked(method, url, headers, fields))
        nothing = Reply(200, {}, b"") if url.endswith("/ss") else Reply(404, {}, b"nothing here")
        page = self.pages.get(urlsplit(url).path, nothing)
        if isinstance(page, Exception):
            raise page
        if callable(page):
            page = await page(fields)
        return Reply(200, {"content-type": "text/xml"}, page.encode()) if isinstance(page, str) else page

    async def open_stream(self, url: str) -> trio.abc.Stream:
        if self.no_socket is not None:
            raise self.no_socket
        assert self.nursery is not None
        theirs, ours = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._serve, ours)
        return theirs

    async def _serve(self, stream: trio.abc.Stream) -> None:
        assert self.stream is not None
        request, end = await answer(StreamWire(stream))
        await end.accept(request)
        try:
            await self.stream(Media(end, request))
        except Gone:
            pass  # a test that needs the end calls drain()
        await end.close()

    def paths(self) -> list[str]:
        return [urlsplit(asked.url).path for asked in self.asked]

    def fields(self, path: str) -> dict[str, str]:
        """The fields of the last request for a path."""
        return [asked.fields for asked in self.asked if urlsplit(asked.url).path == path][-1]


REFUSED = NoConnection("connection refused")
LINE = CallerLine(network=Network(connect_ms=0))


async def stay(call: LiveCall) -> None:
    """What a caller does who only listens."""
    await trio.sleep_forever()


def exchange(relay: TinyRelay, **number: str) -> Exchange:
    return Exchange(relay, ACCOUNT, PhoneNumber(OUR_NUMBER, ORIGIN + "/twilio/incoming", **number))


async def ring(
    relay: TinyRelay,
    act: Callable[[LiveCall], Awaitable[None]] = stay,
    line: CallerLine = LINE,
    at: Exchange | None = None,
) -> LiveCall:
    """Make one call to a tiny relay, from the first ring to the last callback."""
    async with trio.open_nursery() as nursery:
        relay.nursery = nursery
        call = await (at or exchange(relay)).ring(line, act)
        nursery.cancel_scope.cancel()
    return call
