"""Serves HTTP and WebSockets on one port. Hypercorn serves HTTP. WebSockets are taken from it before their upgrade.

A connection whose next request is a GET below a door's prefix (`/twilio/stream/…`, `/console/socket/…`) is taken from
hypercorn, and the door gets it as a WebSocketEnd on the bare socket. The connection may have had plain requests before.
Hypercorn's own WebSockets are not used, because they halve the number of calls that a core can carry, shield every send
from cancellation, and lose the peer's close code. This file subclasses hypercorn's TCP server. Therefore hypercorn is
pinned to 0.18, and tests/server/test_http.py checks every part of hypercorn that this file uses.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

import h11
import hypercorn.protocol
import hypercorn.trio.run
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import ASGIFramework

from relay.server.descriptors import IdleConnections
from relay.transport import overload
from relay.transport.handshake import answer
from relay.transport.websocket import Gone, Request, WebSocketEnd
from relay.transport.wire import SocketWire, notice_dead_peers

log = structlog.get_logger()

Door: TypeAlias = Callable[[Request, WebSocketEnd], Awaitable[None]]
"""Decides whether a socket may open, and serves it. A door has a path prefix. It is called once for each GET request
below this prefix, before the upgrade. It calls `end.accept(request)` or `end.reject(...)`, and returns when the socket
has ended. Then `end` is closed: with 1000 after a return or after Gone, with 1012 if the process stops, with 1011 after
any other exception (which is logged)."""

HEAD_LIMIT_S = 5.0
# A peer that does not read a plain HTTP response is dropped after this time. Hypercorn alone would wait forever, even
# after SIGTERM.
SEND_LIMIT_S = 5.0
# An idle connection is closed after this time. Twilio keeps its connections open. The shorter this time is, the more
# often a webhook would arrive on a connection that is being closed, and fail.
KEEP_ALIVE_S = 75
# This many new connections may wait in the kernel while the loop is busy. Each ring needs two: the webhook and the
# stream.
BACKLOG = 512
ALL_IPV6 = "[::]"


class PortUnusable(OSError):
    """The relay cannot listen on this port. `strerror` says why, and what to do."""


async def serve(
    app: ASGIFramework,
    *,
    bind: list[str],
    doors: Mapping[str, Door],
    graceful_s: float,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` over HTTP, and sockets through `doors` (path prefix -> door), on all addresses of `bind`.

    An address is "host:port". Port 0 means any free port. Reports the bound URLs ("http://127.0.0.1:8080") when it
    listens. After `shutdown` it takes no more connections. It waits up to `graceful_s` for the open connections, and
    returns. Raises PortUnusable.
    """
    config = _Config(doors)
    config.graceful_timeout = graceful_s
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    # Hypercorn offers no way to configure these two classes, so they are replaced in its modules.
    hypercorn.trio.run.TCPServer = _connection  # type: ignore[attr-defined,assignment]
    hypercorn.protocol.H11Protocol = _PlainHttp  # type: ignore[attr-defined]
    overload.install()
    with ExitStack() as stack:
        listening = _listen_on(bind, stack)
        await hypercorn.trio.run.worker_serve(
            ASGIWrapper(app),
            config,
            sockets=Sockets([], listening, []),
            shutdown_trigger=shutdown.wait,
            task_status=task_status,
        )


def addresses(host: str, port: int, *, is_local: bool) -> list[str]:
    """The addresses to listen on. `host` is the setting HOST.

    If HOST is not set, the relay listens on 127.0.0.1 if PUBLIC_URL is not set or is on this machine, and otherwise on
    all addresses. HOST "::" means all addresses too. All addresses are those of IPv4 and IPv6, because some private
    networks have only IPv6 (Fly's, for example).
    """
    if not host and is_local:
        host = "127.0.0.1"
    if host.strip("[]") in ("", "::"):
        return [f"0.0.0.0:{port}", f"{ALL_IPV6}:{port}"]
    return [f"{host}:{port}"]


def _listen_on(bind: list[str], stack: ExitStack) -> list[socket.socket]:
    """Open a socket for each address. On a machine without IPv6, "all addresses" means IPv4 only. Raises
    PortUnusable."""
    listening: list[socket.socket] = []
    for address in bind:
        try:
            sock = _listen(address)
        except PortUnusable as error:
            if listening and address.startswith(ALL_IPV6) and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                log.info("http.no_ipv6", words="this machine has no IPv6, so the relay listens on IPv4 only")
                continue
            raise
        listening.append(stack.enter_context(sock))
    return listening


def _listen(address: str) -> socket.socket:
    """Listen on "host:port" (an IPv6 host may have brackets).

    Hypercorn's own code is not used, because it leaks the socket if listening fails.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except socket.gaierror:
        raise PortUnusable(errno.EADDRNOTAVAIL, f"{host} is not an address of this machine: correct HOST.") from None
    try:
        # create_server() makes IPv6 sockets that take no IPv4. So IPv4 and IPv6 have a socket each.
        sock = socket.create_server(where, family=family, backlog=BACKLOG)
    except OSError as e:
        hint = " Is another relay running?" if e.errno == errno.EADDRINUSE else ""
        name = "HOST" if e.errno == errno.EADDRNOTAVAIL else "PORT"
        words = f"the port {port} cannot be used on {host}: {os.strerror(e.errno or 0)}.{hint} Set {name} to another."
        raise PortUnusable(e.errno, words) from e
    sock.setblocking(False)
    notice_dead_peers(sock)
    return sock


class _Config(Config):
    """Hypercorn's configuration, and our doors. Hypercorn passes this object to every connection."""

    def __init__(self, doors: Mapping[str, Door]) -> None:
        super().__init__()
        # Each key has the first bytes of a request for its door.
        self.doors = {f"GET {prefix}".encode(): door for prefix, door in doors.items()}
        self.idle = IdleConnections()


