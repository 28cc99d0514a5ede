"""Asks the business's backend over HTTP, by the contract in docs/functions.md. One client serves all calls.

Rule 1: each request ends within 2.5 s, with an answer or a `BackendFault`.
Rule 2: a caller's words are escaped before they go into a URL. Redirects are not followed, so that BUSINESS_API_KEY
        goes to one host only.
Rule 3: a look-up is tried up to three times. A write is tried up to twice, with the same Idempotency-Key.
Rule 4: if the answer to a write was lost and the retry is refused, the result is not known. The first attempt may have
        been done, and so caused the refusal.
Rule 5: the backend's own words are never logged, because they may quote a caller.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import httpx
import msgspec
import stamina
import structlog
import trio

from relay.functions.arguments import plain
from relay.functions.backend.breaker import FAULTS_TO_OPEN, Breaker
from relay.functions.backend.contract import Answer, Appointment, BackendFault, Caller, Hours, Refused, Taken, segment
from relay.functions.outcome import at_a_word

__all__ = ["Appointment", "Backend", "BackendFault", "Caller", "Hours", "Refused", "Taken"]

LIMIT_S: Final = 2.5  # The longest time of a request, in seconds. docs/functions.md names this number.
# A request ends at least this many seconds before the deadline of its function. So `_ask` sees that it took too long,
# and the breaker counts the fault.
MARGIN_S: Final = 0.05
BODY_LIMIT_BYTES: Final = 64 * 1024
READ_ATTEMPTS: Final = 3
WRITE_ATTEMPTS: Final = 2
UNSURE_KEYS: Final = 1_000  # At most this many keys in `_unsure`. A call has one or two.
_MARK: Final = b"\xef\xbb\xbf"  # The byte order mark, which some editors and frameworks write before UTF-8.
CONNECTIONS: Final = 40  # At most this many idle connections are kept open. A call rarely sends two requests at a time.
# If one of these errors is raised, nothing was sent to the backend.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

T = TypeVar("T")

log = structlog.get_logger()


class Backend:
    """Asks the business's backend over HTTP.

    Used as `async with Backend(BUSINESS_API_BASE, BUSINESS_API_KEY)`, once in a process.
    """

    def __init__(self, base: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "relay"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            transport=transport,
            verify=_trusted() if transport is None else True,
            timeout=None,  # noqa: S113  # Trio's deadline in `_ask` covers the whole exchange, retries included
            follow_redirects=False,
            trust_env=False,  # Proxies and .netrc are not used, because only relay/settings reads the environment.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS),
        )
        self.breaker = Breaker()
        self._unsure: dict[str, None] = {}  # The keys of writes that may have been done, although no answer has come.

    @property
    def trouble(self) -> str:
        """What is wrong with the backend, for the owner. "" until FAULTS_TO_OPEN requests in a row have failed."""
        if self.breaker.faults < FAULTS_TO_OPEN:
            return ""
        return f"It failed {self.breaker.faults} times in a row. Look at the server behind BUSINESS_API_BASE."

    async def __aenter__(self) -> Backend:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._client.aclose()

    async def hours(self, day: dt.date) -> Hours:
        """When the business is open on this day."""
        return await self._get("GET /hours", "/hours", {"date": day.isoformat()}, lambda a: a.typed(Hours))

    def for_call(self, call_sid: str) -> Backend:
        """This object itself, because this backend has nothing that belongs to a call."""
        return self

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """Free times on `day`, or from `day` to `until`.

        A backend that does not know `until` and `with` may ignore them.
        """
        query = {"service": service, "date": day.isoformat()}
        query |= ({"until": until.isoformat()} if until else {}) | ({"with": who} if who else {})
        slots, odd = await self._get("GET /availability", "/availability", query, Answer.slots)
        _tell_odd("GET /availability", odd)
        return slots

    async def appointments(self, phone: str) -> list[Appointment]:
        """The coming appointments of a number."""
        query = {"phone": phone}
        appointments, odd = await self._get("GET /appointments", "/appointments", query, Answer.appointments)
        _tell_odd("GET /appointments", odd)
        return appointments

    async def caller(self, phone: str) -> Caller | None:
        """What the business knows about a number. None if it knows nothing."""
        path = f"/callers/{segment(phone)}"
        return await self._get("GET /callers/{phone}", path, {}, Answer.caller)

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """Book an appointment. Raises Taken."""
        body = {"name": name, "phone": phone, "service": service, "start": start.isoformat(), "notes": notes}
        body |= {"with": who} if who else {}
        return await self._write("POST /appointments", "/appointments", key, body, lambda a: a.typed(Appointment))

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Move an appointment. Raises Taken. Raises Refused with status 404 if there is no such appointment."""
        path, body = f"/appointments/{segment(appointment)}", {"start": start.isoformat()}
        await self._write("PATCH /appointments/{id}", path, key, body, Answer.accept)

    async def cancel(self, key: str, appointment: str) -> None:
        """Cancel an appointment. Raises Refused with status 404 if there is no such appointment."""
        path = f"/appointments/{segment(appointment)}"
        await self._write("DELETE /appointments/{id}", path, key, None, Answer.gone)

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Give the business a message. Raises Refused with status 404 or 405 if this backend takes no messages."""
        body = {"name": name, "phone": phone, "message": message}
        await self._write("POST /messages", "/messages", key, body, Answer.accept)

    async def _get(self, route: str, path: str, query: Mapping[str, str], read: Callable[[Answer], T]) -> T:
        request = self._client.build_request("GET", path, params=query or None)
        return await self._ask(route, request, READ_ATTEMPTS, read, was_lost=False)

    async def _write(
        self, route: str, path: str, key: str, body: Mapping[str, Any] | None, read: Callable[[Answer], T]
    ) -> T:
        content = None if body is None else msgspec.json.encode(body, enc_hook=plain)
        headers = {"Idempotency-Key": key} | ({"Content-Type": "application/json"} if content else {})
        request = self._client.build_request(route.split()[0], path, content=content, headers=headers)
        was_lost = key in self._unsure
        # The key is noted before the request, because the caller may hang up before the answer comes.
        self._unsure[key] = None
        while len(self._unsure) > UNSURE_KEYS:
            del self._unsure[next(iter(self._unsure))]
        try:
            result = await self._ask(route, request, WRITE_ATTEMPTS, read, was_lost=was_lost)
        except (Taken, BackendFault) as error:
            if isinstance(error, BackendFault) and (was_lost or error.may_have_happened):
                error.may_have_happened = True
            else:
                self._unsure.pop(key, None)
            raise
        self._unsure.pop(key, None)
        return result

    async def _ask(
        self, route: str, request: httpx.Request, attempts: int, read: Callable[[Answer], T], *, was_lost: bool
    ) -> T:
        """Send a request, and return what `read` makes of the answer. If the breaker is open, nothing is sent.

        The breaker counts each fault. A refusal is not a fault.
        """
        now = trio.current_time()
        if self.breaker.faults and (wait_s := self.breaker.wait_s(now)):
            raise BackendFault(f"{route} was not asked: the backend keeps failing, next try in {wait_s:.0f} s")
        deadline = min(now + LIMIT_S, trio.current_effective_deadline() - MARGIN_S)
        try:
            with trio.fail_at(deadline):
                answer = await self._answer(route, request, attempts, was_lost)
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
        if self.breaker.faults:
            self.breaker.answered()
        return result

    async def _answer(self, route: str, request: httpx.Request, attempts: int, was_lost: bool) -> Answer:
        """The first answer that comes. Raises the fault of the last attempt if no answer comes.

        The request is tried again only after a fault that may pass (`BackendFault.passing`).
        """
        lost = was_lost  # True if an earlier attempt may have been done.
        try:
            async for attempt in stamina.retry_context(
                on=_try_again,
                attempts=attempts,
                timeout=None,
                wait_initial=0.05,
                wait_max=0.4,
                wait_jitter=0.05,
            ):
                with attempt:
                    try:
                        return replace(await self._exchange(route, request), was_lost=lost)
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
            raise BackendFault(f"{route}: no connection ({why(error)})", passing=True) from error
        except httpx.HTTPError as error:
            words = f"{route}: the connection broke ({why(error)})"
            raise BackendFault(words, may_have_happened=writes, passing=True) from error
        retry_after_s = _retry_after_s(response.headers)
        packed = response.headers.get("content-encoding", "identity").strip().casefold()
        faulty = Answer(route, response.status_code, b"", writes, retry_after_s=retry_after_s)
        if packed != "identity":
            try:
                body = unpacked(body, packed)
            except ValueError as error:
                faulty.raise_for_fault()
                words = f"{route} answered compressed, which was not asked for, and {error}"
                raise BackendFault(words, may_have_happened=writes) from None
        answer = replace(faulty, body=body.removeprefix(_MARK))
        answer.raise_for_fault()
        if len(body) > BODY_LIMIT_BYTES:
            raise BackendFault(f"{route} answered more than {BODY_LIMIT_BYTES} bytes", may_have_happened=writes)
        return answer


def _try_again(error: Exception) -> bool | float:
    """Whether to try again. If the backend names a time, this returns the seconds until then.

    Returns False if this time is after the deadline of the request.
    """
    if not isinstance(error, BackendFault) or not error.passing:
        return False
    if error.retry_after_s is None:
        return True
    waits = trio.current_time() + error.retry_after_s < trio.current_effective_deadline()
    return error.retry_after_s if waits else False


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """The header Retry-After in seconds, also if it is a date. None if it is missing or cannot be read."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,6}", text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted when a certificate is checked: Mozilla's and the system's.

    If SSL_CERT_FILE or SSL_CERT_DIR is set, OpenSSL reads it in place of the system's file or folder.
    """
    # This adds Mozilla's authorities. With trust_env=True, httpx would use those of SSL_CERT_FILE instead, if it is
    # set.
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def why(error: BaseException) -> str:
    """Why a connection failed, in the words of the innermost error. The text quotes nothing that the backend sent."""
    said = type(error).__name__
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted: {each.verify_message}; SSL_CERT_FILE names the file of a private CA"
            )
        if isinstance(each, OSError) and each.strerror:
            said = each.strerror
        elif str(each) and not isinstance(each, BaseExceptionGroup):
            said = at_a_word(str(each).split(":")[0], 100)
    return said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inner or error.__cause__ or error.__context__


def unpacked(body: bytes, packed: str) -> bytes:
    """Unpack a compressed body, up to the size limit. Raises ValueError, which says what is wrong."""
    if packed not in ("gzip", "x-gzip", "deflate"):
        raise ValueError("in a way that is not known here")
    for window_bits in (47, -15):  # First gzip or zlib with a header, then "deflate" without one.
        try:
            return zlib.decompressobj(window_bits).decompress(body, BODY_LIMIT_BYTES + 1)
        except zlib.error:
            continue
    raise ValueError("it cannot be read")


def _tell_odd(route: str, odd: int) -> None:
    if odd:
        log.warning(
            "backend.odd_elements", route=route, left_out=odd, do="send each with an id and a start with offset"
        )


async def _bounded(response: httpx.Response) -> bytes:
    """The body as it was sent. If it is larger than the size limit, it is cut one byte after the limit.

    `break` would not end httpx's nested generators, and Trio would warn of that. A cancellation ends the next read in
    the innermost generator, and so all of them.
    """
    body = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk[: BODY_LIMIT_BYTES + 1 - len(body)]
            if len(body) > BODY_LIMIT_BYTES:
                reading.cancel()
    return bytes(body)
