"""Connects the stand-in Twilio with a relay: HTTP requests, and byte streams for WebSockets.

`NetworkConnections` uses the network. Tests on a fake clock have another class, which calls the relay inside the same
Trio run.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx
import trio

TOTAL_LIMIT_S = 15.0
"""The most that a whole HTTP request of a call may take (docs/protocol/twilio.md 1.2). webhooks.py enforces it. In this
file it limits each step of a request."""


class Reply(NamedTuple):
    """An HTTP answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoConnection(OSError):
    """No connection could be opened: it was refused, the host is unknown, or it took too long."""


class RelayConnections(Protocol):
    """Opens connections to a relay."""

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_limit_s: float = 5.0
    ) -> Reply:
        """Send an HTTP request. Redirects are not followed. The caller of this method sets the deadline.

        Raises NoConnection if no connection could be opened, ssl.SSLError if TLS fails, trio.TooSlowError if the answer
        does not come in time, and OSError if the connection breaks later.
        """

    async def open_stream(self, url: str) -> trio.abc.Stream:
        """Open a byte stream to the host of a ws, wss, http or https URL. With wss and https, TLS is set up.

        Raises OSError, ssl.SSLError.
        """


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class NetworkConnections:
    """Uses the network: HTTP with httpx, sockets with Trio."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._context = tls
        self._client: httpx.AsyncClient | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_limit_s: float = 5.0
    ) -> Reply:
        """See RelayConnections."""
        if self._client is None:
            # No keep-alive, because Twilio's requests come from many machines.
            limits = httpx.Limits(max_keepalive_connections=0)
            # The client's cookie jar keeps no cookies. Cookies belong to one call (webhooks.py), and this client serves
            # many calls.
            jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
            # No proxy of the environment, because the media socket uses none either.
            self._client = httpx.AsyncClient(
                verify=self._context or _tls(), limits=limits, cookies=jar, trust_env=False
            )
        timeout = httpx.Timeout(TOTAL_LIMIT_S, connect=connect_limit_s)
        try:
            answer = await self._client.request(method, url, headers=dict(headers), content=body, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # If TLS has failed, the root cause says what is wrong with the certificate.
            if isinstance(cause := _root(error), ssl.SSLError):
                raise ssl.SSLError(0, str(cause)) from error
            raise NoConnection(f"{urlsplit(url).netloc} cannot be reached: {error or 'no answer in time'}") from error
        except httpx.TimeoutException as error:
            raise trio.TooSlowError from error
        except UnicodeError as error:
            raise NoConnection(f"{urlsplit(url).netloc} is no host name: {error}") from error
        # httpx also raises RequestError for a body that is not compressed as its header says.
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise OSError(f"the request to {url} broke: {error or type(error).__name__}") from error
        return Reply(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

    async def open_stream(self, url: str) -> trio.abc.Stream:
        """See RelayConnections."""
        parts = urlsplit(url)
        secure = parts.scheme in ("wss", "https")
        assert parts.hostname is not None
        try:
            tcp = await trio.open_tcp_stream(parts.hostname, parts.port or (443 if secure else 80))
        except UnicodeError as error:
            raise NoConnection(f"{parts.netloc} is no host name: {error}") from error
        if not secure:
            return tcp
        stream = trio.SSLStream(tcp, self._context or _tls(), server_hostname=parts.hostname, https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(tcp)
            if isinstance(error, trio.BrokenResourceError):
                cause = _root(error)
                raise ssl.SSLError(0, str(cause) or "the connection broke during the TLS handshake") from error
            raise
        return stream

    async def aclose(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            await self._client.aclose()


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
