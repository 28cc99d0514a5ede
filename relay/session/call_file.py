"""The file of one phone call: what outlives its streams. Each part has one owner, who writes it.

caller      who calls                                   the first webhook, once
briefing    what the call knows of the business         the first webhook, once
streams     the media streams that are open             server/media_endpoint, by `stream_opens` and `stream_closes`
orders      what the owner wants of a call that rings   server/live_calls, until its stream takes them
decision    how the last stream ended and what is next  whoever decides it, in that moment, by `decide`
human       the way to a human                          server/human_transfer
talk        what the next stream goes on with           session/call_rows, when the rows of a stream are closed
tally       figures over all streams                    session/call_rows
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
# half a second; this forgives a slow one, and a retry.
ASKS_WITHIN_S = 10.0
# A stream that is over waits about a second for late words and for a function under way. The next stream goes on with
# what was said there, and waits for it no longer than this.
SETTLE_LIMIT_S = 1.5


class Stream(Protocol):
    """One media stream, as the rest of the process may touch it."""

    @property
    def stream_sid(self) -> str:
        """Twilio's name for it; "" until it has said it."""

    @property
    def is_decided(self) -> bool:
        """True once it is known how it ended."""

    def end(self, reason: EndReason) -> None:
        """Twilio says that it is over. What follows is decided before this returns; sockets are closed later."""

    def end_unless_told(self, reason: EndReason) -> None:
        """As `end`, but the socket has a moment to say so itself: what it says, such as a caller's stop, says more."""

    def close_rows(self) -> None:
        """Write the last rows now, and stop."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom: the number of ours in E.164; the caller's state in two letters, as Twilio guesses it."""

    id: CallerId
    called: str = ""
    state: str = ""

    @property
    def number(self) -> str:
        """The caller's number, "" where it does not stand for one caller."""
        return self.id.number


@dataclass(frozen=True, slots=True)
class Decision:
    """How a stream ended, and what comes next for its caller."""

    then: Next = Next.NOTHING
    reason: EndReason | None = None
    why: str = ""  # for the human, in a few words
    by_agent: bool = False  # then `why` is the model's, and may hold what the caller said
    by_owner: bool = False  # then a human is rung outside their hours, too
    summary: str = ""  # what the call is about, for the human

    @property
    def own_why(self) -> str:
        """Why, in words of ours: these may stand in a log, and where no words are kept."""
        return "the agent's own decision" if self.by_agent else self.why


@dataclass(slots=True)
class HumanSide:
    """The way to a human."""

    accepted: bool = False  # a key was pressed
    result: str = ""  # "asked" while a human rings or talks, then how it went


@dataclass(slots=True)
class Talk:
    """What the next stream of the call goes on with."""

    model: str  # that serves it: the harder one, once that has taken over
    history: tuple[PastTurn, ...] = ()
    next_seq: int = 0
    talked_s: float = 0.0  # on the streams that are over; a human's time is not ours
    spent_usd: float = 0.0  # at this moment
    bill: Bill = field(default_factory=Bill)  # of the streams that are over
    misunderstandings: int = 0
    failed_attempts: dict[str, int] = field(default_factory=dict)  # function -> how often in a row
    offered_human: bool = False
    voice_fault: str = ""  # why the model speaks by itself, where another voice was to speak


@dataclass(slots=True)
class Tally:
    """What is counted over all streams."""

    turns: set[int] = field(default_factory=set)  # their numbers
    turn_ms: list[int] = field(default_factory=list)  # the caller stopped to the answer heard
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
    closed: bool  # the business, when it rang
    is_test: bool = False  # from the console's page: in no statistics, and nobody is told of it
    is_dry: bool = False  # functions of the user's that write are not run
    began_at: float | None = None  # Trio clock: when its first stream began, the zero of the call's time line
    account_sid: str = ""  # Twilio's, whose token has signed the call's first webhook
    consent: Consent = field(default_factory=Consent)  # the machine's of the newest stream, once there is one
    once: Once = field(default_factory=Once)
    own_ids: set[str] = field(default_factory=set)
    deeds: Deeds = field(default_factory=Deeds)
    caller_name: str = ""  # as the business or the caller gave it
    decision: Decision = Decision()
    human: HumanSide = field(default_factory=HumanSide)
    tally: Tally = field(default_factory=Tally)
    refused: str = ""  # why the model was not for this call, in one word
    last_seen: float = 0.0
    streams: int = 0  # that began
    resumes: int = 0
    resumed_as: str | None = None
    outcomes: int = 0  # the number of the last row of its outcome
    asks_until: float = 0.0  # Trio clock: so long Twilio may be on its way to us for this caller
    brings_stream: bool = False  # and then it opens one
    orders: list[Order] = field(default_factory=list)
    open_streams: list[Stream] = field(default_factory=list)  # the newest last; those before it write their last rows
    at_hand: set[CallSid] = field(default_factory=set)  # of the process: calls that may need it
    _one_closed: trio.Event = field(default_factory=trio.Event)

    @property
    def live(self) -> bool:
        """True until the rows of every stream are written."""
        return bool(self.open_streams)

    @property
    def is_served(self) -> bool:
        """True while a stream has the caller: none has said, and nobody has said of it, that it is over."""
        return any(not stream.is_decided for stream in self.open_streams)

    def next_outcome(self) -> int:
        """The number of the next row of this call's outcome: what orders them, since a clock may be set back."""
        self.outcomes += 1
        return self.outcomes

    def take_orders(self) -> list[Order]:
        """What the owner ordered while no stream was there; once."""
        orders, self.orders = self.orders, []
        return orders

    def expects(self, within_s: float, *, stream: bool = False) -> None:
        """Twilio comes to us next for this caller, or for the human who is rung: a process that stops waits for it."""
        self.asks_until, self.brings_stream = trio.current_time() + within_s, stream
        self.at_hand.add(self.call_sid)

    def decide(self, decision: Decision) -> None:
        """It is settled how a stream ended and what comes next: webhooks that come in this moment read it."""
        self.decision = decision
        if decision.then is Next.HUMAN:
            self.human = HumanSide(result="asked")
        self.expects(ASKS_WITHIN_S if decision.then in (Next.HUMAN, Next.RESUME) else 0)

    def stream_opens(self, stream: Stream) -> None:
        """A stream of this call begins."""
        self.open_streams.append(stream)
        self.at_hand.add(self.call_sid)
        # Until its end is decided: whatever breaks, the caller is taken up again.
        self.decision = replace(self.decision, then=Next.RESUME, reason=None)

    def stream_becomes(self, stream: Stream, session: Stream) -> None:
        """The stream that opened is served by this session now."""
        self.open_streams[self.open_streams.index(stream)] = session

    def stream_closes(self, stream: Stream) -> None:
        """The stream is over, and its rows are written. May be called twice."""
        if stream in self.open_streams:
            self.open_streams.remove(stream)
            closed, self._one_closed = self._one_closed, trio.Event()
            closed.set()

    def end_streams(self, reason: EndReason) -> None:
        """Twilio has said, signed, that the call's stream is over, whatever our socket believes."""
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
