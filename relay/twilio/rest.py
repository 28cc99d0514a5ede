"""Calls Twilio's REST API: ends calls, reads the account's numbers, and sets a number's webhooks.

Every request ends within `limit_s`, with an answer or with an error: TwilioRefused or TwilioUnreachable.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self, TypeGuard, TypeVar

import httpx
import msgspec
import structlog
import trio

from relay.call.vocabulary import CallSid
from relay.transport.wire import default_tls

log = structlog.get_logger()

LIMIT_S = 10.0  # The limit for a request with all its tries.
TRY_LIMIT_S = 4.0  # The limit for one try.
MAX_TRIES = 4
# The pause after the first try, on average. Each further pause is twice as long as the one before. If Twilio asks for a
# longer pause (Retry-After), that pause is used.
FIRST_PAUSE_S = 0.25
# Twilio's codes for "Call is not in-progress" (21220) and "not found" (20404). The call has ended, or it belongs to
# another account.
UNKNOWN_CODE = 20404
OVER_CODES = {21220, UNKNOWN_CODE}
API_VERSION = "2010-04-01"
# Finds phone numbers in Twilio's error messages, because they must not be logged.
_LONG_NUMBER = re.compile(r"\+?\d{7,}")


class TwilioRefused(Exception):
    """Twilio refused the request, and would refuse it again. The message says why, if Twilio gave a reason."""


class TwilioUnreachable(Exception):
    """Twilio did not answer in time, or was busy at each try."""


class Number(msgspec.Struct, frozen=True):
    """A phone number of the account, and where its calls go.

    If the number has an application or a trunk, Twilio ignores the URLs of the number.
    """

    sid: str
    phone_number: str
    voice_url: str | None = ""
    voice_method: str | None = ""
    voice_fallback_url: str | None = ""
    voice_fallback_method: str | None = ""
    status_callback: str | None = ""
    voice_application_sid: str | None = ""
    trunk_sid: str | None = ""


class _NumbersBody(msgspec.Struct):
    incoming_phone_numbers: list[Number]


class _ErrorBody(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Over(Exception):
    """The call has ended, or (if `is_unknown`) Twilio does not know the call, the number or the account."""

    def __init__(self, *, is_unknown: bool = False) -> None:
        super().__init__()
        self.is_unknown = is_unknown


class _Busy(Exception):
    """Twilio did not answer, or was busy. Another try may succeed."""

    def __init__(self, words: str, *, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class TwilioRest:
    """A client for one account. Use it as an async context manager.

    `auth` is a pair of account SID and auth token, or of API key and secret. While the operator changes the token,
    `auth` has several pairs. The client then uses the pair that Twilio accepts. `base` is an origin, without a path.
    """

    def __init__(
        self,
        account_sid: str,
        auth: tuple[str, str] | Sequence[tuple[str, str]],
        base: str = "https://api.twilio.com",
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._auths = [auth] if _is_one(auth) else [*auth]
        self._http = httpx.AsyncClient(
            base_url=f"{base.rstrip('/')}/{API_VERSION}/Accounts/{account_sid}/",
            timeout=None,  # noqa: S113 -- _once limits the whole request; httpx would limit each read.
            transport=transport,
            verify=default_tls(),
            trust_env=False,  # Proxy variables of the environment are ignored: only the relay's settings count.
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with trio.move_on_after(1, shield=True):
            await self._http.aclose()

    async def hang_up(self, call_sid: CallSid, limit_s: float = LIMIT_S) -> bool:
        """End a call. Returns False if it had ended already, or if Twilio does not know it.

        Raises TwilioRefused, TwilioUnreachable.
        """
        with _within(limit_s):
            try:
                await self._ask("POST", f"Calls/{call_sid}.json", {"Status": "completed"})
            except _Over as over:
                if over.is_unknown:
                    log.warning(
                        "twilio.call_unknown",
                        caller_hears="no change: the call ends with its stream",
                        do="nothing; if each call has this, check TWILIO_ACCOUNT_SID and the region of TWILIO_API_BASE",
                    )
                return False
            return True

    async def own_numbers(self, limit_s: float = LIMIT_S) -> list[str]:
        """The account's numbers, at most a thousand. Raises TwilioRefused, TwilioUnreachable."""
        with _within(limit_s):
            try:
                body = await self._ask("GET", "IncomingPhoneNumbers.json", {"PageSize": "1000"})
            except _Over:
                raise TwilioRefused("Twilio knows no such account: check TWILIO_ACCOUNT_SID") from None
        return [number.phone_number for number in _read(body, _NumbersBody).incoming_phone_numbers]

    async def find_number(self, e164: str, limit_s: float = LIMIT_S) -> Number | None:
        """Find a number of the account. None if the account does not have it. Raises TwilioRefused,
        TwilioUnreachable."""
        with _within(limit_s):
            try:
                body = await self._ask("GET", "IncomingPhoneNumbers.json", {"PhoneNumber": e164})
            except _Over:
                raise TwilioRefused("Twilio knows no such account: check TWILIO_ACCOUNT_SID") from None
        numbers = _read(body, _NumbersBody).incoming_phone_numbers
        return next((number for number in numbers if number.phone_number == e164), None)

    async def set_number_urls(
        self,
        number_sid: str,
        voice_url: str,
        status_callback: str,
        fallback_url: str | None = None,
        limit_s: float = LIMIT_S,
    ) -> Number:
        """Make Twilio send the number's calls to `voice_url` by POST. Returns the changed number.

        If `fallback_url` is None, the number keeps its fallback URL.

        Raises TwilioRefused, TwilioUnreachable.
        """
        form = {"VoiceUrl": voice_url, "VoiceMethod": "POST", "StatusCallback": status_callback}
        form |= {"StatusCallbackMethod": "POST"}
        if fallback_url is not None:
            form |= {"VoiceFallbackUrl": fallback_url, "VoiceFallbackMethod": "POST"}
        with _within(limit_s):
            try:
                body = await self._ask("POST", f"IncomingPhoneNumbers/{number_sid}.json", form)
            except _Over:
                raise TwilioRefused(f"this Twilio account has no phone number {number_sid}") from None
        return _read(body, Number)

    async def _ask(self, method: str, path: str, fields: Mapping[str, str]) -> bytes:
        """Send a request, and return the body of the answer. Try again while Twilio is busy."""
        for n_try in range(1, MAX_TRIES + 1):
            try:
                return await self._once(method, path, fields)
            except _Busy as e:
                if n_try == MAX_TRIES:
                    raise TwilioUnreachable(f"{e} ({MAX_TRIES} times)") from e
                busy = e
            # The pause is random, so that many calls do not all try again at the same moment after an outage.
            await trio.sleep(max(busy.wait_s, FIRST_PAUSE_S * 2 ** (n_try - 1) * random.uniform(0.5, 1.5)))
        raise AssertionError("the last try returned or raised")

    async def _once(self, method: str, path: str, fields: Mapping[str, str]) -> bytes:
        """Send the request once. Raises _Over, _Busy, TwilioRefused."""
        what: dict[str, Mapping[str, str]] = {"params" if method == "GET" else "data": fields}
        response = None
        try:
            with trio.move_on_after(TRY_LIMIT_S):
                for auth in tuple(self._auths):
                    response = await self._http.request(method, path, auth=auth, **what)  # type: ignore[arg-type]
                    if response.status_code != 401:
                        break
                    self._auths = [*self._auths[1:], self._auths[0]]
        except (httpx.ConnectError, httpx.ConnectTimeout) as e:
            raise _Busy(f"Twilio cannot be reached: {e}") from e
        except httpx.TransportError as e:
            raise _Busy(f"Twilio broke the connection: {e or type(e).__name__}") from e
        if response is None:
            raise _Busy(f"Twilio did not answer within {TRY_LIMIT_S:g} s")
        if response.is_success:
            return response.content
        raise _judge(response)


