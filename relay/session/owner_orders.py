"""The owner's orders to a running call. A task of the call carries each order out, and reports the result."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from relay.call.vocabulary import CallSid, Event, Order, OrderAnswer


class OwnerOrders:
    """The orders for one stream. The owner may leave before an order is carried out."""

    def __init__(self, call_sid: CallSid, feed: Callable[[Event], None]) -> None:
        self._call_sid, self._feed = call_sid, feed
        self.answer: Callable[[OrderAnswer], None] = lambda _: None  # Takes the result of the newest order.

    async def order(self, order: Order, start: Callable[..., None]) -> OrderAnswer:
        """Have the order carried out, and return its result. `start` starts a task of the call."""
        answers: list[OrderAnswer] = []
        decided = trio.Event()

        def answer(told: OrderAnswer) -> None:
            answers.append(told)
            decided.set()

        try:
            with structlog.contextvars.bound_contextvars(call_sid=self._call_sid):
                start(self._obey, order, answer, decided)
        except RuntimeError:
            return OrderAnswer.TOO_LATE  # The call's nursery is closed, because the stream has ended.
        await decided.wait()
        return answers[0] if answers else OrderAnswer.TOO_LATE

    async def _obey(self, order: Order, answer: Callable[[OrderAnswer], None], decided: trio.Event) -> None:
        self.answer = answer
        try:
            self._feed(order)
        finally:
            decided.set()  # Set even if a bug has ended the call instead.
