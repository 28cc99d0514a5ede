"""The desk: what all calls of a process share, and the file of each call that outlives its stream."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from relay.call.call_config import Bill, CallPlan, Limits, PastTurn, Phrase
from relay.call.consent_law import must_announce
from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.functions import BackendPort, Deeds, Once, Registry
from relay.ledger.port import Ledger
from relay.metrics import Metrics
from relay.phrases.phrase_book import PhraseBook
from relay.phrases.prompts import Prompts
from relay.realtime.client import Realtime, Wanted, WarmSessions
from relay.realtime.prices import price_of, transcription_price_of
from relay.session.reservations import ConsentedReservations
from relay.settings import Settings, check_hours
from relay.transport.ticker import Beat
from relay.twilio.rest import TwilioRest
from relay.twilio.tokens import Tokens

# A call's file is kept this long after its last sign of life: Twilio's longest call is four hours.
FILE_LIFE_S = 4 * 3600.0
# From a closed socket to the webhook that asks what comes next, and from our answer to the next socket, Twilio takes
# half a second; this forgives a slow one, and a retry.
ASKS_WITHIN_S = 10.0
# Who comes back from a human that did not take them has so long at least, for a message, whatever the cap says.
LAST_WORDS_S = 60.0


def _set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@dataclass(slots=True)
class CallFile:
    """One phone call, over all its streams."""

    call_sid: CallSid
    caller_number: str
    called_number: str
    caller_state: str
    started_at: dt.datetime
    rang_at: float  # Trio clock
    announces: bool
    model: str  # that serves it: the harder one, once that has taken over
    once: Once = field(default_factory=Once)
    own_ids: set[str] = field(default_factory=set)
    deeds: Deeds = field(default_factory=Deeds)
    token: str = ""
    live: bool = False
    idle: trio.Event = field(default_factory=_set)  # set while no stream of this call is open
    streams: int = 0
    resumes: int = 0
    history: tuple[PastTurn, ...] = ()
    next_seq: int = 0
    notice_heard: bool = False
    talked_s: float = 0.0  # on the streams that are over; a human's time is not ours
    spent_usd: float = 0.0  # at this moment
    bill: Bill = field(default_factory=Bill)  # of the streams that are over
    misunderstandings: int = 0
    failed_attempts: dict[str, int] = field(default_factory=dict)  # function -> how often in a row
    offered_human: bool = False
    turns: set[int] = field(default_factory=set)  # their numbers
    turn_ms: list[int] = field(default_factory=list)  # the caller stopped to the answer heard
    barge_ins: int = 0
    false_stops: int = 0
    ended: EndReason | None = None
    then: Next = Next.NOTHING
    caller_name: str = ""  # as the business or the caller gave it
    summary: str = ""
    why: str = ""
    resumed_as: str | None = None
    refused: str = ""  # why the model was not for this call, in one word
    accepted: bool = False
    transfer: str = ""  # "asked" while a human rings or talks, then how it went
    last_seen: float = 0.0
    asks_until: float = 0.0  # Trio clock: so long Twilio may be on its way to us for this caller
    brings_stream: bool = False  # and then it opens one
    functions_done: list[str] = field(default_factory=list)

    @property
    def may_store_words(self) -> bool:
        """True once the notice was heard, where there must be one."""
        return self.notice_heard or not self.announces

    def expects(self, within_s: float, *, stream: bool = False) -> None:
        """Twilio comes to us next for this caller, or for the human who is rung: a process that stops waits for it."""
        self.asks_until, self.brings_stream = trio.current_time() + within_s, stream

    def stream_opens(self) -> None:
        """A stream of this call begins."""
        self.live, self.idle = True, trio.Event()
        self.then = Next.RESUME  # until its end is decided: whatever breaks, the caller is taken up again

    def stream_closes(self) -> None:
        """The stream is over, and its books are written."""
        self.live = False
        self.idle.set()


@dataclass(slots=True)
class Desk:
    """Everything a call needs of its process."""

    settings: Settings
    prompts: Prompts
    ledger: Ledger
    registry: Registry
    backend: BackendPort
    realtime: Realtime
    warm: WarmSessions
    phrases: PhraseBook
    rest: TwilioRest
    tokens: Tokens
    metrics: Metrics
    utc_now: Callable[[], dt.datetime]
    beat: Beat = field(default_factory=Beat)
    files: dict[CallSid, CallFile] = field(default_factory=dict)
    draining: bool = False
    leaves_at: float | None = None  # Trio clock: when the streams of a process that drains must be over
    day_usd: float = 0.0  # of streams that ended today, refreshed from the ledger
    hang_up_by_rest: bool = True

    def __post_init__(self) -> None:
        self.metrics.live_calls.set_function(lambda: self.live_calls)  # when it is asked for: never a stale one

    @property
    def live_calls(self) -> int:
        """Calls with a stream at this moment."""
        return sum(file.live for file in self.files.values())

    @property
    def lines_taken(self) -> int:
        """Calls with a stream, or with one on its way: a burst of rings is not let in before the first is there."""
        now = trio.current_time()
        return sum(file.live or (file.brings_stream and now < file.asks_until) for file in self.files.values())

    def begin_drain(self, limit_s: float) -> None:
        """No more calls; the streams that are open, and those that open for calls in hand, have so long."""
        self.draining, self.leaves_at = True, trio.current_time() + limit_s

    @property
    def calls_in_hand(self) -> int:
        """Calls that need this process: with a stream, or about to come back to it."""
        now = trio.current_time()
        return sum(file.live or now < file.asks_until for file in self.files.values())

    @property
    def spent_today_usd(self) -> float:
        """Dollars of today, running calls included."""
        # What a call's earlier streams cost is in `day_usd` already.
        return self.day_usd + sum(file.spent_usd - file.bill.usd for file in self.files.values() if file.live)

    def open_file(self, call_sid: CallSid, caller: str, called: str, state: str, country: str, now: float) -> CallFile:
        """The file of a call; made on its first webhook."""
        file = self.files.get(call_sid)
        if file is None:
            s = self.settings
            announces = s.keeps_words and must_announce(s.record_notice, caller, state, country, s.business_state)
            file = CallFile(call_sid, caller, called, state, self.utc_now(), now, announces, s.openai_model)
            file.once = Once(ConsentedReservations(self.ledger, lambda: file.may_store_words))
            self._forget_old(now)
            self.files[call_sid] = file
        file.last_seen = now
        return file

    def _forget_old(self, now: float) -> None:
        for sid, file in list(self.files.items()):
            if not file.live and now - file.last_seen > FILE_LIFE_S:
                del self.files[sid]

    def wanted(self, file: CallFile, model: str, *, greeting: str | None = None) -> Wanted:
        """The model session for a call."""
        today = self.utc_now().astimezone(self.settings.tz).date()
        instructions = self.prompts.instructions(today, file.caller_number)
        return Wanted(model, instructions, tuple(self.registry.tools(without={"lookup_answer"})), greeting)

    def plan(self, file: CallFile) -> CallPlan:
        """What the machine is told before the call begins."""
        s = self.settings
        holding = self.registry.holding()
        phrases: dict[str, Phrase] = self.phrases.phrases()
        for text in {text for text in holding.values() if text}:
            kept = self.phrases.holding(text)
            if kept is not None:
                phrases[f"holding:{text}"] = kept
        silent: dict[str, str | None] = {
            f.name: (None if f.silent or f.holding is None else f"holding:{f.holding}") for f in self.registry
        }
        limits = Limits(self._left_s(file), s.max_silence_s, s.max_call_usd)
        return CallPlan(
            call_sid=file.call_sid,
            greeting=self.phrases.greeting(file.announces),
            phrases=phrases,
            limits=limits,
            rules=self.prompts.rules,
            model=file.model,
            model_hard=s.openai_model_hard,
            price=price_of(file.model),
            price_hard=price_of(s.openai_model_hard),
            transcription_usd_per_minute=transcription_price_of(s.openai_transcribe_model),
            keep_words=s.keeps_words,
            holding=silent,
            human_available=self.human_is_there(),
            human_changes_s=self._human_changes_s(limits.call_s),
            history=file.history,
            first_seq=file.next_seq,
            bill=file.bill,
            misunderstandings=file.misunderstandings,
            failed_attempts=file.failed_attempts,
            offered_human=file.offered_human,
            notice_heard=file.notice_heard,
            resumed=file.resumed_as,
        )

    def _left_s(self, file: CallFile) -> float:
        """What is left of the call's time for its next stream."""
        limit_s = self.settings.max_call_s
        return max(min(LAST_WORDS_S, limit_s), limit_s - file.talked_s)

    def human_is_there(self, in_s: float = 0.0) -> bool:
        """True inside HUMAN_HOURS, in the business's time zone; `in_s` from now."""
        rows = check_hours(self.settings.human_hours)
        if rows is None:
            return True
        at = (self.utc_now() + dt.timedelta(seconds=in_s)).astimezone(self.settings.tz)
        clock = f"{at:%H:%M}"
        return any(day == at.weekday() and opens <= clock < closes for day, opens, closes in rows)

    def _human_changes_s(self, limit_s: float) -> float | None:
        """How long it is until a human comes or goes, if that is before the call's end."""
        is_there, past_s = self.human_is_there(), self.utc_now().second
        minutes = (60.0 * minute - past_s for minute in range(1, int(limit_s // 60) + 2))
        return next((in_s for in_s in minutes if self.human_is_there(in_s) != is_there), None)
