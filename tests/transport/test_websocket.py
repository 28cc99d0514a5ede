"""Both ends of a WebSocket: with each other, with wsproto (trio-websocket), and with faulty peers.

The "protocol core" is the part of the package `websockets` that does no I/O.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
import trio_websocket
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay.transport.handshake import Refused, answer, dial, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import StreamWire

URL = "ws://relay.test/twilio/stream/m1/token"


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[WebSocketEnd, WebSocketEnd]]:
    """An open pair on memory streams: a client as on the model's side, and a server as on the caller's side."""
    a, b = trio.testing.memory_stream_pair()
    server: list[WebSocketEnd] = []

    async def serve() -> None:
        request, end = await answer(StreamWire(b))
        await end.accept(request)
        server.append(end)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client = await upgrade(StreamWire(a), URL, {})
    yield client, server[0]
    for end in (client, server[0]):
        end.abort()


def raw_client() -> tuple[ClientProtocol, WebSocketEnd, trio.abc.Stream]:
    """A protocol core that can send anything, our server's end, and the stream between them."""
    ours, theirs = trio.testing.memory_stream_pair()
    end = WebSocketEnd(StreamWire(ours), ServerProtocol(state=State.OPEN, max_size=65_536))
    return ClientProtocol(parse_uri(URL), state=State.OPEN), end, theirs


async def gone(end: WebSocketEnd) -> Gone:
    with pytest.raises(Gone) as caught:
        await end.receive()
    return caught.value


# Messages


async def test_messages_arrive_in_both_directions_and_in_order() -> None:
    async with ends() as (client, server):
        await client.send(b'{"a":1}', "ü".encode(), b"")
        await client.send(b"x" * 60_000)
        got: list[bytes] = []
        while len(got) < 4:
            got += await server.receive()
        assert got == [b'{"a":1}', "ü".encode(), b"", b"x" * 60_000]
        await server.send(b"y" * 2_000_000)
        assert await client.receive() == [b"y" * 2_000_000]


async def test_messages_that_arrived_together_are_received_together() -> None:
    async with ends() as (client, server):
        await client.send(b"1", b"2")
        await client.send(b"3")
        assert await server.receive() == [b"1", b"2", b"3"]


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 200), max_size=30), st.booleans())
@settings(max_examples=50)
def test_messages_arrive_whole_wherever_the_bytes_are_cut(messages: list[bytes], cuts: list[int], split: bool) -> None:
    peer = ClientProtocol(parse_uri(URL), state=State.OPEN)
    for message in messages:
        peer.send_text(message, fin=not split)
        if split:
            peer.send_ping(b"between the pieces")
            peer.send_continuation(b"tail", fin=True)
    stream = b"".join(peer.data_to_send())
    pieces, at = [], 0
    for n_bytes in cuts:
        pieces.append(stream[at : at + n_bytes])
        at += n_bytes
    pieces.append(stream[at:])
    end, other = (
        WebSocketEnd(_Replay([piece for piece in pieces if piece]), ServerProtocol(state=State.OPEN)) for _ in range(2)
    )

    async def read() -> list[bytes]:
        got: list[bytes] = []
        while len(got) < len(messages):
            got += await end.receive()
        return got

    async def be_given() -> list[bytes]:
        got: list[bytes] = []

        def take(some: list[bytes]) -> bool:
            got.extend(some)
            return True

        with pytest.raises(Gone):
            await other.hand_over(take)
        return got

    whole = [message + b"tail" for message in messages] if split else messages
    assert trio.run(read) == whole
    assert trio.run(be_given) == whole


class _Replay:
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        while take(await self.read()):
            pass

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def waiting_bytes(self) -> int:
        return 0

    def post(self, data: bytes) -> bool:
        return False

    async def drain(self) -> None: ...

    def gather(self, n_bytes: int) -> None: ...

    def abort(self) -> None: ...


async def test_a_ping_is_answered_while_receiving() -> None:
    peer, end, stream = raw_client()
    peer.send_ping(b"there?")
    peer.send_text(b"after")
    await stream.send_all(b"".join(peer.data_to_send()))
    assert await end.receive() == [b"after"]
    assert await stream.receive_some() == b"\x8a\x06there?"


async def test_the_library_logs_no_audio_at_level_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with ends() as (client, server):
            await client.send(b"secret audio")
            await server.receive()
    assert caplog.text == ""


# Ends


