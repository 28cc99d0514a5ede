"""Bytes that are handed over: by the hub, inside Trio's loop, and by a waiting task where there is no hub."""

from __future__ import annotations

import contextvars
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing
import trustme
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay.transport import hub as hub_module
from relay.transport import wire as wire_module
from relay.transport.hub import Hub, current_hub
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import SocketWire

pytestmark = pytest.mark.real  # sockets of the kernel


@pytest.fixture(params=["hub", "no hub"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which bytes are handed over: what a reader sees of them is the same."""
    if request.param == "no hub":
        monkeypatch.setattr(wire_module, "current_hub", lambda: None)
    return str(request.param)


@pytest.fixture
def wires() -> Iterator[tuple[SocketWire, SocketWire]]:
    ours, theirs = (SocketWire(sock) for sock in socket.socketpair())
    yield ours, theirs
    for wire in (ours, theirs):
        if wire._sock.fileno() >= 0:
            wire._sock.close()


class Took(list[bytes]):
    """A reader's function that keeps what it is given, and a way to wait for it."""

    def __call__(self, data: bytes) -> bool:
        self.append(data)
        return bool(data)

    async def wait(self, n: int) -> None:
        with trio.fail_after(10):
            while len(self) < n:
                await trio.lowlevel.checkpoint()


class Steps(trio.abc.Instrument):
    """Counts the steps of one task."""

    def __init__(self, name: str) -> None:
        self.name, self.n = name, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.n += task.name == self.name


async def test_trio_takes_our_seam_before_its_io_manager() -> None:
    # Red with another Trio? Look at trio/_core/_run.py and _io_epoll.py, then move the pin. Calls go on without.
    hub = current_hub()
    assert isinstance(hub, Hub)
    assert current_hub() is hub
    assert trio.lowlevel.current_statistics().io_statistics is not None, "what the hub does not know is Trio's"


async def test_bytes_are_handed_over_without_a_step_of_the_readers_task(wires: tuple[SocketWire, SocketWire]) -> None:
    ours, theirs = wires
    took, steps = Took(), Steps("reader")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.hand_over, took, name="reader")
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        for n in range(5):
            await ours.write(b"%d" % n)
            await took.wait(n + 1)
        assert steps.n == 0
        ours.abort()
    assert took == [b"0", b"1", b"2", b"3", b"4", b""]


async def test_the_end_is_handed_over_too_and_the_reader_goes_on(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    took = Took()
    await ours.write(b"last words")
    ours.abort()
    await theirs.hand_over(took)
    assert took == [b"last words", b""]


async def test_a_reader_that_has_enough_is_woken_and_reads_on_as_it_likes(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    await ours.write(b"1")
    await theirs.hand_over(lambda data: False)
    await ours.write(b"2")
    assert await theirs.read() == b"2"
    await ours.write(b"3")
    await theirs.hand_over(lambda data: data != b"3")


async def test_what_the_handed_over_work_raises_is_raised_in_the_reader(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires

    def break_down(_: bytes) -> bool:
        raise ZeroDivisionError

    await ours.write(b"1")
    with pytest.raises(ZeroDivisionError):
        await theirs.hand_over(break_down)
    await ours.write(b"2")
    assert await theirs.read() == b"2", "the socket is the reader's again"


async def test_a_reset_is_raised_in_the_reader(way: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listening.getsockname())
    theirs = SocketWire(listening.accept()[0])
    listening.close()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()  # with linger 0: a reset
    with pytest.raises(trio.BrokenResourceError, match="the connection broke"):
        await theirs.hand_over(lambda _: True)
    theirs.abort()


async def test_the_readers_context_is_in_force_in_the_handed_over_work(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    call = contextvars.ContextVar("call", default="none")
    seen: list[str] = []

    def take(data: bytes) -> bool:
        seen.append(call.get())
        return bool(data)

    async def read() -> None:
        call.set("CA1")
        await theirs.hand_over(take)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await ours.write(b"1")
        ours.abort()
    assert seen[0] == "CA1"


async def test_cancelling_the_reader_ends_it(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
    ours, theirs = wires
    took = Took()
    with trio.move_on_after(0.01) as scope:
        await theirs.hand_over(took)
    assert scope.cancelled_caught
    await ours.write(b"1")
    assert await theirs.read() == b"1"
    assert took == []


async def test_work_that_cancels_its_own_reader_is_let_finish(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
    ours, theirs = wires
    done: list[bytes] = []
    await ours.write(b"1")
    with trio.CancelScope() as scope:

        def stop(data: bytes) -> bool:
            scope.cancel()
            done.append(data)
            return True

        await theirs.hand_over(stop)
    assert scope.cancelled_caught
    assert done == [b"1"]
    await ours.write(b"2")
    assert await theirs.read() == b"2"


async def test_a_wire_that_is_closed_beside_its_reader_wakes_it(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
    _, theirs = wires
    with pytest.RaisesGroup(trio.ClosedResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.hand_over, Took())
            await trio.testing.wait_all_tasks_blocked()
            theirs.abort()


async def test_a_wire_that_is_closed_by_the_handed_over_work_wakes_its_reader(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires

    def give_up(_: bytes) -> bool:
        theirs.abort()
        return True

    await ours.write(b"1")
    with pytest.raises(trio.ClosedResourceError):
        await theirs.hand_over(give_up)


async def test_a_bug_behind_a_close_is_not_lost(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
    ours, theirs = wires

    def give_up(_: bytes) -> bool:
        theirs.abort()
        raise ZeroDivisionError

    await ours.write(b"1")
    with pytest.raises(ZeroDivisionError):
        await theirs.hand_over(give_up)


async def test_a_socket_that_another_closes_in_the_same_look_is_left_alone() -> None:
    pairs = [[SocketWire(sock) for sock in socket.socketpair()] for _ in range(2)]
    ends: list[str] = []

    async def read(mine: SocketWire, other: SocketWire) -> None:
        def close_other(data: bytes) -> bool:
            other.abort()
            return False

        try:
            await mine.hand_over(close_other)
            ends.append("took")
        except trio.ClosedResourceError:
            ends.append("was closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, pairs[0][1], pairs[1][1])
        nursery.start_soon(read, pairs[1][1], pairs[0][1])
        await trio.testing.wait_all_tasks_blocked()
        for near, _ in pairs:
            near._push(b"1")  # both before the next look
    assert sorted(ends) == ["took", "was closed"]
    for pair in pairs:
        pair[0].abort()
        pair[1].abort()


async def test_a_writer_that_waits_for_room_and_a_handed_over_reader_share_a_socket(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    much, took = bytes(900_000), Took()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.hand_over, took)
        nursery.start_soon(ours.write, much)
        await trio.testing.wait_all_tasks_blocked()
        assert ours.waiting_bytes, "the socket took it all: nobody waits for room"
        await theirs.write(b"1")
        await took.wait(1)
        n_bytes = 0
        while n_bytes < len(much):
            n_bytes += len(await theirs.read())
        await theirs.write(b"2")
        await took.wait(2)
        theirs.abort()


async def test_a_peer_that_floods_us_leaves_other_tasks_their_turn(way: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    wire, turns, got = SocketWire(theirs), 0, 0

    def take(data: bytes) -> bool:
        nonlocal got
        got += len(data)
        try:
            ours.send(bytes(65_536))  # there is always more
        except BlockingIOError:
            pass
        return got < 20 * 65_536

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        ours.send(b"1")
        await wire.hand_over(take)
        nursery.cancel_scope.cancel()
    assert turns >= 15
    wire.abort()
    ours.close()


async def test_where_trio_has_no_such_manager_readers_wait_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, wires: tuple[SocketWire, SocketWire], capsys: pytest.CaptureFixture[str]
) -> None:
    def no_runner() -> object:
        raise AttributeError("Trio looks at its sockets by KqueueIOManager")

    monkeypatch.setattr(hub_module, "_runner", no_runner)
    ours, theirs = wires
    took, steps = Took(), Steps("reader")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.hand_over, took, name="reader")
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        await ours.write(b"1")
        await took.wait(1)
        ours.abort()
    assert took == [b"1", b""]
    assert steps.n > 0, "there was a hub after all"
    assert "KqueueIOManager" in capsys.readouterr().out


# With TLS


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@asynccontextmanager
async def tls_wires(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> AsyncIterator[tuple[trio.SSLStream[trio.SocketStream], SocketWire]]:
    near, far = socket.socketpair()
    far.setblocking(False)
    server = trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(far)), contexts[0], server_side=True)
    client = SocketWire(near, contexts[1], "localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        await client.handshake()
    yield server, client
    client.abort()
    await trio.aclose_forcefully(server)


async def test_whole_records_are_handed_over_opened(way: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with tls_wires(contexts) as (server, client):
        took = Took()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.hand_over, took)
            await server.send_all(b"hello")
            await took.wait(1)
            await server.send_all(bytes(100_000))  # seven records, in several reads
            while sum(map(len, took)) < 100_005:
                await trio.lowlevel.checkpoint()
            await server.aclose()
        assert b"".join(took) == b"hello" + bytes(100_000)
        assert took[-1] == b""


async def test_what_came_right_behind_the_handshake_is_handed_over_first(
    way: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with tls_wires(contexts) as (server, client):
        await server.send_all(b"early")
        client._take_sealed(await client._recv())  # in OpenSSL's hands already
        took = Took()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.hand_over, took)
            await took.wait(1)
            nursery.cancel_scope.cancel()
        assert took == [b"early"]


async def test_broken_tls_is_raised_in_the_reader(way: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with tls_wires(contexts) as (server, client):
        await server.transport_stream.send_all(b"\x17\x03\x03\x00\x10" + bytes(16))
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            await client.hand_over(lambda _: True)


# Messages


def end_and_peer() -> tuple[WebSocketEnd, ClientProtocol, SocketWire]:
    near, far = socket.socketpair()
    end = WebSocketEnd(SocketWire(near), ServerProtocol(state=State.OPEN, max_size=65_536))
    return end, ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN), SocketWire(far)


async def say(peer: ClientProtocol, wire: SocketWire) -> None:
    await wire.write(b"".join(peer.data_to_send()))


async def test_messages_are_handed_over_together_and_their_reader_hears_of_the_end(way: str) -> None:
    end, peer, wire = end_and_peer()
    got: list[list[bytes]] = []

    def take(messages: list[bytes]) -> bool:
        got.append(messages)
        return True

    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(Gone) as caught:
                await end.hand_over(take)
            assert caught.value.code == 1001

        nursery.start_soon(read)
        end.unread([b"0"])
        peer.send_text(b"1")
        peer.send_text(b"2")
        await say(peer, wire)
        while len(got) < 2:
            await trio.lowlevel.checkpoint()
        peer.send_close(1001)
        await say(peer, wire)
    assert got == [[b"0"], [b"1", b"2"]] or got == [[b"0", b"1", b"2"]]
    end.abort()
    wire.abort()


async def test_a_reader_that_wants_no_more_messages_leaves_the_rest_unread(way: str) -> None:
    end, peer, wire = end_and_peer()
    peer.send_text(b"1")
    await say(peer, wire)
    await end.hand_over(lambda messages: False)
    peer.send_text(b"2")
    await say(peer, wire)
    assert await end.receive() == [b"2"]
    end.abort()
    wire.abort()


async def test_a_ping_is_answered_while_messages_are_handed_over(way: str) -> None:
    end, peer, wire = end_and_peer()
    got: list[bytes] = []

    def take(messages: list[bytes]) -> bool:
        got.extend(messages)
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.hand_over, take)
        peer.send_ping(b"there?")
        await say(peer, wire)
        peer.receive_data(await wire.read())
        assert [event.opcode for event in peer.events_received()] == [Opcode.PONG]  # type: ignore[union-attr]
        peer.send_text(b"1")
        await say(peer, wire)
        while not got:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    end.abort()
    wire.abort()


async def test_a_close_beside_a_reader_wakes_it_at_once_and_waits_for_the_peers_goodbye_itself(way: str) -> None:
    end, peer, wire = end_and_peer()
    order: list[str] = []

    async def read() -> None:
        with pytest.raises(Gone) as caught:
            await end.hand_over(lambda messages: True)
        order.append(f"reader {caught.value.code}")

    async def close() -> None:
        await end.close(1000)
        order.append("closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert order == ["reader 1000"], "the peer has not said goodbye yet"
        peer.receive_data(await wire.read())
        await say(peer, wire)
    assert order == ["reader 1000", "closed"]
    wire.abort()
