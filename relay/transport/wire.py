"""Bytes to and from one peer, over a TCP socket (with TLS or not) or a Trio stream. Several tasks may write.

A wire knows no messages. Both ends of the audio path (`relay/transport/websocket.py`) use one.
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

# The bytes that may wait in user space for a peer that reads slowly: two minutes of mu-law in base64. With more, the
# peer is dead.
OUT_LIMIT_BYTES = 1 << 20
# A peer that takes no byte for this long is cut. Twilio and OpenAI both read within milliseconds.
NO_PROGRESS_S = 5.0
# More than a TLS record (16 kB). With less, the rest of a record would stay inside OpenSSL, where no poll of the socket
# sees it.
RECV_BYTES = 65_536

# A peer that vanished is noticed after 5 + 3 * 2 s when idle, and after 10 s while we send. The kernel's own limits are
# two hours and fifteen minutes. Not every system has all of these options.
_TCP_OPTIONS = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))


class Wire(Protocol):
    """What a WebSocket end needs from a transport. One task reads, and any number of tasks write. Frames never mix."""

    async def read(self) -> bytes:
        """What has arrived: at least one byte, or b"" at the end. Raises trio.Broken-/ClosedResourceError."""

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with what arrives (b"" at the end) until it returns False. Raises like `read` and `take`."""

    async def write(self, data: bytes) -> None:
        """Send `data` after what was written before. Raises trio.Broken-/ClosedResourceError."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were written and have not reached the peer's side of the wire."""

    def post(self, data: bytes) -> bool:
        """Like `write`, but without waiting. If it returns True, some task must call `drain`."""

    async def drain(self) -> None:
        """Wait until the peer has taken what waits. Raises trio.Broken-/ClosedResourceError."""

    def gather(self, n_bytes: int) -> None:
        """Let `read` wait until this many bytes have come, or the end. 1, the value at the start: do not wait."""

    def abort(self) -> None:
        """Close at once, without a close frame. Tasks that wait here get an error. May be called twice."""


def notice_dead_peers(sock: socket.socket) -> None:
    """Let the kernel notice a peer that vanished. Sockets that a listening socket accepts inherit this."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@cache
def default_tls() -> ssl.SSLContext:
    """The process's client context. Made once, because loading the CA file takes tens of milliseconds."""
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION  # With this option a write never needs a read.
    return context


class _OneOutBuffer(ABC):
    """The rule by which tasks share a wire: a task that finds bytes waiting adds its own after them, and returns.

    The task whose bytes did not fit waits for all of them. So nothing is mixed, nothing is lost, and no task or lock is
    needed. Half of a frame cannot be taken back. So if the task that waits is cancelled, the wire is lost. A task that
    must not wait calls `post`, and another task calls `drain`.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._draining: trio.Event | None = None  # Set when the task that drains has finished.

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were written and have not reached the kernel."""
        return len(self._waiting)

    @abstractmethod
    def _push(self, data: bytes) -> int:
        """Send what can be sent without waiting. Returns the number of bytes sent."""

    @abstractmethod
    async def _pass_on(self) -> None:
        """Wait for room, and move some of `_waiting` to the peer."""

    @abstractmethod
    def abort(self) -> None: ...

    def post(self, data: bytes) -> bool:
        """Take `data` after what was written before, without waiting. True means that some task must call `drain`.

        Raises trio.BrokenResourceError if the peer has gone or does not read, trio.ClosedResourceError after `abort`.
        """
        return self._line_up(data)

    def _line_up(self, data: bytes) -> bool:
        """See `post`. `data` is the bytes that the peer gets. They are already encrypted if the wire encrypts."""
        waiting = self._waiting
        if waiting:
            if len(waiting) + len(data) > OUT_LIMIT_BYTES:
                self.abort()
                raise trio.BrokenResourceError(f"the peer does not read: {OUT_LIMIT_BYTES} bytes were waiting for it")
            waiting += data
            return self._draining is None
        taken = self._push(data)
        if taken == len(data):
            return False
        waiting += data[taken:]
        return True

    async def write(self, data: bytes) -> None:
        """Send `data` after what was written before. Returns at once if the kernel takes all of it.

        Raises like `post`.
        """
        if self.post(data):
            await self.drain()

    async def drain(self) -> None:
        """Wait until the peer has taken what waits. Raises like `post`, but only in the task that drains first."""
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
            raise trio.BrokenResourceError(f"the peer does not read: no progress for {NO_PROGRESS_S:g} s") from e
        finally:
            self._draining.set()
            self._draining = None
            if not whole:
                self.abort()


