"""The stand-in backend and a call, in one Trio run, for the tests of the functions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import trio

from relay.functions.backend.client import Backend
from relay.functions.idempotency import Once
from relay.functions.registry import CallContext
from relay.standin.business.app import BusinessApp, Diary, Faults, Known, business_app

TZ = ZoneInfo("America/New_York")
NOW = dt.datetime(2026, 11, 23, 15, 0, tzinfo=TZ)  # a Monday, 3 PM
CALLER, OTHER = "+12125550147", "+12125550199"
BOOK = {"name": "Dana Reed", "service": "table for two", "start": "2026-11-24T19:00"}


def standin(
    faults: dict[str, Any] | None = None, *, capacity: int = 1, callers: dict[str, Known] | None = None
) -> BusinessApp:
    """The stand-in backend. Its time is `NOW`, and it knows the caller Dana Reed."""
    known = {CALLER: Known("Dana Reed", verified=True, notes="Likes the window.")} | (callers or {})
    books = Diary(tz=TZ, now=lambda: NOW, callers=known, capacity=capacity)
    return business_app(books, Faults.from_table(faults or {}))


class Answering(httpx.AsyncBaseTransport):
    """A backend that gives the same answer to every request, and keeps the requests."""

    def __init__(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body, self.status, self.headers = body, status, headers or {}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.body))


class Line(httpx.ASGITransport):
    """A connection to the stand-in that can break.

    `breaks` has an entry for each request. "refuse": the request is not sent. "lose": the stand-in carries the request
    out, and its answer is lost. None: nothing breaks.
    """

    def __init__(self, app: BusinessApp, breaks: Sequence[str | None] = ()) -> None:
        super().__init__(cast(Any, app), raise_app_exceptions=False)
        self.breaks = list(breaks)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        how = self.breaks.pop(0) if self.breaks else None
        if how == "refuse":
            raise httpx.ConnectError("connection refused", request=request)
        response = await super().handle_async_request(request)
        if how == "lose":
            raise httpx.ReadError("connection reset", request=request)
        return response


@asynccontextmanager
async def business(app: BusinessApp, breaks: Sequence[str | None] = ()) -> AsyncIterator[tuple[Backend, Line]]:
    """The relay's real client, and its connection to the stand-in, which breaks as `breaks` says."""
    line = Line(app, breaks)
    async with Backend("http://business.test/", transport=line) as backend:
        yield backend, line


def a_call(
    backend: Backend, *, number: str = CALLER, once: Once | None = None, sid: str = "CA1", **more: Any
) -> CallContext:
    """A call at `NOW`."""
    return CallContext(sid, number, backend, TZ, lambda: NOW, once or Once(), **more)


def local(text: str, tz: ZoneInfo = TZ) -> dt.datetime:
    """A local time of the business."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=tz)


class Spoken:
    """The words that the caller of a test has said, and the number of turns."""

    def __init__(self, turn: int, words: str = "") -> None:
        self.turn, self.words = turn, words

    async def have(self, value: str) -> bool:
        await trio.lowlevel.checkpoint()
        return value.casefold() in self.words.casefold()


def says(arguments: dict[str, Any]) -> str:
    """Arguments as the model writes them."""
    return json.dumps(arguments)
