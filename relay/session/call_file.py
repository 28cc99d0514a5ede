"""Holds the file of one phone call: what the relay keeps for longer than one stream.

Most parts have one writer:

    part        what it is                                    who writes it, and when
    caller      who calls                                     the first webhook, once
    briefing    what the call knows of the business           the first webhook, once
    streams     the media streams that are open               server/media_endpoint (`stream_opens`, `stream_closes`)
    orders      the owner's orders before a stream begins     server/live_calls; the call's stream takes them
    decision    how the last stream ended, what comes next    the code that decides it (`decide`). A new stream
                                                              resets it, and session/call_rows adds the summary
    untold_fault
                a fault that may become news for the owner    `decide`. It is reset by a session that serves the
                                                              caller, by server/human_transfer, and by
                                                              session/context, which tells the owner
    human       the transfer to a human                       server/human_transfer; `decide` begins it
    talk        the state with which the next stream begins   session/call_rows, when a stream's rows are closed.
                                                              session/call_session writes the dollars so far and
                                                              the lost voice, session/context the cost of an
                                                              unheard greeting
    tally       figures over all streams                      session/call_rows; functions_done:
                                                              session/function_runner
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from relay.call.call_config import Bill, PastTurn
from relay.call.consent import Consent
from relay.call.early_governor import Governor
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason, Order
from relay.functions import Deeds, Once
from relay.session.briefing import Briefing
from relay.twilio.caller_id import CallerId

# After a socket closes, Twilio needs half a second until it asks by webhook what comes next. It needs the same time
# from our answer to the next socket. This limit is enough for a slow Twilio, and for a retry.
ASKS_WITHIN_S = 10.0
# After its end, a stream waits about a second for late words and for a running function. The call's next stream needs
# those words. So it waits for the earlier stream, but at most this many seconds.
SETTLE_LIMIT_S = 1.5


class Stream(Protocol):
    """What the rest of the process may do with one media stream."""

    @property
    def stream_sid(self) -> str:
        """Twilio's id of the stream. "" until Twilio's `start` was read."""

    @property
    def is_decided(self) -> bool:
        """True once it is known how the stream ended."""

    def end(self, reason: EndReason) -> None:
        """Twilio reports that the stream has ended. When this returns, `CallFile.decision` is set.

        The sockets close later.
        """

    def end_unless_told(self, reason: EndReason) -> None:
        """Does the same as `end`, but waits first for the stream's own end.

        The caller's socket says more about the reason: for example, that the caller hung up.
        """

    def close_rows(self) -> None:
        """Write the last rows now, and stop the stream."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom.

    `called`: our number in E.164. `state`: the caller's state in two letters, as Twilio guesses it.
    """

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
    why: str = ""  # Why a human is called, in a few words.
    by_agent: bool = False  # True if the model wrote `why`. Then `why` may hold words of the caller.
    by_owner: bool = False  # True if the owner ordered it. Then a human is called even outside HUMAN_HOURS.
    summary: str = ""  # What the call is about, for the human.

    @property
    def own_why(self) -> str:
        """`why`, but never in the model's words.

        So this text may be logged, and stored even if no words of the caller are stored.
        """
        return "the agent's own decision" if self.by_agent else self.why


@dataclass(slots=True)
class HumanSide:
    """The transfer to a human."""

    accepted: bool = False  # True when the human has pressed 1.
    result: str = ""  # "" before a transfer. "asked" until the transfer has ended. After that, the result.


@dataclass(slots=True)
class Talk:
    """The state with which the next stream of the call begins."""

    model: str  # The model of the next stream: the harder one, if the call was moved to it.
    history: tuple[PastTurn, ...] = ()
    next_seq: int = 0
    talked_s: float = 0.0  # How long the ended streams lasted. Time with a human does not count.
    spent_usd: float = 0.0  # Dollars of the whole call so far.
    bill: Bill = field(default_factory=Bill)  # The bill of the streams that have ended.
    early: Governor = field(default_factory=Governor)
    misunderstandings: int = 0
    failed_attempts: dict[str, int] = field(default_factory=dict)  # Function -> its failures in a row.
    offered_human: bool = False
    voice_fault: str = ""  # Why the voice service (ElevenLabs) was lost. "" if it was not lost.


@dataclass(slots=True)
class Tally:
    """What is counted over all streams of the call, for its outcome."""

    turns: set[int] = field(default_factory=set)  # The numbers of the turns that were counted.
    # For each answered turn: the time from the caller's last sound until they heard the beginning of the answer.
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
    rang_at: float  # When the phone rang (Trio clock).
    announces: bool  # True if the caller must hear the notice.
    briefing: Briefing
    closed: bool  # True if the business was closed when the phone rang.
    # True for a test call: it does not count in the statistics, and the owner gets no notification.
    is_test: bool = False
    is_dry: bool = False  # True if the owner's functions that write are not run.
    # When the call's first stream began (Trio clock). The times of the call count from here.
    began_at: float | None = None
    # The Twilio account that signed the call's first webhook.
    account_sid: str = ""
    # The consent of the newest stream. Before the first stream: what the settings say.
    consent: Consent = field(default_factory=Consent)
    once: Once = field(default_factory=Once)
    own_ids: set[str] = field(default_factory=set)
    deeds: Deeds = field(default_factory=Deeds)
    caller_name: str = ""  # The caller's name as the business or the caller wrote it.
    decision: Decision = Decision()
    # The fault that ended the last stream, until the agent or a person has the caller again, or the owner was told.
    untold_fault: EndReason | None = None
    human: HumanSide = field(default_factory=HumanSide)
    tally: Tally = field(default_factory=Tally)
    refused: str = ""  # A word that says why this call does not get the agent. "" if it gets the agent.
    last_seen: float = 0.0
    streams: int = 0  # How many streams have begun.
    resumes: int = 0
    resumed_as: str | None = None
    outcomes: int = 0  # The number of the newest outcome row.
    asks_until: float = 0.0  # Twilio may still ask about this call until this time (Trio clock).
    brings_stream: bool = False  # True if Twilio will open a stream before `asks_until`.
    orders: list[Order] = field(default_factory=list)
    # The newest stream is the last element. Earlier ones are writing their last rows.
    open_streams: list[Stream] = field(default_factory=list)
    # The set of the calls that may need this process (`CallFiles`). This call adds itself to the set.
    at_hand: set[CallSid] = field(default_factory=set)
    _one_closed: trio.Event = field(default_factory=trio.Event)

    @property
    def live(self) -> bool:
        """True while a stream is open. A stream counts as open until its last rows are written."""
        return bool(self.open_streams)

    @property
    def is_served(self) -> bool:
        """True while a stream serves the caller: how this stream ends is not decided yet."""
        return any(not stream.is_decided for stream in self.open_streams)

    def next_outcome(self) -> int:
        """The number for the call's next outcome row. The numbers order these rows, because a clock can be set back."""
        self.outcomes += 1
        return self.outcomes

    def take_orders(self) -> list[Order]:
        """Return the orders that the owner gave before a stream began, and empty the list."""
        orders, self.orders = self.orders, []
        return orders

    def expects(self, within_s: float, *, stream: bool = False) -> None:
        """Twilio will send us a webhook about this call within this time. `stream`: True if it will then open a stream.

        A process that drains waits for the webhook.
        """
        self.asks_until, self.brings_stream = trio.current_time() + within_s, stream
        self.at_hand.add(self.call_sid)

    def decide(self, decision: Decision) -> None:
        """Remember how a stream ended and what comes next. The answer to Twilio's next webhook depends on this."""
        self.decision = decision
        if decision.then is Next.HUMAN:
            self.human = HumanSide(result="asked")
        goes_on = decision.then in (Next.HUMAN, Next.RESUME)
        if goes_on and decision.reason is not None and decision.reason.is_fault:
            self.untold_fault = decision.reason
        self.expects(ASKS_WITHIN_S if goes_on else 0)

    def stream_opens(self, stream: Stream) -> None:
        """Note that a stream of this call begins."""
        self.open_streams.append(stream)
        self.at_hand.add(self.call_sid)
        # This decision is valid until the stream's end is decided. If the stream breaks, the caller gets the agent
        # again.
        self.decision = replace(self.decision, then=Next.RESUME, reason=None)

    def stream_becomes(self, stream: Stream, session: Stream) -> None:
        """Replace `stream`, which has just opened, by the session that runs it."""
        self.open_streams[self.open_streams.index(stream)] = session
        self.untold_fault = None  # The agent has the caller again.

    def stream_closes(self, stream: Stream) -> None:
        """Note that the stream has ended and its rows are written. May be called twice."""
        if stream in self.open_streams:
            self.open_streams.remove(stream)
            closed, self._one_closed = self._one_closed, trio.Event()
            closed.set()

    def end_streams(self, reason: EndReason) -> None:
        """End all streams of this call, because a signed webhook of Twilio says so. A socket may still be open."""
        for stream in [*self.open_streams]:
            if not stream.is_decided:
                stream.end(reason)

    async def settle_before(self, stream: Stream) -> None:
        """Wait until the earlier streams have written their rows. After SETTLE_LIMIT_S, make them write at once."""
        with trio.move_on_after(SETTLE_LIMIT_S):
            while self.open_streams[0] is not stream:
                await self._one_closed.wait()
        for earlier in self.open_streams[: self.open_streams.index(stream)]:
            earlier.close_rows()