async def test_the_peers_code_and_reason_come_after_its_last_message() -> None:
    async with ends() as (client, server):
        await client.send(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.close, 4001, "that was all")
            assert await server.receive() == [b"last"]
            end = await gone(server)
            assert (end.code, end.reason) == (4001, "that was all")
            assert (await gone(server)).code == 4001
            with pytest.raises(Gone, match="4001 that was all"):
                await server.send(b"too late")
            assert not server.is_open
            await server.close()


async def test_our_own_close_waits_for_the_peers_close_and_then_the_socket_is_closed() -> None:
    async with ends() as (client, server):
        assert server.is_open
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.close, 1008, "no")
            assert (await gone(client)).code == 1008
            await client.close()
        await server.close()
        with pytest.raises(Gone, match="1008"):
            await server.send(b"x")


async def test_a_close_to_a_peer_that_does_not_answer_takes_two_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (_, server):
        began = trio.current_time()
        await server.close(1012)
        assert trio.current_time() - began == pytest.approx(2.0)


async def test_a_close_runs_to_its_end_although_its_task_is_cancelled() -> None:
    async with ends() as (client, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with trio.open_nursery() as nursery:

                async def peer() -> None:
                    with trio.CancelScope(shield=True):
                        assert (await gone(client)).code == 1012

                nursery.start_soon(peer)
                await server.close(1012, "restart")


async def test_a_close_by_another_task_ends_the_receiving_task(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (_, server), trio.open_nursery() as nursery:

        async def read() -> None:
            assert (await gone(server)).code == 1001

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await server.close(1001)


async def test_a_long_reason_is_cut_between_letters() -> None:
    async with ends() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.close, 1000, "ü" * 100)
        assert (await gone(client)).reason == "ü" * 61
        await client.close()


async def test_an_end_without_a_close_frame_has_the_code_1006() -> None:
    async with ends() as (client, server):
        client.abort()
        assert (await gone(server)).code == 1006


async def test_a_message_over_64_kib_from_the_callers_side_closes_with_1009() -> None:
    async with ends() as (client, server):
        await client.send(b"x" * 65_537)
        assert (await gone(server)).code == 1009
        assert (await gone(client)).code == 1009


async def test_bytes_that_are_not_a_websocket_close_with_1002() -> None:
    peer, end, stream = raw_client()
    await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
    assert (await gone(end)).code == 1002
    peer.receive_data(bytes(await stream.receive_some()))
    assert peer.close_rcvd is not None
    assert peer.close_rcvd.code == 1002


async def test_a_peer_that_does_not_read_counts_as_gone_for_every_sender(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    end = WebSocketEnd(StreamWire(ours), ServerProtocol(state=State.OPEN))
    with pytest.raises(Gone, match="1006 the peer does not read"):
        await end.send(b"x")
    with pytest.raises(Gone):
        await end.send(b"y")
    await end.close()


async def test_cancelling_a_sender_in_the_middle_of_a_frame_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    end = WebSocketEnd(StreamWire(ours), ServerProtocol(state=State.OPEN))
    with trio.move_on_after(1):
        await end.send(b"x" * 1000)
    await theirs.receive_some()  # this pair sends all or nothing; a real socket would have sent a part
    assert await theirs.receive_some() == b""
    with pytest.raises(Gone):
        await end.send(b"y")


# The upgrade on the server's side


async def knock(head: bytes) -> tuple[trio.abc.Stream, StreamWire]:
    a, b = trio.testing.memory_stream_pair()
    await a.send_all(head)
    return a, StreamWire(b)


def good_head(path: str = "/twilio/stream/m1/token") -> bytes:
    peer = ClientProtocol(parse_uri(f"ws://relay.test{path}"))
    peer.send_request(peer.connect())
    return b"".join(peer.data_to_send())


async def test_a_request_that_comes_byte_by_byte_is_read(autojump_clock: trio.testing.MockClock) -> None:
    head = good_head()
    stream, wire = await knock(b"")
    async with trio.open_nursery() as nursery:

        async def dribble() -> None:
            for n in range(3, len(head)):
                await stream.send_all(head[n : n + 1])
                await trio.sleep(0.01)

        nursery.start_soon(dribble)
        request, _ = await answer(wire, head[:3])
    assert request.path == "/twilio/stream/m1/token"
    assert request.headers["sec-websocket-VERSION"] == "13"


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\r\n",
        b"POST /twilio/stream/x HTTP/1.1\r\n\r\n",
        b"GET /twilio/stream/x HTTP/1.1\r\n" + (b"X: " + b"y" * 8_000 + b"\r\n") * 3,
        b"GET /twilio/stream/x HTTP/1.1\r\nContent-Length: nine\r\n\r\n",
        good_head() + b"\x88\x80\0\0\0\0",
    ],
    ids=["tls", "post", "endless", "header", "frame before the answer"],
)
async def test_a_request_that_is_not_an_upgrade_is_answered_with_400(head: bytes) -> None:
    stream, wire = await knock(head)
    with pytest.raises(Gone, match="1002"):
        await answer(wire)
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_request_that_never_ends_is_answered_with_408(autojump_clock: trio.testing.MockClock) -> None:
    stream, wire = await knock(good_head()[:-2])
    with pytest.raises(Gone, match="longer than 5 s"):
        await answer(wire)
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")


