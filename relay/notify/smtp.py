"""Sends a mail to a mail server, with smtplib in a thread. TLS is required, unless the server is on this machine."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage

import trio

from relay.notify.sending import NotSent
from relay.settings.smtp_url import Server

SOCKET_LIMIT_S = 20.0  # The longest wait for one answer of the server.
# The longest wait until the mail is sent. After that nobody waits for the thread. The thread goes on by itself until it
# has sent the mail, or until one answer takes longer than SOCKET_LIMIT_S.
SEND_LIMIT_S = 60.0
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


async def send(server: Server, message: EmailMessage, *, tls: ssl.SSLContext | None = None) -> str:
    """Send a mail. Returns "accepted" when the server has accepted it. Raises NotSent."""
    with trio.move_on_after(SEND_LIMIT_S):
        return await trio.to_thread.run_sync(_send, server, message, tls, abandon_on_cancel=True)
    raise NotSent(f"the mail server took longer than {SEND_LIMIT_S:.0f} s")


def _connect(server: Server, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=SOCKET_LIMIT_S, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=SOCKET_LIMIT_S)


def _send(server: Server, message: EmailMessage, tls: ssl.SSLContext | None) -> str:
    context = tls or ssl.create_default_context()
    try:
        with _connect(server, context) as client:
            if not server.tls:
                client.ehlo()
                if client.has_extn("starttls"):
                    client.starttls(context=context)
                elif server.host not in LOOPBACK:
                    raise NotSent("the mail server offers no TLS, so nothing was sent: use a server that does")
            if server.user:
                client.login(server.user, server.password)
            client.send_message(message)
            return "accepted"
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise NotSent(f"the recipient was refused ({codes[0]})", for_good=min(codes) >= 500) from None
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"SMTP_URL's user or password was refused ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server answered {error.smtp_code}", for_good=500 <= error.smtp_code < 600) from None
    except (smtplib.SMTPException, OSError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise NotSent(f"the mail server was not reached, closed the connection, or lacks a function: {what}") from None
