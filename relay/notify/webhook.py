"""Sends news as a signed HTTP request, as Standard Webhooks asks for.

docs/webhook.schema.json has the schema of the body. Redirects are not followed. News goes to a private address only if
NOTIFY_WEBHOOK_PRIVATE allows it. Without this rule, a host name could lead to an internal service that trusts every
client in its network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import msgspec
import trio

from relay.notify.letter import Item
from relay.notify.sending import NotSent
from relay.notify.signing import headers

VERSION = 1
LIMIT_S = 15.0
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
        if not self._private:
            await _refuse_private(self._url)
        body = body_of(item)
        sent = {"content-type": "application/json", **headers(item.news, int(self._utc_s()), body, self._secrets)}
        try:
            with trio.fail_after(LIMIT_S):
                got = await self._client.post(self._url, content=body, headers=sent, follow_redirects=False)
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


def _after_s(got: httpx.Response) -> float | None:
    text = got.headers.get("retry-after", "") if got.status_code in _ASKED else ""
    return float(text) if text.isascii() and text.isdigit() else None


async def _refuse_private(url: str) -> None:
    parts = urlsplit(url)
    try:
        found = await trio.socket.getaddrinfo(parts.hostname, parts.port or 443)
    except OSError as error:
        raise NotSent(f"the receiver's name was not found: {error.strerror}") from None
    for *_, address in found:
        if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global:
            raise NotSent("the receiver's address is private: set NOTIFY_WEBHOOK_PRIVATE=on if that is intended")
