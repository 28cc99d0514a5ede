"""The file of one phone call holds what the relay keeps for longer than a stream. Each part is written by one owner.

caller      who calls                                   the first webhook, once
briefing    what the call knows of the business         the first webhook, once
streams     the media streams that are open             server/media_endpoint, by `stream_opens` and `stream_closes`
orders      the owner's orders to a call that rings     server/live_calls, until the call's stream takes them
decision    how the last stream ended and what is next  the room that decides it, at that moment, by `decide`
human       the transfer to a human                     server/human_transfer
talk        the state with which the next stream begins session/call_rows, when the rows of a stream are closed
tally       figures over all streams                    session/call_rows; functions_done: session/function_runner
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from relay.call.call_config import Bill, PastTurn
from relay.call.consent import Consent
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason, Order
from relay.functions import Deeds, Once
from relay.session.briefing import Briefing
from relay.twilio.caller_id import CallerId

# Twilio takes half a second from a closed socket to the webhook that asks what comes next, and the same time from our
# answer to the next socket. This limit is enough for a slow Twilio, and for a retry.
ASKS_WITHIN_S = 10.0
# A stream that has ended waits about a second for late words and for a function that runs. The next stream continues
# with what was said there, and waits for the earlier stream at most this long.
SETTLE_LIMIT_S = 1.5


class Stream(Protocol):
    """One media stream, as the rest of the process may use it."""

    @property
    def stream_sid(self) -> str:
        """Twilio's name for the stream. "" before Twilio has told it."""

    @property
    def is_decided(self) -> bool:
        """True once it is known how the stream ended."""

    def end(self, reason: EndReason) -> None:
        """Twilio reports that the stream has ended. The next step is decided before this returns.

        Sockets close later.
        """

    def end_unless_told(self, reason: EndReason) -> None:
        """Does the same as `end`, but first the socket has a moment to report the end.

        The socket's own message, such as a caller's stop, says more.
        """

    def close_rows(self) -> None:
        """Write the last rows now, and stop."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom: our number in E.164, and the caller's state in two letters, as Twilio guesses it."""

    id: CallerId
    called: str = ""
    state: str = ""

    @property
    def number(self) -> str:
        """The caller's number. "" if it does not identify one caller."""
        return self.id.number


@dataclass(frozen=True, slots=True)
class Decision:
    """How a stream ended, and what comes next for its caller."""

    then: Next = Next.NOTHING
    reason: EndReason | None = None
    why: str = ""  # The reason for the human, in a few words.
    by_agent: bool = False  # True: `why` is in the model's words, and may hold the caller's.
    by_owner: bool = False  # True: a human is rung even outside HUMAN_HOURS.
    summary: str = ""  # What the call is about, for the human.

    @property
    def own_why(self) -> str:
        """The reason in words of ours. Such words may be logged, and are kept even if no words are kept."""
        return "the agent's own decision" if self.by_agent else self.why


@dataclass(slots=True)
class HumanSide:
    """The transfer to a human."""

    accepted: bool = False  # True when the human has pressed 1.
    result: str = ""  # "asked" while a human's phone rings or the two talk. After that, the result.


@dataclass(slots=True)
class Talk:
    """The state with which the next stream of the call begins."""

    model: str  # The model that serves the next stream. This is the harder model if the call was moved to it.
    history: tuple[PastTurn, ...] = ()
    next_seq: int = 0
    talked_s: float = 0.0  # The time on streams that have ended, without the time with a human.
    spent_usd: float = 0.0  # The dollars so far.
    bill: Bill = field(default_factory=Bill)  # The bill of streams that have ended.
    misunderstandings: int = 0
    failed_attempts: dict[str, int] = field(default_factory=dict)  # Function -> its failures in a row.
    offered_human: bool = False
    voice_fault: str = ""  # Why the model speaks by itself, although another voice should speak.