class SocketWire(_OneOutBuffer):
    """A wire on a connected TCP socket of its own. With a context, it does TLS with `ssl.MemoryBIO`.

    It talks to the kernel directly and waits only when it must. Trio's stream methods pass the scheduler at every call:
    a send takes 23 µs instead of 10. Trio's SSLStream takes 49 µs for a send, a MemoryBIO 1.4. A read waits before it
    tries, because after a read the kernel usually has nothing left. Each wait lets other tasks run. So a peer that
    floods us cannot keep them from running.
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
        """Take the connection out of a Trio stream that nobody else uses. The stream object is closed afterwards."""
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            notice_dead_peers(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # The socket is not TCP, or was already reset. The first read reports that.
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
        """Send the TLS alert with the reason of our refusal, for the other side's log, if the socket takes it now."""
        try:
            self._sock.send(self._tls_out.read())
        except OSError:
            pass  # The alert helps the other side, and is not needed.

    def read(self) -> Coroutine[Any, Any, bytes]:
        """What has arrived, at least one byte; b"" at the end. See Wire.read."""
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
        """All complete records. b"" at the end. None if no record is complete.

        It checks before it reads, because an SSLWantReadError for each record would cost as much as the record.
        """
        parts: list[bytes] = []
        bio = self._tls_in
        try:
            while bio.pending or bio.eof:
                if not (part := tls.read(RECV_BYTES)):
                    bio.write_eof()  # The peer has closed TLS. This is the end.
                    return b"".join(parts)
                parts.append(part)
        except ssl.SSLWantReadError:
            pass  # Half of a record.
        except ssl.SSLEOFError:
            return b"".join(parts)  # TLS was not closed. The WebSocket's close frame counts.
        except ssl.SSLError as e:
            self.abort()
            raise trio.BrokenResourceError(f"TLS failed: {e.reason}") from e
        if self._tls_out.pending:  # The answer to a key update. If it must wait, the next sender drains it.
            self._line_up(self._tls_out.read())
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with what arrives, without waking this task each time (hub.py). See Wire.hand_over."""
        hub, tls = current_hub(), self._tls
        if hub is None:
            while take(await self.read()):
                pass
            return
        if tls is not None and (data := self._opened(tls)) is not None and not take(data):
            return  # The bytes that came directly after the handshake.

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
        """Encrypt and send. See _OneOutBuffer.post. The records get their place in its order in the same step."""
        if (tls := self._tls) is not None:
            try:
                tls.write(data)  # A MemoryBIO takes all of it.
            except ssl.SSLError as e:
                self.abort()
                raise trio.BrokenResourceError(f"TLS failed: {e.reason}") from e
            data = self._tls_out.read()
        return self._line_up(data)

    async def _write_records(self) -> None:
        """Send what TLS itself has to send. It is already encrypted."""
        if self._line_up(self._tls_out.read()):
            await self.drain()

    async def _recv(self) -> bytes:
        while True:
            self._check_open()  # Otherwise Trio would wait for descriptor -1, and remember it.
            await trio.lowlevel.wait_readable(self._sock)
            if (data := self._recv_now()) is not None:
                return data

    def _recv_now(self) -> bytes | None:
        """What the kernel has. b"" at the end. None if nothing has come yet."""
        try:
            return self._sock.recv(RECV_BYTES)
        except BlockingIOError:
            return None
        except OSError as e:
            raise trio.BrokenResourceError(f"the connection broke: {e.strerror or e}") from e

    def gather(self, n_bytes: int) -> None:
        """See Wire.gather.

        The kernel does it: its poll respects SO_RCVLOWAT (Linux since 2.6.28), so a read costs nothing more.
        """
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, n_bytes)
        except OSError:
            pass  # The wire is closed, or the system has no such option. Then every byte wakes the reader.

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
            raise trio.ClosedResourceError("this wire was closed")

    def abort(self) -> None:
        """Close the socket. See Wire.abort."""
        self._waiting.clear()
        if self._sock.fileno() >= 0:
            if (hub := current_hub()) is not None:
                hub.closing(self._sock.fileno())
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class StreamWire(_OneOutBuffer):
    """A wire on any Trio stream, with the same rule. Plays use `trio.testing.memory_stream_pair()`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._aborted = False

    async def read(self) -> bytes:
        """What has arrived, at least one byte; b"" at the end. See Wire.read."""
        if self._aborted:
            raise trio.ClosedResourceError("this wire was closed")
        return bytes(await self._stream.receive_some())

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Call `take` with what arrives. See Wire.hand_over."""
        while take(await self.read()):
            pass

    def gather(self, n_bytes: int) -> None:
        """Do nothing, because a stream wakes its reader for every byte. See Wire.gather."""

    def _push(self, data: bytes) -> int:
        if self._aborted:
            raise trio.ClosedResourceError("this wire was closed")
        return 0  # A stream takes nothing without waiting.

    async def _pass_on(self) -> None:
        piece = bytes(self._waiting)
        await self._stream.send_all(piece)
        del self._waiting[: len(piece)]

    def abort(self) -> None:
        """Close the stream soon. The stream's own close is async. See Wire.abort."""
        self._waiting.clear()
        if not self._aborted:
            self._aborted = True
            trio.lowlevel.spawn_system_task(trio.aclose_forcefully, self._stream)
