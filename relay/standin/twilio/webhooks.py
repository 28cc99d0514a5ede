"""Twilio's webhook requests: signature, limits, retries, redirects, cookies (docs/protocol/twilio.md 1.1, 1.2, 2.1)."""

from __future__ import annotations

import json
import re
import ssl
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

import trio

from relay.standin.twilio.relay_connections import TOTAL_LIMIT_S, NoConnection, RelayConnections, Reply
from relay.standin.twilio.signing import signature

MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_NUMBER = re.compile("[0-9]{1,9}")
# Several Set-Cookie headers come joined by commas. A date has a comma too, but no name and equals sign after it.
_BETWEEN_COOKIES = re.compile(r",\s*(?=[^;,=\s]+=)")


def is_url(text: str) -> bool:
    """True if the URL can be read, relative or not. False for a broken IPv6 address or a wrong port."""
    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


class FetchFailed(Exception):
    """A webhook gave no usable answer. Holds Twilio's error code, what happened, and the URL that was asked."""

    def __init__(self, code: int, rule: str, url: str) -> None:
        super().__init__(f"{code}: {rule} ({url})")
        self.code, self.rule, self.url = code, rule, url


@dataclass(frozen=True, slots=True)
class Overrides:
    """The fragment of a webhook URL, `#ct=1000&rt=1000&rc=2` (docs/protocol/twilio.md 1.2).

    Times in the fragment are in milliseconds. Times here are in seconds.
    """

    connect_s: float = 5.0
    read_s: float = TOTAL_LIMIT_S
    total_s: float = TOTAL_LIMIT_S
    retries: int = 1
    policy: frozenset[str] = frozenset({"ct"})

    @classmethod
    def of(cls, url: str) -> Overrides:
        """Read the overrides from a URL. A number out of range is replaced by the nearest allowed number.

        A value that is no number, or has more than nine digits, is ignored.
        """
        given = dict(parse_qsl(urlsplit(url).fragment))

        def limit(name: str, least_ms: int, most_ms: int, default_s: float) -> float:
            text = given.get(name, "")
            return min(max(int(text), least_ms), most_ms) / 1000 if _NUMBER.fullmatch(text) else default_s

        count = given.get("rc", "")
        return cls(
            connect_s=limit("ct", 100, 10_000, 5.0),
            read_s=limit("rt", 100, 15_000, TOTAL_LIMIT_S),
            total_s=limit("tt", 100, 15_000, TOTAL_LIMIT_S),
            retries=min(int(count), 5) if _NUMBER.fullmatch(count) else 1,
            policy=frozenset(given.get("rp", "ct").split(",")),
        )

    def again(self, why: str) -> bool:
        """True if the policy allows another try after a failure of this kind (ct, rt, 4xx, 5xx, redirects)."""
        return why in self.policy or "all" in self.policy


class Webhooks:
    """Sends the webhook requests of one call to the relay. The cookies live as long as the call."""

    def __init__(
        self,
        connections: RelayConnections,
        auth_token: str,
        log: Callable[..., None],
        bins: Mapping[str, str] | None = None,
    ) -> None:
        self._connections, self._auth_token, self._log = connections, auth_token, log
        self._bins = bins or {}
        self._cookies: dict[str, dict[str, str]] = {}

    async def fetch(self, url: str, method: str, fields: Mapping[str, str]) -> tuple[Reply, str]:
        """The answer to a webhook, and the URL that it came from after redirects. Raises FetchFailed."""
        if url in self._bins:  # A TwiML Bin: a document that Twilio itself hosts.
            return Reply(200, {"content-type": "text/xml"}, self._bins[url].encode()), url
        if not is_url(url):
            raise FetchFailed(11100, "this URL cannot be read", url)
        overrides = Overrides.of(url)
        attempt, token = 0, str(uuid.uuid4())
        with trio.move_on_after(overrides.total_s):
            while True:
                try:
                    return await self._attempt(url, method, fields, overrides, token if attempt else "")
                except _Failed as failed:
                    if attempt >= overrides.retries or not overrides.again(failed.why):
                        raise FetchFailed(failed.code, failed.rule, url) from failed.__cause__
                    attempt += 1
                    self._log("webhook_retried", url=url, why=failed.rule)
        raise FetchFailed(11200, f"no answer within {overrides.total_s:g} s", url)

    async def _attempt(
        self, url: str, method: str, fields: Mapping[str, str], overrides: Overrides, token: str
    ) -> tuple[Reply, str]:
        for _ in range(MAX_REDIRECTS + 1):
            reply = await self._once(url, method, fields, overrides, token)
            if reply.status in _REDIRECTS and (target := reply.headers.get("location")):
                if not is_url(target):
                    raise _Failed("redirects", 11100, f"redirected to what is no URL: {target!r}")
                url = urljoin(url, target)
                if reply.status < 307:  # After 301, 302 and 303 comes a GET without the fields.
                    method, fields = "GET", {}
                continue
            if reply.status >= 400 or reply.status in _REDIRECTS:
                raise _Failed("5xx" if reply.status >= 500 else "4xx", 11200, f"HTTP {reply.status}")
            return reply, url
        raise _Failed("redirects", 11215, f"more than {MAX_REDIRECTS} redirects")

    async def _once(self, url: str, method: str, fields: Mapping[str, str], overrides: Overrides, token: str) -> Reply:
        parts = urlsplit(url)
        query, body = parts.query, b""
        if method == "GET":
            query = "&".join(filter(None, (query, urlencode(fields))))
        else:
            body = urlencode(fields).encode()
        target = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
        headers = self._headers(parts.netloc, method, target, fields, token)
        try:
            with trio.fail_after(overrides.connect_s + overrides.read_s):
                reply = await self._connections.request(method, target, headers, body, overrides.connect_s)
        except (NoConnection, ConnectionRefusedError) as error:
            raise _Failed("ct", 11205, str(error)) from error
        except ssl.SSLError as error:
            raise _Failed("ct", 11220, f"TLS: {error}") from error
        except trio.TooSlowError as error:
            raise _Failed("rt", 11200, f"no answer within {overrides.connect_s + overrides.read_s:g} s") from error
        except OSError as error:
            raise _Failed("rt", 11200, str(error)) from error
        self._keep_cookies(parts.netloc, reply)
        return reply

    def _headers(self, host: str, method: str, target: str, fields: Mapping[str, str], token: str) -> dict[str, str]:
        """The same headers as in a captured request of Twilio (docs/protocol/twilio.md 1.1)."""
        flow = quote(json.dumps({"flow_id": str(uuid.uuid4())}, separators=(",", ":")), safe="")
        headers = {"host": host, "user-agent": "TwilioProxy/1.1", "accept": "*/*"}
        if method == "POST":
            headers["content-type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        headers |= {"x-home-region": "us1", "x-twilio-service-flow-event": flow}
        headers["x-twilio-signature"] = signature(self._auth_token, target, fields if method == "POST" else None)
        headers["accept-encoding"] = "gzip"
        if token:
            headers["i-twilio-idempotency-token"] = token
        if cookies := self._cookies.get(host):
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        return headers

    def _keep_cookies(self, host: str, reply: Reply) -> None:
        given = reply.headers.get("set-cookie", "")
        for cookie in _BETWEEN_COOKIES.split(given) if given.isascii() else ():
            name, sign, value = cookie.partition(";")[0].partition("=")
            if sign:
                self._cookies.setdefault(host, {})[name.strip()] = value.strip()


class _Failed(Exception):
    def __init__(self, why: str, code: int, rule: str) -> None:
        super().__init__(rule)
        self.why, self.code, self.rule = why, code, rule
