"""The code that uses a setting can read each accepted value. So a wrong value is refused before the first call."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from email.utils import getaddresses

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from websockets.uri import parse_uri

from relay.notify import mail
from relay.notify.letter import Item
from relay.notify.signing import headers
from relay.recordings.cipher import Keys
from relay.recordings.stores import ObjectStore, S3Access
from relay.settings import SettingsInvalid, load
from relay.settings.smtp_url import Server

BOTH = {
    "NOTIFY_EMAIL": "owner@example.com",
    "NOTIFY_FROM": "relay@example.com",
    "SMTP_URL": "smtps://mail.example.com",
    "NOTIFY_WEBHOOK_URL": "https://hooks.example.com",
    "NOTIFY_WEBHOOK_SECRET": "whsec_" + "A" * 43 + "=",
    "BUSINESS_API_HTTP": "private",
    "RECORDINGS_URL": "s3://my-recordings",
}

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def accepted(name: str, text: str) -> str | None:
    """The value as the settings give it. None if it is refused."""
    try:
        settings = load({**BOTH, name: text}, serving=False)
    except SettingsInvalid:
        return None
    return str(getattr(settings, name.lower()))


def refusal(name: str, text: str) -> str:
    """The line that refuses this value."""
    with pytest.raises(SettingsInvalid) as failure:
        load({**BOTH, name: text}, serving=False)
    (line,) = [line for line in str(failure.value).splitlines() if line.startswith("  - ")]
    assert line.startswith(f"  - {name} ")
    assert "hidden" not in line
    return line


def can_be_connected(host: str, port: int | None) -> None:
    """Raise what a look-up and a TLS handshake raise for such a host, without a network."""
    host.encode("idna")
    TLS.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)
    assert port is None or 0 < port < 65_536


def read_socket_url(url: str) -> None:
    uri = parse_uri(url)
    can_be_connected(uri.host, uri.port)


def read_http_url(url: str) -> None:
    request = httpx.Request("POST", url)
    assert request.url.host
    can_be_connected(request.url.host, request.url.port)


def read_store_url(url: str) -> None:
    ObjectStore(S3Access("s3://bucket/prefix", url, "", "id", "secret", ""))
    read_http_url(url)


def read_mail_server(url: str) -> None:
    server = Server.of(url)
    can_be_connected(server.host, server.port)
    (server.user + server.password).encode("ascii")  # smtplib does so when it signs in.


def read_database_url(url: str) -> None:
    """libpq reads ports only when it connects. A folder for its host makes it fail without a network."""
    parts = conninfo_to_dict(url)
    hosts = str(parts.get("host") or "").split(",")
    parts["host"] = ",".join("/nonexistent" for _ in hosts)
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(**parts)  # type: ignore[arg-type]
    assert "No such file" in str(failure.value)


URLS: list[tuple[str, str, Callable[[str], None]]] = [
    ("OPENAI_REALTIME_URL", "wss", read_socket_url),
    ("ELEVENLABS_URL", "wss", read_socket_url),
    ("TWILIO_API_BASE", "https", read_http_url),
    ("BUSINESS_API_BASE", "https", read_http_url),
    ("PUBLIC_URL", "https", read_http_url),
    ("NOTIFY_WEBHOOK_URL", "https", read_http_url),
    ("AWS_ENDPOINT_URL", "https", read_store_url),
    ("AWS_ENDPOINT_URL_S3", "https", read_store_url),
    ("SMTP_URL", "smtps", read_mail_server),
    ("DATABASE_URL", "postgresql", read_database_url),
]
HOSTS = st.one_of(
    st.sampled_from(["a..b", ".a", "a.", "x" * 64 + ".com", "[::1]", "[::g]", "[v1.x]", "[::1", "a_b", "a%20b", ""]),
    st.sampled_from(["999.1.1.1", "1.2.3", "a.1", "0x7f.0x1", "127.0.0.1", "xn--a", "xn--mnchen-3ya.de"]),
    st.sampled_from(["xn--strae-oqa.de", "xn--nxasmm1c.com", "xn--ls8h.la", "a.xn--ls8h.la", "xn--strae-oqa.a_b.de"]),
    st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True),
)
USERS = st.sampled_from(["user@", "user:pw@", "us@er:pw@", "z%C3%B6:pw@", ":pw@", "u:z%C3%B6@", "u:p/w@", "@", "[u]@"])
PORTS = st.sampled_from([":", ":443", ":0", ":65535", ":65536", ":99999", ":x", ":+5"])
PATHS = st.sampled_from(["/", "/v1", "/a//b", "/%zz", "/[", "?a=b", "#a", "/\\"])
# In each URL only one or two parts are unusual, because most other URLs are refused.
AFTER_SCHEME = st.one_of(
    st.builds("{}{}".format, st.just("") | USERS, HOSTS),
    st.builds("{}example.com{}".format, USERS, st.just("") | PORTS),
    st.builds("example.com{}{}".format, st.just("") | PORTS, PATHS),
)


@pytest.mark.parametrize(("name", "scheme", "read"), URLS, ids=[name for name, *_ in URLS])
@given(rest=AFTER_SCHEME)
def test_each_url_that_the_settings_accept_can_be_used(
    name: str, scheme: str, read: Callable[[str], None], rest: str
) -> None:
    if url := accepted(name, f"{scheme}://{rest}"):
        read(url)


BASE64 = "ABCabc019+/"


@given(st.text(BASE64, min_size=30, max_size=90), st.sampled_from(["", "=", "=="]))
def test_each_webhook_secret_that_the_settings_accept_can_sign(text: str, end: str) -> None:
    if secret := accepted("NOTIFY_WEBHOOK_SECRET", f"whsec_{text}{end}"):
        assert headers("news", 1, b"", secret)["webhook-signature"].startswith("v1,")


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-]{42,44}=?", fullmatch=True), min_size=1, max_size=2).map(",".join))
def test_each_recording_key_that_the_settings_accept_can_encrypt(text: str) -> None:
    if key := accepted("RECORDING_KEY", text):
        assert Keys.parse(key).first


@given(st.from_regex(r"[a-zA-Z.()\\\[\]'+!]{1,6}@[a-z.-]{1,6}", fullmatch=True))
def test_each_mail_address_that_the_settings_accept_can_be_the_sender_and_the_reader(address: str) -> None:
    if accepted("NOTIFY_FROM", address) is None:
        return
    item = Item("CA1.message.1", "email", "message", {}, dt.datetime.now(dt.UTC))
    message = mail.compose(item, sender=address, reader=address, business="B", public_url="", host="h", tz=dt.UTC)
    assert message.as_bytes()
    assert [found for _, found in getaddresses([message["From"], message["To"]])] == [address, address]


@given(st.from_regex(r"[ab.]{3,4}(/[a.]{0,2}){0,3}", fullmatch=True))
def test_each_bucket_that_the_settings_accept_can_be_opened(text: str) -> None:
    if url := accepted("RECORDINGS_URL", f"s3://{text}"):
        assert ObjectStore(S3Access(url, "https://s3.example.com", "", "id", "secret", "")).where == url


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("SMTP_URL", "smtp://hidden:hidden@mail.example.com:99999", "smtps://user:password@mail.example.com"),
        ("SMTP_URL", "smtp://mail.example.com:0", "smtps://user:password@mail.example.com"),
        ("SMTP_URL", "smtp://mail..example.com", "smtps://user:password@mail.example.com"),
        ("SMTP_URL", "smtp://hidden:hidden%C3%B6@mail.example.com", "not ASCII"),
        ("SMTP_URL", "smtp://:hidden@mail.example.com", "without a user"),
        ("NOTIFY_WEBHOOK_SECRET", "whsec_" + "A" * 33, "base64 of 24 to 64 random bytes"),
        ("NOTIFY_WEBHOOK_SECRET", "whsec_" + "A" * 43, "base64 of 24 to 64 random bytes"),
        ("NOTIFY_WEBHOOK_SECRET", "A" * 43 + "=", "whsec_"),
        ("NOTIFY_WEBHOOK_URL", "https://999.1.1.1/hook", "IP address"),
        ("AWS_ENDPOINT_URL_S3", "https://s3.example..com", "host of letters"),
        ("OPENAI_REALTIME_URL", "wss://hidden@api.example.com/v1", "no user"),
        ("TWILIO_API_BASE", "https://hidden:hidden@api.twilio.com", "no user"),
        ("DATABASE_URL", "postgresql://u:hidden@db.example.com:99999/relay", "port"),
        ("DATABASE_URL", "postgresql://u:hidden@db.example.com/relay?port=1,2", "port"),
        ("DATABASE_URL", f"postgresql://u:hidden@db.example.com:{'9' * 5000}/relay", "port"),
        ("TWILIO_API_BASE", "https://xn--ls8h.la", "host of letters"),
        ("HOST", "a..b", "address to listen on"),
        ("HOST", "1.2.3.4:80", "without a port"),
        ("AWS_REGION", "us east", "without a space"),
        ("AWS_SESSION_TOKEN", "hid den", "copied something else"),
        ("AWS_SECRET_ACCESS_KEY", "\u201chidden\u201d", "copied something else"),
        ("RECORDINGS_URL", "s3://my-bucket/a//b", "s3://my-bucket/recordings"),
        ("RECORDINGS_URL", "s3://my-bucket/../b", "s3://my-bucket/recordings"),
        ("NOTIFY_FROM", "relay..mail@example.com", "one address"),
        ("NOTIFY_FROM", "relay@example..com", "one address"),
    ],
)
def test_a_value_that_its_reader_would_refuse_is_refused_at_the_start(name: str, text: str, words: str) -> None:
    assert words in refusal(name, text)


@pytest.mark.parametrize("lost", [1, 10, 60])
def test_a_password_hash_that_was_cut_off_is_refused_because_no_password_could_fit_it(lost: int) -> None:
    made = PasswordHasher().hash("hidden hidden", salt=b"sixteen bytes 16")
    assert accepted("CONSOLE_PASSWORD_HASH", made) == made
    with pytest.raises(VerifyMismatchError):  # So its form is right.
        PasswordHasher().verify(made, "another")
    assert "`relay key --console`" in refusal("CONSOLE_PASSWORD_HASH", made[:-lost])


@pytest.mark.parametrize(("salt", "size"), [(8, 12), (16, 16), (16, 64), (32, 32)])
def test_a_password_hash_of_another_program_is_accepted_with_its_own_lengths(salt: int, size: int) -> None:
    made = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, salt_len=salt, hash_len=size).hash("hidden hidden")
    assert accepted("CONSOLE_PASSWORD_HASH", made) == made


@given(
    st.sampled_from(["m=8,t=1,p=1", "m=08,t=1,p=1", "m=7,t=1,p=1", "m=8,t=0,p=1", "m=8,t=1,p=0", "m=8,t=1,p=2"]),
    st.text("Aw", min_size=10, max_size=13),
    st.text("Aw", min_size=15, max_size=18),
)
def test_each_password_hash_that_the_settings_accept_can_be_compared(costs: str, salt: str, made: str) -> None:
    if text := accepted("CONSOLE_PASSWORD_HASH", f"$argon2id$v=19${costs}${salt}${made}"):
        with pytest.raises(VerifyMismatchError):
            PasswordHasher().verify(text, "another")


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "0", "127.1", "0x7f.1", "::", "[::]", "::1", "fe80::1%eth0", "localhost", "fly-local-6pn"],
)
def test_an_address_to_listen_on_is_accepted(host: str) -> None:
    assert accepted("HOST", host) == host


@pytest.mark.parametrize("host", ["xn--strae-oqa.de", "xn--nxasmm1c.com", "xn--mnchen-3ya.de", "a.xn--ls8h.la"])
def test_a_name_with_letters_outside_ascii_is_accepted_as_httpx_accepts_it(host: str) -> None:
    assert httpx.URL(f"https://{host}").host
    assert accepted("TWILIO_API_BASE", f"https://{host}") == f"https://{host}"
    assert accepted("NOTIFY_EMAIL", f"owner@{host}") == f"owner@{host}"


@pytest.mark.parametrize("region", ["eu-central-1", "us_east_1", "auto"])
def test_a_region_may_have_any_name_without_a_space(region: str) -> None:
    assert accepted("AWS_REGION", region) == region


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AWS_REGION", "us east"),
        ("AWS_ACCESS_KEY_ID", "hid den"),
        ("AWS_SECRET_ACCESS_KEY", "hidden..."),
        ("AWS_SESSION_TOKEN", "hid den"),
        ("AWS_ENDPOINT_URL", "http://localstack:4566"),
        ("AWS_ENDPOINT_URL_S3", "http://localstack:4566"),
    ],
)
def test_a_variable_of_the_platform_is_refused_only_if_recordings_go_to_a_bucket(name: str, text: str) -> None:
    assert load({name: text}, serving=False) == load({}, serving=False)
    with pytest.raises(SettingsInvalid, match=name):
        load({name: text, "RECORDINGS_URL": "s3://my-recordings"}, serving=False)
