"""Does the work of `relay outbox` and `relay notify --test`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from relay.ledger.rows import Json
from relay.notify.letter import Item
from relay.notify.outbox import send_again, waiting
from relay.notify.sending import NotSent
from relay.notify.service import channels_of, http_client, senders
from relay.settings import Settings


def show_outbox(url: str, *, again: bool) -> list[str]:
    """The news that was not sent, as lines for the terminal. If `again`, dead letters wait to be sent again.

    Raises LedgerUnavailable.
    """
    lines = [f"{send_again(url)} dead letters wait to be sent again"] if again else []
    found = waiting(url)
    for row in found:
        call = f" of call {row['call_sid']}" if row["call_sid"] else ""
        came_back = f": {row['words']}" if row["words"] else ""
        lines.append(f"{row['state']:8}{row['channel']:8} {row['kind']}{call}, {row['tries']} tries{came_back}")
    return lines or ["nothing waits: all news was sent"]


async def send_tests(settings: Settings, say: Callable[[str], None]) -> bool:
    """Send examples of each kind of news except the digest to the real mail server and webhook. Print the answers.

    Returns False if an example failed, or if no channel is set.
    """
    all_sent = True
    async with http_client() as client:
        for channel, send in senders(settings, client).items():
            for item in _examples(settings, channel):
                try:
                    words = await send(item)
                except NotSent as error:
                    words, all_sent = f"NOT SENT: {error}", False
                say(f"{channel:8} {item.kind:10} {words}")
    if not channels_of(settings):
        say("nothing is set: NOTIFY_EMAIL with SMTP_URL and NOTIFY_FROM, or NOTIFY_WEBHOOK_URL with its secret")
        return False
    return all_sent


def _examples(settings: Settings, channel: str) -> list[Item]:
    who: Json = {"name": "Jane Doe (a test)", "phone": "+12125550111"}
    start = (datetime.now(settings.tz) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    booking = {"booking": f"test-{secrets.token_hex(4)}", "service": "a test", "start": start.isoformat(), **who}
    bodies: list[tuple[str, Json, int]] = [
        ("call_back", {"text": "Call back: this is a test.", **who}, 0),
        ("message", {"text": "This is a test of the relay's mails.", **who}, 0),
        ("booking", {"done": "booked", "when": f"{start:%A %H:%M}", **booking}, 0),
        ("booking", {"done": "cancelled", **booking}, 1),
        ("fault", {"fault": "test", **who}, 0),
        ("alarm", {"alarm": "test", "title": "this is a test", "do": "Nothing to do."}, 0),
    ]
    now, run = datetime.now(UTC), secrets.token_hex(6)
    return [
        Item(f"test.{run}.{number}", channel, kind, body, now, sequence=sequence)
        for number, (kind, body, sequence) in enumerate(bodies)
    ]