def _is_one(auth: tuple[str, str] | Sequence[tuple[str, str]]) -> TypeGuard[tuple[str, str]]:
    return len(auth) == 2 and isinstance(auth[0], str)


def _judge(response: httpx.Response) -> Exception:
    """The exception for an answer with an error status."""
    status = response.status_code
    try:
        error = msgspec.json.decode(response.content, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = _ErrorBody()  # A proxy may have answered with a page.
    is_misled = not response.request.url.path.startswith(f"/{API_VERSION}/")
    if status == 404 and (is_misled or error.code not in OVER_CODES):
        return TwilioRefused(
            f"what answers at TWILIO_API_BASE has no such address (HTTP 404, code {error.code}): it must be an origin "
            "alone, such as https://api.twilio.com, of the region that the number is in"
        )
    if error.code in OVER_CODES:
        return _Over(is_unknown=error.code == UNKNOWN_CODE)
    if status == 429:  # Twilio has not processed the request, so it may be sent again (docs/protocol/twilio.md 4).
        return _Busy("Twilio is asked too often by this account", wait_s=_wait_s(response))
    if status >= 500:
        return _Busy(f"Twilio failed with HTTP {status}", wait_s=_wait_s(response))
    if status in (401, 403):
        return TwilioRefused(
            f"Twilio refused the credentials (HTTP {status}, code {error.code}): check TWILIO_ACCOUNT_SID with "
            "TWILIO_AUTH_TOKEN, or TWILIO_API_KEY with TWILIO_API_SECRET. A subaccount's token goes with the "
            "subaccount's SID, and a region has credentials of its own."
        )
    words = _LONG_NUMBER.sub("<number>", error.message)[:300]
    return TwilioRefused(f"Twilio refused (HTTP {status}, code {error.code}): {words or 'it gave no reason'}")


def _wait_s(response: httpx.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else 0.0


T = TypeVar("T")


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise TwilioRefused(f"what answered at TWILIO_API_BASE is not Twilio's API: {e}") from e


@contextmanager
def _within(limit_s: float) -> Iterator[None]:
    """Limit the time of a request with all its tries."""
    try:
        with trio.fail_after(limit_s):
            yield
    except trio.TooSlowError as e:
        raise TwilioUnreachable(f"Twilio gave no answer within {limit_s:g} s") from e