@dataclass(slots=True)
class Tally:
    """What is counted over all streams of the call."""

    turns: set[int] = field(default_factory=set)  # The turns' numbers.
    # From the caller's last sound to the answer that was heard, for each turn.
    turn_ms: list[int] = field(default_factory=list)
    barge_ins: int = 0
    false_stops: int = 0
    functions_done: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CallFile:
    """One phone call, over all its streams."""

    call_sid: CallSid
    caller: Caller
    talk: Talk
    started_at: dt.datetime
    rang_at: float  # When the phone rang, Trio clock.
    announces: bool
    briefing: Briefing
    closed: bool  # True if the business was closed when the phone rang.
    is_test: bool = False  # True for a test call. It is not in the figures, and nobody is told.
    is_dry: bool = False  # True: functions of your own that write do not run.
    # When its first stream began, Trio clock: the zero of the call's time line.
    began_at: float | None = None
    # The Twilio account whose token signed the call's first webhook.
    account_sid: str = ""
    # The consent of the newest stream's machine, if there is a stream.
    consent: Consent = field(default_factory=Consent)
    once: Once = field(default_factory=Once)
    own_ids: set[str] = field(default_factory=set)
    deeds: Deeds = field(default_factory=Deeds)
    caller_name: str = ""  # The name in the form in which the business or the caller gave it.
    decision: Decision = Decision()
    human: HumanSide = field(default_factory=HumanSide)
    tally: Tally = field(default_factory=Tally)
    refused: str = ""  # In one word, why this call does not get the agent.
    last_seen: float = 0.0
    streams: int = 0  # How many streams have begun.
    resumes: int = 0
    resumed_as: str | None = None
    outcomes: int = 0  # The number of its last outcome row.
    asks_until: float = 0.0  # Until this time Twilio may ask us about this caller, Trio clock.
    brings_stream: bool = False  # True if Twilio then opens a stream.
    orders: list[Order] = field(default_factory=list)
    # The newest is the last. Those before it write their last rows.
    open_streams: list[Stream] = field(default_factory=list)
    at_hand: set[CallSid] = field(default_factory=set)  # The process's calls that may need it.
    _one_closed: trio.Event = field(default_factory=trio.Event)

    @property
    def live(self) -> bool:
        """True until all rows of every stream are written."""
        return bool(self.open_streams)

    @property
    def is_served(self) -> bool:
        """True while a stream has the caller: neither the stream nor Twilio has reported its end."""
        return any(not stream.is_decided for stream in self.open_streams)

    def next_outcome(self) -> int:
        """The number for the call's next outcome row. Numbers order these rows, because the clock may be set back."""
        self.outcomes += 1
        return self.outcomes

    def take_orders(self) -> list[Order]:
        """The orders that the owner gave while no stream was there. They are returned only once."""
        orders, self.orders = self.orders, []
        return orders

    def expects(self, within_s: float, *, stream: bool = False) -> None:
        """Twilio will ask us next, about this caller or about the human whose phone rings.

        A process that drains waits for this.
        """
        self.asks_until, self.brings_stream = trio.current_time() + within_s, stream
        self.at_hand.add(self.call_sid)

    def decide(self, decision: Decision) -> None:
        """Keep the decision how a stream ended and what comes next. Webhooks that come at this moment need it."""
        self.decision = decision
        if decision.then is Next.HUMAN:
            self.human = HumanSide(result="asked")
        self.expects(ASKS_WITHIN_S if decision.then in (Next.HUMAN, Next.RESUME) else 0)

    def stream_opens(self, stream: Stream) -> None:
        """A stream of this call begins."""
        self.open_streams.append(stream)
        self.at_hand.add(self.call_sid)
        # Valid until the stream's end is decided. If something breaks, the caller goes back to the agent.
        self.decision = replace(self.decision, then=Next.RESUME, reason=None)

    def stream_becomes(self, stream: Stream, session: Stream) -> None:
        """This session now serves the stream that opened."""
        self.open_streams[self.open_streams.index(stream)] = session

    def stream_closes(self, stream: Stream) -> None:
        """The stream has ended, and its rows are written. May be called twice."""
        if stream in self.open_streams:
            self.open_streams.remove(stream)
            closed, self._one_closed = self._one_closed, trio.Event()
            closed.set()

    def end_streams(self, reason: EndReason) -> None:
        """Twilio has reported, with its signature, that the call's stream has ended, whatever our socket shows."""
        for stream in [*self.open_streams]:
            if not stream.is_decided:
                stream.end(reason)

    async def settle_before(self, stream: Stream) -> None:
        """Return when the earlier streams have written their rows. If they take too long, they must write them now."""
        with trio.move_on_after(SETTLE_LIMIT_S):
            while self.open_streams[0] is not stream:
                await self._one_closed.wait()
        for earlier in self.open_streams[: self.open_streams.index(stream)]:
            earlier.close_rows()
