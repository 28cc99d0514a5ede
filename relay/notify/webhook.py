"""Sends news as a signed HTTP request, as Standard Webhooks asks for.

docs/webhook.schema.json has the schema of the body. Redirects are not followed. News goes to a private address only if
NOTIFY_WEBHOOK_PRIVATE allows it. Without this rule, a host name could lead to an internal service that trusts every
client in its network. The host is looked up once in each try, and the request goes to an address of this look-up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from itertools import zip_longest

import httpx
import msgspec
import trio

from relay.notify.letter import Item
from relay.notify.sending import NotSent
from relay.notify.signing import headers

VERSION = 1
LIMIT_S = 15.0  # The limit of a try: the look-up of the host, the connection, and the answer.
# The limit of a connection, if the host has another address. All addresses but the last get less than CONNECT_ALL_S
# together. So the last address is also tried within LIMIT_S.
CONNECT_LIMIT_S = 5.0
CONNECT_ALL_S = 10.0
_ASKED = {429, 503}  # The status codes for which the header Retry-After is read.


def body_of(item: Item) -> bytes:
    """The body of the request. Every try sends the same bytes."""
    return msgspec.json.encode(
        {
            "version": VERSION,
            "id": item.news,
            "type": item.kind,
            "created_at": item.created_at.isoformat(),
            "call_sid": item.call_sid,
            "data": item.body,
        }
    )


class Webhook:
    """Sends news to NOTIFY_WEBHOOK_URL."""

    def __init__(
        self, url: str, secrets: str, *, private: bool, utc_s: Callable[[], float], client: httpx.AsyncClient
    ) -> None:
        self._url, self._secrets, self._private, self._utc_s, self._client = url, secrets, private, utc_s, client

    async def send(self, item: Item) -> str:
        """Post the news, and return the status as text. Raises NotSent."""
        body = body_of(item)
        sent = {"content-type": "application/json", **headers(item.news, int(self._utc_s()), body, self._secrets)}
        try:
            with trio.fail_after(LIMIT_S):
                got = await self._post(body, sent)
        except (httpx.HTTPError, trio.TooSlowError) as error:
            raise NotSent(
                f"the webhook's receiver was not reached, or did not answer in time: {type(error).__name__}"
            ) from None
        if got.is_success:
            return f"HTTP {got.status_code}"
        if got.is_redirect:
            raise NotSent(f"the receiver answered with a redirect ({got.status_code}), which is not followed")
        gone = got.status_code == 410
        raise NotSent(f"the receiver answered {got.status_code}", for_good=gone, after_s=_after_s(got))

    async def _post(self, body: bytes, sent: dict[str, str]) -> httpx.Response:
        url = httpx.URL(self._url)
        if self._private:
            return await self._client.post(url, content=body, headers=sent, follow_redirects=False)
        # The request goes to an address that was checked. If the HTTP client looked up the name again, it could get a
        # private address. TLS still checks the certificate for the name.
        name = url.raw_host.decode()
        sent = {"host": url.netloc.decode(), **sent}
        addresses = _alternating(await _public_addresses(name, url.port or 443))
        connect_limit_s = min(CONNECT_LIMIT_S, CONNECT_ALL_S / len(addresses))
        *others, last = addresses
        for address in others:
            try:
                return await self._post_to(url.copy_with(host=address), name, body, sent, connect_limit_s)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # Nobody was there, so nothing was sent.
        return await self._post_to(url.copy_with(host=last), name, body, sent, LIMIT_S)

    async def _post_to(
        self, url: httpx.URL, name: str, body: bytes, sent: dict[str, str], connect_limit_s: float
    ) -> httpx.Response:
        return await self._client.post(
            url,
            content=body,
            headers=sent,
            extensions={"sni_hostname": name},
            timeout=httpx.Timeout(LIMIT_S, connect=connect_limit_s),
            follow_redirects=False,
        )


def _after_s(got: httpx.Response) -> float | None:
    text = got.headers.get("retry-after", "") if got.status_code in _ASKED else ""
    return float(text) if text.isascii() and text.isdigit() else None


async def _public_addresses(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises NotSent if there is none, or if one of them is private."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        raise NotSent(f"the receiver's name was not found: {error.strerror}") from None
    addresses = [str(address[0]) for *_, address in found]
    if not all(_is_public(address) for address in addresses):
        raise NotSent("the receiver's address is private: set NOTIFY_WEBHOOK_PRIVATE=on if that is intended")
    return addresses


def _alternating(addresses: list[str]) -> list[str]:
    """The addresses with IPv6 and IPv4 in turn, because often all addresses of one kind cannot be reached.

    The first address stays the first: the system prefers it (RFC 8305 4).
    """
    kind = ":" in addresses[0]
    same = [address for address in addresses if (":" in address) == kind]
    other = [address for address in addresses if (":" in address) != kind]
    return [address for pair in zip_longest(same, other) for address in pair if address is not None]


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global
