"""The stand-in model on a socket: upgrade, ping, compression, all kinds of closes, and faults of the connection."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from relay.standin.model.script import Faults, Script
from relay.standin.model.server import StandInModel

URL = "ws://standin.example/v1/realtime?model=gpt-realtime-2.1-mini"
GREET = {"type": "response.create", "response": {"instructions": "Say exactly: Goodbye, and thank you for calling."}}


class Client:
    """A WebSocket client on any stream. The `websockets` core is all the code that it shares with the stand-in."""

    def __init__(self, stream: trio.abc.Stream, url: str = URL, deflate: bool = False, **headers: str) -> None:
        self.stream = stream
        extensions = [ClientPerMessageDeflateFactory()] if deflate else None
        self.protocol = ClientProtocol(parse_uri(url), extensions=extensions, max_size=None)
        self.headers = {"Authorization": "Bearer sk-nobody", **headers}
        self.status = 0
        self.pings = 0
        self._events: list[dict[str, Any]] = []

    async def upgrade(self) -> Client:
        request = self.protocol.connect()
        for name, value in self.headers.items():
            request.headers[name.replace("_", "-")] = value
        self.protocol.send_request(request)
        await self._flush()
        while not self.status and not self._is_over:
            await self._read()
        return self

    async def send(self, event: dict[str, Any] | bytes) -> None:
        if isinstance(event, bytes):
            self.protocol.send_binary(event)
        else:
            self.protocol.send_text(json.dumps(event).encode())
        await self._flush()

    async def receive(self) -> dict[str, Any] | None:
        """The next event, or None when the connection has ended."""
        while not self._events:
            if self._is_over:
                return None
            await self._read()
        return self._events.pop(0)

    async def until(self, type_: str) -> list[dict[str, Any]]:
        """Events up to one of this type, or to the end."""
        events: list[dict[str, Any]] = []
        while (event := await self.receive()) is not None:
            events.append(event)
            if event["type"] == type_:
                break
        return events

    async def close(self, code: int) -> None:
        self.protocol.send_close(code, "")
        await self._flush()
        while not self._is_over:
            await self._read()

    @property
    def _is_over(self) -> bool:
        return self.protocol.handshake_exc is not None or self.protocol.eof_sent or self._eof

    _eof = False

    async def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    async def _read(self) -> None:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if data:
            self.protocol.receive_data(bytes(data))
        else:
            self._eof = True
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self.status = event.status_code
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._events.append(json.loads(bytes(event.data)))
            elif isinstance(event, Frame) and event.opcode is Opcode.PING:
                self.pings += 1
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._flush()


@contextlib.asynccontextmanager
async def connected(model: StandInModel, **client: Any) -> AsyncIterator[Client]:
    """A client on a pair of streams in memory. The client has sent its upgrade. The stand-in may have refused it."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(model.speak_to, theirs)
        yield await Client(ours, **client).upgrade()
        await ours.aclose()
        nursery.cancel_scope.cancel()


def faulty(**faults: Any) -> StandInModel:
    return StandInModel(Script(faults=Faults(**faults), first_delta_ms=(300, 300)))


@pytest.mark.parametrize("deflate", [False, True])
async def test_a_conversation_works_over_a_stream(autojump_clock: trio.testing.MockClock, deflate: bool) -> None:
    model = StandInModel()
    async with connected(model, deflate=deflate) as client:
        assert client.status == 101
        assert bool(client.protocol.extensions) is deflate
        created = await client.receive()
        assert created is not None
        assert created["type"] == "session.created"
        await client.send(GREET)
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"
        await client.send(b"\0")
        assert (await client.until("error"))[-1]["error"]["code"] == "invalid_event"
        await client.close(1000)
        assert client.protocol.close_code == 1000
    assert model.sessions[0].report.said == ["Goodbye, and thank you for calling."]


