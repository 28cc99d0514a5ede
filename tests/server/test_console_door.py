"""The console's sockets refuse requests without a session, from another origin, or from another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import trio
import trio.testing
from prometheus_client import Counter

from relay.console import password
from relay.console.guard import COOKIE, FORWARDED, Guard
from relay.server.console_door import PREFIX, ConsoleDoor
from relay.settings import Settings
from relay.transport.handshake import Refused, answer, upgrade
from relay.transport.websocket import Request, WebSocketEnd
from relay.transport.wire import StreamWire

HASH = password.hashed("a long password")
PUBLIC = Settings(public_url="https://relay.example.com", console_password_hash=HASH)
OWN = {"Origin": "https://relay.example.com"}
LOCAL = Settings()
OWN_LOCAL = {"Origin": "http://localhost:8080"}


def session(guard: Guard) -> str:
    return f"other=1; {COOKIE}={guard._signer.sign('somebody').decode()}"


async def knock(
    settings: Settings, headers: Mapping[str, str], path: str = "echo/a/b?c=1", peer: str = "", host: str = ""
) -> bytes:
    """Open a socket, and return the answer of the code that serves it. Raises Refused."""
    came: list[str] = []

    async def room(request: Request, end: WebSocketEnd, rest: str) -> None:
        came.append(rest)
        await end.accept(request)
        await end.send(rest.encode())

    refused = Counter("refused", "", ["why"], registry=None)
    guard = Guard(settings)
    told = {**headers}
    if told.get("Cookie") == "own":
        told["Cookie"] = session(guard)
    ours, theirs = trio.testing.memory_stream_pair()

    async def serve() -> None:
        request, end = await answer(StreamWire(ours))
        end.peer = peer
        await ConsoleDoor(guard, {"echo": room}, refused).open(request, end)

    wrong: Refused | None = None
    host = host or ("relay.example.com" if settings.public_url else "localhost:8080")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            end = await upgrade(StreamWire(theirs), f"ws://{host}{PREFIX}{path}", told)
        except Refused as error:
            wrong = error
        else:
            (said,) = await end.receive()
            return said
    assert came == []
    assert refused.labels("console")._value.get() == (wrong.status != 404)
    raise wrong


async def test_an_owner_with_a_session_is_admitted_and_the_handler_gets_the_rest_of_the_path() -> None:
    assert await knock(PUBLIC, {**OWN, "Cookie": "own"}) == b"a/b?c=1"


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://relay.example.com", "https://[", ""])
async def test_a_socket_from_another_origin_is_refused(origin: str) -> None:
    headers = {"Cookie": "own", "Sec-Fetch-Site": "same-origin"}
    with pytest.raises(Refused, match="403"):
        await knock(PUBLIC, headers | {"Origin": origin} if origin else headers)


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=x", f"{COOKIE}=x.y.z", "relay_other=1"])
async def test_a_socket_without_a_valid_session_is_refused(cookie: str) -> None:
    with pytest.raises(Refused, match="401"):
        await knock(PUBLIC, OWN | ({"Cookie": cookie} if cookie else {}))


async def test_a_session_with_an_old_password_is_refused() -> None:
    other = Guard(replace(PUBLIC, console_password_hash=password.hashed("another password")))
    with pytest.raises(Refused, match="401"):
        await knock(PUBLIC, {**OWN, "Cookie": session(other)})


async def test_a_socket_with_an_unknown_name_is_not_found() -> None:
    for path in ("nothing", "", "ech"):
        with pytest.raises(Refused, match="404"):
            await knock(PUBLIC, {**OWN, "Cookie": "own"}, path)


async def test_without_a_password_only_this_machine_is_admitted() -> None:
    assert await knock(LOCAL, OWN_LOCAL, peer="127.0.0.1") == b"a/b?c=1"
    assert await knock(LOCAL, {"Origin": "http://[::1]:8080"}, peer="::1", host="[::1]:8080") == b"a/b?c=1"
    for peer in ("192.0.2.7", "gone", "nowhere"):
        with pytest.raises(Refused, match="403"):
            await knock(LOCAL, OWN_LOCAL, peer=peer)
    for header in FORWARDED:
        with pytest.raises(Refused, match="proxy or a tunnel"):
            await knock(LOCAL, OWN_LOCAL | {header: "1.2.3.4"}, peer="127.0.0.1")
    with pytest.raises(Refused, match="another host"):
        await knock(LOCAL, {"Origin": "http://evil.example.com"}, host="evil.example.com")
    with pytest.raises(Refused, match="another page"):
        await knock(LOCAL, {"Origin": "http://localhost:3000"})
    with pytest.raises(Refused, match="has no password"):
        await knock(Settings(public_url="https://relay.example.com"), OWN)


async def test_a_request_with_two_origins_is_refused() -> None:
    guard = Guard(PUBLIC)
    ours, theirs = trio.testing.memory_stream_pair()
    head = (
        f"GET {PREFIX}echo HTTP/1.1\r\nHost: relay.example.com\r\nOrigin: https://relay.example.com\r\n"
        f"Origin: https://evil.example.com\r\nCookie: {session(guard)}\r\n\r\n"
    )
    await theirs.send_all(head.encode())
    request, end = await answer(StreamWire(ours))
    await ConsoleDoor(guard, {}, Counter("refused", "", ["why"], registry=None)).open(request, end)
    assert (await theirs.receive_some()).startswith(b"HTTP/1.1 400 ")
