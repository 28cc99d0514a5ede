"""Our code and hypercorn share a port: hypercorn serves HTTP, and a door gets the sockets. No peer can stop them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version

import pytest
import structlog
import trio
import trio_websocket
from quart import Response, request
from quart_trio import QuartTrio

from relay.server import http
from relay.server.http import PortUnusable, serve
from relay.transport import wire
from relay.transport.handshake import Refused, dial, upgrade
from relay.transport.websocket import Gone, Request, WebSocketEnd
from relay.transport.wire import SocketWire, StreamWire

pytestmark = pytest.mark.real

MEDIA = "/twilio/stream/m1/"
CONSOLE = "/console/socket/"
POST = b"POST /twilio/incoming HTTP/1.1\r\nHost: relay.test\r\nContent-Length: %d\r\n\r\n"


def make_app() -> QuartTrio:
    app = QuartTrio("handover_test")

    @app.post("/twilio/incoming")
    async def incoming() -> str:
        return f"got {len(await request.get_data())}"

    @app.get("/big")
    async def big() -> Response:
        return Response(b"x" * 50_000_000)

    return app


class Relay:
    """A running server, and the sockets that came to its door."""

    def __init__(self, graceful_s: float = 0.3) -> None:
        self.graceful_s = graceful_s
        self.shutdown = trio.Event()
        self.stopped = trio.Event()
        self.url = ""
        self.left: list[str] = []
        self.somebody_left = trio.Event()

    async def start(self, nursery: trio.Nursery) -> None:
        (self.url,) = await nursery.start(self._run)

    async def _run(self, task_status: trio.TaskStatus[list[str]]) -> None:
        await serve(
            make_app(),
            bind=["127.0.0.1:0"],
            doors={"/twilio/stream/": self.door, CONSOLE: self.console_door},
            graceful_s=self.graceful_s,
            shutdown=self.shutdown,
            task_status=task_status,
        )
        self.stopped.set()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(*self.address)

    async def dial(self, path: str = "echo", headers: dict[str, str] | None = None) -> WebSocketEnd:
        return await dial(f"{self.url.replace('http', 'ws', 1)}{MEDIA}{path}", headers or {}, limit_s=30)

    async def console_door(self, asked: Request, end: WebSocketEnd) -> None:
        await end.accept(asked)
        await end.send(f"{asked.path} from {end.peer}".encode())

    async def door(self, asked: Request, end: WebSocketEnd) -> None:
        what = asked.path.removeprefix(MEDIA)
        if what == "forbidden":
            await end.reject(403, "no\n", {"fly-replay": "instance=m2"})
            return
        if what == "broken-early":
            raise RuntimeError("a bug before the upgrade")
        await end.accept(asked)
        if what == "options":
            assert isinstance(end._wire, SocketWire)
            sock = end._wire._sock
            keepalive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await end.send(
                b"keepalive %d nodelay %d" % (keepalive, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            )
        if what == "broken":
            raise RuntimeError("a bug in a call")
        try:
            if what == "flood":
                while True:
                    await end.send(b"x" * 100_000)
            while True:
                await end.send(*await end.receive())
        except Gone as gone:
            self.left.append(f"{gone.code} {gone.reason}".strip())
            self.somebody_left.set()
            raise


@pytest.fixture
async def relay(nursery: trio.Nursery) -> AsyncIterator[Relay]:
    running = Relay()
    await running.start(nursery)
    yield running
    running.shutdown.set()
    with trio.fail_after(30):
        await running.stopped.wait()


async def echoes(end: WebSocketEnd) -> None:
    await end.send(b"one", b"two")
    got: list[bytes] = []
    with trio.fail_after(30):
        while len(got) < 2:
            got += await end.receive()
    assert got == [b"one", b"two"]


async def ends_with(end: WebSocketEnd) -> tuple[int, str]:
    try:
        with trio.fail_after(30):
            while True:
                await end.receive()
    except Gone as gone:
        await end.close()
        return gone.code, gone.reason


async def post(stream: trio.SocketStream, *pieces: bytes) -> bytes:
    for piece in (POST % sum(map(len, pieces)), *pieces):
        await stream.send_all(piece)
        await trio.sleep(0.02)  # so that each piece is read separately
    said = b""
    with trio.fail_after(30):
        while b"got " not in said:
            said += await stream.receive_some()
    return said


async def upgraded(relay: Relay, stream: trio.abc.Stream) -> WebSocketEnd:
    with trio.fail_after(30):
        return await upgrade(StreamWire(stream), f"ws://relay.test{MEDIA}echo", {})


def test_hypercorn_has_the_version_that_http_py_was_written_for() -> None:
    assert version("hypercorn").startswith("0.18.")


async def test_a_media_request_on_a_new_connection_goes_to_the_door(relay: Relay) -> None:
    end = await relay.dial()
    await echoes(end)
    await end.close(1000, "caller hung up")
    with trio.fail_after(30):
        await relay.somebody_left.wait()
    assert relay.left == ["1000 caller hung up"]


async def test_each_prefix_has_its_own_door_and_the_door_gets_the_peers_address(relay: Relay) -> None:
    for path in ("listen/CA1?x=1", "talk"):
        end = await dial(f"{relay.url.replace('http', 'ws', 1)}{CONSOLE}{path}", {}, limit_s=30)
        assert await end.receive() == [f"{CONSOLE}{path} from 127.0.0.1".encode()]
        assert await ends_with(end) == (1000, "")
    end = await relay.dial()
    await echoes(end)
    await end.close()


async def test_a_client_of_another_library_can_use_the_socket(relay: Relay) -> None:
    url = f"{relay.url.replace('http', 'ws', 1)}{MEDIA}echo"
    async with trio_websocket.open_websocket_url(url) as connection:
        await connection.send_message("hello")
        assert await connection.get_message() == "hello"
        await connection.ping(b"alive?")


async def test_http_is_served_on_the_same_port_as_the_sockets(relay: Relay) -> None:
    end = await relay.dial()
    stream = await relay.connect()
    assert b"200" in await post(stream, b"x" * 3000)
    await echoes(end)
    await end.close()
    await stream.aclose()


async def test_a_media_request_on_a_kept_alive_connection_goes_to_the_door(relay: Relay) -> None:
    stream = await relay.connect()
    for _ in range(2):
        assert b"got 5" in await post(stream, b"a=b&c")
    end = await upgraded(relay, stream)
    await echoes(end)
    await end.close()


async def test_a_media_request_that_comes_byte_by_byte_goes_to_the_door(relay: Relay) -> None:
    class Dribble(StreamWire):
        async def write(self, data: bytes) -> None:
            for n in range(len(data)):
                await super().write(data[n : n + 1])
                await trio.lowlevel.checkpoint()

    end = await upgrade(Dribble(await relay.connect()), f"ws://relay.test{MEDIA}echo", {})
    await end.send(b"one")
    assert await end.receive() == [b"one"]
    await end.close()


async def test_an_http_request_that_comes_byte_by_byte_stays_with_hypercorn(relay: Relay) -> None:
    stream = await relay.connect()
    for byte in POST % 1 + b"x":
        await stream.send_all(bytes([byte]))
        await trio.lowlevel.checkpoint()
    assert b" 200 " in await stream.receive_some()
    await stream.send_all(b"GET /twilio/strange HTTP/1.1\r\nHost: relay.test\r\n\r\n")
    with trio.fail_after(30):
        said = b""
        while b" 404 " not in said:
            said += await stream.receive_some()
    await stream.aclose()


async def test_a_body_that_looks_like_a_media_request_is_read_as_a_body(relay: Relay) -> None:
    stream = await relay.connect()
    line = f"GET {MEDIA}echo HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert b"got %d" % (len(line) + 1) in await post(stream, b"x", line)
    assert relay.left == []
    await stream.aclose()


async def test_a_header_that_looks_like_a_media_request_is_read_as_a_header(relay: Relay) -> None:
    stream = await relay.connect()
    head = b"POST /twilio/incoming HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 1\r\nX-Odd: "
    for piece in (head, f"GET {MEDIA}echo HTTP/1.1\r\n\r\nx".encode()):
        await stream.send_all(piece)
        await trio.sleep(0.02)
    with trio.fail_after(30):
        assert b" 200 " in await stream.receive_some()
    await stream.aclose()


async def test_the_connection_of_a_webhook_client_that_left_is_closed_at_once(relay: Relay) -> None:
    stream = await relay.connect()
    await post(stream, b"x")
    await trio.sleep(0.05)  # until hypercorn waits for the next request
    await stream.send_eof()
    with trio.fail_after(30):  # less than the keep-alive time
        assert await stream.receive_some() == b""
    await stream.aclose()


async def test_nothing_of_a_call_stays_in_memory(relay: Relay) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(3):
        end = await relay.dial()
        await echoes(end)
        await end.close()
    with trio.fail_after(30):
        while trio.lowlevel.current_statistics().tasks_living > before:  # noqa: ASYNC110 -- no event says so
            await trio.sleep(0.01)


async def test_a_door_may_refuse_a_socket_before_the_upgrade(relay: Relay) -> None:
    stream = await relay.connect()
    await stream.send_all(f"GET {MEDIA}forbidden HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    said = b""
    with trio.fail_after(30):
        while piece := await stream.receive_some():
            said += piece
    assert said.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nfly-replay: instance=m2\r\n" in said
    await stream.aclose()
    with pytest.raises(Refused, match="403"):
        await relay.dial("forbidden")


async def test_a_message_over_64_kib_closes_the_socket_with_1009(relay: Relay) -> None:
    end = await relay.dial()
    await end.send(b"x" * 70_000)
    assert (await ends_with(end))[0] == 1009


async def test_an_error_in_a_door_ends_only_its_own_connection(relay: Relay) -> None:
    with structlog.testing.capture_logs() as logs:
        end = await relay.dial("broken")
        assert await ends_with(end) == (1011, "the relay failed")
        with pytest.raises(Refused, match="503"):
            await relay.dial("broken-early")
        await trio.sleep(0.05)
    assert "connection.crashed" in [line["event"] for line in logs]
    end = await relay.dial()
    await echoes(end)
    await end.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"GET /twilio/stream/ nonsense\r\n\r\n",
        b"GET /twilio/stream/x HTTP/1.1\r\n" + b"A: b\r\n" * 5_000,
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tls", "half a request", "endless head", "nothing", "h2"],
)
async def test_invalid_bytes_on_the_port_do_no_harm(relay: Relay, rubbish: bytes) -> None:
    stream = await relay.connect()
    await stream.send_all(rubbish)
    with trio.move_on_after(0.1):
        await stream.receive_some()
    await trio.aclose_forcefully(stream)
    end = await relay.dial()
    await echoes(end)
    await end.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /nothing HTTP/1.0\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n",
        b"POST /nothing HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 100\r\n\r\n",
    ],
    ids=["1.0", "close", "a body that never comes"],
)
async def test_a_connection_that_can_carry_no_further_request_is_closed_after_the_answer(
    relay: Relay, request_: bytes
) -> None:
    stream = await relay.connect()
    await stream.send_all(request_)
    said = b""
    with trio.fail_after(30):  # much less than the keep-alive time
        while piece := await stream.receive_some():
            said += piece
    assert said.startswith(b"HTTP/1.1 404 ")
    await stream.aclose()


@pytest.mark.parametrize(
    "preface",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
        b"GET / HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    ],
    ids=["by prior knowledge", "by upgrade"],
)
async def test_http_2_is_not_served(relay: Relay, preface: bytes) -> None:
    stream = await relay.connect()
    await stream.send_all(preface)
    said = b""
    with trio.fail_after(30):
        while piece := await stream.receive_some():
            said += piece
    assert b"\x00\x00\x00\x04" not in said  # no SETTINGS frame of HTTP/2
    await stream.aclose()


async def test_a_caller_that_stops_reading_is_cut_off(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "NO_PROGRESS_S", 0.2)
    end = await relay.dial("flood")
    with trio.fail_after(30):
        await relay.somebody_left.wait()
    assert relay.left == ["1006 the peer does not read: no progress for 0.2 s"]
    end.abort()


async def test_a_webhook_client_that_stops_reading_is_cut_off_and_shutdown_still_works(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SEND_LIMIT_S", 0.2)
    stream = await relay.connect()
    await stream.send_all(b"GET /big HTTP/1.1\r\nHost: relay.test\r\n\r\n")
    n_bytes = len(await stream.receive_some(10))  # the server sends, and from now on nobody reads
    await trio.sleep(0.5)
    with trio.fail_after(30):
        try:
            while piece := await stream.receive_some():
                n_bytes += len(piece)
        except trio.BrokenResourceError:
            pass  # the connection was reset, which is right
    assert 0 < n_bytes < 50_000_000
    await stream.aclose()


async def test_a_shutdown_waits_for_calls_and_then_closes_them_with_1012(relay: Relay) -> None:
    end = await relay.dial()
    await echoes(end)
    relay.shutdown.set()
    await echoes(end)
    assert await ends_with(end) == (1012, "the relay restarts")
    with trio.fail_after(30):
        await relay.stopped.wait()
    with pytest.raises(OSError, match="connect"):
        await relay.connect()


async def test_an_idle_connection_does_not_hold_up_the_shutdown(nursery: trio.Nursery) -> None:
    relay = Relay(graceful_s=600)
    await relay.start(nursery)
    stream = await relay.connect()
    await post(stream, b"x")
    await trio.sleep(0.05)  # until hypercorn waits for the next request
    relay.shutdown.set()
    with trio.fail_after(30):
        await relay.stopped.wait()
        assert await stream.receive_some() == b""
    await stream.aclose()


async def test_an_idle_connection_is_closed_after_its_time(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.1)
    relay = Relay()
    await relay.start(nursery)
    stream = await relay.connect()
    await post(stream, b"x")
    with trio.fail_after(30):
        assert await stream.receive_some() == b""
    await stream.aclose()
    relay.shutdown.set()


@pytest.mark.parametrize(
    ("fields", "more"),
    [(b"", b""), (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"\x81\x81....x")],
    ids=["half a handshake", "words before the answer"],
)
async def test_a_websocket_request_on_another_path_gets_an_answer_and_its_connection_is_closed_like_any_other(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, fields: bytes, more: bytes
) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.1)
    relay = Relay()
    await relay.start(nursery)
    upgrade = b"GET /elsewhere HTTP/1.1\r\nHost: relay.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    stream = await relay.connect()
    said = b""
    with structlog.testing.capture_logs() as logs, trio.fail_after(30):
        await stream.send_all(upgrade + fields + b"\r\n" + more)
        while piece := await stream.receive_some():
            said += piece
    assert said.startswith(b"HTTP/1.1 404 ")
    assert logs == []
    await stream.aclose()
    relay.shutdown.set()


async def test_accepted_sockets_have_keep_alive_against_dead_peers(relay: Relay) -> None:
    end = await relay.dial("options")
    assert await end.receive() == [b"keepalive 1 nodelay 1"]
    await end.close()


def test_the_port_has_keep_alive_and_no_child_process_inherits_it() -> None:
    with http._listen("127.0.0.1:0") as sock:
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_an_ipv6_address_is_bound_in_brackets(nursery: trio.Nursery) -> None:
    with http._listen("[::1]:0") as sock:
        assert sock.getsockname()[0] == "::1"


async def test_two_servers_in_one_process_keep_their_own_doors(relay: Relay, nursery: trio.Nursery) -> None:
    async def other_door(asked: Request, end: WebSocketEnd) -> None:
        await end.reject(409)

    shutdown = trio.Event()
    other = partial(
        serve, make_app(), bind=["127.0.0.1:0"], doors={MEDIA: other_door}, graceful_s=0.3, shutdown=shutdown
    )
    (url,) = await nursery.start(other)
    with pytest.raises(Refused, match="409"):
        await dial(f"{url.replace('http', 'ws', 1)}{MEDIA}echo", {}, limit_s=30)
    end = await relay.dial()
    await echoes(end)
    await end.close()
    shutdown.set()


async def test_a_port_that_is_taken_is_reported_with_a_sentence(relay: Relay) -> None:
    taken = relay.url.removeprefix("http://")
    with pytest.raises(PortUnusable, match=r"Address already in use\. Is another relay running\? Set PORT to another"):
        await serve(make_app(), bind=["127.0.0.1:0", taken], doors={}, graceful_s=0, shutdown=trio.Event())
