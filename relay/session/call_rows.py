"""Writes the rows and the metrics of a call, and a last log line for each of its streams.

In the log line, turns, barge-ins, false stops, latencies, costs and the outcome are those of all streams so far. Its
other figures are those of one stream.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from statistics import quantiles

import structlog
import trio

from relay.call.actions import RecordTurn
from relay.call.call_config import PastTurn
from relay.call.consent import Words
from relay.call.machine import Ending, Machine, Next
from relay.call.vocabulary import ClaimDoubted, EndReason
from relay.functions.claims.patterns import LISTED
from relay.functions.outcome import at_a_word
from relay.ledger import rows
from relay.notify.news import Caller as NewsCaller
from relay.session.bills import cost_of
from relay.session.call_file import CallFile, Decision
from relay.session.context import Desk

log = structlog.get_logger()

# If the first sound comes later than this, the caller may hang up. The relay promises to be faster (docs/promises.md).
GREETING_SLO_MS = 500
# The longest list of deeds in an outcome, in characters. The owner's functions may name many deeds.
DEEDS_CHARS = 200


def call_row(file: CallFile) -> rows.CallRow:
    """The row that says who calls whom, and since when. This is known when the phone rings."""
    return rows.CallRow(
        call_sid=file.call_sid,
        started_at=file.started_at,
        from_number=file.caller.id.presented or None,
        to_number=file.caller.called or None,
        caller_state=file.caller.state or None,
        is_test=file.is_test or None,
    )


def _outcome_row(desk: Desk, file: CallFile, reason: EndReason) -> rows.OutcomeRow:
    fault, voice_fault = str(reason) if reason.is_fault else None, file.talk.voice_fault or None
    return replace(desk.outcome_row(file), end_reason=str(reason), fault=fault, voice_fault=voice_fault)


def _record(desk: Desk, file: CallFile, row: rows.OutcomeRow, then: Next) -> None:
    """Write an outcome row.

    A fault is news at once only if nothing comes `then`. Otherwise see `CallFile.untold_fault`.
    """
    if row.fault and then in (Next.RESUME, Next.HUMAN):
        desk.ledger.record(row)
    else:
        desk.record(row, file)


def record_without_stream(desk: Desk, file: CallFile, reason: EndReason) -> None:
    """Write the rows of a call that has no stream here.

    The call was refused, or its stream never opened, or it ended before its stream began, or the relay that ran it has
    died. Rows that the dead relay wrote stay as they are.
    """
    row = call_row(file)
    desk.ledger.record(replace(row, started_at=None) if reason is EndReason.RELAY_FAULT else row)
    _record(desk, file, replace(_outcome_row(desk, file, reason), outcome=file.refused or None), file.decision.then)
    desk.metrics_of(file).calls.labels(str(reason)).inc()
    log.warning("call.without_stream", reason=str(reason), because=file.refused)


class CallRows:
    """Writes the rows of one stream."""

    def __init__(self, desk: Desk, file: CallFile, machine: Machine, started_at: float) -> None:
        self._desk, self._file, self._machine = desk, file, machine
        self._metrics = desk.metrics_of(file)
        self._began_at = started_at  # When the session of this stream began, after Twilio's `start` (Trio clock).
        self._began_utc = desk.utc_now()
        if file.began_at is None:
            file.began_at = started_at
        # The time from the start of the call's first stream to the start of this stream.
        self._since_call_ms = round((started_at - file.began_at) * 1000)
        # The time from `_began_at` until the first audio was written to the caller's socket.
        self.greeting_ms: float | None = None
        self._held_rows: list[rows.Row] = []  # Rows with words. They wait for the notice.
        self._judged: set[int] = set()
        self._decision: Decision | None = None
        self._closed = False
        s = file.briefing.settings
        desk.ledger.record(
            replace(
                call_row(file),
                machine=s.machine,
                region=s.fly_region or None,
                image=s.fly_image_ref or None,
                model=s.openai_model,
                voice=machine.plan.voice.name or s.openai_voice,
                prompt_hash=file.briefing.prompts.version,
                process=desk.bill.process,
                resumed=file.resumes,
            )
        )

    def consent(self, heard_ms: int) -> None:
        """The caller has heard the notice. Write the rows that waited for this."""
        log.info("call.notice_heard", heard_ms=heard_ms)
        self._record_notice(heard_ms)
        self._let_go()

    def refuse(self, at_ms: int) -> None:
        """Write down that the caller does not want their words stored.

        Rows that waited are written without their words.
        """
        log.info("call.words_refused", at_ms=at_ms, caller_hears="the agent confirms it")
        at = self._began_utc + dt.timedelta(milliseconds=at_ms)
        self._desk.ledger.record(rows.ConsentRow(call_sid=self._file.call_sid, seq=self._file.streams, refused_at=at))
        self._let_go()

    def _let_go(self) -> None:
        held, self._held_rows = self._held_rows, []
        for row in held:
            self.record_words(row)

    def _record_notice(self, heard_ms: int | None) -> None:
        """Write down which notice was played, under which rule, and when it was heard.

        `heard_ms` is None if the stream ended before the caller had heard all of the notice.
        """
        notice = self._machine.plan.greeting.notice
        heard_at = None if heard_ms is None else self._began_utc + dt.timedelta(milliseconds=heard_ms)
        self._desk.ledger.record(
            rows.ConsentRow(
                call_sid=self._file.call_sid,
                seq=self._file.streams,
                announced=notice,
                version=hashlib.sha256(notice.encode()).hexdigest()[:16],
                rule=self._file.briefing.settings.record_notice,
                announced_at=self._began_utc,
                heard_at=heard_at,
            )
        )

    def record_words(self, row: rows.Row) -> None:
        """Write a row that holds somebody's words: now, or after the notice was heard, or without its words.

        The consent decides.
        """
        file = self._file
        caller = NewsCaller(file.caller_name, file.caller.id.presented)
        news = [] if file.is_test else self._desk.news.of(row, caller)
        match file.consent.words:
            case Words.KEPT:
                self._desk.ledger.record(row, *news)
            case Words.NEVER:
                self._desk.ledger.record(rows.without_words(row), *news)
            case Words.WAITING:
                self._held_rows.append(row)
                for one in news:  # The row may have to wait, but the owner must hear of an appointment at once.
                    self._desk.ledger.record(one)

    def turn(self, turn: RecordTurn) -> ClaimDoubted | None:
        """Write the row of a turn, and compare what the agent said in it with what functions did."""
        latency = asdict(turn.latency) if turn.latency is not None else None
        self._desk.ledger.record(
            rows.TranscriptRow(
                call_sid=self._file.call_sid,
                seq=turn.seq,
                role="caller" if turn.role == "caller" else "agent",
                item_id=turn.item_id,
                said=turn.said,
                heard=turn.heard,
                started_ms=self._since_call_ms + turn.started_ms,
                ended_ms=self._since_call_ms + turn.ended_ms,
                interrupted=turn.interrupted,
                gap=turn.gap,
                latency=latency,
            )
        )
        tally = self._file.tally
        # The row of a turn may be written again with more words. The turn's times count once.
        if latency is not None and turn.seq not in tally.turns:
            self._time(latency)
        tally.turns.add(turn.seq)
        return self._judge(turn)

    def _time(self, latency: dict[str, int | None]) -> None:
        """Add the steps of a turn's waterfall to the metrics."""
        for step, ms in latency.items():
            if ms is not None:
                self._metrics.turn_ms.labels(step).observe(ms)
        heard_ms = latency["first_heard"]
        if heard_ms is not None:
            self._file.tally.turn_ms.append(heard_ms)

    def _judge(self, turn: RecordTurn) -> ClaimDoubted | None:
        """Compare the model's words that the caller has heard with what functions did.

        Sentences that the relay says by itself are left out. The words are read from the conversation. The row may have
        no words, because they may not be stored.
        """
        call, deeds = self._machine.call, self._file.deeds
        if turn.role == "caller" or turn.seq in self._judged:
            return None
        spoken = call.conversation.turn(turn.item_id)
        if spoken is None or spoken.own:
            return None
        if not spoken.said or spoken.heard is None:
            return None  # The transcript comes later than the sound. This method is called again when it has come.
        self._judged.add(turn.seq)
        began_s = (call.arrived_at or 0.0) + spoken.started_ms / 1000
        before = deeds.unproved | deeds.untold
        correction = deeds.heard(spoken.heard, began_s, more_comes=call.answers.is_pending)
        if deeds.unproved | deeds.untold != before or correction is not None:
            claimed, untold = sorted(deeds.unproved), sorted(deeds.untold)
            log.warning("call.told_wrong", claimed=claimed, untold=untold, corrected=correction is not None)
        return ClaimDoubted(correction) if correction is not None else None

    def learn_greeting(self, mulaw: bytes) -> None:
        """Store the sound of a live greeting for later calls, if the model has said the right words."""
        said = next(
            (turn.said for turn in self._machine.conversation.turns() if turn.role == "agent" and not turn.own), ""
        )
        if self._file.briefing.phrases.learn(self._machine.plan.greeting.text, mulaw, said):
            log.info("greeting.learned", ms=len(mulaw) // 8)

    def greeted(self, now: float) -> None:
        """Measure the time of the greeting: the first audio of this stream was written to the caller's socket."""
        self.greeting_ms = round((now - self._began_at) * 1000, 1)
        figures, metrics = self._machine.figures, self._metrics
        metrics.greeting_ms.labels(str(figures.rung)).observe(self.greeting_ms)
        from_webhook_ms = self._from_webhook(self.greeting_ms)
        if from_webhook_ms is not None:
            metrics.webhook_greeting_ms.labels(str(figures.rung)).observe(from_webhook_ms)
        if self.greeting_ms > GREETING_SLO_MS:
            self._slo_broken(self.greeting_ms)

    def _slo_broken(self, after_ms: float) -> None:
        rung = str(self._machine.figures.rung)
        self._metrics.greeting_slo_broken.labels(rung).inc()
        log.error(
            "greeting.slo_broken",
            greeting_ms=after_ms,
            rung=rung,
            do="compare relay_loop_lag_ms; see docs/when-something-fails.md",
        )

    @property
    def is_decided(self) -> bool:
        """True once it is known how the stream ended."""
        return self._decision is not None

    def decide(self) -> None:
        """Write down how the stream ended and what comes next. This happens before the relay closes a socket.

        Words of the caller may still come until `close`. They can only change the summary.
        """
        if self._decision is not None:
            return
        machine, ending = self._machine, self._machine.ending
        self._decision = Decision(
            then=ending.then if ending is not None else Next.RESUME,
            reason=ending.reason if ending is not None else EndReason.RELAY_FAULT,
            why=machine.dialled,
            by_agent=machine.call.dialled_by_agent,
            by_owner=machine.call.dialled_by_owner,
            summary=_matter(ending, machine.conversation.past()),
        )
        self._file.decide(self._decision)

    def close(self) -> None:
        """The stream has ended. Write its outcome, its figures, and its last log line.

        There is no await in this method, so nothing can interrupt it. If this stream takes too long, the call's next
        stream calls `close` for it. If `close` is called again, it does nothing.
        """
        if self._closed:
            return
        self._closed = True
        self.decide()
        machine, file, desk = self._machine, self._file, self._desk
        decision = self._decision or Decision()
        reason = decision.reason or EndReason.RELAY_FAULT
        file.last_seen = trio.current_time()
        self._hand_on()
        if file.decision is decision:
            file.decision = replace(decision, summary=_matter(machine.ending, file.talk.history))
        desk.bill.ended(file.talk.bill.usd - machine.plan.bill.usd)
        held, self._held_rows = self._held_rows, []
        for row in held:  # The notice was not heard in this stream.
            desk.ledger.record(rows.without_words(row))
        if machine.notice_was_begun and not file.consent.heard:
            self._record_notice(None)
        if file.streams == 1:  # Only the first stream of a call has a greeting.
            self._record_greeting()
        p50, p95 = _percentiles(file.tally.turn_ms)
        self._record_outcome(decision, reason, p50, p95)
        self._count(reason)
        self._say(decision, p50, p95)

    def _record_outcome(self, decision: Decision, reason: EndReason, p50: float | None, p95: float | None) -> None:
        file, desk = self._file, self._desk
        _record(
            desk,
            file,
            replace(
                _outcome_row(desk, file, reason),
                seconds=round(trio.current_time() - file.rang_at, 1),
                turns=len(file.tally.turns),
                barge_ins=file.tally.barge_ins,
                cost_usd=Decimal(f"{file.talk.bill.usd:.6f}"),
                cost=cost_of(file.talk.bill),
                outcome=self._outcome(),
                latency_p50_ms=p50,
                latency_p95_ms=p95,
                verified=file.deeds.are_told_right,
                # This is read as late as possible. Since the stream's end, a human's phone may have rung.
                transfer_result=self._transfer_result(decision),
            ),
            decision.then,
        )

    def _record_greeting(self) -> None:
        figures = self._machine.figures
        self._desk.ledger.record(
            rows.CallRow(
                call_sid=self._file.call_sid,
                greeting_rung=str(figures.rung),
                greeting_ms=self.greeting_ms,
                greeting_heard_ms=figures.greeting_heard_ms,
                webhook_greeting_ms=self._from_webhook(self.greeting_ms),
                webhook_greeting_heard_ms=self._from_webhook(figures.greeting_heard_ms),
            )
        )

    def _hand_on(self) -> None:
        """Store the state with which the next stream of this call begins."""
        call, talk, tally = self._machine.call, self._file.talk, self._file.tally
        talk.talked_s += trio.current_time() - self._began_at
        talk.history, talk.next_seq = call.conversation.past(), call.conversation.next_seq
        talk.model = call.model
        talk.bill = call.meter.bill()
        talk.spent_usd = talk.bill.usd
        talk.early = call.early.governor
        talk.misunderstandings = call.figures.misunderstandings
        talk.failed_attempts = call.functions.failed_attempts
        talk.offered_human = call.offered_human
        tally.barge_ins += call.figures.barge_ins
        tally.false_stops += call.figures.false_stops

    def _transfer_result(self, decision: Decision) -> str | None:
        if decision.then is Next.HUMAN:
            return self._file.human.result
        return "closed" if self._machine.call.missed_human and not self._file.human.result else None

    def _from_webhook(self, ms: float | None) -> float | None:
        if ms is None or self._file.streams != 1:
            return None
        return round((self._began_at - self._file.rang_at) * 1000 + ms, 1)

    def _outcome(self) -> str:
        """The outcome in a few words. It says what functions did, not what the agent said about that."""
        deeds = self._file.deeds
        done = at_a_word(",".join(sorted(deeds.done - {LISTED})), DEEDS_CHARS)
        functions = map(self._desk.registry.get, self._file.tally.functions_done)
        told = "informed" if any(each is not None and each.has_news for each in functions) else "talked"
        doubt = "" if deeds.are_told_right else "unverified"
        return " ".join(part for part in (done or told, doubt) if part)

    def _count(self, reason: EndReason) -> None:
        metrics, figures = self._metrics, self._machine.figures
        metrics.calls.labels(str(reason)).inc()
        metrics.barge_ins.inc(figures.barge_ins)
        metrics.false_stops.inc(figures.false_stops)
        metrics.model_errors.labels("harmful").inc(figures.model_errors)
        metrics.model_errors.labels("crossing").inc(figures.crossings)
        self._desk.metrics.usd.inc(max(0.0, self._file.talk.bill.usd - self._machine.plan.bill.usd))
        waited_ms = round((trio.current_time() - self._began_at) * 1000, 1)
        if self.greeting_ms is None and waited_ms > GREETING_SLO_MS:
            self._slo_broken(waited_ms)  # In this stream, the caller has heard nothing at all.
        if figures.greeting_heard_ms is not None:
            metrics.greeting_heard_ms.labels(str(figures.rung)).observe(figures.greeting_heard_ms)
            from_webhook_ms = self._from_webhook(figures.greeting_heard_ms)
            if from_webhook_ms is not None:
                metrics.webhook_greeting_heard_ms.labels(str(figures.rung)).observe(from_webhook_ms)

    def _say(self, decision: Decision, p50: float | None, p95: float | None) -> None:
        file, figures, playout = self._file, self._machine.figures, self._machine.playout
        is_fault = decision.reason is not None and decision.reason.is_fault
        (log.error if is_fault else log.info)(
            "call.ended",
            reason=str(decision.reason),
            then=str(decision.then),
            seconds=round(trio.current_time() - self._began_at, 1),
            rung=str(figures.rung),
            greeting_ms=self.greeting_ms,
            greeting_heard_ms=figures.greeting_heard_ms,
            turns=len(file.tally.turns),
            barge_ins=file.tally.barge_ins,
            false_stops=file.tally.false_stops,
            turn_p50_ms=p50,
            turn_p95_ms=p95,
            gaps_ms=round(playout.gaps_ms),
            late_deltas=figures.late_deltas,
            model_errors=figures.model_errors,
            crossings=figures.crossings,
            reconnects=figures.reconnects,
            usd=round(file.talk.bill.usd, 4),
            **({"voice_fault": file.talk.voice_fault} if file.talk.voice_fault else {}),
            outcome=self._outcome(),
        )


def _matter(ending: Ending | None, past: Sequence[PastTurn]) -> str:
    """One sentence for the human: what the call is about.

    It is the model's summary, if there is one. Otherwise it is the caller's longest turn, because a short one
    ("Operator!") says nothing. In an emergency it is the words from which the relay knows of the emergency.
    """
    said = [turn.text for turn in past if turn.role == "user"]
    if ending is not None and ending.summary and (ending.reason is EndReason.EMERGENCY or ending.summary not in said):
        return ending.summary
    return max(reversed(said), key=len, default="")


def _percentiles(values: list[int]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    if len(values) == 1:
        return float(values[0]), float(values[0])
    cuts = quantiles(values, n=20, method="inclusive")
    return round(cuts[9]), round(cuts[18])
