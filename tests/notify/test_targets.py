"""Real targets with faults: an SMTP server in a process of its own, and an HTTP receiver."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from relay.notify import smtp, webhook
from relay.notify.letter import Item
from relay.notify.sending import NotSent
from relay.notify.service import http_client
from relay.notify.webhook import Webhook
from relay.settings.smtp_url import Server
from tests.helpers.receiver import SECRET, Receiver

pytestmark = pytest.mark.real

SMTP_SERVER = """
import asyncio, ssl, sys
from aiosmtpd.smtp import AuthResult, SMTP

fault, cert = sys.argv[1:3]

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if fault == "refused": return "550 no such user"
        if fault == "later": return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        if fault == "hangs": await asyncio.sleep(3600)
        if fault == "closes": server.transport.abort(); return "250 OK"
        if fault == "no": return "554 not wanted"
        print("GOT", len(envelope.content), "tls" if session.ssl else "plain", bool(session.authenticated), flush=True)
        return "250 OK"

context = None
if cert != "-":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)

def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.password == b"p@ss", handled=False)

async def main():
    make = lambda: SMTP(Handler(), hostname="test", tls_context=context, authenticator=authenticate)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


class MailServer:
    def __init__(self, fault: str, cert: str) -> None:
        command = [sys.executable, "-c", SMTP_SERVER, fault, cert]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.line().split()[1])

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def mail_server() -> Iterator[Callable[..., MailServer]]:
    running: list[MailServer] = []

    def start(fault: str = "", cert: str = "-") -> MailServer:
        running.append(MailServer(fault, cert))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    authority = trustme.CA()
    path = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return str(path), context


def a_mail() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "relay@example.com", "owner@example.com", "A test"
    message.set_content("Call back.\n")
    return message


async def test_a_mail_is_sent_with_starttls_and_with_user_and_password(
    mail_server: Callable[..., MailServer], certificate: tuple[str, ssl.SSLContext]
) -> None:
    path, context = certificate
    running = mail_server(cert=path)
    server = Server.of(f"smtp://relay:p%40ss@127.0.0.1:{running.port}")
    assert await smtp.send(server, a_mail(), tls=context) == "accepted"
    assert running.line().split()[2:] == ["tls", "True"]
    with pytest.raises(NotSent, match="not reached"):
        await smtp.send(server, a_mail())  # its certificate is not trusted
    wrong = Server.of(f"smtp://relay:other@127.0.0.1:{running.port}")
    with pytest.raises(NotSent, match="password was refused") as refusal:
        await smtp.send(wrong, a_mail(), tls=context)
    assert not refusal.value.for_good


