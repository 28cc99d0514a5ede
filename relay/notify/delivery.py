"""Sends the news that waits in the outbox, in a task of the process.

The task reads the outbox when it starts, when news was recorded, when the next try or the digest is due, and at least
once a day. While rows of this process wait for Postgres, the task reads the outbox every 5 s. While Postgres cannot be
reached, it tries every 30 s. Between these times the task does not use Postgres, so that a hosted database can sleep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
import trio

from relay.ledger.port import LedgerUnavailable
from relay.ledger.postgres_thread import IDLE_LIMIT_S
from relay.notify.backoff import pause_s
from relay.notify.letter import Item
from relay.notify.outbox import Outbox
from relay.notify.sending import NotSent

log = structlog.get_logger()

SWEEP_EVERY_S = 86_400.0
# The ledger writes the rows of news to Postgres. Most rows are there LOOK_AFTER_S after they were recorded. If rows
# still wait then, the task reads the outbox again after LOOK_AGAIN_S.
LOOK_AFTER_S = 0.2
LOOK_AGAIN_S = 5.0
LEAST_PAUSE_S = 0.5
AWAY_PAUSE_S = 30.0

Send = Callable[[Item], Awaitable[str]]


class Delivery:
    """Sends news through its channels. `waits()` is the number of rows that are not in Postgres yet."""

    def __init__(self, outbox: Outbox, channels: Mapping[str, Send], waits: Callable[[], int]) -> None:
        self._outbox, self._channels, self._waits = outbox, channels, waits
        self._news = trio.Event()
        self._is_away = False  # Postgres could not be reached at the last try.
        self.states: dict[str, int] = {}  # State -> number of rows, when the outbox was last read. For the metrics.

    def wake(self) -> None:
        """This process has recorded news: read the outbox soon."""
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._news = trio.Event()
            next_in_s = await self.sweep()
            if self._waits() and not self._is_away:
                next_in_s = min(next_in_s, LOOK_AGAIN_S)
            with trio.move_on_after(max(LEAST_PAUSE_S, next_in_s)):
                with trio.move_on_after(IDLE_LIMIT_S + 1):
                    await self._news.wait()
                await self._outbox.close_if_idle()
                await self._news.wait()
                await trio.sleep(LOOK_AFTER_S)

    async def sweep(self) -> float:
        """Send all news that is due. Returns the seconds until the outbox must be read again."""
        try:
            await self._outbox.gather()
            while items := await self._outbox.claim():
                async with trio.open_nursery() as nursery:
                    for item in items:
                        nursery.start_soon(self._deliver, item)
            next_in_s = await self._outbox.next_in_s()
            self.states = await self._outbox.counts()
        except LedgerUnavailable as error:
            if not self._is_away:
                log.warning(
                    "outbox.unavailable",
                    words=str(error),
                    do="if no line `outbox.available` follows, look at Postgres. The news waits",
                )
            self._is_away = True
            return AWAY_PAUSE_S
        if self._is_away:
            self._is_away = False
            log.info("outbox.available", words="Postgres can be reached again, and the news is sent")
        return SWEEP_EVERY_S if next_in_s is None else min(next_in_s, SWEEP_EVERY_S)

    async def _settle(self, item: Item, state: str, words: str, pause: float = 0.0) -> None:
        try:
            await self._outbox.settle(item, state, words=words, pause_s=pause)
        except LedgerUnavailable as error:
            # The result is not in Postgres. So the news is sent again with the same id, when its lease has ended.
            log.warning("outbox.not_settled", words=str(error), do="nothing: it may be sent a second time")

    async def _deliver(self, item: Item) -> None:
        try:
            words = await self._channels[item.channel](item)
        except NotSent as error:
            pause = None if error.for_good else pause_s(item.tries, error.after_s)
            if pause is None:
                log.error(
                    "outbox.dead",
                    channel=item.channel,
                    kind=item.kind,
                    words=str(error),
                    do="run `relay outbox` to see it",
                )
                await self._settle(item, "dead", str(error))
                return
            log.warning("outbox.not_sent", channel=item.channel, kind=item.kind, tries=item.tries, words=str(error))
            await self._settle(item, "waiting", str(error), pause)
        except Exception as error:  # A bug of ours with one piece of news must not stop the task.
            log.exception("outbox.bug", channel=item.channel, kind=item.kind)
            state, pause = ("dead", 0.0) if pause_s(item.tries) is None else ("waiting", pause_s(item.tries) or 0.0)
            await self._settle(item, state, f"a bug of the relay: {type(error).__name__}", pause)
        else:
            await self._settle(item, "sent", words)
            log.info("outbox.sent", channel=item.channel, kind=item.kind, tries=item.tries)
