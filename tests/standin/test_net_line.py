"""A connection that is cut and restored, on real local sockets."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from relay.standin.net.line import Line


class FarEnd:
    """The far end of the line. It refuses the first `away` connections. It sends back what it gets, in capitals."""

    def __init__(self, nursery: trio.Nursery, away: int = 0) -> None:
        self._nursery, self.away, self.dialled = nursery, away, 0

    async def dial(self) -> trio.abc.Stream:
        self.dialled += 1
        if self.dialled <= self.away:
            raise ConnectionRefusedError("nobody is here")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._echo, theirs)
        return ours

    async def _echo(self, stream: trio.abc.Stream) -> None:
        async for data in stream:
            await stream.send_all(data.upper())


async def spoken(line: Line, words: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", line.port) as near:
        await near.send_all(words)
        return bytes(await near.receive_some(100))


async def test_bytes_are_passed_on_in_both_directions(nursery: trio.Nursery) -> None:
    line = Line(FarEnd(nursery).dial)
    await nursery.start(line.serve)
    assert await spoken(line, b"hello") == b"HELLO"


async def test_a_cut_breaks_open_connections_and_refuses_new_ones_until_it_ends(nursery: trio.Nursery) -> None:
    line = Line(FarEnd(nursery).dial)
    await nursery.start(line.serve)
    async with await trio.open_tcp_stream("127.0.0.1", line.port) as near:
        await near.send_all(b"hello")
        assert await near.receive_some(100) == b"HELLO"
        line.cut()
        try:
            assert await near.receive_some(100) == b""
        except trio.BrokenResourceError:
            pass  # a reset also means that the connection is cut
    with pytest.raises(OSError, match="connect"):
        await spoken(line, b"hello")
    line.mend()
    await trio.testing.wait_all_tasks_blocked()
    assert await spoken(line, b"again") == b"AGAIN"


@pytest.mark.parametrize(("patience_s", "answer"), [(5.0, b"HELLO"), (0.0, b"")])
async def test_the_line_waits_the_given_time_for_a_far_end_that_is_not_there_yet(
    patience_s: float, answer: bytes, nursery: trio.Nursery
) -> None:
    line = Line(FarEnd(nursery, away=2).dial, patience_s)
    await nursery.start(line.serve)
    assert await spoken(line, b"hello") == answer


async def test_a_far_end_that_hangs_up_ends_the_connection(nursery: trio.Nursery) -> None:
    async def dial() -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        await theirs.aclose()
        return ours

    line = Line(dial)
    await nursery.start(line.serve)
    async with await trio.open_tcp_stream("127.0.0.1", line.port) as near:
        assert await near.receive_some(100) == b""
