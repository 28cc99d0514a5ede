"""The event stream of the page Live on real sockets: watchers who leave or do not read are dropped. Others go on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from relay.console.live import MOST_WATCHERS, LiveCall
from relay.server import http
from relay.server.http import serve
from tests.helpers.console_app import Calls, console_app

pytestmark = pytest.mark.real

ASK = b"GET /console/live/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
CALL = LiveCall("CA1", "… 0107", "talk", 1, 0.0, words="kept", has_agent=True)
LIMIT_S = 60


class ManyWords(Calls):
    """A call with 2 MB of new words in each snapshot. They soon fill the buffers of a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()

    def seen(self) -> list[LiveCall]:
        return [replace(CALL, seconds=next(self._numbers), said=(("caller", "x" * 2_000_000),))]


@pytest.fixture
async def port(nursery: trio.Nursery) -> AsyncIterator[int]:
    """A console whose running call has many words."""
    shutdown, stopped = trio.Event(), trio.Event()

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        app = console_app("postgresql://127.0.0.1:9/none", live=ManyWords())
        await serve(app, bind=["127.0.0.1:0"], doors={}, graceful_s=0.3, shutdown=shutdown, task_status=task_status)
        stopped.set()

    (url,) = await nursery.start(run)
    yield int(url.rpartition(":")[2])
    shutdown.set()
    with trio.fail_after(LIMIT_S):
        await stopped.wait()  # open event streams do not delay the end of the process


async def watch(port: int) -> trio.SocketStream:
    """A watcher that has received the headers of its answer."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(ASK)
    with trio.fail_after(LIMIT_S):
        head = await stream.receive_some(200)
    assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
    if b" 503 " in head:
        await trio.aclose_forcefully(stream)
        raise ConnectionRefusedError
    return stream


async def read_until(stream: trio.SocketStream, mark: bytes) -> None:
    kept = b""
    with trio.fail_after(LIMIT_S):
        while mark not in kept:
            kept = kept[-len(mark) :] + await stream.receive_some()


async def test_a_watcher_that_does_not_read_is_dropped_and_the_others_go_on(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SEND_LIMIT_S", 1.0)
    deaf, good = await watch(port), await watch(port)
    with trio.fail_after(LIMIT_S):
        await read_until(good, b'"length":"0:08"')  # after 5 s the buffers of the watcher that does not read are full
        got = 0
        while piece := await deaf.receive_some():
            got += len(piece)
    assert got < 40_000_000  # bytes that the kernel had buffered
    await read_until(good, b'"length":"0:12"')
    for each in (deaf, good):
        await trio.aclose_forcefully(each)


async def test_the_number_of_watchers_is_limited_and_a_watcher_that_leaves_frees_its_place(port: int) -> None:
    watchers = [await watch(port) for _ in range(MOST_WATCHERS)]
    with pytest.raises(ConnectionRefusedError):
        await watch(port)
    await trio.aclose_forcefully(watchers.pop())
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                watchers.append(await watch(port))
                break
            except ConnectionRefusedError:
                await trio.sleep(0.1)
    for each in watchers:
        await trio.aclose_forcefully(each)
