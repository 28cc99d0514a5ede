"""The exchange's requests over the network: a mistake of the server is a known error, and not a crash."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme

from relay.standin.twilio.relay_connections import NetworkConnections, NoConnection

pytestmark = pytest.mark.real

PAGE = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n"
TOO_LONG = "http://" + "a" * 70 + ".example.com/"


@asynccontextmanager
async def server(answer: bytes, asked: list[bytes]) -> AsyncIterator[str]:
    async def serve(stream: trio.SocketStream) -> None:
        asked.append(bytes(await stream.receive_some(65_536)))
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


# httpx does not close the generators that read a body with a wrong encoding, so Python warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_with_a_false_content_encoding_is_an_error_of_the_connection() -> None:
    door = NetworkConnections()
    async with server(PAGE + b"content-encoding: gzip\r\n\r\nno", []) as url:
        with pytest.raises(OSError, match="broke"):
            await door.request("GET", url, {}, b"")
    await door.aclose()


async def test_an_impossible_host_name_is_an_error_that_nobody_is_there() -> None:
    door = NetworkConnections()
    with pytest.raises(NoConnection, match="no host name"):
        await door.request("GET", TOO_LONG, {}, b"")
    with pytest.raises(NoConnection, match="no host name"):
        await door.open_stream(TOO_LONG)
    await door.aclose()


async def test_a_cookie_of_one_request_is_not_sent_with_the_next() -> None:
    door, asked = NetworkConnections(), list[bytes]()
    async with server(PAGE + b"set-cookie: a=b\r\n\r\nok", asked) as url:
        for _ in range(2):
            await door.request("GET", url, {}, b"")
    assert len(asked) == 2
    assert b"a=b" not in asked[1]
    await door.aclose()


async def test_a_proxy_in_the_environment_is_not_used_because_a_media_socket_cannot_go_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    door = NetworkConnections()
    async with server(PAGE + b"\r\nok", []) as url:
        assert (await door.request("GET", url, {}, b"")).body == b"ok"
    await door.aclose()


async def test_an_unknown_certificate_is_refused_with_a_sentence() -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(theirs)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.receive_some()

    door = NetworkConnections()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, theirs, host="127.0.0.1"))
        host = f"127.0.0.1:{listener.transport_listener.socket.getsockname()[1]}"
        with pytest.raises(ssl.SSLError) as https:
            await door.request("GET", f"https://{host}/", {}, b"")
        with pytest.raises(ssl.SSLError) as wss:
            await door.open_stream(f"wss://{host}/")
        nursery.cancel_scope.cancel()
    assert "certificate verify failed" in str(https.value)
    assert "certificate verify failed" in str(wss.value)
    await door.aclose()
