"""The hub reads sockets inside Trio's loop and hands the bytes over to a function of the reader.

If there is no hub, a task of the reader waits for the bytes and calls this function.
"""

from __future__ import annotations

import contextvars
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

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
from relay.transport.overload import Pace
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import SocketWire

pytestmark = pytest.mark.real  # sockets of the kernel


@pytest.fixture(params=["hub", "no hub"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two ways in which bytes are handed over: with the hub and without it. A reader must see no difference."""
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
    """A function to which bytes are handed over. It keeps them, and a test can wait for them."""

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


async def test_the_reader_learns_that_the_wire_was_closed_because_the_peer_does_not_read(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, _ = wires
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError, match="the peer does not read"):
                await ours.hand_over(Took())
            with pytest.raises(trio.ClosedResourceError, match="the peer does not read"):
                await ours.read()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        ours.post(b"x" * 4_000_000)
        with pytest.raises(trio.BrokenResourceError, match="the peer does not read"):
            ours.post(b"x")


async def test_the_hub_can_be_put_in_front_of_trios_io_manager() -> None:
    # If this fails with another version of Trio, read trio/_core/_run.py and _io_epoll.py, and then change the
    # pinned version. Calls also work without the hub.
    hub = current_hub()
    assert isinstance(hub, Hub)
    assert current_hub() is hub
    assert trio.lowlevel.current_statistics().io_statistics is not None, "Trio's own attributes are lost"


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


class Passes(trio.abc.Instrument):
    """Counts the passes of Trio's loop."""

    def __init__(self) -> None:
        self.n = 0

    def after_io_wait(self, timeout: float) -> None:
        self.n += 1


class Echoes:
    """Two readers whose functions answer each other without end. So the hub always has bytes to hand over."""

    def __init__(self, wires: tuple[SocketWire, SocketWire]) -> None:
        self.wires, self.n = wires, 0
        self.heard: Callable[[int], None] = lambda n: None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for wire in self.wires:
                nursery.start_soon(wire.hand_over, partial(self._answer, wire))
            await trio.testing.wait_all_tasks_blocked()
            self.wires[0].post(b"1")

    def _answer(self, wire: SocketWire, data: bytes) -> bool:
        self.n += 1
        wire.post(data)
        self.heard(self.n)
        return True


async def test_while_only_the_hub_has_work_trios_loop_makes_no_pass(wires: tuple[SocketWire, SocketWire]) -> None:
    echoes, passes, enough = Echoes(wires), Passes(), trio.Event()
    echoes.heard = lambda n: enough.set() if n == 1000 else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echoes.run)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(passes)
        await enough.wait()
        assert passes.n < 10
        nursery.cancel_scope.cancel()


async def test_a_deadline_is_kept_while_the_hub_always_has_work(wires: tuple[SocketWire, SocketWire]) -> None:
    with trio.move_on_after(0.05) as scope:
        await Echoes(wires).run()
    assert scope.cancelled_caught


async def test_trios_own_sockets_are_served_while_the_hub_always_has_work(
    wires: tuple[SocketWire, SocketWire],
) -> None:
    ours, theirs = socket.socketpair()
    echoes = Echoes(wires)
    echoes.heard = lambda n: ours.close() if n == 100 else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echoes.run)
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(theirs)
        nursery.cancel_scope.cancel()
    theirs.close()


async def test_a_pass_in_which_only_the_hub_works_is_measured_too(wires: tuple[SocketWire, SocketWire]) -> None:
    hub, echoes, enough, told = current_hub(), Echoes(wires), trio.Event(), list[str]()
    echoes.heard = lambda n: enough.set() if n == 100 else None

    class Recorder:
        is_busy = False

        def sleeps(self, now: float) -> None:
            told.append("sleeps")

        def wakes(self, now: float) -> None:
            told.append("wakes")

    assert hub is not None
    hub.pace = Recorder()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echoes.run)
        await enough.wait()
        nursery.cancel_scope.cancel()
    assert len(told) >= 200
    assert told[:200] == ["sleeps", "wakes"] * 100


