"""The wire: writes of several tasks arrive whole and in order. A peer that does not read is cut off."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing
import trustme

from relay.transport import wire as wire_module
from relay.transport.wire import OUT_LIMIT_BYTES, SocketWire, StreamWire, Wire, notice_dead_peers


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    yield ours, theirs
    ours.close()
    theirs.close()


def stalled(kind: str, sockets: tuple[socket.socket, socket.socket]) -> Wire:
    """A wire whose peer never reads."""
    if kind == "socket":
        return SocketWire(sockets[0])
    return StreamWire(trio.testing.lockstep_stream_pair()[0])


both = pytest.mark.parametrize("kind", ["socket", "stream"])


async def test_all_written_bytes_are_read_up_to_the_end(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = (SocketWire(sock) for sock in sockets)
    await ours.write(b"hello")
    assert await theirs.read() == b"hello"
    await theirs.write(b"")
    ours.abort()
    assert await theirs.read() == b""


@pytest.mark.real
async def test_a_reader_that_waits_for_several_frames_sleeps_until_enough_bytes_have_come_or_the_stream_ends() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    ours, theirs = SocketWire(socket.create_connection(listening.getsockname())), SocketWire(listening.accept()[0])
    listening.close()
    got: list[bytes] = []

    async def read() -> None:
        while data := await theirs.read():
            got.append(data)

    theirs.gather(450)
    async with trio.open_nursery() as nursery:
        await ours.write(b"a" * 400)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert got == []
        await ours.write(b"b" * 100)
        while not got:  # noqa: ASYNC110 -- the kernel tells no event of Trio's
            await trio.sleep(0.001)
        assert got == [b"a" * 400 + b"b" * 100]
        await ours.write(b"c")
        await trio.testing.wait_all_tasks_blocked(0.05)
        ours.abort()  # at the end of the stream, the reader gets the rest, although it is less than 450 bytes
    assert got[1:] == [b"c"]
    theirs.abort()


async def test_many_writers_to_a_slow_reader_lose_and_mix_nothing(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = SocketWire(sockets[0]), SocketWire(sockets[1])
    await _three_write_one_reads(ours, theirs)


async def test_many_writers_on_a_stream_lose_and_mix_nothing() -> None:
    a, b = trio.testing.lockstep_stream_pair()
    await _three_write_one_reads(StreamWire(a), StreamWire(b))


async def _three_write_one_reads(ours: Wire, theirs: Wire) -> None:
    """Three writers write 60 pieces each. A piece is 5,000 equal bytes, and the next piece has the next byte."""
    got = bytearray()

    async def write(first: int) -> None:
        for n in range(60):
            await ours.write(bytes([first + n]) * 5_000)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for writer in range(3):
            nursery.start_soon(write, writer * 60)
        await trio.testing.wait_all_tasks_blocked()
        while len(got) < 900_000:
            got += await theirs.read()
    pieces = [bytes(got[at : at + 5_000]) for at in range(0, len(got), 5_000)]
    assert all(len(set(piece)) == 1 for piece in pieces)
    order = [piece[0] for piece in pieces]
    for writer in range(3):
        assert [n for n in order if n // 60 == writer] == list(range(writer * 60, writer * 60 + 60))


@both
async def test_a_peer_that_does_not_read_is_cut_off_after_5_s_without_progress(
    kind: str, sockets: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    wire = stalled(kind, sockets)
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError, match="does not read: no progress for 5 s"):
        await wire.write(b"x" * 500_000)
    assert trio.current_time() - began == pytest.approx(5.0)
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await wire.write(b"x")


async def test_a_peer_that_reads_a_little_at_times_is_not_cut_off(
    sockets: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    wire = SocketWire(sockets[0])
    n_bytes = 0

    async def read_slowly() -> None:
        nonlocal n_bytes
        while n_bytes < 300_000:
            await trio.sleep(4)
            try:
                n_bytes += len(sockets[1].recv(40_000))
            except BlockingIOError:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly)
        await wire.write(b"x" * 300_000)
    assert n_bytes == 300_000


@both
async def test_a_peer_is_cut_off_at_once_when_more_bytes_wait_than_the_limit(
    kind: str, sockets: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    wire = stalled(kind, sockets)
    async with trio.open_nursery() as nursery:

        async def drain() -> None:
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await wire.write(b"x" * 300_000)

        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        for _ in range(7):
            await wire.write(b"y" * 100_000)
        with pytest.raises(trio.BrokenResourceError, match=str(OUT_LIMIT_BYTES)):
            await wire.write(b"y" * 100_000)
        assert trio.current_time() == began


@both
async def test_cancelling_a_writer_in_the_middle_of_its_bytes_ends_the_wire(
    kind: str, sockets: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    wire = stalled(kind, sockets)
    with trio.move_on_after(1) as scope:
        await wire.write(b"x" * 500_000)
    assert scope.cancelled_caught
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await wire.write(b"x")


async def test_cancelling_a_writer_whose_bytes_only_wait_does_no_harm(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = SocketWire(sockets[0]), SocketWire(sockets[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.write, b"a" * 200_000)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await ours.write(b"b" * 10)
        got = bytearray()
        while len(got) < 200_010:
            got += await theirs.read()
    assert got.endswith(b"ab" + b"b" * 9)


@both
async def test_abort_wakes_the_reader_and_may_be_called_twice(
    kind: str, sockets: tuple[socket.socket, socket.socket]
) -> None:
    wire = stalled(kind, sockets)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wire.read()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        wire.abort()
        wire.abort()
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await wire.read()


async def test_after_the_abort_of_a_stream_its_peer_sees_the_end() -> None:
    ours, theirs = (StreamWire(stream) for stream in trio.testing.memory_stream_pair())
    await ours.write(b"last")
    ours.abort()
    assert await theirs.read() == b"last"
    assert await theirs.read() == b""


async def test_a_connection_that_the_peer_resets_counts_as_broken_and_not_as_closed() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    wire = SocketWire(listener.accept()[0])
    listener.close()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(trio.BrokenResourceError, match="broke"):
        await wire.read()
    wire.abort()


async def test_sockets_of_a_listener_with_keep_alive_also_have_keep_alive() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    notice_dead_peers(listener)
    with listener, socket.create_connection(listener.getsockname()) as theirs, listener.accept()[0] as ours:
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


async def test_a_connection_that_was_taken_over_works_without_its_stream() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
    far = await listeners[0].accept()
    wire = SocketWire.take(stream)
    assert wire._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    await stream.aclose()
    await wire.write(b"still here")
    assert await far.receive_some() == b"still here"
    wire.abort()
    assert await far.receive_some() == b""
    await far.aclose()
    await listeners[0].aclose()


# TLS


class Tls:
    """A client's wire and a server's Trio stream on one connection, and their TLS contexts."""

    def __init__(self) -> None:
        ca = trustme.CA()
        self.server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("model.test").configure_cert(self.server_context)
        self.client_context = ssl.create_default_context()
        ca.configure_trust(self.client_context)
        ours, theirs = socket.socketpair()
        self.wire = SocketWire(ours, self.client_context, "model.test")
        far = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        self.server = trio.SSLStream(far, self.server_context, server_side=True)

    async def shake_hands(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.server.do_handshake)
            await self.wire.handshake()


@pytest.fixture
async def tls() -> AsyncIterator[Tls]:
    ends = Tls()
    yield ends
    ends.wire.abort()
    await trio.aclose_forcefully(ends.server)


async def test_tls_carries_many_bytes_of_many_writers_in_order(tls: Tls) -> None:
    await tls.shake_hands()

    class Far:
        async def read(self) -> bytes:
            return bytes(await tls.server.receive_some())

        async def hand_over(self, take: Callable[[bytes], bool]) -> None:
            raise NotImplementedError

        async def write(self, data: bytes) -> None:
            await tls.server.send_all(data)

        @property
        def waiting_bytes(self) -> int:
            return 0

        def post(self, data: bytes) -> bool:
            raise NotImplementedError

        async def drain(self) -> None: ...

        def gather(self, n_bytes: int) -> None: ...

        def abort(self) -> None: ...

    await _three_write_one_reads(tls.wire, Far())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tls.server.send_all, b"z" * 1_000_000)
        got = bytearray()
        while len(got) < 1_000_000:
            got += await tls.wire.read()
    assert got == b"z" * 1_000_000


async def test_a_tls_stream_ends_with_the_servers_close_notify(tls: Tls) -> None:
    await tls.shake_hands()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tls.server.aclose)
        assert await tls.wire.read() == b""
        tls.wire.abort()


async def test_tls_with_damaged_bytes_breaks_the_wire(tls: Tls) -> None:
    await tls.shake_hands()
    await tls.server.transport_stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
        await tls.wire.read()


async def test_an_unknown_certificate_is_refused_and_the_server_gets_the_reason(tls: Tls) -> None:
    wire = SocketWire(tls.wire._sock, ssl.create_default_context(), "model.test")
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            with pytest.raises(trio.BrokenResourceError) as told:
                await tls.server.do_handshake()
            assert "unknown ca" in str(told.value.__cause__).lower()

        nursery.start_soon(serve)
        with pytest.raises(ssl.SSLCertVerificationError):
            await wire.handshake()


async def test_a_server_that_leaves_during_the_tls_handshake_raises_os_error(tls: Tls) -> None:
    await tls.server.transport_stream.aclose()
    with pytest.raises((ConnectionError, trio.BrokenResourceError)):
        await tls.wire.handshake()


def test_the_default_tls_context_is_made_once_and_verifies() -> None:
    context = wire_module.default_tls()
    assert context is wire_module.default_tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