async def test_without_tls_a_mail_is_sent_only_to_this_machine(
    mail_server: Callable[..., MailServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server.of(f"smtp://127.0.0.1:{mail_server().port}")
    assert await smtp.send(server, a_mail()) == "accepted"
    monkeypatch.setattr(smtp, "LOOPBACK", set())  # as if the server were elsewhere
    with pytest.raises(NotSent, match="no TLS"):
        await smtp.send(server, a_mail())


@pytest.mark.parametrize(
    ("fault", "words", "for_good"),
    [
        ("refused", "recipient was refused", True),
        ("later", "recipient was refused", False),
        ("no", "answered 554", True),
        ("closes", "closed the connection", False),
        ("hangs", "closed the connection", False),
    ],
)
async def test_a_failed_mail_is_tried_again_unless_the_server_refused_it_for_good(
    fault: str, words: str, for_good: bool, mail_server: Callable[..., MailServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "SOCKET_LIMIT_S", 2.0)
    with pytest.raises(NotSent, match=words) as refusal:
        await smtp.send(Server.of(f"smtp://127.0.0.1:{mail_server(fault).port}"), a_mail())
    assert refusal.value.for_good is for_good


# Webhooks


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one
        one.shutdown()


async def post(receiver: Receiver, *, private: bool = True) -> str:
    item = Item("CA1.message.1", "webhook", "message", {"text": "x"}, dt.datetime.now(dt.UTC), "CA1")
    async with http_client() as client:
        webhook = Webhook(receiver.url, SECRET, private=private, utc_s=lambda: 1.0, client=client)
        return await webhook.send(item)


async def test_a_receiver_gets_the_news_with_a_signature_and_its_id(receiver: Receiver) -> None:
    assert await post(receiver) == "HTTP 200"
    ((path, sent, body),) = receiver.asked
    assert path == "/relay?key=1"
    assert sent["webhook-id"] == json.loads(body)["id"] == "CA1.message.1"
    assert json.loads(body)["version"] == 1
    assert sent["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize(
    ("status", "sent", "for_good", "after_s"),
    [
        (500, {}, False, None),
        (429, {"Retry-After": "77"}, False, 77.0),
        (503, {"Retry-After": "soon"}, False, None),
        (410, {}, True, None),
        (404, {}, False, None),
        (302, {"Location": "http://127.0.0.1:1/"}, False, None),
    ],
)
async def test_after_a_refusal_of_the_receiver_the_news_is_sent_again_and_no_redirect_is_followed(
    status: int, sent: dict[str, str], for_good: bool, after_s: float | None, receiver: Receiver
) -> None:
    receiver.status, receiver.sent = status, sent
    with pytest.raises(NotSent, match=str(status)) as refusal:
        await post(receiver)
    assert (refusal.value.for_good, refusal.value.after_s) == (for_good, after_s)
    assert len(receiver.asked) == 1


async def test_a_private_address_is_used_only_if_the_setting_allows_it(receiver: Receiver) -> None:
    with pytest.raises(NotSent, match="NOTIFY_WEBHOOK_PRIVATE"):
        await post(receiver, private=False)
    assert receiver.asked == []


async def test_news_for_an_unreachable_receiver_is_sent_again(receiver: Receiver) -> None:
    receiver.shutdown()
    receiver.server_close()
    with trio.fail_after(30), pytest.raises(NotSent, match="not reached"):
        await post(receiver)


class Names(trio.abc.HostnameResolver):
    """A DNS server whose answers a test sets, one for each look-up. After the last answer it answers no more."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(  # type: ignore[override]
        self, host: bytes | None, port: object, *_: int
    ) -> list[tuple[int, int, int, str, tuple[str, object]]]:
        self.asked += 1
        if not self.answers:
            await trio.sleep_forever()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answers.pop(0)]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_is_public", lambda address: address == "127.0.0.1")


async def post_to(url: str, tls: ssl.SSLContext | bool = True) -> str:
    item = Item("CA1.message.1", "webhook", "message", {"text": "x"}, dt.datetime.now(dt.UTC), "CA1")
    async with httpx.AsyncClient(trust_env=False, verify=tls) as client:
        return await Webhook(url, SECRET, private=False, utc_s=lambda: 1.0, client=client).send(item)


async def test_a_look_up_that_never_ends_counts_in_the_limit_of_the_request(autojump_clock: object) -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    with trio.fail_after(2 * webhook.LIMIT_S), pytest.raises(NotSent, match="did not answer in time"):
        await post_to("https://hooks.example.com/relay")


async def test_news_goes_to_the_address_that_was_checked_although_the_name_leads_elsewhere_a_moment_later(
    receiver: Receiver, loopback_is_public: None
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    trio.socket.set_custom_hostname_resolver(names)
    port = receiver.server_address[1]
    assert await post_to(f"http://hooks.example.com:{port}/relay?key=1") == "HTTP 200"
    ((path, sent, _),) = receiver.asked
    assert (path, sent["host"], names.asked) == ("/relay?key=1", f"hooks.example.com:{port}", 1)


@pytest.mark.parametrize("second", ["10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%eth0", "100.64.0.1"])
async def test_a_name_with_a_public_and_a_private_address_gets_no_news(second: str) -> None:
    trio.socket.set_custom_hostname_resolver(Names(["8.8.8.8", second]))
    with pytest.raises(NotSent, match="NOTIFY_WEBHOOK_PRIVATE"):
        await post_to("https://hooks.example.com/relay")


async def test_if_nobody_answers_at_the_first_address_of_a_name_the_next_address_gets_the_news(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_is_public", lambda address: True)
    trio.socket.set_custom_hostname_resolver(Names(["127.0.0.2", "127.0.0.1"]))
    assert await post_to(f"http://hooks.example.com:{receiver.server_address[1]}/") == "HTTP 200"


class SilentExcept(httpx.AsyncBaseTransport):
    """A network that drops all packets without an answer, except those to one address."""

    def __init__(self, alive: str) -> None:
        self.alive = alive

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == self.alive:
            return httpx.Response(200)
        await trio.sleep(request.extensions["timeout"]["connect"])
        raise httpx.ConnectTimeout("no answer")


V4, V6 = [f"8.8.8.{n}" for n in range(1, 9)], [f"2606:4700::{n}" for n in range(1, 9)]


@pytest.mark.parametrize("addresses", [[*V6[:3], V4[0]], [*V6, V4[0]], V4, [*V4[1:], V6[0], V4[0]]])
async def test_a_receiver_gets_the_news_although_many_of_its_addresses_drop_every_packet(
    addresses: list[str], autojump_clock: object
) -> None:
    item = Item("CA1.message.1", "webhook", "message", {"text": "x"}, dt.datetime.now(dt.UTC), "CA1")
    for alive in addresses:
        trio.socket.set_custom_hostname_resolver(Names(addresses))
        async with httpx.AsyncClient(transport=SilentExcept(alive)) as client:
            hook = Webhook("https://hooks.example.com/", SECRET, private=False, utc_s=lambda: 1.0, client=client)
            assert await hook.send(item) == "HTTP 200"


async def test_the_only_address_of_another_family_is_tried_second(autojump_clock: object) -> None:
    trio.socket.set_custom_hostname_resolver(Names([*V6, V4[0]]))
    begin = trio.current_time()
    async with httpx.AsyncClient(transport=SilentExcept(V4[0])) as client:
        hook = Webhook("https://hooks.example.com/", SECRET, private=False, utc_s=lambda: 1.0, client=client)
        await hook.send(Item("CA1.message.1", "webhook", "message", {}, dt.datetime.now(dt.UTC), "CA1"))
    assert trio.current_time() - begin < 2


@pytest.mark.parametrize(("name", "is_right"), [("hooks.example.com", True), ("other.example.com", False)])
async def test_the_receivers_certificate_must_have_the_name_in_the_url_and_not_its_address(
    name: str, is_right: bool, receiver: Receiver, loopback_is_public: None
) -> None:
    ca, ours, theirs = trustme.CA(), ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.configure_trust(ours)
    ca.issue_cert(name).configure_cert(theirs)
    receiver.socket = theirs.wrap_socket(receiver.socket, server_side=True)
    trio.socket.set_custom_hostname_resolver(Names(["127.0.0.1"]))
    url = f"https://hooks.example.com:{receiver.server_address[1]}/"
    if is_right:
        assert await post_to(url, ours) == "HTTP 200"
    else:
        with pytest.raises(NotSent, match="not reached"):
            await post_to(url, ours)
    assert len(receiver.asked) == is_right
