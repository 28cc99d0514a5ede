"""Checks by X-Twilio-Signature that a webhook, or the handshake of a media socket, comes from Twilio. Pure.

The signed text is made from PUBLIC_URL, the path and query of the request, and its form. A proxy or an attacker can
change headers, so the Host header decides only which letters of the host name are capitals. A signature contains no
time, so a recorded request stays valid for ever. But a recorded request has the CallSid of its own call, and the token
in a stream's URL works only once (tokens.py). So a recorded request that is sent again cannot reach another call.
Source: docs/protocol/twilio.md 2.1, 2.2, 2.3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, urlsplit

SIGNATURE_HEADER = "X-Twilio-Signature"
# Twilio sends this header if the account signs with a shared key: "key=<id>,algorithm=<name>" (docs/protocol/twilio.md
# 2.2).
SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"

_ALGORITHMS = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
_MAX_FIELDS = 1000  # A request with more fields is refused. A real webhook has about 35.


class SignatureRefused(Exception):
    """The request is not proved to come from Twilio. The error says why, and never contains the right signature."""


def sign(token: str, url: str, fields: Iterable[tuple[str, str]] = (), algorithm: str = "HMAC_SHA1") -> str:
    """Make the value of SIGNATURE_HEADER for a request to `url` with the form `fields`.

    Names are sorted. If a name comes twice, its different values are sorted too, as in the twilio package.
    """
    # Bytes of the request target that are not ASCII were decoded to surrogates. "surrogateescape" turns them back into
    # the same bytes.
    text = url + "".join(name + value for name, value in sorted(set(fields)))
    digest = hmac.new(token.encode(), text.encode(errors="surrogateescape"), _ALGORITHMS[algorithm]).digest()
    return base64.b64encode(digest).decode()


def check_webhook(
    *,
    tokens: Sequence[str],
    public_url: str,
    target: str,
    signature: str | None,
    settings: str | None = None,
    content_type: str | None = None,
    body: bytes = b"",
    host: str | None = None,
) -> dict[str, str]:
    """Check that Twilio has signed a webhook. Returns the fields of its form, or of the query if it has no form.

    Fields with empty values are returned too.

    `tokens` are all keys that may have signed: the auth token (two while the operator changes it), and the secret of a
    shared key if there is one. `target` is the path and the query as they came, not decoded. `signature` and `settings`
    are the values of SIGNATURE_HEADER and SETTINGS_HEADER, or None. `host` is the Host header. If `host` differs from
    the host of PUBLIC_URL only in capital letters, Twilio may have signed with `host`. `body` is the body as it came.
    If the body is JSON, the query must have its hash (bodySHA256), and the fields of the body are not returned. Raises
    SignatureRefused.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    query = _fields(urlsplit(target).query)
    form: list[tuple[str, str]] = []
    if kind == "application/json":
        _check_body_hash(dict(query).get("bodySHA256"), body)
    elif kind == "application/x-www-form-urlencoded":
        form = _fields(body.decode(errors="surrogateescape"))
    elif body:
        raise SignatureRefused(f"a body of type {kind[:40] or 'nothing'} cannot be signed by Twilio")
    urls = [origin + target for origin in _origins(public_url, host)]
    _check(tokens=tokens, urls=urls, fields=form, target=target, signature=signature, settings=settings)
    return {_readable(name): _readable(value) for name, value in form or query}


def check_handshake(
    *,
    tokens: Sequence[str],
    public_url: str,
    target: str,
    signature: str | None,
    settings: str | None = None,
    host: str | None = None,
) -> None:
    """Raise SignatureRefused if Twilio did not sign the handshake of a media socket. Arguments as in check_webhook.

    Twilio signs the wss:// URL of the TwiML. Twilio may add a slash at the end of the URL, and may leave out the port.
    """
    sockets = [origin.replace("http", "ws", 1) for origin in _origins(public_url, host)]
    urls = [origin + target + slash for origin in sockets for slash in ("", "/")]
    _check(tokens=tokens, urls=urls, fields=[], target=target, signature=signature, settings=settings)


def _origins(public_url: str, asked: str | None) -> list[str]:
    """The origins that Twilio may have signed: scheme and host of PUBLIC_URL, without a port and with one.

    User and password are never signed.

    The host name may have capital letters in Twilio's console or in our TwiML. Twilio signs it with these letters, and
    sends it with these letters in the Host header. So the name from the Host header is tried too, if only its capitals
    differ from PUBLIC_URL.
    """
    parts = urlsplit(public_url)
    plain = _host(public_url).casefold()
    hosts = [plain, _host(public_url)]
    if asked is not None and _host(f"//{asked}").casefold() == plain:
        hosts.append(_host(f"//{asked}"))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [f"{parts.scheme}://{host}{end}" for host in dict.fromkeys(hosts) for end in ("", f":{port}")]


def _host(url: str) -> str:
    """The host of a URL, with its capital letters, without user and port. An IPv6 address keeps its brackets."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:  # An IPv6 address without its closing bracket.
        return ""
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _fields(encoded: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise SignatureRefused(f"a request with more than {_MAX_FIELDS} fields is not Twilio's") from None


def _readable(text: str) -> str:
    """The text without surrogates. Bytes that were not UTF-8 become the replacement character."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _check_body_hash(promised: str | None, body: bytes) -> None:
    if promised is None:
        raise SignatureRefused("a JSON body without bodySHA256 in the URL is not signed")
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), promised.encode(errors="surrogateescape")):
        raise SignatureRefused("the JSON body is not the one whose hash was signed")


def _check(
    *,
    tokens: Sequence[str],
    urls: list[str],
    fields: list[tuple[str, str]],
    target: str,
    signature: str | None,
    settings: str | None,
) -> None:
    if not target.startswith("/"):
        raise SignatureRefused("the request target is not a path")
    if not signature:
        raise SignatureRefused(f"the {SIGNATURE_HEADER} header is missing")
    if not (keys := [token for token in tokens if token]):
        raise SignatureRefused("no TWILIO_AUTH_TOKEN is configured to check it with")
    algorithm, key_id = _read_settings(settings)
    given = signature.encode(errors="surrogateescape")
    good = False
    for key in keys:
        for url in urls:
            good |= hmac.compare_digest(sign(key, url, fields, algorithm).encode(), given)
    if not good and key_id:
        raise SignatureRefused(
            f"Twilio's shared key {key_id} signed it, and no configured secret fits: check the secret of this key, and"
            " that PUBLIC_URL is what Twilio calls"
        )
    if not good:
        raise SignatureRefused(
            "the signature is wrong: check TWILIO_AUTH_TOKEN, and that PUBLIC_URL is what Twilio calls"
        )


def _read_settings(settings: str | None) -> tuple[str, str]:
    """Returns the algorithm, and the id of the shared key.

    Without SETTINGS_HEADER, Twilio has signed with SHA1 and the auth token, and the id is "".
    """
    told = dict(part.strip().partition("=")[::2] for part in (settings or "").split(","))
    algorithm = told.get("algorithm", "").strip().upper() or "HMAC_SHA1"
    if algorithm not in _ALGORITHMS:
        raise SignatureRefused(f"signed with the algorithm {algorithm[:40]}, which this relay does not know")
    return algorithm, told.get("key", "").strip()[:80]