async def test_pings_keep_an_idle_socket_open_and_its_session_usable(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(StandInModel()) as client:
        await client.receive()
        with trio.move_on_after(70):
            await client.receive()
        assert client.pings == 3
        await client.send(GREET)
        assert (await client.until("response.done"))[-1]["type"] == "response.done"


async def test_a_request_without_a_model_is_upgraded_and_then_closed_with_an_error_event(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(StandInModel(), url="ws://standin.example/v1/realtime") as client:
        assert client.status == 101
        assert [event["type"] for event in await client.until("nothing")] == ["error"]
        assert client.protocol.close_code == 4000
        assert client.protocol.close_reason == "invalid_request_error.missing_model"
        assert trio.current_time() < 1


async def test_a_client_that_never_answers_the_close_is_disconnected(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(StandInModel(Script(lifetime_s=5)).speak_to, theirs)
            client = await Client(ours).upgrade()
            await client.receive()
            start = trio.current_time()
            while await ours.receive_some(65536):
                pass
    assert trio.current_time() - start < 10


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ({"url": "ws://standin.example/v1/other"}, 404),
        ({"X_Standin_Faults": "no_such_fault"}, 400),
        ({"X_Standin_Faults": "close_after_deltas=1, close_code=1005"}, 400),  # neither side may send that code
    ],
)
async def test_a_request_that_the_stand_in_cannot_serve_is_refused(
    autojump_clock: trio.testing.MockClock, client: dict[str, str], status: int
) -> None:
    async with connected(StandInModel(), **client) as refused:
        assert refused.status == status


# Faults of the connection


async def test_with_a_hanging_handshake_the_request_is_never_answered(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1000) as patience:
        async with connected(faulty(handshake_hangs=True)):
            pass
    assert patience.cancelled_caught


async def test_a_header_can_order_a_hanging_handshake(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1000) as patience:
        async with connected(StandInModel(), X_Standin_Faults="handshake_hangs"):
            pass
    assert patience.cancelled_caught


async def test_a_refused_connection_ends_before_the_upgrade(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(faulty(connect_refused=True)) as client:
        assert client.status == 0
    async with connected(StandInModel(), X_Standin_Faults="connect_refused") as client:
        assert client.status == 0


async def test_a_fault_of_the_first_connection_does_not_affect_the_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    model = faulty(connect_refused=True, connections=1)
    statuses = []
    for _ in range(2):
        async with connected(model) as client:
            statuses.append(client.status)
    assert statuses == [0, 101]


@pytest.mark.parametrize("code", [1001, 1011])
async def test_the_ordered_close_comes_in_the_middle_of_a_response(
    autojump_clock: trio.testing.MockClock, code: int
) -> None:
    async with connected(faulty(close_after_deltas=2, close_code=code)) as client:
        await client.send(GREET)
        events = await client.until("response.done")
        assert sum(event["type"] == "response.output_audio.delta" for event in events) == 2
        assert client.protocol.close_code == code


async def test_the_connection_is_cut_in_the_middle_of_a_frame(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(faulty(close_after_deltas=2)) as client:
        await client.send(GREET)
        events = await client.until("response.done")
        assert sum(event["type"] == "response.output_audio.delta" for event in events) == 1  # the second one is cut
        assert client.protocol.close_code == 1006


async def test_an_event_of_15_mib_arrives(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(faulty(huge_event=True)) as client:
        await client.send(GREET)
        events = await client.until("response.done")
        assert max(len(event.get("obfuscation", "")) for event in events) == 15 * 2**20


async def test_a_slow_reader_delays_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(faulty(slow_read_s=1.0)) as client:
        await client.receive()
        start = trio.current_time()
        await client.send({"type": "session.update", "session": {"type": "realtime", "instructions": "x" * 10_000}})
        await client.until("session.updated")
        assert trio.current_time() - start > 8


# Real sockets


@pytest.mark.real
async def test_the_port_of_the_stand_in_uses_tls_and_works_on_after_a_client_disappears() -> None:
    authority = trustme.CA()
    server, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client_side)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(StandInModel().serve, tls=server), 0)
            for _ in range(2):
                tcp = await trio.open_tcp_stream("127.0.0.1", port)
                stream = trio.SSLStream(tcp, client_side, server_hostname="localhost", https_compatible=True)
                client = await Client(stream).upgrade()
                created = await client.receive()
                assert created is not None
                assert created["type"] == "session.created"
                await tcp.aclose()
            nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_with_a_refused_port_the_kernel_refuses_and_a_cut_connection_is_reset() -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(faulty(connect_refused=True).serve, 0)
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", port)
            port = await nursery.start(faulty(close_after_deltas=1).serve, 0)
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            client = await Client(tcp).upgrade()
            await client.send(GREET)
            await client.until("response.done")
            assert client.protocol.close_code == 1006
            await tcp.aclose()
            nursery.cancel_scope.cancel()
