"""Carries bytes to and from one peer, over a TCP socket (with TLS or not) or a Trio stream. Several tasks may write.

A wire knows nothing of messages: relay/transport/websocket.py makes messages of its bytes.
"""

from __future__ import annotations

import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, Protocol

import trio

from relay.transport.hub import current_hub

# How many bytes may wait for a peer that reads slowly: 98 s of mu-law in base64, or 16 s of PCM16 at 24 kHz in base64.
# If a write would add more bytes to those that wait, the peer counts as dead.
OUT_LIMIT_BYTES = 1 << 20
# If a peer takes no byte for this long, the connection is closed. Twilio and OpenAI read within milliseconds.
NO_PROGRESS_S = 5.0
# How many bytes one read takes at most. It must be more than a TLS record (16 kB). Otherwise a part of a record would
# stay in OpenSSL, and a poll of the socket would not show it.
RECV_BYTES = 65_536

# With these options the kernel notices a peer that vanished: after 5 + 3 * 2 s if we send nothing, and after 10 s if we
# send something. With the kernel's defaults it takes 2 hours in the first case, and 15 minutes in the second. Not every
# system has all of these options.
_TCP_OPTIONS = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))


class Wire(Protocol):
    """What a WebSocket end needs from a transport. One task reads, any number of tasks write.

    Writes are never mixed.
    """

    async def read(self) -> bytes:
        """Wait for bytes and return them. b"" means: the peer has closed. Raises trio.Broken-/ClosedResourceError."""

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with bytes as they arrive (b"" at the end) until it returns False.

        Raises like `read`, and what `take` raises.
        """

    async def write(self, data: bytes) -> None:
        """Send `data` after earlier writes. Raises trio.Broken-/ClosedResourceError."""

    @property
    def waiting_bytes(self) -> int:
        """How many bytes were written and still wait here."""

    def post(self, data: bytes) -> bool:
        """Like `write`, but without waiting. Returns True if some task must now call `drain`."""

    async def drain(self) -> None:
        """Wait until nothing is left to send. Raises trio.Broken-/ClosedResourceError."""

    def gather(self, n_bytes: int) -> None:
        """Let `read` wait until this many bytes have come, or the end. 1 (the default) means: do not wait for more."""

    def abort(self) -> None:
        """Close the socket at once. Tasks that wait for it get an error. May be called twice."""


def notice_dead_peers(sock: socket.socket) -> None:
    """Let the kernel notice a peer that vanished.

    A listening socket passes these options to the sockets that it accepts.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@cache
def default_tls() -> ssl.SSLContext:
    """The TLS settings of the WebSocket clients and of Twilio's REST client in this process.

    Made once, because loading the CA file takes tens of milliseconds.
    """
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION  # Without renegotiation, a write never has to wait for a read.
    return context


