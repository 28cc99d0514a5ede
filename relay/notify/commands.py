"""Does the work of `relay outbox` and `relay notify --test`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import trio

from relay.ledger.rows import Json
from relay.notify.letter import Item
from relay.notify.outbox import send_again, waiting
from relay.notify.sending import NotSent
from relay.notify.service import channels_of, http_client, send_only, senders
from relay.settings import Settings

NO_CHANNEL = "nothing is set: NOTIFY_EMAIL with SMTP_URL and NOTIFY_FROM, or NOTIFY_WEBHOOK_URL with its secret"


def show_outbox(url: str) -> list[str]:
    """The news that was not sent, as lines for the terminal. Raises LedgerUnavailable."""
    lines = []
    for row in waiting(url):
        call = f" of call {row['call_sid']}" if row["call_sid"] else ""
        came_back = f": {row['words']}" if row["words"] else ""
        lines.append(f"{row['state']:8}{row['channel']:8} {row['kind']}{call}, {row['tries']} tries{came_back}")
    return lines or ["nothing waits: all news was sent"]


async def send_dead_letters(settings: Settings, url: str, say: Callable[[str], None]) -> None:
    """Send the dead letters of the set channels again, and no other news. First say where they go.

    A running relay might read the outbox only a day later, so this process sends them.

    Raises LedgerUnavailable.
    """
    if not channels_of(settings):
        say(f"no dead letter is sent again, because {NO_CHANNEL}. Set it here as for the relay")
        return
    say(f"dead letters are sent again: {_targets(settings)}")
    again = await trio.to_thread.run_sync(send_again, url, channels_of(settings))
    say("1 dead letter is sent again" if len(again) == 1 else f"{len(again)} dead letters are sent again")
    if again:
        await send_only(again, settings, url)


def _targets(settings: Settings) -> str:
    """Where this process sends news. The URL of a webhook may have a key, so only its host is shown."""
    targets = []
    if settings.notify_email:
        targets.append(f"mails to {settings.notify_email}")
    if settings.notify_webhook_url:
        targets.append(f"webhooks to {urlsplit(settings.notify_webhook_url).hostname}")
    return ", ".join(targets)


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
        say(NO_CHANNEL)
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
