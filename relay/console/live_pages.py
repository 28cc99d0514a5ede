"""The routes of the page Live: the page, its event stream, and the owner's orders to a running call.

An order is carried out before its audit row is written, so that a caller does not wait for Postgres.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog
from quart import Request, Response, jsonify, request

from relay.call.vocabulary import HangUpOrdered, Order, PutThroughOrdered, SentenceOrdered
from relay.console.live import MOST_WATCHERS, NOT_HERE, WORDS, LiveCalls, Watch, sentence_of
from relay.ledger.port import LedgerUnavailable

log = structlog.get_logger()

NO_SENTENCE = "Write the sentence first."
NOT_WRITTEN = "Postgres does not answer, so the order has no audit row. The log has the order."

LIVE_ROUTES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("/live", "live", ("GET",)),
    ("/live/events", "events", ("GET",)),
    ("/live/<call_sid>/put-through", "put_through", ("POST",)),
    ("/live/<call_sid>/hang-up", "hang_up", ("POST",)),
    ("/live/<call_sid>/say", "say", ("POST",)),
)


class Audit(Protocol):
    """Writes audit rows: who did what."""

    async def audit(self, what: str, call_sid: str, address: str) -> None:
        """Write a row. Raises LedgerUnavailable."""


class LivePages:
    """The functions for LIVE_ROUTES. `page` fills a template. `address` finds the browser's address."""

    def __init__(
        self,
        calls: LiveCalls,
        audit: Audit,
        page: Callable[..., Response],
        address: Callable[[Request], str],
    ) -> None:
        self._calls, self._audit, self._page, self._address = calls, audit, page, address
        self.watch = Watch(calls)

    async def live(self) -> Response:
        """The page. Its HTML has no calls. Its script fills them in."""
        return self._page("live.html", machine=self._calls.machine)

    async def events(self) -> Response:
        """The running calls, as server-sent events."""
        if self.watch.is_full:
            words = f"{MOST_WATCHERS} pages watch the calls already. Close one of them.\n"
            return Response(words, 503, content_type="text/plain; charset=utf-8")
        response = Response(self.watch.events(), content_type="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"  # Without this header, nginx would hold events back.
        response.timeout = None  # No limit of Quart's: the stream ends by itself.
        return response

    async def put_through(self, call_sid: str) -> Response:
        """Put the caller through to a person now."""
        return await self._order(call_sid, PutThroughOrdered(), "put a running call through")

    async def hang_up(self, call_sid: str) -> Response:
        """End the call."""
        return await self._order(call_sid, HangUpOrdered(), "hung up a running call")

    async def say(self, call_sid: str) -> Response:
        """Make the agent say a sentence. The audit row does not have the sentence."""
        form = await request.form
        text = sentence_of(form.get("text", ""))
        if not text:
            return jsonify(answer="", words=NO_SENTENCE)
        return await self._order(call_sid, SentenceOrdered(text), "had the agent say a sentence in a running call")

    async def _order(self, call_sid: str, order: Order, what: str) -> Response:
        answer = await self._calls.order(call_sid, order)
        if answer is None:
            return jsonify(answer="", words=NOT_HERE)
        words = WORDS[type(order)][answer]
        address = self._address(request)
        try:
            await self._audit.audit(f"{what}: {answer}", call_sid, address)
        except LedgerUnavailable as error:
            log.error("console.not_audited", what=what, answer=str(answer), call_sid=call_sid, words=str(error))
            words = f"{words} {NOT_WRITTEN}"
        return jsonify(answer=str(answer), words=words)