async def test_a_peer_that_leaves_in_the_middle_of_its_request_counts_as_gone() -> None:
    stream, wire = await knock(good_head()[:40])
    await stream.aclose()
    with pytest.raises(Gone, match="1006"):
        await answer(wire)


async def test_a_request_without_an_upgrade_is_answered_with_upgrade_required() -> None:
    stream, wire = await knock(b"GET /twilio/stream/x HTTP/1.1\r\nHost: relay.test\r\n\r\n")
    request, end = await answer(wire)
    with pytest.raises(Gone, match="426"):
        await end.accept(request)
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 426 ")


async def test_a_rejection_has_a_status_and_a_sentence_and_headers() -> None:
    stream, wire = await knock(good_head())
    _, end = await answer(wire)
    await end.reject(409, "elsewhere\n", {"fly-replay": "instance=abc;timeout=500ms;fallback=prefer_self"})
    said = bytes(await stream.receive_some())
    assert said.startswith(b"HTTP/1.1 409 Conflict\r\n")
    assert b"\r\nfly-replay: instance=abc;timeout=500ms;fallback=prefer_self\r\n" in said
    assert said.endswith(b"\r\n\r\nelsewhere\n")
    assert await stream.receive_some() == b""


async def test_a_request_that_is_closed_before_it_was_accepted_is_answered_with_503() -> None:
    stream, wire = await knock(good_head())
    _, end = await answer(wire)
    await end.close(1012, "later")
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")


# The upgrade on the client's side


async def replied(reply: bytes) -> WebSocketEnd:
    a, b = trio.testing.memory_stream_pair()
    await b.send_all(reply)
    if not reply.endswith(b"!"):
        await b.send_eof()
    return await upgrade(StreamWire(a), URL, {})


