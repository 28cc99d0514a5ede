"""Shipped scenarios in which the media socket breaks. Here the relay does not notice this.

The relay gets no error and no more messages, and its own messages are lost. Only Twilio's next webhook shows that the
socket is dead.
"""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing

from tests.helpers.pipe import Pipe
from tests.helpers.play import PlayDoor, perform

Clock = trio.testing.MockClock


def die_in_silence(stream: Pipe) -> None:
    """Change this end of a pipe. When it is closed, the other end notices nothing."""
    is_dead = False
    read = stream.receive_some

    async def aclose() -> None:
        nonlocal is_dead
        is_dead = True
        stream._wake()
        await trio.lowlevel.checkpoint()

    async def receive_some(max_bytes: int | None = None) -> bytes:
        while not (stream._held or stream._eof or is_dead):
            stream._news = trio.Event()
            await stream._news.wait()
        if is_dead:
            raise trio.ClosedResourceError("this end is dead")
        return await read(max_bytes)

    async def send_all(data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if is_dead:
            raise trio.ClosedResourceError("this end is dead")
        stream._other._held += data
        stream._other._wake()

    stream.aclose, stream.receive_some, stream.send_all = aclose, receive_some, send_all  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def sockets_die_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = PlayDoor.open_stream

    async def open_stream(door: PlayDoor, url: str) -> trio.abc.Stream:
        stream = await opened(door, url)
        die_in_silence(cast(Pipe, stream))
        return stream

    monkeypatch.setattr(PlayDoor, "open_stream", open_stream)


@pytest.mark.parametrize("name", ["socket_cut", "socket_cut_while_booking", "socket_cut_again_and_again"])
async def test_after_a_socket_has_died_unnoticed_the_caller_gets_a_new_stream_as_after_a_socket_that_broke(
    name: str, autojump_clock: Clock
) -> None:
    _, wrong, play = await perform(name)
    assert wrong == []
    assert play.daemon.desk.live_calls == 0
    assert play.model_scopes == []
