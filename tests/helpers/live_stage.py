"""Simulates a signed-in owner who uses the page Live of a play's relay. The audit is in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx
import trio

from relay.console.console import Console
from relay.console.guard import COOKIE
from relay.console.live import LiveCall
from relay.console.password import hashed
from relay.console.reads import Reads
from relay.ledger.port import LedgerUnavailable
from relay.server.browser_calls import BrowserCalls
from relay.server.console_sockets import handlers_of
from relay.server.live_calls import CallsInHand
from relay.server.owner import owner_of
from relay.transport.handshake import answer, upgrade
from relay.transport.websocket import WebSocketEnd
from tests.helpers.pipe import PipeWire
from tests.helpers.play import PUBLIC_URL, Play

HASH = hashed("a long password")
LOOK_S = 0.01


class Audits:
    """An audit in memory. With `away`, Postgres does not answer."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.away = False

    async def audit(self, what: str, call_sid: str, address: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise LedgerUnavailable("it is away")
        self.rows.append((what, call_sid))


class OwnerAtLive:
    """The owner looks at the calls and presses buttons."""

    def __init__(self, play: Play) -> None:
        """Must be called before the first request of the play, because pages cannot be added later."""
        self._play = play
        self.audits = Audits()
        desk = play.daemon.desk
        self.calls = CallsInHand(desk)
        reads = cast(Reads, self.audits)
        calls = BrowserCalls(desk)
        self.console = Console(owner_of(desk, None, calls=calls), reads)
        play.daemon.add_console(self.console, handlers_of(desk, self.console, reads, calls))
        self.cookie = f"{COOKIE}={self.console.guard._signer.sign('owner').decode()}"

    async def press(self, call_sid: str, what: str, **form: str) -> dict[str, str]:
        """Press a button of a call's card. Return the answer that the page gets."""
        transport = httpx.ASGITransport(cast(Any, self._play.daemon.app))
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
            headers = {"Origin": PUBLIC_URL, "Cookie": self.cookie}
            got = await client.post(f"/console/live/{call_sid}/{what}", data=form, headers=headers)
        assert got.status_code == 200, got.text
        return cast(dict[str, str], got.json())

    async def when(self, seen: Callable[[LiveCall], bool]) -> LiveCall:
        """Wait until `seen` is true of a call, and return that call."""
        while True:
            if found := next((call for call in self.calls.seen() if seen(call)), None):
                return found
            await trio.sleep(LOOK_S)

    async def listen(self, call_sid: str, *, wire: tuple[trio.abc.Stream, trio.abc.Stream]) -> WebSocketEnd:
        """Open the socket of a listener to this call. Raises Refused."""
        ours, theirs = wire

        async def serve() -> None:
            request, end = await answer(PipeWire(theirs))
            try:
                await self._play.daemon.doors["/console/socket/"](request, end)
            finally:
                await end.close()

        self._play.nursery.start_soon(serve)
        url = f"{PUBLIC_URL.replace('http', 'ws')}/console/socket/listen/{call_sid}"
        return await upgrade(PipeWire(ours), url, {"Origin": PUBLIC_URL, "Cookie": self.cookie})
