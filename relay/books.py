"""What one stream of a call leaves behind: its rows, its figures, and its one closing line.

Upstream: call/session.py.  Downstream: ledger, metrics, log.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import asdict
from decimal import Decimal
from statistics import quantiles
from typing import Any

import msgspec
import structlog
import trio

from relay import desk as desks
from relay.call.machine import Machine, Next
from relay.call.vocabulary import ClaimDoubted, EndReason, ItemId, RecordTurn, RunFunction, Rung
from relay.functions import Outcome, TakeMessage, check, deeds_of
from relay.ledger import rows

log = structlog.get_logger()

# A caller who waits longer than this for the first sound hangs up (the field's own figure); ours to keep.
GREETING_SLO_MS = 500


class Books:
    """The books of one stream."""

    def __init__(self, desk: desks.Desk, file: desks.CallFile, machine: Machine) -> None:
        self._desk, self._file, self._machine = desk, file, machine
        self._began_at = trio.current_time()
        self._deeds: set[str] = set()
        self._untold: set[str] = set()
        self._unproved: set[str] = set()
        self._turn_ms: list[int] = []
        self._turns = 0
        self._judged: set[int] = set()
        s = desk.settings
        desk.ledger.record(
            rows.CallRow(
                call_sid=file.call_sid,
                started_at=file.started_at,
                from_number=file.caller_number or None,
                to_number=file.called_number or None,
                caller_state=file.caller_state or None,
                machine=s.machine,
                region=s.fly_region or None,
                image=s.fly_image_ref or None,
                model=s.openai_model,
                voice=s.openai_voice,
                prompt_hash=desk.prompts.version,
                resumed=file.resumes,
            )
        )
        if file.announces and file.resumed_as is None:
            notice = desk.prompts.notice
            desk.ledger.record(
                rows.ConsentRow(
                    call_sid=file.call_sid,
                    seq=0,
                    announced=notice,
                    version=hashlib.sha256(notice.encode()).hexdigest()[:16],
                    rule=s.record_notice,
                    announced_at=desk.utc_now(),
                )
            )

    def consent(self, heard_ms: int) -> None:
        """The notice was heard."""
        log.info("call.notice_heard", heard_ms=heard_ms)
        self._desk.ledger.record(rows.ConsentRow(call_sid=self._file.call_sid, seq=0, heard_at=self._desk.utc_now()))

    def turn(self, turn: RecordTurn) -> ClaimDoubted | None:
        """Write a turn; hold an agent's words against what was done."""
        latency = asdict(turn.latency) if turn.latency is not None else None
        self._desk.ledger.record(
            rows.TranscriptRow(
                call_sid=self._file.call_sid,
                seq=turn.seq,
                role="caller" if turn.role == "caller" else "agent",
                item_id=turn.item_id,
                said=turn.said,
                heard=turn.heard,
                started_ms=turn.started_ms,
                ended_ms=turn.ended_ms,
                interrupted=turn.interrupted,
                gap=turn.gap,
                latency=latency,
            )
        )
        if turn.latency is not None and turn.latency.first_heard is not None:
            self._turn_ms.append(turn.latency.first_heard)
            self._desk.metrics.turn_ms.observe(turn.latency.first_heard)
        if turn.seq in self._judged:
            return None
        self._turns += 1
        self._judged.add(turn.seq)
        if turn.role == "caller" or not turn.said:
            return None
        return self._judge(turn.heard or "")

    def _judge(self, said: str) -> ClaimDoubted | None:
        verdict = check(said, self._deeds)
        self._unproved -= verdict.withdrawn
        self._unproved |= verdict.unproved
        if not verdict.unproved or verdict.correction is None:
            return None
        log.warning("call.claim_without_deed", claims=sorted(verdict.unproved))
        return ClaimDoubted(verdict.correction)

    def function(self, action: RunFunction, outcome: Outcome) -> None:
        """Write a function call down."""
        file = self._file
        output = _table(outcome.output)
        arguments = _table(action.arguments)
        self._deeds |= deeds_of(action.name, outcome.ok, output)
        self._unproved -= self._deeds
        if outcome.ok:
            file.functions_done.append(action.name)
        self._desk.metrics.functions.labels(self._known(action.name), str(outcome.ok).lower()).inc()
        self._desk.ledger.record(
            rows.FunctionCallRow(
                call_sid=file.call_sid,
                function_call_id=action.function_call_id,
                name=action.name[:64],
                arguments=arguments,
                output=output,
                ok=outcome.ok,
                took_ms=round(outcome.took_s * 1000, 1),
            )
        )
        if isinstance(outcome.effect, TakeMessage):
            effect = outcome.effect
            self._desk.ledger.record(
                rows.MessageRow(
                    call_sid=file.call_sid,
                    seq=len(file.functions_done),
                    name=effect.name,
                    phone=effect.phone,
                    text=effect.message,
                    created_at=self._desk.utc_now(),
                    delivered=effect.delivered,
                )
            )
        fields: dict[str, object] = {"function": action.name[:64], "ok": outcome.ok, "ms": round(outcome.took_s * 1000)}
        if outcome.error:
            log.warning("function.failed", words=outcome.error, caller_hears="the agent says so and goes on", **fields)
        else:
            log.info("function.done", **fields)

    def _known(self, name: str) -> str:
        return name if self._desk.registry.get(name) is not None else "unknown"

    def learn_greeting(self, mulaw: bytes, item: ItemId) -> None:
        """A live greeting was spoken: keep it if it is the text, for the next call."""
        turn = self._machine.conversation.turn(item)
        greeting = self._machine.plan.greeting
        if turn is not None and self._desk.phrases.learn(greeting.text, mulaw, turn.said):
            log.info("greeting.learned")

    def close(self) -> None:
        """The stream is over: the outcome, the figures, the line. Synchronous, so that nothing can cut it off."""
        machine, file, desk = self._machine, self._file, self._desk
        ending = machine.ending
        reason = ending.reason if ending is not None else EndReason.RELAY_FAULT
        file.last_seen = trio.current_time()
        file.history = machine.conversation.past()
        file.next_seq = machine.conversation.next_seq
        spent_before, file.spent_usd = machine.plan.spent_usd, machine.meter.usd
        file.ended = reason
        file.then = ending.then if ending is not None else Next.RESUME
        file.summary = (ending.summary if ending is not None else "") or machine.conversation.last_said("caller")
        file.why = machine.dialled
        desk.day_usd += machine.meter.usd - spent_before
        p50, p95 = _percentiles(self._turn_ms)
        figures = machine.figures
        desk.ledger.record(
            rows.CallRow(
                call_sid=file.call_sid,
                greeting_rung=str(figures.rung),
                greeting_ms=figures.greeting_ms,
                greeting_heard_ms=figures.greeting_heard_ms,
                webhook_greeting_ms=self._from_webhook(figures.greeting_ms),
                webhook_greeting_heard_ms=self._from_webhook(figures.greeting_heard_ms),
            )
        )
        desk.ledger.record(
            rows.OutcomeRow(
                call_sid=file.call_sid,
                ended_at=desk.utc_now(),
                end_reason=str(reason),
                fault=str(reason) if reason.is_fault else None,
                seconds=round((desk.utc_now() - file.started_at) / dt.timedelta(seconds=1), 1),
                turns=self._turns,
                barge_ins=figures.barge_ins,
                cost_usd=Decimal(f"{machine.meter.usd:.6f}"),
                cost=dict(machine.meter.tokens),
                outcome=self._outcome(),
                latency_p50_ms=p50,
                latency_p95_ms=p95,
                verified=not self._unproved,
                transfer_result="asked" if file.then is Next.HUMAN else None,
            )
        )
        file.stream_closes()
        self._count(reason)
        self._say(reason, p50, p95)

    def _from_webhook(self, ms: int | None) -> float | None:
        if ms is None or self._file.streams != 1:
            return None
        return round((self._began_at - self._file.rang_at) * 1000 + ms)

    def _outcome(self) -> str:
        """From facts: what was done in this call, never what was said of it."""
        done = ",".join(sorted(self._deeds & {"booked", "cancelled", "moved", "message_taken"}))
        doubt = "unverified" if self._unproved else ""
        return " ".join(
            part for part in (done or ("informed" if self._file.functions_done else "talked"), doubt) if part
        )

    def _count(self, reason: EndReason) -> None:
        metrics, figures = self._desk.metrics, self._machine.figures
        metrics.calls.labels(str(reason)).inc()
        metrics.live_calls.set(self._desk.live_calls)
        metrics.barge_ins.inc(figures.barge_ins)
        metrics.false_stops.inc(figures.false_stops)
        metrics.usd.inc(max(0.0, self._machine.meter.usd - self._machine.plan.spent_usd))
        if figures.greeting_ms is not None:
            metrics.greeting_ms.labels(str(figures.rung)).observe(figures.greeting_ms)
            if figures.greeting_ms > GREETING_SLO_MS:
                metrics.greeting_slo_broken.inc()
                log.error("greeting.slo_broken", greeting_ms=figures.greeting_ms, rung=str(figures.rung))
        elif figures.rung is Rung.NONE:
            metrics.greeting_ms.labels("none").observe(0)
        if figures.greeting_heard_ms is not None:
            metrics.greeting_heard_ms.observe(figures.greeting_heard_ms)

    def _say(self, reason: EndReason, p50: float | None, p95: float | None) -> None:
        figures, playout = self._machine.figures, self._machine.playout
        (log.error if reason.is_fault else log.info)(
            "call.ended",
            reason=str(reason),
            then=str(self._file.then),
            seconds=round(trio.current_time() - self._began_at, 1),
            rung=str(figures.rung),
            greeting_ms=figures.greeting_ms,
            turns=self._turns,
            barge_ins=figures.barge_ins,
            false_stops=figures.false_stops,
            turn_p50_ms=p50,
            turn_p95_ms=p95,
            gaps_ms=round(playout.gaps_ms),
            late_deltas=figures.late_deltas,
            reconnects=figures.reconnects,
            usd=round(self._machine.meter.usd, 4),
            outcome=self._outcome(),
        )


def _table(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"unreadable_bytes": len(text)}
    return value if isinstance(value, dict) else {"value": value}


def _percentiles(values: list[int]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    if len(values) == 1:
        return float(values[0]), float(values[0])
    cuts = quantiles(values, n=20, method="inclusive")
    return round(cuts[9]), round(cuts[18])