class _PlainHttp(H11Protocol):
    """Hypercorn's HTTP/1.1 without its WebSockets, because hypercorn never closes a WebSocket that it refuses."""

    async def _create_stream(self, request: h11.Request) -> None:
        # Remove the upgrade header. HTTP allows a server to ignore it.
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        version = request.http_version
        await super()._create_stream(
            h11.Request(method=request.method, target=request.target, headers=headers, http_version=version)
        )


class HandoverServer(TCPServer):
    """Serves one connection of hypercorn. Hands requests for a door over to the door. Drops peers that do not read."""

    config: _Config
    # This is never a TLS stream: TLS ends at the proxy, so hypercorn gets no certificate.
    stream: trio.SocketStream  # type: ignore[assignment]

    async def run(self) -> None:
        """Serve one connection. An error is logged and ends only this connection. Otherwise it would end the server."""
        self.config.idle.add(self, self._shed)
        try:
            await super().run()
        except BaseExceptionGroup as group:
            ours, others = group.split(Exception)
            if ours is not None:
                log.error("connection.crashed", exc_info=ours)
            if others is not None:
                raise others from None
        except Exception as e:
            log.error("connection.crashed", exc_info=e)
        finally:
            self.config.idle.remove(self)

    def _shed(self) -> None:
        """Close the socket of an idle connection. The task that reads it then ends."""
        self.stream.socket.close()

    async def protocol_send(self, event: Event) -> None:
        """Send a piece of an HTTP response within SEND_LIMIT_S, or note that a request has begun or ended."""
        if isinstance(event, Updated):
            if event.idle:
                self.config.idle.add(self, self._shed)
            else:
                self.config.idle.remove(self)
        if not isinstance(event, RawData):
            # Hypercorn ends a request inside the app's task, and Quart cancels this task at that moment. Without this
            # shield the keep-alive timer would not start again. An idle connection would then delay the shutdown, and a
            # connection that must be closed after its answer would stay open until the peer closes it.
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.move_on_after(SEND_LIMIT_S, shield=True) as limit:
                    await self.stream.send_all(event.data)
                if not limit.cancelled_caught:
                    return
                await trio.aclose_forcefully(self.stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The peer has gone. Closed() below tells hypercorn.
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        try:
            while True:
                data = bytes(await self.stream.receive_some(MAX_RECV))
                if data and self._is_between_requests():
                    data = await self._read_first_words(data)
                    if (door := self._door_of(data)) is not None:
                        await self._hand_over(data, door)
                        return
                # `protocol.protocol` bypasses hypercorn's wrapper, which would change to HTTP/2 if a client asks for
                # it. HTTP/2 is not needed here and does harm: an HTTP/2 connection never counts as idle, and 64 kB of
                # the smallest HTTP/2 frames would stop the loop, and so every call, for 100 ms.
                await self.protocol.protocol.handle(RawData(data))
                if not data:
                    break
        except (H2ProtocolAssumedError, H2CProtocolRequiredError):
            await self._close()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass
        await self.protocol.handle(Closed())
        await self.idle_task.stop()  # Otherwise hypercorn keeps the socket for KEEP_ALIVE_S.

    def _is_between_requests(self) -> bool:
        """True if the next byte is the first of a request line.

        Only then may a request be handed over: a body may contain text that looks like a request.
        """
        connection: Any = getattr(self.protocol.protocol, "connection", None)
        return (
            isinstance(connection, h11.Connection)
            and connection.their_state is h11.IDLE
            and connection.our_state is h11.IDLE
            and not connection.trailing_data[0]
        )

    def _door_of(self, data: bytes) -> Door | None:
        """The door for a request that begins with these bytes. None if hypercorn must serve the request."""
        return next((door for words, door in self.config.doors.items() if data.startswith(words)), None)

    async def _read_first_words(self, data: bytes) -> bytes:
        """Read more while `data` may still become a request for a door. A request may come byte by byte."""
        with trio.move_on_after(HEAD_LIMIT_S):
            while any(len(data) < len(words) and words.startswith(data) for words in self.config.doors):
                if not (more := await self.stream.receive_some(MAX_RECV)):
                    break
                data += more
        return data

    async def _hand_over(self, data: bytes, door: Door) -> None:
        self.config.idle.remove(self)
        await self.idle_task.stop()
        if self.stream.socket.fileno() < 0:
            return  # The keep-alive timer has closed the socket.
        peer = _address_of(self.stream)
        wire = SocketWire.take(self.stream)
        try:
            request, end = await answer(wire, data, HEAD_LIMIT_S)
        except Gone as gone:
            log.warning("stream.no_request", reason=gone.reason)
            return
        except BaseException:
            wire.abort()
            raise
        end.peer = peer
        await self._open(door, request, end)

    async def _open(self, door: Door, request: Request, end: WebSocketEnd) -> None:
        try:
            await door(request, end)
        except Gone:
            await end.close()
        except trio.Cancelled:
            await end.close(1012, "the relay restarts")
            raise
        except BaseException:
            await end.close(1011, "the relay failed")
            raise  # run() logs it.
        else:
            await end.close()


def _address_of(stream: trio.SocketStream) -> str:
    """The peer's IP address. "gone" if the socket has none any more."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return "gone"  # This is no address, so no check takes the peer for a program on this machine.


def _connection(app: Any, config: Config, *rest: Any) -> TCPServer:
    """Make a HandoverServer if the configuration is ours, and otherwise hypercorn's own TCPServer.

    Other code in this process may also use hypercorn (a demo's stand-ins do).
    """
    return (HandoverServer if isinstance(config, _Config) else TCPServer)(app, config, *rest)
