"""The business backend: one shared HTTP client for all calls, by the contract in DESIGN 6.

Rule 1: an answer within 2.5 s or a `BackendFault`, whatever the backend does.
Rule 2: nothing from a caller goes into a URL unescaped, and no redirect is followed: the key goes to one host only.
Rule 3: look-ups are retried; a write is retried once, because it carries its Idempotency-Key both times.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec
import stamina
import trio

from relay.functions.arguments import plain
from relay.functions.backend.breaker import Breaker
from relay.functions.backend.contract import (
    Answer,
    Appointment,
    Appointments,
    BackendFault,
    Caller,
    Hours,
    Refused,
    Slots,
    Taken,
    segment,
)

__all__ = ["Appointment", "Backend", "BackendFault", "Caller", "Hours", "Refused", "Taken"]

LIMIT_S: Final = 2.5  # DESIGN 6
MARGIN_S: Final = 0.05  # before a function's own deadline, so that our words are told and the breaker counts
BODY_LIMIT_BYTES: Final = 64 * 1024
READ_ATTEMPTS: Final = 3
WRITE_ATTEMPTS: Final = 2
CONNECTIONS: Final = 40  # kept open; a call asks one thing at a time
# Nothing has left for the backend yet when one of these is raised.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

T = TypeVar("T")


class Backend:
    """The client: `async with Backend(BUSINESS_API_BASE, BUSINESS_API_KEY) as business`, once a process."""

    def __init__(self, base: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "relay"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            transport=transport,
            timeout=None,  # noqa: S113  # Trio's deadline in `_ask` covers the whole exchange, retries included
            follow_redirects=False,
            trust_env=False,  # no proxy, no .netrc: settings.py alone reads the environment
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS),
        )
        self.breaker = Breaker()

    async def __aenter__(self) -> Backend:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._client.aclose()

    async def hours(self, day: dt.date) -> Hours:
        """When the business is open on a day."""
        return await self._get("GET /hours", "/hours", {"date": day.isoformat()}, lambda a: a.typed(Hours))

    def for_call(self, call_sid: str) -> Backend:
        """The same: this contract knows no calls."""
        return self

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """Free starts on a day, or up to another; a backend that does not know `until` and `with` ignores them."""
        query = {"service": service, "date": day.isoformat()}
        query |= ({"until": until.isoformat()} if until else {}) | ({"with": who} if who else {})
        return await self._get("GET /availability", "/availability", query, lambda a: a.typed(Slots).slots)

    async def appointments(self, phone: str) -> list[Appointment]:
        """The coming appointments of a number."""
        query = {"phone": phone}
        return await self._get(
            "GET /appointments", "/appointments", query, lambda a: a.typed(Appointments).appointments
        )

    async def caller(self, phone: str) -> Caller | None:
        """What is known of a number; None: nothing."""
        path = f"/callers/{segment(phone)}"
        return await self._get("GET /callers/{phone}", path, {}, lambda a: None if a.status == 404 else a.typed(Caller))

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """A new appointment. Raises Taken."""
        body = {"name": name, "phone": phone, "service": service, "start": start.isoformat(), "notes": notes}
        body |= {"with": who} if who else {}
        return await self._write("POST /appointments", "/appointments", key, body, lambda a: a.typed(Appointment))

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Raises Taken; Refused with status 404 when there is no such appointment."""
        path, body = f"/appointments/{segment(appointment)}", {"start": start.isoformat()}
        await self._write("PATCH /appointments/{id}", path, key, body, Answer.accept)

    async def cancel(self, key: str, appointment: str) -> None:
        """Raises Refused with status 404 when there is no such appointment."""
        path = f"/appointments/{segment(appointment)}"
        await self._write("DELETE /appointments/{id}", path, key, None, Answer.accept)

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Raises Refused with status 404 or 405 when this backend takes no messages."""
        body = {"name": name, "phone": phone, "message": message}
        await self._write("POST /messages", "/messages", key, body, Answer.accept)

    async def _get(self, route: str, path: str, query: Mapping[str, str], read: Callable[[Answer], T]) -> T:
        request = self._client.build_request("GET", path, params=query or None)
        return await self._ask(route, request, READ_ATTEMPTS, read)

    async def _write(
        self, route: str, path: str, key: str, body: Mapping[str, Any] | None, read: Callable[[Answer], T]
    ) -> T:
        content = None if body is None else msgspec.json.encode(body, enc_hook=plain)
        headers = {"Idempotency-Key": key} | ({"Content-Type": "application/json"} if content else {})
        request = self._client.build_request(route.split()[0], path, content=content, headers=headers)
        return await self._ask(route, request, WRITE_ATTEMPTS, read)

    async def _ask(self, route: str, request: httpx.Request, attempts: int, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer. Every fault counts for the breaker; a refusal is a good answer."""
        now = trio.current_time()
        wait_s = self.breaker.wait_s(now)
        if wait_s:
            raise BackendFault(f"{route} was not asked: the backend keeps failing, next try in {wait_s:.0f} s")
        deadline = min(now + LIMIT_S, trio.current_effective_deadline() - MARGIN_S)
        try:
            with trio.fail_at(deadline):
                answer = await self._answer(route, request, attempts)
            result = read(answer)
        except (Taken, Refused):
            self.breaker.answered()
            raise
        except BackendFault:
            self.breaker.failed(trio.current_time())
            raise
        except trio.TooSlowError:
            self.breaker.failed(trio.current_time())
            words = f"{route} was not answered within {deadline - now:.1f} s"
            raise BackendFault(words, may_have_happened=request.method != "GET") from None
        self.breaker.answered()
        return result

    async def _answer(self, route: str, request: httpx.Request, attempts: int) -> Answer:
        """The first answer that is no passing fault; the last fault when the attempts are used up."""
        lost = False  # an attempt that may have been carried out stays so, whatever the next one meets
        try:
            async for attempt in stamina.retry_context(
                on=lambda error: isinstance(error, BackendFault) and error.passing,
                attempts=attempts,
                timeout=None,
                wait_initial=0.05,
                wait_max=0.4,
                wait_jitter=0.05,
            ):
                with attempt:
                    try:
                        return await self._exchange(route, request)
                    except BackendFault as fault:
                        lost = lost or fault.may_have_happened
                        raise
        except BackendFault as fault:
            fault.may_have_happened = lost
            raise
        raise AssertionError("stamina raises the last fault when its attempts are used up")

    async def _exchange(self, route: str, request: httpx.Request) -> Answer:
        writes = request.method != "GET"
        try:
            response = await self._client.send(request, stream=True)
            try:
                body = await _bounded(response)
            finally:
                await response.aclose()
        except _NOT_SENT as error:
            raise BackendFault(f"{route}: no connection ({error or type(error).__name__})", passing=True) from error
        except httpx.HTTPError as error:
            words = f"{route}: the connection broke ({error or type(error).__name__})"
            raise BackendFault(words, may_have_happened=writes, passing=True) from error
        answer = Answer(route, response.status_code, body, writes)
        answer.raise_for_fault()
        if len(body) > BODY_LIMIT_BYTES:
            raise BackendFault(f"{route} answered more than {BODY_LIMIT_BYTES} bytes", may_have_happened=writes)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BackendFault(f"{route} answered compressed, which was not asked for", may_have_happened=writes)
        return answer


async def _bounded(response: httpx.Response) -> bytes:
    """The body as sent, cut off over the limit.

    Leaving the loop would abandon httpx's nested generators half-read, which Trio warns of: cancelling ends the next
    read inside the innermost, and with it all of them.
    """
    body = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk[: BODY_LIMIT_BYTES + 1 - len(body)]
            if len(body) > BODY_LIMIT_BYTES:
                reading.cancel()
    return bytes(body)
