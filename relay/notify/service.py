"""Makes and sends the news of a process. The settings decide whether news goes by mail, by webhook, or by both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

import httpx
import trio

from relay.ledger.port import Ledger
from relay.ledger.rows import Json
from relay.notify import mail, smtp
from relay.notify.alarms import Alarms
from relay.notify.delivery import LEAST_PAUSE_S, Delivery, Send
from relay.notify.digest import Digest
from relay.notify.letter import Item
from relay.notify.news import News
from relay.notify.outbox import Key, Outbox
from relay.notify.webhook import Webhook
from relay.settings import Settings
from relay.settings.smtp_url import Server

EMAIL, WEBHOOK = "email", "webhook"
# `send_only` tries no longer than this. The pauses between the first three tries are 10 s and 30 s.
SEND_FOR_S = 60.0


def channels_of(settings: Settings) -> tuple[str, ...]:
    """The configured channels: mail, webhook, or both."""
    return tuple(
        name for name, is_set in ((EMAIL, settings.notify_email), (WEBHOOK, settings.notify_webhook_url)) if is_set
    )


def senders(settings: Settings, client: httpx.AsyncClient) -> dict[str, Send]:
    """For each channel, the function that sends news."""
    found: dict[str, Send] = {}
    if settings.notify_email:
        found[EMAIL] = partial(_send_mail, settings)
    if settings.notify_webhook_url:
        found[WEBHOOK] = Webhook(
            settings.notify_webhook_url,
            settings.notify_webhook_secret,
            private=settings.notify_webhook_private == "on",
            utc_s=time.time,
            client=client,
        ).send
    return found


async def _send_mail(settings: Settings, item: Item) -> str:
    message = mail.compose(
        item,
        sender=settings.notify_from,
        reader=settings.notify_email,
        business=settings.business_name,
        public_url=settings.public_url,
        host=urlsplit(settings.public_url).hostname or "relay.invalid",
        tz=settings.tz,
    )
    return await smtp.send(Server.of(settings.smtp_url), message)


def http_client() -> httpx.AsyncClient:
    """The HTTP client for webhooks. It ignores proxy variables of the environment, and follows no redirects."""
    return httpx.AsyncClient(trust_env=False, timeout=15.0)


async def send_only(only: Sequence[Key], settings: Settings, url: str) -> None:
    """Send this news, for a command. News that could not be sent at once is tried again for SEND_FOR_S.

    The settings of a command may differ from those of the relay. So other news is not sent, and no digest is made.
    """
    outbox, ends_at = Outbox(url, channels_of(settings), only=only), trio.current_time() + SEND_FOR_S
    async with http_client() as client:
        delivery = Delivery(outbox, senders(settings, client), lambda: 0)
        while True:
            next_in_s = max(LEAST_PAUSE_S, await delivery.sweep())
            if trio.current_time() + next_in_s > ends_at:
                break
            await trio.sleep(next_in_s)
    await outbox.close()


class Notices:
    """Makes the news of this process, and runs the task that sends waiting news."""

    def __init__(self, settings: Settings, ledger: Ledger, url: str, utc_now: Callable[[], datetime]) -> None:
        self._settings, self._ledger = settings, ledger
        digest = Digest.of(settings.notify_digest, settings.tz, utc_now)
        self._outbox = Outbox(url, channels_of(settings), digest)
        self.news = News(channels_of(settings), utc_now)
        self.alarms = Alarms(self._tell, utc_now)
        self._delivery: Delivery | None = None
        self.news.on_news = self.wake

    def _tell(self, news: str, kind: str, body: Json) -> None:
        for row in self.news.rows(news, kind, body):
            self._ledger.record(row)
        self.wake()

    def wake(self) -> None:
        """Make the task read the outbox soon."""
        if self._delivery is not None:
            self._delivery.wake()

    def states(self) -> dict[str, int]:
        """The number of news in each state, when the outbox was last read."""
        return self._delivery.states if self._delivery is not None else {}

    async def run(self) -> None:
        """Send until cancelled."""
        async with http_client() as client:
            self._delivery = Delivery(self._outbox, senders(self._settings, client), self._waiting)
            await self._delivery.run()

    def _waiting(self) -> int:
        counts = self._ledger.counts()
        return counts.queued + counts.spilled

    async def close(self) -> None:
        """Close the connection to Postgres."""
        await self._outbox.close()
