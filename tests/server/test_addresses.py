"""The addresses on which the relay listens: only this machine's, or all. On Fly it needs IPv6."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from quart_trio import QuartTrio

from relay.server.http import PortUnusable, addresses, serve


@pytest.mark.parametrize(
    ("host", "is_local", "where"),
    [
        ("", True, ["127.0.0.1:80"]),
        ("", False, ["0.0.0.0:80", "[::]:80"]),
        ("::", True, ["0.0.0.0:80", "[::]:80"]),
        ("[::]", False, ["0.0.0.0:80", "[::]:80"]),
        ("0.0.0.0", True, ["0.0.0.0:80"]),
        ("::1", False, ["::1:80"]),
        ("fly-local-6pn", False, ["fly-local-6pn:80"]),
    ],
)
def test_the_addresses_come_from_the_setting_host_or_if_it_is_not_set_from_public_url(
    host: str, is_local: bool, where: list[str]
) -> None:
    assert addresses(host, 80, is_local=is_local) == where


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def _answers(host: str, port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError:
        return False
    async with stream:
        await stream.send_all(b"GET /none HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
        return (await stream.receive_some()).startswith(b"HTTP/1.1 404")


async def _reached_on(host: str, *, is_local: bool) -> list[str]:
    """The loopback addresses on which a relay with these settings answers."""
    port, shutdown = _free_port(), trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            bind = addresses(host, port, is_local=is_local)
            await serve(
                QuartTrio("nothing"), bind=bind, doors={}, graceful_s=0, shutdown=shutdown, task_status=task_status
            )

        await nursery.start(run)
        found = [each for each in ("127.0.0.1", "::1") if await _answers(each, port)]
        shutdown.set()
    return found


@pytest.mark.real
async def test_a_deployed_relay_answers_on_ipv4_and_on_ipv6() -> None:
    assert await _reached_on("", is_local=False) == ["127.0.0.1", "::1"]
    assert await _reached_on("::", is_local=False) == ["127.0.0.1", "::1"]


@pytest.mark.real
async def test_a_local_relay_and_a_relay_with_the_setting_host_answer_only_on_their_address() -> None:
    assert await _reached_on("", is_local=True) == ["127.0.0.1"]
    assert await _reached_on("::1", is_local=False) == ["::1"]
    assert await _reached_on("localhost", is_local=False) != []


@pytest.mark.real
async def test_on_a_machine_without_ipv6_the_relay_answers_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = socket.create_server

    def without_ipv6(address: tuple[str, int], *, family: int = socket.AF_INET, backlog: int = 9) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return whole(address, family=family, backlog=backlog)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    assert await _reached_on("", is_local=False) == ["127.0.0.1"]
    with pytest.raises(PortUnusable, match="cannot be used on ::1"):
        await serve(QuartTrio("nothing"), bind=["::1:0"], doors={}, graceful_s=0, shutdown=trio.Event())


@pytest.mark.real
@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
async def test_a_host_that_does_not_belong_to_this_machine_is_named(host: str) -> None:
    with pytest.raises(PortUnusable, match="HOST"):
        await serve(QuartTrio("nothing"), bind=[f"{host}:0"], doors={}, graceful_s=0, shutdown=trio.Event())
