"""The file of one phone call: what lives longer than its streams. Each part has one owner, who writes it.

caller      who calls                                   the first webhook, once
briefing    what the call knows of the business         the first webhook, once
streams     the media streams that are open             server/media_endpoint, by `stream_opens` and `stream_closes`
orders      what the owner wants of a call that rings   server/live_calls, until its stream takes them
decision    how the last stream ended and what is next  the room that decides it, at that moment, by `decide`
human       the way to a human                          server/human_transfer
talk        what the next stream goes on with           session/call_rows, when the rows of a stream are closed
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

# From a closed socket to the webhook that asks what comes next, and from our answer to the next socket, Twilio takes
# half a second. This is enough for a slow one, and for a retry.
ASKS_WITHIN_S = 10.0
# A stream that has ended waits about a second for late words and for a function that runs. The next stream goes on with
# what was said there. It waits for it no longer than this.
SETTLE_LIMIT_S = 1.5


class Stream(Protocol):
    """One media stream, as the rest of the process may use it."""

    @property
    def stream_sid(self) -> str:
        """Twilio's name for it; "" before Twilio has said it."""

    @property
    def is_decided(self) -> bool:
        """True once it is known how it ended."""

    def end(self, reason: EndReason) -> None:
        """Twilio says that it has ended. What follows is decided before this returns. Sockets are closed later."""

    def end_unless_told(self, reason: EndReason) -> None:
        """As `end`, but first the socket has a moment to say it itself.

        Its own message, such as a caller's stop, says more.
        """

    def close_rows(self) -> None:
        """Write the last rows now, and stop."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom: our number in E.164; the caller's state in two letters, as Twilio guesses it."""

    id: CallerId
    called: str = ""
    state: str = ""

    @property
    def number(self) -> str:
        """The caller's number; "" if it does not stand for one caller."""
        return self.id.number


@dataclass(frozen=True, slots=True)
class Decision:
    """How a stream ended, and what comes next for its caller."""

    then: Next = Next.NOTHING
    reason: EndReason | None = None
    why: str = ""  # for the human, in a few words
    by_agent: bool = False  # then `why` is the model's, and may hold the caller's words
    by_owner: bool = False  # then a human is rung also outside their hours
    summary: str = ""  # what the call is about, for the human

    @property
    def own_why(self) -> str:
        """Why, in words of ours. These may be logged, and are kept also when no words are."""
        return "the agent's own decision" if self.by_agent else self.why


@dataclass(slots=True)
class HumanSide:
    """The way to a human."""

    accepted: bool = False  # a key was pressed
    result: str = ""  # "asked" while a human's phone rings or they talk; then how it ended


@dataclass(slots=True)
class Talk:
    """What the next stream of the call goes on with."""

    model: str  # the model that serves it: the harder one, if the call was moved to it
    history: tuple[PastTurn, ...] = ()
    next_seq: int = 0
    talked_s: float = 0.0  # on streams that have ended; the time with a human does not count
    spent_usd: float = 0.0  # at this moment
    bill: Bill = field(default_factory=Bill)  # of streams that have ended
    misunderstandings: int = 0
    failed_attempts: dict[str, int] = field(default_factory=dict)  # function -> how often in a row
    offered_human: bool = False
    voice_fault: str = ""  # why the model speaks by itself, where another voice was to speak


