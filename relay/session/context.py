"""Holds the desk: what all calls of a process share. call_file.py holds what one call keeps over its streams."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import trio

from relay.call.call_config import Bill, CallPlan, Limits, Midnight, Phrase, Voice
from relay.call.consent import Consent
from relay.call.consent_law import must_announce
from relay.call.early_answer import VAD_SILENCE_MS
from relay.call.vocabulary import CallSid
from relay.functions import BackendPort, Once, Registry
from relay.functions.builtin.times import clock_words, day_words
from relay.ledger.port import Ledger
from relay.ledger.rows import OutcomeRow, Row
from relay.notify.news import Caller as NewsCaller
from relay.notify.news import News
from relay.phrases.phrase_book import PhraseBook
from relay.phrases.prompts import Prompts
from relay.realtime.client import ModelSession, Realtime, Wanted, WarmSessions
from relay.realtime.prices import price_of, transcription_price_of
from relay.realtime.session_config import SILENCE_MS
from relay.recordings import Recordings
from relay.session.bills import bill_of_unheard, cost_of
from relay.session.briefing import Briefing
from relay.session.call_file import Caller, CallFile, Talk
from relay.session.call_files import CallFiles
from relay.session.day_bill import DayBill
from relay.session.reservations import ConsentedReservations
from relay.session.warm_voices import WarmVoices
from relay.settings import Settings
from relay.telemetry.metrics import Metrics
from relay.transport.ticker import Ticker
from relay.twilio.rest import TwilioRest
from relay.twilio.tokens import Tokens

# If no human took the call, the caller comes back to leave a message. Then the caller has at least this many seconds
# (or MAX_CALL_S if that is shorter), even if the call has reached its limit.
LAST_WORDS_S = 60.0


@dataclass(slots=True)
class Desk:
    """Everything that a call needs from its process."""

    briefing: Briefing
    ledger: Ledger
    registry: Registry
    realtime: Realtime
    warm: WarmSessions
    rest: TwilioRest
    tokens: Tokens
    metrics: Metrics
    utc_now: Callable[[], dt.datetime]
    recordings: Recordings | None = None  # None if calls are not recorded (RECORD=on records them).
    voices: WarmVoices | None = None  # None if the model speaks with its own voice.
    ticker: Ticker = field(default_factory=Ticker)
    files: CallFiles = field(default_factory=CallFiles)
    draining: bool = False
    # While the process drains: the time by which its streams must have ended (Trio clock).
    leaves_at: float | None = None
    hang_up_by_rest: bool = True
    # Returns the mistakes in changed files of the owner. The relay goes on with the earlier versions of such files.
    files_trouble: Callable[[], str] = lambda: ""
    # Set when a call comes that this process did not know. Some tasks run only while there are calls. They wait for
    # this event.
    rang: trio.Event = field(default_factory=trio.Event)
    bill: DayBill = field(init=False)
    # Tasks that run beside the calls, by name.
    tasks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)

    # Makes the news for the owner.
    news: News = field(default_factory=lambda: News((), lambda: dt.datetime.now(dt.UTC)))
    own_numbers: set[str] = field(default_factory=set)  # The phone numbers that are known to lead to this relay.
    test_metrics: Metrics = field(default_factory=Metrics)  # Test calls count here. Nobody reads these.

    def __post_init__(self) -> None:
        self.bill = DayBill(self.ledger, self.settings.tz, lambda: self.utc_now())
        self.metrics.watch_ledger(self.ledger.counts)
        self.warm.unheard = self._bill_unheard
        self.files.dropped = self.tell_of_fault
        self.learn_own(self.settings.twilio_phone_number)
        # The gauge calls this at each request for the metrics.
        self.metrics.live_calls.set_function(lambda: self.live_calls)

    def learn_own(self, *numbers: str) -> None:
        """Remember these numbers as ours. A human's number is left out, even if it belongs to the same account."""
        humans = {self.settings.human_transfer_number, *self.settings.human_numbers_also}
        self.own_numbers.update({*numbers} - humans - {""})

    def take_over(self, briefing: Briefing) -> None:
        """Use this briefing for calls that begin from now on. Running calls keep the briefing that they have."""
        self.briefing = briefing

    # The briefing of the next call. A running call has its own briefing in its file.

    @property
    def settings(self) -> Settings:
        return self.briefing.settings

    @property
    def prompts(self) -> Prompts:
        return self.briefing.prompts

    @property
    def phrases(self) -> PhraseBook:
        return self.briefing.phrases

    @property
    def backend(self) -> BackendPort:
        return self.briefing.backend

    @property
    def live_calls(self) -> int:
        """How many calls have a stream now."""
        return sum(file.live for file in self.files.at_hand())

    @property
    def lines_taken(self) -> int:
        """The number of calls with a stream, or with a stream that will come.

        Calls that have only rung are counted too. So the limit holds even if many calls ring at once.
        """
        return sum(file.live or file.brings_stream for file in self.files.at_hand())

    def begin_drain(self, limit_s: float) -> None:
        """Take no more calls. The calls that run or ring may last `limit_s` more seconds."""
        self.draining, self.leaves_at = True, trio.current_time() + limit_s

    @property
    def calls_in_hand(self) -> int:
        """The number of calls that need this process: they have a stream, or Twilio may soon ask about them."""
        return len(self.files.at_hand())

    @property
    def day_usd(self) -> float:
        """Today's dollars, without the streams that are open in this process."""
        return self.bill.usd

    @day_usd.setter
    def day_usd(self, usd: float) -> None:
        self.bill.usd = usd

    @property
    def spent_today_usd(self) -> float:
        """Today's dollars, open streams included."""
        # `self.bill` already has the cost of a call's earlier streams.
        return self.bill.usd + sum(f.talk.spent_usd - f.talk.bill.usd for f in self.files.at_hand() if f.live)

    def _bill_unheard(self, call_sid: CallSid, session: ModelSession) -> None:
        """Add the cost of a greeting that the model generated for a caller who never heard it."""
        file = self.files.get(call_sid)
        before = file.talk.bill if file is not None else Bill()
        bill = bill_of_unheard(session, before)
        if (usd := bill.usd - before.usd) <= 0:
            return
        self.bill.ended(usd)
        self.metrics.usd.inc(usd)
        if file is not None and not file.live:
            file.talk.bill, file.talk.spent_usd = bill, bill.usd
            usd_in_row = Decimal(f"{bill.usd:.6f}")
            self.ledger.record(replace(self.outcome_row(file), cost_usd=usd_in_row, cost=cost_of(bill)))

    def metrics_of(self, file: CallFile) -> Metrics:
        """The metrics that count this call. Nobody reads those of test calls. The dollars always count in `metrics`."""
        return self.test_metrics if file.is_test else self.metrics

    def record(self, row: Row, file: CallFile) -> None:
        """Write a row of a call. News that the row causes for the owner is written in the same transaction."""
        caller = NewsCaller(file.caller_name, file.caller.id.presented)
        self.ledger.record(row, *([] if file.is_test else self.news.of(row, caller)))

    def tell_of_fault(self, file: CallFile) -> None:
        """Nobody has the caller, and nobody will. Tell the owner, if a fault has ended the call."""
        fault, file.untold_fault = file.untold_fault, None
        if fault is not None:
            self.record(replace(self.outcome_row(file), end_reason=str(fault), fault=str(fault)), file)

    def outcome_row(self, file: CallFile) -> OutcomeRow:
        """The call's next outcome row. Only the call, its number, the time and the process are filled."""
        return OutcomeRow(
            call_sid=file.call_sid, ended_at=self.utc_now(), process=self.bill.process, seq=file.next_outcome()
        )

    def open_file(
        self,
        call_sid: CallSid,
        caller: Caller,
        country: str,
        now: float,
        *,
        rings: bool = False,
        is_test: bool = False,
    ) -> CallFile:
        """The file of a call. If this process does not know the call, it is made. `country`: the caller's, in two
        letters.

        `rings`: True if the call begins at this relay. If it is False, another relay ran the call before, and our rows
        must count as newer. `is_test`: the call comes from the console's page.
        """
        file = self.files.get(call_sid)
        if file is None:
            s = self.settings
            announces = s.keeps_words and must_announce(
                s.record_notice, caller.number, caller.state, country, s.business_state
            )
            began_at, briefing = self.utc_now(), self.briefing
            closed = bool(briefing.closed_words(began_at))
            file = CallFile(call_sid, caller, Talk(s.openai_model), began_at, now, announces, briefing, closed, is_test)
            file.consent = Consent(s.keeps_words, announces)
            file.once = Once(ConsentedReservations(self.ledger, file))
            # Outcome rows are ordered by number. This relay does not know how many rows an earlier relay wrote. So it
            # begins with 1,000 times the UTC time in seconds, which is larger than the numbers of those rows.
            file.outcomes = 0 if rings else 1_000 * int(file.started_at.timestamp())
            self.files.add(file, now)
            self.rang.set()
        file.last_seen = now
        return file

    def voices_for(self, file: CallFile) -> WarmVoices | None:
        """The service whose voice speaks in this call. None if the model's own voice speaks."""
        return None if file.talk.voice_fault else self.voices

    def ring(self, file: CallFile, greeting: str | None, now: float) -> None:
        """A phone rings. Begin to open a model session for this call, and the voice service if there is one."""
        is_warmed = self.warm.ring(file.call_sid, lambda: self.wanted(file, file.talk.model, greeting=greeting), now)
        if is_warmed and (voices := self.voices_for(file)) is not None:
            voices.ring(file.call_sid, now)

    def rings_no_more(self, call_sid: CallSid) -> None:
        """No stream of this call will begin any more. Close the session and the voice that were opened for it."""
        self.warm.release(call_sid)
        if self.voices is not None:
            self.voices.release(call_sid)

    def wanted(self, file: CallFile, model: str, *, greeting: str | None = None) -> Wanted:
        """The settings with which a model session is opened for this call."""
        briefing, now = file.briefing, self.utc_now()
        local = now.astimezone(briefing.settings.tz)
        instructions = briefing.prompts.instructions(local.date(), file.caller.number)
        clock = f"It is {clock_words(local)} at the business as this session begins."
        instructions += "\n\n# Now\n" + " ".join(filter(None, [clock, briefing.closed_words(now)]))
        tools = tuple(self.registry.tools(without=briefing.unused_functions))
        silence_ms = VAD_SILENCE_MS if briefing.settings.answers_early else SILENCE_MS
        writes = self.voices_for(file) is not None
        return Wanted(model, instructions, tools, greeting, writes=writes, silence_ms=silence_ms)

    def _midnight(self, tz: ZoneInfo, rang_at: dt.datetime, limit_s: float) -> Midnight | None:
        """The end of the business's day, if it comes between the ring and the end of the call.

        A session knows only the date on which it was opened, and the first one is opened at the ring. So a session must
        be told the new date at midnight. If the date has changed since the ring, it is told at once.
        """
        now = self.utc_now()
        today = now.astimezone(tz).date()
        if rang_at.astimezone(tz).date() < today:
            return Midnight(0.0, f"{day_words(today)}, {today.year}")
        tomorrow = today + dt.timedelta(days=1)
        in_s = (dt.datetime.combine(tomorrow, dt.time(), tz) - now).total_seconds()
        return Midnight(in_s, f"{day_words(tomorrow)}, {tomorrow.year}") if in_s <= limit_s else None

    # Long because it lists all settings of a call, one on each line.
    def plan(self, file: CallFile) -> CallPlan:
        """What the machine knows before the call's next stream begins."""
        s, book = file.briefing.settings, file.briefing.phrases
        holding = self.registry.holding()
        phrases: dict[str, Phrase] = book.phrases()
        for text in {text for text in holding.values() if text}:
            kept = book.holding(text)
            if kept is not None:
                phrases[f"holding:{text}"] = kept
        silent: dict[str, str | None] = {
            f.name: (None if f.silent or f.holding is None else f"holding:{f.holding}") for f in self.registry
        }
        limits = Limits(self._left_s(file), s.max_silence_s, s.max_call_usd)
        return CallPlan(
            call_sid=file.call_sid,
            greeting=book.greeting(file.announces, file.closed),
            phrases=phrases,
            limits=limits,
            rules=file.briefing.prompts.rules,
            model=file.talk.model,
            model_hard=s.openai_model_hard,
            price=price_of(file.talk.model),
            price_hard=price_of(s.openai_model_hard),
            transcription_usd_per_minute=transcription_price_of(s.openai_transcribe_model),
            keep_words=s.keeps_words,
            answer_early=s.answers_early,
            voice=self._voice(file),
            holding=silent,
            human_available=file.briefing.human_is_there(self.utc_now()),
            human_changes_s=self._human_changes_s(file, limits.call_s),
            history=file.talk.history,
            first_seq=file.talk.next_seq,
            bill=file.talk.bill,
            early=file.talk.early,
            misunderstandings=file.talk.misunderstandings,
            failed_attempts=file.talk.failed_attempts,
            offered_human=file.talk.offered_human,
            midnight=self._midnight(s.tz, file.started_at, limits.call_s),
            notice_heard=file.consent.heard,
            words_refused=file.consent.refused,
            resumed=file.resumed_as,
        )

    def _voice(self, file: CallFile) -> Voice:
        voices = self.voices_for(file)
        return Voice() if voices is None else Voice(voices.source.name, voices.source.usd_per_character)

    def _left_s(self, file: CallFile) -> float:
        """How long the call's next stream may last, in seconds."""
        limit_s = file.briefing.settings.max_call_s
        return max(min(LAST_WORDS_S, limit_s), limit_s - file.talk.talked_s)

    def _human_changes_s(self, file: CallFile, limit_s: float) -> float | None:
        """In how many seconds HUMAN_HOURS begin or end next. None if that is after the end of the call."""
        now, is_there = self.utc_now(), file.briefing.human_is_there
        minutes = (60.0 * minute - now.second for minute in range(1, int(limit_s // 60) + 2))
        at_first = is_there(now)
        return next((in_s for in_s in minutes if is_there(now + dt.timedelta(seconds=in_s)) != at_first), None)
