"""The running calls for the page Live: one snapshot for all watchers, and the texts about the owner's orders.

Nothing is computed while nobody watches. Each snapshot is complete. So a watcher that reads slowly may miss some, and
the next one shows everything. What it has not read waits in its own connection, and delays nobody else.

The audio of all calls runs in the same thread. So the work is done in small pieces: one call of the snapshot, or one
watcher's event, in each pass of Trio's loop.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import trio

from relay.call.vocabulary import HangUpOrdered, Order, OrderAnswer, PutThroughOrdered, SentenceOrdered
from relay.console import wording

# How often a page gets its calls. The watchers wake one after another in this time, and share one snapshot.
STEP_S = 0.5
# A proxy closes a connection that is silent for a minute. An event without news keeps it open.
KEEP_ALIVE_S = 15.0
# After this time a page must ask again. So a session that has ended gets no more calls.
STREAM_LIMIT_S = 3_600.0
# Each watcher uses one of the connections that fly.toml allows beyond MAX_CALLS.
MOST_WATCHERS = 8
SENTENCE_CHARS = 300
NO_WORDS_YET = "No words yet: the caller has not heard the notice."
NO_WORDS = "No words of this call are kept."


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A running call as the page shows it."""

    call_sid: str
    caller: str  # The last digits of the number.
    stage: str  # A stage, as in relay/call/view.py.
    seconds: int  # Seconds since the phone rang.
    usd: float
    caller_speaks: bool = False
    agent_speaks: bool = False
    words: str = "waiting"  # Whether words may be shown: "kept", "waiting" (for the notice) or "never".
    # The last words of the call, if they may be kept: each is "caller" or "agent", and the text.
    said: tuple[tuple[str, str], ...] = ()
    has_agent: bool = False  # True if the agent has the call, or is about to have it. Orders reach such a call.
    can_listen: bool = False
    is_test: bool = False

    def shown(self) -> dict[str, Any]:
        """The call in the owner's words: what the page shows on its card."""
        no_words = {"waiting": NO_WORDS_YET, "never": NO_WORDS}.get(self.words, "")
        speaks = {(True, False): "The caller speaks", (False, True): "The agent speaks", (True, True): "Both speak"}
        return {
            "sid": self.call_sid,
            "caller": self.caller,
            "stage": wording.STAGES.get(self.stage, self.stage),
            "length": wording.seconds(self.seconds),
            "usd": wording.usd(self.usd),
            "speaks": speaks.get((self.caller_speaks, self.agent_speaks), ""),
            "said": self.said,
            "no_words": no_words if self.has_agent else "",
            "has_agent": self.has_agent,
            "can_listen": self.can_listen,
            "is_test": self.is_test,
        }


class LiveCalls(Protocol):
    """The calls of this process."""

    @property
    def machine(self) -> str:
        """The machine whose calls these are."""

    def seen(self) -> Iterable[LiveCall]:
        """Every running call, oldest first. Each call is looked at when its turn comes."""

    async def order(self, call_sid: str, order: Order) -> OrderAnswer | None:
        """Give an order to a call. None: this process does not have the call."""


class Watch:
    """All watchers of the calls of this process."""

    def __init__(self, calls: LiveCalls) -> None:
        self._calls = calls
        self._places = set(range(MOST_WATCHERS))  # The places that are free.
        self._event = b""
        self._looked_at = -math.inf

    @property
    def watchers(self) -> int:
        """The number of watchers now."""
        return MOST_WATCHERS - len(self._places)

    @property
    def is_full(self) -> bool:
        """True if the largest allowed number of watchers is reached."""
        return not self._places

    async def events(self) -> AsyncIterator[bytes]:
        """One watcher's stream: a snapshot at each change. It ends when it is cancelled, or after STREAM_LIMIT_S."""
        # Another page took the last place after this one was let in. This page asks again, and is refused.
        if self.is_full:
            return
        place = self._places.pop()
        offset_s = place * STEP_S / MOST_WATCHERS
        try:
            began_at = sent_at = trio.current_time()
            sent = b""
            yield b"retry: 3000\n\n"
            while (now := trio.current_time()) - began_at < STREAM_LIMIT_S:
                await self._look(now)
                if self._event != sent:
                    sent, sent_at = self._event, now
                    yield sent
                elif now - sent_at >= KEEP_ALIVE_S:
                    sent_at = now
                    yield b": still there\n\n"
                steps = math.floor((trio.current_time() - offset_s) / STEP_S) + 1
                await trio.sleep_until(steps * STEP_S + offset_s)
        finally:
            self._places.add(place)

    async def _look(self, now: float) -> None:
        """Renew the snapshot if it is old. A watcher that wakes meanwhile takes the old one."""
        # The watcher that made the last snapshot may wake a little early or late.
        if now - self._looked_at < STEP_S * 0.9:
            return
        self._looked_at = now
        calls = []
        for call in self._calls.seen():
            calls.append(call.shown())
            await trio.lowlevel.checkpoint()
        self._event = b"data: " + msgspec.json.encode(calls) + b"\n\n"


# What the owner reads after an order, by the order and its result.
WORDS: dict[type[Order], dict[OrderAnswer, str]] = {
    PutThroughOrdered: {
        OrderAnswer.DONE: "The caller is told so; then a person's phone rings.",
        OrderAnswer.ALREADY: "The caller is being put through already.",
        OrderAnswer.TOO_LATE: "Too late: the call is at its end.",
    },
    HangUpOrdered: {
        OrderAnswer.DONE: "Hung up.",
        OrderAnswer.ALREADY: "It was hung up already.",
        OrderAnswer.TOO_LATE: "Too late: the agent no longer has this call.",
    },
    SentenceOrdered: {
        OrderAnswer.DONE: "The agent was told. It says so when it has its next turn.",
        OrderAnswer.ALREADY: "The agent was told this a moment ago.",
        OrderAnswer.TOO_LATE: "Too late: the agent says its last words, or no longer has this call.",
    },
}
NOT_HERE = "This call is over, or it is not on this machine."


def sentence_of(text: str) -> str:
    """A sentence in the form for the agent: one line, not too long. "" if there is none."""
    return " ".join(text.split())[:SENTENCE_CHARS].strip()