@dataclass(slots=True)
class Tally:
    """What is counted over all streams."""

    turns: set[int] = field(default_factory=set)  # their numbers
    turn_ms: list[int] = field(default_factory=list)  # from the caller's last sound to the answer that was heard
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
    rang_at: float  # Trio clock
    announces: bool
    briefing: Briefing
    closed: bool  # the business was closed when it rang
    is_test: bool = False  # from the console's page: not in statistics, and nobody is told
    is_dry: bool = False  # functions of your own that write are not run
    began_at: float | None = None  # Trio clock: when its first stream began; the zero of the call's time line
    account_sid: str = ""  # Twilio's account, whose token signed the call's first webhook
    consent: Consent = field(default_factory=Consent)  # that of the newest stream's machine, if there is one
    once: Once = field(default_factory=Once)
    own_ids: set[str] = field(default_factory=set)
    deeds: Deeds = field(default_factory=Deeds)
    caller_name: str = ""  # as the business or the caller said it
    decision: Decision = Decision()
    human: HumanSide = field(default_factory=HumanSide)
    tally: Tally = field(default_factory=Tally)
    refused: str = ""  # why this call does not get the model, in one word
    last_seen: float = 0.0
    streams: int = 0  # that began
    resumes: int = 0
    resumed_as: str | None = None
    outcomes: int = 0  # the number of the last row of its outcome
    asks_until: float = 0.0  # Trio clock: until then Twilio may ask us about this caller
    brings_stream: bool = False  # and then it opens a stream
    orders: list[Order] = field(default_factory=list)
    open_streams: list[Stream] = field(default_factory=list)  # the newest last; the ones before write their last rows
    at_hand: set[CallSid] = field(default_factory=set)  # of the process: calls that may need it
    _one_closed: trio.Event = field(default_factory=trio.Event)

    @property
    def live(self) -> bool:
        """True until all rows of every stream are written."""
        return bool(self.open_streams)

    @property
    def is_served(self) -> bool:
        """True while a stream has the caller: neither the stream nor Twilio has said that it has ended."""
        return any(not stream.is_decided for stream in self.open_streams)

    def next_outcome(self) -> int:
        """The number of the next row of this call's outcome. It orders the rows, because the clock may be set back."""
        self.outcomes += 1
        return self.outcomes

    def take_orders(self) -> list[Order]:
        """What the owner ordered while no stream was there; once."""
        orders, self.orders = self.orders, []
        return orders

    def expects(self, within_s: float, *, stream: bool = False) -> None:
        """Twilio will ask us next, about this caller or about the human who is rung.

        A process that stops waits for it.
        """
        self.asks_until, self.brings_stream = trio.current_time() + within_s, stream
        self.at_hand.add(self.call_sid)

    def decide(self, decision: Decision) -> None:
        """It is decided how a stream ended and what comes next. Webhooks that come at this moment read it."""
        self.decision = decision
        if decision.then is Next.HUMAN:
            self.human = HumanSide(result="asked")
        self.expects(ASKS_WITHIN_S if decision.then in (Next.HUMAN, Next.RESUME) else 0)

    def stream_opens(self, stream: Stream) -> None:
        """A stream of this call begins."""
        self.open_streams.append(stream)
        self.at_hand.add(self.call_sid)
        # Until its end is decided. If something breaks, the caller is taken back.
        self.decision = replace(self.decision, then=Next.RESUME, reason=None)

    def stream_becomes(self, stream: Stream, session: Stream) -> None:
        """This session serves the stream that opened."""
        self.open_streams[self.open_streams.index(stream)] = session

    def stream_closes(self, stream: Stream) -> None:
        """The stream has ended, and its rows are written. May be called twice."""
        if stream in self.open_streams:
            self.open_streams.remove(stream)
            closed, self._one_closed = self._one_closed, trio.Event()
            closed.set()

    def end_streams(self, reason: EndReason) -> None:
        """Twilio has said, signed, that the call's stream has ended, whatever our socket shows."""
        for stream in [*self.open_streams]:
            if not stream.is_decided:
                stream.end(reason)

    async def settle_before(self, stream: Stream) -> None:
        """Return when the streams before this one have written their rows: by themselves, or now."""
        with trio.move_on_after(SETTLE_LIMIT_S):
            while self.open_streams[0] is not stream:
                await self._one_closed.wait()
        for earlier in self.open_streams[: self.open_streams.index(stream)]:
            earlier.close_rows()
