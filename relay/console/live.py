"""Sends the running calls to all open pages Live, and holds the texts about the owner's orders.

All watchers share one snapshot of the calls. While there is no watcher, no snapshot is made. Each snapshot shows all
calls, so a watcher that reads slowly may miss some snapshots. Unread events wait in the watcher's own connection, and
delay nobody else.

The audio of all calls is handled in the same thread. So the work is done in small steps: each turn of Trio's event loop
reads the state of one call, or sends one watcher's event.
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

# A watcher gets a snapshot this often, if the calls have changed. Within this time the watchers wake one after another.
STEP_S = 0.5
# If nothing has changed for this time, a line without an event is sent. Otherwise a proxy may close the connection,
# often after a minute.
KEEP_ALIVE_S = 15.0
# After this time the stream ends, and the page must ask again. So a browser whose session has ended gets no more calls.
STREAM_LIMIT_S = 3_600.0
# Each watcher uses a connection, and fly.toml allows only few beyond MAX_CALLS.
MOST_WATCHERS = 8
SENTENCE_CHARS = 300
NO_WORDS_YET = "No words yet: the caller has not heard the notice."
NO_WORDS = "No words of this call are kept."


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A running call as the page shows it."""

    call_sid: str
    caller: str  # The last digits of the caller's number.
    stage: str  # A stage, as in relay/call/view.py.
    seconds: int  # Seconds since the phone rang.
    usd: float
    caller_speaks: bool = False
    agent_speaks: bool = False
    words: str = "waiting"  # Whether the transcript may be shown: "kept" (yes), "waiting" (for the notice) or "never".
    # The latest turns, if the transcript may be shown: "caller" or "agent", and the text.
    said: tuple[tuple[str, str], ...] = ()
    has_agent: bool = False  # True if the agent has the call, or will have it soon. Orders are possible then.
    can_listen: bool = False
    is_test: bool = False

    def shown(self) -> dict[str, Any]:
        """What the page shows of this call, in the owner's words."""
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
        """The name of this machine."""

    def seen(self) -> Iterable[LiveCall]:
        """The running calls, oldest first. The state of each call is read when the iterator reaches it."""

    async def order(self, call_sid: str, order: Order) -> OrderAnswer | None:
        """Give an order to a call. Returns None if this process does not have the call."""


class Watch:
    """The watchers of this process's calls."""

    def __init__(self, calls: LiveCalls) -> None:
        self._calls = calls
        self._places = set(range(MOST_WATCHERS))  # The free places. A watcher's place decides when it wakes.
        self._event = b""
        self._looked_at = -math.inf

    @property
    def watchers(self) -> int:
        """The number of watchers now."""
        return MOST_WATCHERS - len(self._places)

    @property
    def is_full(self) -> bool:
        """True if there are MOST_WATCHERS watchers."""
        return not self._places

    async def events(self) -> AsyncIterator[bytes]:
        """The event stream of one watcher: a snapshot after each change. It ends after STREAM_LIMIT_S."""
        # If another page took the last place after this request was accepted, the stream ends at once. The page then
        # asks again and is refused.
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
        """Make a new snapshot if the last snapshot is old. A watcher that wakes meanwhile gets the last snapshot."""
        # 0.9, because the watcher that made the last snapshot may wake a little early.
        if now - self._looked_at < STEP_S * 0.9:
            return
        self._looked_at = now
        calls = []
        for call in self._calls.seen():
            calls.append(call.shown())
            await trio.lowlevel.checkpoint()
        self._event = b"data: " + msgspec.json.encode(calls) + b"\n\n"


# The text that the owner reads after an order, for each order and result.
WORDS: dict[type[Order], dict[OrderAnswer, str]] = {
    PutThroughOrdered: {
        OrderAnswer.DONE: "The agent tells the caller. Then a person's phone rings.",
        OrderAnswer.ALREADY: "The caller is being put through already.",
        OrderAnswer.TOO_LATE: "Too late: the call is ending.",
    },
    HangUpOrdered: {
        OrderAnswer.DONE: "Hung up.",
        OrderAnswer.ALREADY: "This call was hung up already.",
        OrderAnswer.TOO_LATE: "Too late: the agent no longer has this call.",
    },
    SentenceOrdered: {
        OrderAnswer.DONE: "The agent has the sentence, and says it in its next turn.",
        OrderAnswer.ALREADY: "The agent got this sentence a moment ago.",
        OrderAnswer.TOO_LATE: "Too late: the agent says its last words, or no longer has this call.",
    },
}
NOT_HERE = "This call is over, or it is not on this machine."


def sentence_of(text: str) -> str:
    """The owner's text as one line of at most SENTENCE_CHARS. "" if it is empty."""
    return " ".join(text.split())[:SENTENCE_CHARS].strip()