@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_busy_loop_waits_before_it_looks_at_the_sockets_again_and_an_idle_loop_does_not(
    is_busy: bool, wires: tuple[SocketWire, SocketWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, pace, echoes, enough, rests = current_hub(), Pace(), Echoes(wires), trio.Event(), list[float]()
    assert hub is not None
    hub.pace = pace
    monkeypatch.setattr(pace, "passed", lambda took_s, waited_s: None)
    pace.is_busy = is_busy
    monkeypatch.setattr(hub_module, "LOOK_EVERY_S", 1000.0)
    monkeypatch.setattr(hub_module, "sleep", rests.append)
    echoes.heard = lambda n: enough.set() if n == 50 else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echoes.run)
        await enough.wait()
        nursery.cancel_scope.cancel()
    assert (len(rests) >= 48) is is_busy
    assert all(0 < rest <= 1000.0 for rest in rests)


async def test_a_busy_loop_does_not_wait_beyond_a_deadline_or_while_a_task_is_ready(
    wires: tuple[SocketWire, SocketWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, pace, rests = current_hub(), Pace(), list[float]()
    assert hub is not None
    hub.pace = pace
    monkeypatch.setattr(pace, "passed", lambda took_s, waited_s: None)
    pace.is_busy = True
    monkeypatch.setattr(hub_module, "LOOK_EVERY_S", 1000.0)
    monkeypatch.setattr(hub_module, "sleep", rests.append)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    assert rests == []
    with trio.move_on_after(0.01):
        await wires[0].hand_over(lambda _: True)
    assert rests
    assert max(rests) <= 0.01


async def test_the_end_of_the_stream_is_handed_over_too_and_the_reader_goes_on(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    took = Took()
    await ours.write(b"last words")
    ours.abort()
    await theirs.hand_over(took)
    assert took == [b"last words", b""]


async def test_a_reader_that_wants_nothing_more_from_the_hub_is_woken_and_can_read_by_itself(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    await ours.write(b"1")
    await theirs.hand_over(lambda data: False)
    await ours.write(b"2")
    assert await theirs.read() == b"2"
    await ours.write(b"3")
    await theirs.hand_over(lambda data: data != b"3")


async def test_an_error_in_the_handed_over_work_is_raised_in_the_reader(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires

    def break_down(_: bytes) -> bool:
        raise ZeroDivisionError

    await ours.write(b"1")
    with pytest.raises(ZeroDivisionError):
        await theirs.hand_over(break_down)
    await ours.write(b"2")
    assert await theirs.read() == b"2", "the reader cannot read the socket any more"


async def test_a_reset_of_the_connection_is_raised_in_the_reader(way: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listening.getsockname())
    theirs = SocketWire(listening.accept()[0])
    listening.close()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()  # a close with linger 0 is a reset
    with pytest.raises(trio.BrokenResourceError, match="the connection broke"):
        await theirs.hand_over(lambda _: True)
    theirs.abort()


async def test_the_handed_over_work_runs_in_the_readers_context(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
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


async def test_cancelling_the_task_of_a_reader_ends_the_reader(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
    ours, theirs = wires
    took = Took()
    with trio.move_on_after(0.01) as scope:
        await theirs.hand_over(took)
    assert scope.cancelled_caught
    await ours.write(b"1")
    assert await theirs.read() == b"1"
    assert took == []


async def test_work_that_cancels_its_own_reader_runs_to_its_end(way: str, wires: tuple[SocketWire, SocketWire]) -> None:
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


async def test_when_another_task_closes_a_wire_the_reader_of_the_wire_is_woken(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
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


async def test_an_error_after_a_close_in_the_same_work_is_not_lost(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires

    def give_up(_: bytes) -> bool:
        theirs.abort()
        raise ZeroDivisionError

    await ours.write(b"1")
    with pytest.raises(ZeroDivisionError):
        await theirs.hand_over(give_up)


async def test_a_socket_that_was_closed_earlier_in_the_same_round_is_not_read() -> None:
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
            near._push(b"1")  # both bytes come before the hub looks at its sockets again
    assert sorted(ends) == ["took", "was closed"]
    for pair in pairs:
        pair[0].abort()
        pair[1].abort()


async def test_a_writer_that_waits_for_room_and_a_reader_of_the_hub_can_share_a_socket(
    way: str, wires: tuple[SocketWire, SocketWire]
) -> None:
    ours, theirs = wires
    much, took = bytes(900_000), Took()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.hand_over, took)
        nursery.start_soon(ours.write, much)
        await trio.testing.wait_all_tasks_blocked()
        assert ours.waiting_bytes, "the socket took everything, so no writer waits for room"
        await theirs.write(b"1")
        await took.wait(1)
        n_bytes = 0
        while n_bytes < len(much):
            n_bytes += len(await theirs.read())
        await theirs.write(b"2")
        await took.wait(2)
        theirs.abort()


async def test_a_peer_that_sends_without_end_does_not_stop_other_tasks(way: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    wire, turns, got = SocketWire(theirs), 0, 0

    def take(data: bytes) -> bool:
        nonlocal got
        got += len(data)
        try:
            ours.send(bytes(65_536))  # there is always more to read
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


async def test_if_the_version_of_trio_does_not_fit_readers_wait_in_their_tasks_and_one_log_line_reports_it(
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
    assert steps.n > 0, "the reader's task took no step, so there was a hub"
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


async def test_complete_tls_records_are_handed_over_decrypted(
    way: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with tls_wires(contexts) as (server, client):
        took = Took()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.hand_over, took)
            await server.send_all(b"hello")
            await took.wait(1)
            await server.send_all(bytes(100_000))  # seven TLS records, which need several reads
            while sum(map(len, took)) < 100_005:
                await trio.lowlevel.checkpoint()
            await server.aclose()
        assert b"".join(took) == b"hello" + bytes(100_000)
        assert took[-1] == b""


async def test_data_that_came_with_the_handshake_is_handed_over_first(
    way: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with tls_wires(contexts) as (server, client):
        await server.send_all(b"early")
        client._take_sealed(await client._recv())  # these bytes are already in OpenSSL's buffer
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


async def test_messages_are_handed_over_together_and_the_reader_is_told_of_the_end(way: str) -> None:
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


async def test_when_another_task_closes_the_reader_is_woken_at_once_and_that_task_waits_for_the_peers_close(
    way: str,
) -> None:
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
        assert order == ["reader 1000"], "the close ended before the peer's close came"
        peer.receive_data(await wire.read())
        await say(peer, wire)
    assert order == ["reader 1000", "closed"]
    wire.abort()
