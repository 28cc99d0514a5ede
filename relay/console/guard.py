"""Decides who may use the console's pages and sockets.

It checks the password, the session cookie, the origin and other headers.

Without CONSOLE_PASSWORD_HASH the console answers only a browser on the relay's own machine. For this, three conditions
must be true: PUBLIC_URL is not set or is on this machine, the Host header and the peer are loopback addresses, and no
header shows a proxy. Requests through a tunnel and requests by DNS rebinding also come from loopback. But a tunnel adds
a forwarding header, and DNS rebinding asks for another host. So they are refused.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import trio
from itsdangerous import BadSignature, TimestampSigner
from quart import Request, Response
from werkzeug.datastructures import Headers
from werkzeug.http import parse_cookie

from relay.console import password
from relay.settings import Settings

COOKIE = "relay_console"
SESSION_S = 12 * 3600
# One address may send TRIES wrong passwords within TRIES_WINDOW_S. All addresses together may send TRIES_OF_ALL within
# WINDOW_OF_ALL_S.
TRIES, TRIES_WINDOW_S = 5, 15 * 60.0
TRIES_OF_ALL, WINDOW_OF_ALL_S = 60, 60 * 60.0
FORWARDED = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Real-IP",
    "Via",
    "CF-Connecting-IP",
    "Fly-Client-IP",
)
OPEN = ("/console/login", "/console/static/")  # These paths need no session.
FOREIGN = "This request came from another page, not from the console."
SIGNED_OUT = "You are signed out. Load the page again to sign in."
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass
class Tries:
    """Counts wrong passwords for each address. An address is forgotten when all its wrong passwords are older than
    TRIES_WINDOW_S."""

    _by_address: dict[str, deque[float]] = field(default_factory=dict)
    _all: deque[float] = field(default_factory=deque)

    def wait_s(self, address: str, now: float) -> float:
        """How many seconds this address must wait before it may try again. 0 if it may try now."""
        own = [at for at in self._by_address.get(address, ()) if at >= now - TRIES_WINDOW_S]
        while self._all and self._all[0] < now - WINDOW_OF_ALL_S:
            self._all.popleft()
        if len(own) >= TRIES:
            return own[0] + TRIES_WINDOW_S - now
        if len(self._all) >= TRIES_OF_ALL:
            return self._all[0] + WINDOW_OF_ALL_S - now
        return 0.0

    def wrong(self, address: str, now: float) -> None:
        """Note a wrong password."""
        self._by_address = {key: times for key, times in self._by_address.items() if times[-1] > now - TRIES_WINDOW_S}
        self._by_address.setdefault(address, deque(maxlen=TRIES)).append(now)
        self._all.append(now)


class Guard:
    """Decides about each request of the console."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hash = settings.console_password_hash
        # The signing key is made from the password's hash. So a new password ends all sessions.
        key = hashlib.blake2b(self._hash.encode(), person=b"relay-console").digest()
        self._signer = TimestampSigner(key, salt="session", digest_method=hashlib.sha256)
        self._tries = Tries()
        # Argon2 takes 64 MB and 50 ms, so only one password is checked at a time. The lock also covers the count. So
        # many passwords that come at the same moment are counted one after the other.
        self._one_by_one = trio.Lock()

    @property
    def has_password(self) -> bool:
        """Whether a password is set. If not, only a browser on the relay's machine may use the console."""
        return bool(self._hash)

    def refusal(self, request: Request) -> Response | None:
        """The response that refuses this request. None if the request is allowed."""
        if not self._hash and (why := self._not_local(request.headers, request.remote_addr or "")):
            return _words(403, _closed(why))
        if request.path.startswith(OPEN[1]):
            return None
        if request.method not in ("GET", "HEAD") and not self._is_own_origin(request.headers):
            return _words(403, FOREIGN)
        if request.path == OPEN[0] or not self._hash or self.is_signed_in(request):
            return None
        if request.method == "GET" and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate":
            if request.headers.get("Sec-Fetch-Site") == "cross-site" and COOKIE not in request.cookies:
                return _once_more()
            return Response("", 303, {"Location": f"/console/login?next={quote(request.full_path.rstrip('?'))}"})
        return _words(401, SIGNED_OUT, {"HX-Redirect": "/console/login"})

    def socket_refusal(self, headers: Headers, address: str) -> tuple[int, str] | None:
        """Status and text that refuse this socket before its upgrade. None if the socket is allowed.

        A browser lets any page open a socket to us. If the page is of the same site, the browser also sends our cookie.
        So the Origin header must always name our own origin.
        """
        if any(len(headers.getlist(name)) > 1 for name in ("Host", "Origin", "Cookie")):
            return 400, "A header came twice."
        if not self._hash and (why := self._not_local(headers, address)):
            return 403, _closed(why)
        if "Origin" not in headers or not self._is_own_origin(headers):
            return 403, FOREIGN
        if self._hash and not self._is_session(parse_cookie(headers.get("Cookie", "")).get(COOKIE, "")):
            return 401, SIGNED_OUT
        return None

    def is_signed_in(self, request: Request) -> bool:
        """Whether the request has a session cookie that we signed and that is not too old."""
        return self._is_session(request.cookies.get(COOKIE, ""))

    def _is_session(self, cookie: str) -> bool:
        try:
            self._signer.unsign(cookie, max_age=SESSION_S)
        except BadSignature:
            return False
        return True

    async def sign_in(self, request: Request, tried: str) -> str:
        """Check a password. Returns "" if it is right, otherwise the text for the user."""
        async with self._one_by_one:
            address, now = self.address(request), trio.current_time()
            if (wait_s := self._tries.wait_s(address, now)) > 0:
                minutes = max(1, round(wait_s / 60))
                return f"Too many wrong passwords. Please try again in {minutes} minute{'s' if minutes > 1 else ''}."
            if await trio.to_thread.run_sync(password.fits, self._hash, tried[:1024]):
                return ""
            self._tries.wrong(address, now)
            return "This password is wrong."

    def open_session(self, response: Response) -> None:
        """Put a new session cookie on the answer."""
        token = self._signer.sign(secrets.token_urlsafe(18)).decode()
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_S,
            path="/console",
            httponly=True,
            samesite="Strict",
            secure=urlsplit(self._settings.public_url).scheme == "https",
        )

    def close_session(self, response: Response) -> None:
        """Delete the session cookie."""
        response.delete_cookie(COOKIE, path="/console", httponly=True, samesite="Strict")

    def address(self, request: Request) -> str:
        """The address of the browser.

        On Fly, Fly's own header has this address. Elsewhere, the nearest proxy has added it to X-Forwarded-For. Without
        such a header, the address of the connection's other side is used.
        """
        return self.address_of(request.headers, request.remote_addr or "")

    def address_of(self, headers: Headers, peer: str) -> str:
        """The address of the browser, as in `address`. `peer` is the address of the connection's other side."""
        if self._settings.fly_app_name and (told := headers.get("Fly-Client-IP")):
            return told[:64]
        if told := headers.get("X-Forwarded-For"):
            return told.rsplit(",", 1)[-1].strip()[:64]
        return peer[:64]

    def _not_local(self, headers: Headers, address: str) -> str:
        if not self._settings.is_local:
            return "it is reached from outside and has no password"
        if any(name in headers for name in FORWARDED):
            return "the request came through a proxy or a tunnel"
        if _host_name(headers.get("Host", "")) not in LOOPBACK_NAMES:
            return "the request asked for another host than this machine"
        try:
            if not ipaddress.ip_address(address).is_loopback:
                return "the request came from another machine"
        except ValueError:
            return "" if address in ("", "<local>") else "the request came from an unknown address"
        return ""

    def _is_own_origin(self, headers: Headers) -> bool:
        origin = headers.get("Origin", "")
        if not origin:
            return headers.get("Sec-Fetch-Site") == "same-origin"
        own = urlsplit(self._settings.public_url)
        try:
            asked = urlsplit(origin)
            is_loopback = asked.hostname in ("localhost", "127.0.0.1", "::1")
        except ValueError:  # An IPv6 address without its closing bracket.
            return False
        if not asked.netloc:  # Browsers send "null" for a page that has no origin, or that hides its origin.
            return False
        if self._settings.is_local and is_loopback:
            return asked.netloc == headers.get("Host", "")
        return (asked.scheme, asked.netloc.lower()) == (own.scheme, own.netloc.lower())


def _closed(why: str) -> str:
    return f"The console is closed here: {why}. Set CONSOLE_PASSWORD_HASH (`relay key --console`)."


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _words(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(words + "\n", status, dict(headers or {}), content_type="text/plain; charset=utf-8")


def _once_more() -> Response:
    """A page that makes the browser load the same URL again.

    The session cookie is SameSite=Strict. So a browser that follows a link from a web mail does not send the cookie. If
    our own page loads the URL, the browser sends the cookie.
    """
    page = '<!doctype html><title>Console</title><meta http-equiv="refresh" content="0"><p>One moment.</p>'
    return Response(page, 200, content_type="text/html; charset=utf-8")


def harden(response: Response, nonce: str, *, is_static: bool) -> None:
    """Add the security headers that every response needs. The page's script tags have the same nonce."""
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types htmx"
    )
    response.headers["Cache-Control"] = "private, max-age=3600" if is_static else "no-store"
    # With "no-referrer", a browser would send our own forms with `Origin: null` (Fetch standard, 3.2), and they would
    # be refused.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(self)"
