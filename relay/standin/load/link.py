"""A connection of the load: a WebSocket on a non-blocking socket, with TLS or not.

It needs as little CPU time as is possible in Python. It is only for the load, which must need far less CPU time than
the relay. So it has no fragments, no close handshake and no checks. If its frames are masked, the mask is zero. This
is allowed, and the relay has the same work as with any other mask.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl

from websockets.speedups import apply_mask

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
RECV_BYTES = 262_144
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Closed(Exception):
    """The peer has ended the connection. The text says how."""


def frame(payload: bytes, *, masked: bool, opcode: int = TEXT) -> bytes:
    """Make a WebSocket frame. Frames of a client must be `masked`."""
    n_bytes, bit = len(payload), 0x80 if masked else 0
    if n_bytes < 126:
        head = bytes((0x80 | opcode, bit | n_bytes))
    elif n_bytes < 65_536:
        head = bytes((0x80 | opcode, bit | 126)) + n_bytes.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + n_bytes.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class Link:
    """Reads and writes bytes and WebSocket frames on one socket. No method waits.

    Bytes that the kernel does not take are sent with the next write.
    """

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._rest = b""
        self._unsent = bytearray()
        self._shaken = tls is None
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_side=True)

    def fileno(self) -> int:
        """The socket's number, for epoll."""
        return self.sock.fileno()

    def read(self) -> bytes:
        """The decrypted bytes that have arrived. b"" if nothing came, or only TLS's own messages. Raises Closed."""
        try:
            data = self.sock.recv(RECV_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("end of stream")
        return data if self._tls is None else self._decrypt(self._tls, data)

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        bio = self._tls_in
        bio.write(data)
        parts: list[bytes] = []
        try:
            if not self._shaken:
                tls.do_handshake()
                self._shaken = True
            while bio.pending:
                parts.append(tls.read(RECV_BYTES))
        except ssl.SSLWantReadError:
            pass  # A TLS record is incomplete. Its rest will come.
        except ssl.SSLError as error:
            raise Closed(f"TLS: {error.reason}") from None
        if self._tls_out.pending:
            self._push(self._tls_out.read())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes) -> None:
        """Send bytes, encrypted if the link has TLS."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._tls_out.read()
        self._push(data)

    def _push(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            data = bytes(self._unsent)
            self._unsent.clear()
        try:
            taken = self.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            return  # `read` will report the end of the connection.
        if taken < len(data):
            self._unsent += data[taken:]

    def messages(self) -> list[bytes]:
        """The text messages that have arrived. Raises Closed."""
        data = self.read()
        return self.split(data) if data else []

    def split(self, data: bytes) -> list[bytes]:
        """Cut bytes into messages. An incomplete message is kept until its rest comes. Raises Closed on a close
        frame."""
        buffer = self._rest + data if self._rest else data
        at, end, found = 0, len(buffer), []
        while end - at >= 2:
            opcode, size, head = buffer[at] & 15, buffer[at + 1] & 127, 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
            begin = at + head
            masked = buffer[at + 1] & 128
            if masked:
                begin += 4
            if begin + size > end:
                break
            payload = buffer[begin : begin + size]
            if masked:
                payload = apply_mask(payload, buffer[begin - 4 : begin])
            at = begin + size
            if opcode == TEXT:
                found.append(payload)
            elif opcode == PING:
                self.write(frame(payload, masked=not masked, opcode=PONG))
            elif opcode == CLOSE:
                raise Closed(f"close {int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}")
        self._rest = buffer[at:]
        return found

    def close(self) -> None:
        """Close the socket without a close frame."""
        self.sock.close()
