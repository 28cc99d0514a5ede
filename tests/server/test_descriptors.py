"""File descriptors: how many a process may have. Idle connections must not block an incoming call."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
import trio
from quart_trio import QuartTrio

from relay.server import descriptors, http
from relay.server.descriptors import IdleConnections
from relay.transport.websocket import Request, WebSocketEnd


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert descriptors.raise_limit(max_calls=10) == min(hard, descriptors.ENOUGH)
    assert descriptors.limit() == min(hard, descriptors.ENOUGH)


def test_if_there_are_too_few_descriptors_for_max_calls_the_log_says_what_to_do() -> None:
    code = (
        "import resource, structlog\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "from relay.server import descriptors\n"
        "print(descriptors.raise_limit(30)); descriptors.raise_limit(100)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.getcwd())
    first, told = ran.stdout.strip().splitlines()
    assert first == "256"
    assert "descriptors.few" in told
    assert "needed=500" in told


def test_the_connection_that_has_been_idle_longest_is_closed() -> None:
    closed: list[str] = []
    idle = IdleConnections(most=3)
    with structlog.testing.capture_logs() as lines:
        for name in "abc":
            idle.add(name, lambda name=name: closed.append(name))  # type: ignore[misc]
        idle.add("a", lambda: closed.append("a"))  # it had a request, and is idle again
        idle.remove("c")
        for name in "def":
            idle.add(name, lambda name=name: closed.append(name))  # type: ignore[misc]
    assert closed == ["b", "a"]
    assert (len(idle), idle.shed) == (3, 2)
    assert [line["event"] for line in lines] == ["http.idle_shed"]


async def rung(stream: trio.SocketStream) -> None:
    """Read until the answer has come."""
    got = b""
    while b"rung" not in got:
        more = await stream.receive_some(65_536)
        assert more, "closed without an answer"
        got += more


@pytest.mark.real
async def test_many_idle_connections_do_not_block_an_incoming_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 128)  # a quarter of them may be idle connections
    app = QuartTrio("crowd")

    @app.get("/ring")
    async def ring() -> str:
        return "rung"

    async def door(request: Request, end: WebSocketEnd) -> None:
        raise AssertionError("nobody opens a media socket here")

    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[list[str]]) -> None:
            await http.serve(
                app,
                bind=["127.0.0.1:0"],
                doors={"/twilio/stream/": door},
                graceful_s=0.2,
                shutdown=stop,
                task_status=task_status,
            )

        (url,) = await nursery.start(serve)
        port = int(url.rpartition(":")[2])
        kept = await trio.open_tcp_stream("127.0.0.1", port)
        crowd = [kept]
        for which in range(100):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if which % 2:
                await stream.send_all(b"GET /ri")  # half a request leaves the connection idle
            crowd.append(stream)
        with trio.fail_after(10):
            await stream.send_all(b"" if which % 2 == 0 else b"ng HTTP/1.1\r\nHost: x\r\n\r\n")
            await rung(stream)
            async with await trio.open_tcp_stream("127.0.0.1", port) as another:
                await another.send_all(b"GET /ring HTTP/1.1\r\nHost: x\r\n\r\n")
                await rung(another)
            assert await kept.receive_some(65_536) == b""  # the oldest was closed
        for stream in crowd:
            await trio.aclose_forcefully(stream)
        stop.set()