class _OneOutBuffer(ABC):
    """A buffer for what the kernel has not taken yet. Several tasks may write without a lock.

    A task that finds bytes in the buffer appends its own bytes and returns. The task whose bytes were the first in the
    buffer drains it. So writes are never mixed. If the draining task is cancelled, half of a frame may have been sent.
    The peer could not read the next frame then, so the wire is closed. A task that must not wait calls `post`, and
    another task calls `drain`.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        # Set when the task that drains has finished. None while no task drains.
        self._draining: trio.Event | None = None
        self._why_closed = "this wire was closed"  # The text of the error for tasks that use the wire after its end.

    @property
    def waiting_bytes(self) -> int:
        """How many bytes were written and have not reached the kernel."""
        return len(self._waiting)

    @abstractmethod
    def _push(self, data: bytes) -> int:
        """Send as much as possible without waiting. Returns the number of bytes sent."""

    @abstractmethod
    async def _pass_on(self) -> None:
        """Wait until the peer takes bytes, and send some of `_waiting`."""

    @abstractmethod
    def abort(self) -> None: ...

    def post(self, data: bytes) -> bool:
        """Send `data` after earlier writes, without waiting. Returns True if some task must now call `drain`.

        Raises trio.BrokenResourceError if the peer has gone or does not read, trio.ClosedResourceError after `abort`.
        """
        return self._line_up(data)

    def _line_up(self, data: bytes) -> bool:
        """Like `post`. With TLS, `data` is encrypted already."""
        waiting = self._waiting
        if waiting:
            if len(waiting) + len(data) > OUT_LIMIT_BYTES:
                self._why_closed = f"the peer does not read: {OUT_LIMIT_BYTES} bytes were waiting for it"
                self.abort()
                raise trio.BrokenResourceError(self._why_closed)
            waiting += data
            return self._draining is None
        taken = self._push(data)
        if taken == len(data):
            return False
        waiting += data[taken:]
        return True

    async def write(self, data: bytes) -> None:
        """Send `data` after earlier writes. Returns at once if the kernel takes all of it.

        Raises like `post`.
        """
        if self.post(data):
            await self.drain()

    async def drain(self) -> None:
        """Wait until the buffer is empty. Only the task that began to drain raises errors, those of `post`."""
        if self._draining is not None:
            await self._draining.wait()
            return
        self._draining, whole = trio.Event(), False
        try:
            while self._waiting:
                with trio.fail_after(NO_PROGRESS_S):
                    await self._pass_on()
            whole = True
        except trio.TooSlowError as e:
            self._why_closed = f"the peer does not read: no progress for {NO_PROGRESS_S:g} s"
            raise trio.BrokenResourceError(self._why_closed) from e
        finally:
            self._draining.set()
            self._draining = None
            if not whole:
                self.abort()


class SocketWire(_OneOutBuffer):
    """A wire on a connected TCP socket. With an SSL context it uses TLS, by `ssl.MemoryBIO`.

    It calls the kernel directly, because Trio's streams are slower. A send takes 10 µs instead of 23: Trio's methods go
    through its scheduler at every call. TLS adds 1.4 µs to a send instead of 49 with Trio's SSLStream. A read first
    waits for bytes, because usually there are none. During each wait other tasks run, so a peer that sends without a
    pause cannot stop them.
    """

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None, server_hostname: str | None = None
    ) -> None:
        super().__init__()
        sock.setblocking(False)
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_hostname=server_hostname)

    @classmethod
    def take(
        cls, stream: trio.SocketStream, tls: ssl.SSLContext | None = None, server_hostname: str | None = None
    ) -> SocketWire:
        """Take the socket out of a Trio stream that nobody else uses. The stream object cannot be used after that."""
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            notice_dead_peers(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # The socket is not TCP, which does no harm, or it was reset. After a reset the first read fails.
        return cls(sock, tls, server_hostname)

    async def handshake(self) -> None:
        """Do the TLS handshake, if there is TLS. Raises ssl.SSLError, OSError, trio.Broken-/ClosedResourceError."""
        tls = self._tls
        while tls is not None:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._write_records()
            except ssl.SSLError:
                self._tell_why()
                raise
            else:
                await self._write_records()
                return
            if not (data := await self._recv()):
                raise ConnectionResetError("the server closed the connection during the TLS handshake")
            self._tls_in.write(data)

    def _tell_why(self) -> None:
        """Send the TLS alert that says why we refuse, if the socket takes it at once. The alert is for the peer's
        log."""
        try:
            self._sock.send(self._tls_out.read())
        except OSError:
            pass  # We do not need the alert. It only helps the peer's operator.

    def read(self) -> Coroutine[Any, Any, bytes]:
        """Wait for bytes and return them. See Wire.read."""
        return self._recv() if self._tls is None else self._read_tls(self._tls)

    async def _read_tls(self, tls: ssl.SSLObject) -> bytes:
        while (data := self._opened(tls)) is None:
            self._take_sealed(await self._recv())
        return data

    def _take_sealed(self, data: bytes) -> None:
        if data:
            self._tls_in.write(data)
        else:
            self._tls_in.write_eof()

    def _opened(self, tls: ssl.SSLObject) -> bytes | None:
        """Decrypt all complete records. b"" means: the peer has closed. None if no record is complete.

        `bio.pending` is checked before each read, because an SSLWantReadError costs as much time as a record.
        """
        parts: list[bytes] = []
        bio = self._tls_in
        try:
            while bio.pending or bio.eof:
                if not (part := tls.read(RECV_BYTES)):
                    bio.write_eof()  # The peer has closed TLS, so nothing more will come.
                    return b"".join(parts)
                parts.append(part)
        except ssl.SSLWantReadError:
            pass  # The rest of a record has not come yet.
        except ssl.SSLEOFError:
            # The peer closed without closing TLS. That is enough, because the WebSocket's own close frame counts.
            return b"".join(parts)
        except ssl.SSLError as e:
            self.abort()
            raise trio.BrokenResourceError(f"TLS failed: {e.reason}") from e
        # TLS itself answers, for example to a key update. If the answer must wait, the next writer drains it.
        if self._tls_out.pending:
            self._line_up(self._tls_out.read())
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with bytes as they arrive, without waking this task each time (hub.py). See Wire.hand_over."""
        hub, tls = current_hub(), self._tls
        if hub is None:
            while take(await self.read()):
                pass
            return
        if tls is not None and (data := self._opened(tls)) is not None and not take(data):
            return  # These bytes came directly after the handshake.

        def arrived() -> bool:
            data = self._recv_now()
            if data is None:
                return True
            if tls is not None:
                self._take_sealed(data)
                data = self._opened(tls)
            return data is None or take(data)

        self._check_open()
        await hub.serve(self._sock.fileno(), arrived)

    def post(self, data: bytes) -> bool:
        """Encrypt and send. See _OneOutBuffer.post.

        Both happen without an await between them, so the records stay in the right order.
        """
        if (tls := self._tls) is not None:
            try:
                tls.write(data)  # A MemoryBIO takes any number of bytes.
            except ssl.SSLError as e:
                self.abort()
                raise trio.BrokenResourceError(f"TLS failed: {e.reason}") from e
            data = self._tls_out.read()
        return self._line_up(data)

    async def _write_records(self) -> None:
        """Send what TLS itself wants to send. It is encrypted already."""
        if self._line_up(self._tls_out.read()):
            await self.drain()

    async def _recv(self) -> bytes:
        while True:
            self._check_open()  # A closed socket has descriptor -1, for which Trio cannot wait.
            try:
                await trio.lowlevel.wait_readable(self._sock)
            except trio.ClosedResourceError:
                self._check_open()
                raise
            if (data := self._recv_now()) is not None:
                return data

    def _recv_now(self) -> bytes | None:
        """What the kernel has. b"" means: the peer has closed. None if nothing has come."""
        try:
            return self._sock.recv(RECV_BYTES)
        except BlockingIOError:
            return None
        except OSError as e:
            raise trio.BrokenResourceError(f"the connection broke: {e.strerror or e}") from e

    def gather(self, n_bytes: int) -> None:
        """See Wire.gather.

        The kernel counts the bytes and reports the socket only when enough have come, because poll respects SO_RCVLOWAT
        (Linux since 2.6.28).
        """
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, n_bytes)
        except OSError:
            pass  # The wire is closed, or the system does not have this option. Then the reader wakes for every byte.

    def _push(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as e:
            self._check_open()
            raise trio.BrokenResourceError(f"the connection broke: {e.strerror or e}") from e

    async def _pass_on(self) -> None:
        self._check_open()
        try:
            await trio.lowlevel.wait_writable(self._sock)
            del self._waiting[: self._sock.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError as e:
            raise trio.BrokenResourceError(f"the connection broke: {e.strerror or e}") from e

    def _check_open(self) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError(self._why_closed)

    def abort(self) -> None:
        """Close the socket. See Wire.abort."""
        self._waiting.clear()
        if self._sock.fileno() >= 0:
            if (hub := current_hub()) is not None:
                hub.closing(self._sock.fileno(), self._why_closed)
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class StreamWire(_OneOutBuffer):
    """A wire on any Trio stream. Tests use it with `trio.testing.memory_stream_pair()`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._aborted = False

    async def read(self) -> bytes:
        """Wait for bytes and return them. See Wire.read."""
        if self._aborted:
            raise trio.ClosedResourceError(self._why_closed)
        return bytes(await self._stream.receive_some())

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with bytes as they arrive. See Wire.hand_over."""
        while take(await self.read()):
            pass

    def gather(self, n_bytes: int) -> None:
        """Does nothing: a stream wakes its reader for every byte. See Wire.gather."""

    def _push(self, data: bytes) -> int:
        if self._aborted:
            raise trio.ClosedResourceError(self._why_closed)
        return 0  # A stream cannot send without waiting.

    async def _pass_on(self) -> None:
        piece = bytes(self._waiting)
        await self._stream.send_all(piece)
        del self._waiting[: len(piece)]

    def abort(self) -> None:
        """Start a task that closes the stream, because a stream's close is async. See Wire.abort."""
        self._waiting.clear()
        if not self._aborted:
            self._aborted = True
            trio.lowlevel.spawn_system_task(trio.aclose_forcefully, self._stream)
