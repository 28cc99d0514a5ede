"""Gives the owner's orders to a running call, and returns the results. A task of the call carries each order out."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from relay.call.vocabulary import CallSid, Event, Order, OrderAnswer


class OwnerOrders:
    """The owner's orders to one stream. If the owner's request is cancelled, the order is carried out all the same."""

    def __init__(self, call_sid: CallSid, feed: Callable[[Event], None]) -> None:
        self._call_sid, self._feed = call_sid, feed
        self.answer: Callable[[OrderAnswer], None] = lambda _: None  # Called with the result of the newest order.

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
            return OrderAnswer.TOO_LATE  # The call's nursery has closed, because the stream has ended.
        await decided.wait()
        return answers[0] if answers else OrderAnswer.TOO_LATE

    async def _obey(self, order: Order, answer: Callable[[OrderAnswer], None], decided: trio.Event) -> None:
        self.answer = answer
        try:
            self._feed(order)
        finally:
            decided.set()  # `decided` is set also if a bug has raised an error.