async def test_a_refused_upgrade_reports_status_and_body() -> None:
    with pytest.raises(Refused, match="401: no key") as refused:
        await replied(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nno key")
    assert (refused.value.status, refused.value.body) == (401, "no key")


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 101", b"SSH-2.0-OpenSSH\r\n"])
async def test_a_server_that_leaves_or_does_not_speak_http_is_a_connection_error(reply: bytes) -> None:
    with pytest.raises(ConnectionError):
        await replied(reply)


async def test_an_upgrade_with_another_key_is_refused() -> None:
    with pytest.raises(Refused, match="not valid"):
        await replied(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n!"
        )


async def test_messages_that_come_in_the_same_packet_as_the_answer_101_are_not_lost() -> None:
    a, b = trio.testing.memory_stream_pair()
    server = ServerProtocol()

    async def serve() -> None:
        server.receive_data(bytes(await b.receive_some()))
        (request,) = server.events_received()
        server.send_response(server.accept(request))  # type: ignore[arg-type] # the only event is a Request
        server.send_text(b'{"type":"session.created"}')
        await b.send_all(b"".join(server.data_to_send()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        end = await upgrade(StreamWire(a), URL, {"Authorization": "Bearer k"})
    assert await end.receive() == [b'{"type":"session.created"}']
    end.abort()


CREATED = b'{"type":"session.created","instructions":"%b"}' % (b"x" * 300)
# The length of this frame is written as the bytes 0x81 0x05. A reader that begins at the wrong byte would take these
# bytes for the head of a text frame of five bytes.
UPDATED = b'{"type":"session.updated","instructions":"%b"}' % (b"y" * (0x8105 - 46))


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("first", [CREATED, UPDATED], ids=["short", "long"])
async def test_a_frame_that_begins_in_the_packet_of_the_answer_101_and_the_frame_after_it_are_read_completely(
    first: bytes, cut: int, from_end: bool
) -> None:
    a, b = trio.testing.memory_stream_pair()
    server = ServerProtocol()

    async def serve() -> None:
        server.receive_data(bytes(await b.receive_some()))
        (request,) = server.events_received()
        server.send_response(server.accept(request))  # type: ignore[arg-type] # the only event is a Request
        head = b"".join(server.data_to_send())
        server.send_text(first)
        frame = b"".join(server.data_to_send())
        at = len(frame) - cut if from_end else cut
        server.send_text(UPDATED)
        for packet in (head + frame[:at], frame[at:], b"".join(server.data_to_send())):
            await b.send_all(packet)
            await trio.testing.wait_all_tasks_blocked()

    got: list[bytes] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            end = await upgrade(StreamWire(a), URL, {})
            while len(got) < 2:
                got += await end.receive()
    assert got == [first, UPDATED]
    end.abort()


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 100, -1, -2, -5])
async def test_if_half_a_frame_comes_in_the_packet_of_the_upgrade_request_it_is_read_after_the_accept(cut: int) -> None:
    a, b = trio.testing.memory_stream_pair()
    client = ClientProtocol(parse_uri(URL))
    client.send_request(client.connect())
    head = b"".join(client.data_to_send())
    client.state = State.OPEN  # the client does not wait for the 101
    client.send_text(CREATED)
    frame = b"".join(client.data_to_send())
    client.send_text(UPDATED)
    got: list[bytes] = []
    with trio.fail_after(5):
        await a.send_all(head + frame[:cut])
        request, end = await answer(StreamWire(b))
        await end.accept(request)
        for packet in (frame[cut:], b"".join(client.data_to_send())):
            await a.send_all(packet)
            got += await end.receive()
    assert got == [CREATED, UPDATED]
    end.abort()


@pytest.mark.parametrize("cut", [1, 30, 60, 80, 100, 110])
async def test_the_body_of_a_refusal_is_read_wherever_its_packets_are_cut(cut: int) -> None:
    a, b = trio.testing.memory_stream_pair()
    reply = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n"
    reply += b'{"error":"no key\r\n\r\n so"}  '

    async def serve() -> None:
        await b.receive_some()
        await b.send_all(reply[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await b.send_all(reply[cut:])

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(Refused, match="no key") as refused:
                await upgrade(StreamWire(a), URL, {})
    assert refused.value.status == 401


async def test_messages_that_were_put_back_are_received_first() -> None:
    async with ends() as (client, server):
        await client.send(b"1", b"2", b"3")
        got = await server.receive()
        assert got == [b"1", b"2", b"3"]
        server.unread(got[1:])
        await client.send(b"4")
        assert await server.receive() == [b"2", b"3"]
        assert await server.receive() == [b"4"]


# Dialling, on real sockets, against wsproto


Handler = Callable[[trio_websocket.WebSocketRequest], Awaitable[None]]


async def echo(request: trio_websocket.WebSocketRequest) -> None:
    assert dict(request.headers)[b"authorization"] == b"Bearer k"
    connection = await request.accept()
    try:
        while True:
            await connection.send_message(await connection.get_message())
    except trio_websocket.ConnectionClosed:
        pass


async def refuse(request: trio_websocket.WebSocketRequest) -> None:
    await request.reject(401, body=b"no key")


async def say_bye(request: trio_websocket.WebSocketRequest) -> None:
    connection = await request.accept()
    await connection.ping()
    await connection.aclose(4001, "the server says bye")


@asynccontextmanager
async def wss_server(handler: Handler) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    ca = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    ca.configure_trust(client_context)
    async with trio.open_nursery() as nursery:
        serve = partial(
            trio_websocket.serve_websocket,
            handler,
            "127.0.0.1",
            0,
            ssl_context=server_context,
            max_message_size=1 << 22,
        )
        server = await nursery.start(serve)
        yield f"wss://localhost:{server.listeners[0].port}/v1/realtime?model=m", client_context
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_dialled_wss_socket_carries_messages_and_has_keep_alive() -> None:
    async with wss_server(echo) as (url, tls):
        end = await dial(url, {"Authorization": "Bearer k"}, tls, limit_s=30)
        await end.send(b"hello", b"x" * 2_000_000)
        got: list[bytes] = []
        while len(got) < 2:
            got += await end.receive()
        assert [len(message) for message in got] == [5, 2_000_000]
        sock: socket.socket = end._wire._sock  # type: ignore[attr-defined] # the option is on the socket inside
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        await end.close()
        assert sock.fileno() == -1


@pytest.mark.real
async def test_the_close_of_a_real_server_is_reported_with_its_code() -> None:
    async with wss_server(say_bye) as (url, tls):
        end = await dial(url, {}, tls, limit_s=30)
        closed = await gone(end)
        assert (closed.code, closed.reason) == (4001, "the server says bye")
        await end.close()


@pytest.mark.real
async def test_a_dial_that_fails_reports_the_reason_and_leaves_no_socket() -> None:
    async def mute(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def slam(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with wss_server(refuse) as (url, tls), trio.open_nursery() as nursery:
        ports = []
        for handler in (mute, slam):
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            ports.append(listeners[0].socket.getsockname()[1])
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            dead = nobody.getsockname()[1]
            cases: list[tuple[str, ssl.SSLContext | None, float, type[Exception]]] = [
                (url, tls, 30, Refused),
                (url, None, 30, ssl.SSLCertVerificationError),
                (f"ws://127.0.0.1:{dead}/", None, 30, OSError),
                (f"ws://127.0.0.1:{ports[0]}/", None, 0.2, trio.TooSlowError),
                (f"wss://127.0.0.1:{ports[0]}/", tls, 0.2, trio.TooSlowError),
                (f"ws://127.0.0.1:{ports[1]}/", None, 30, ConnectionError),
                (f"wss://127.0.0.1:{ports[1]}/", tls, 30, OSError),
                ("http://127.0.0.1/", None, 30, ValueError),
            ]
            for address, context, limit_s, error in cases:
                with pytest.raises(error):
                    await dial(address, {}, context, limit_s)
        ours = [s for s in _tcp_peers() if s in {*ports, int(url.split(":")[2].split("/")[0])}]
        assert ours == []
        nursery.cancel_scope.cancel()


def _tcp_peers() -> list[int]:
    """The remote ports of this process's connected TCP sockets."""
    peers = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            try:
                peers.append(sock.getpeername()[1])
            except (OSError, IndexError):
                continue
    return peers


# Text frames that are read without the protocol core


def _frames(peer: ClientProtocol, kinds: list[tuple[str, bytes]]) -> bytes:
    """Messages that a caller may send, as bytes on the wire."""
    for kind, payload in kinds:
        if kind == "text":
            peer.send_text(payload)
        elif kind == "binary":
            peer.send_binary(payload)
        elif kind == "ping":
            peer.send_ping(payload[:125])
        else:
            peer.send_text(payload, fin=False)
            peer.send_ping(b"between")
            peer.send_continuation(payload, fin=True)
    return b"".join(peer.data_to_send())


_KINDS = st.tuples(
    st.sampled_from(["text", "binary", "ping", "parts"]), st.binary(max_size=200) | st.just(b"x" * 66_000)
)


@given(st.lists(_KINDS, max_size=8), st.lists(st.integers(1, 70_000), max_size=12))
@settings(max_examples=60)
def test_any_mixture_of_frames_gives_the_same_messages_as_the_protocol_core_alone(
    kinds: list[tuple[str, bytes]], cuts: list[int]
) -> None:
    kinds = [(kind, payload[:65_536]) for kind, payload in kinds if kind != "parts" or len(payload) < 30_000]
    data = _frames(ClientProtocol(parse_uri(URL), state=State.OPEN), kinds)
    expected = [p + p if kind == "parts" else p for kind, p in kinds if kind != "ping"]

    async def read() -> None:
        _, end, stream = raw_client()
        at = 0
        for cut in [*cuts, len(data)]:
            end._feed(data[at : at + cut]) if data[at : at + cut] else None
            at += cut
        assert end._ready == expected
        assert end._protocol.state is State.OPEN
        await stream.aclose()
        end.abort()

    trio.run(read)


async def test_a_text_frame_over_the_limit_is_given_to_the_core_and_refused_as_too_big() -> None:
    peer, end, stream = raw_client()
    peer.send_text(b"x" * 65_537)
    await stream.send_all(b"".join(peer.data_to_send()))
    assert (await gone(end)).code == 1009


async def test_a_frame_without_a_mask_is_given_to_the_core_and_refused_as_an_error() -> None:
    _, end, stream = raw_client()
    await stream.send_all(b"\x81\x02hi")
    assert (await gone(end)).code == 1002


async def test_a_text_frame_between_the_parts_of_another_is_given_to_the_core_and_refused_as_an_error() -> None:
    peer, end, stream = raw_client()
    peer.send_text(b"first part", fin=False)
    other = ClientProtocol(parse_uri(URL), state=State.OPEN)
    other.send_text(b"in between")
    await stream.send_all(b"".join(peer.data_to_send() + other.data_to_send()))
    assert (await gone(end)).code == 1002
