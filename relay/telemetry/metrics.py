"""Defines the metrics that Prometheus reads. Each label has only few possible values.

No label value identifies a call or contains a phone number or words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_GREETING_MS = (5, 10, 20, 50, 100, 200, 350, 500, 1000, 2000, 4000)
# Buckets for times from the webhook. In a captured call, the socket opened 365 ms after the call was answered, and the
# first audio came 200 ms later (docs/protocol/twilio.md 1.3).
_WEBHOOK_MS = (200, 400, 500, 600, 700, 800, 1000, 1500, 2000, 3000, 5000)
_TURN_MS = (200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 5000)


class Metrics:
    """The metrics of one process. Each object has its own registry, because several relays may run in one test."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self.calls = Counter(
            "relay_calls",
            "Ended streams, and calls without a stream, by reason; a call that comes back counts again",
            ["reason"],
            registry=r,
        )
        self.live_calls = Gauge("relay_live_calls", "Calls with a stream at this moment", registry=r)
        self.rings = Counter("relay_rings", "Webhooks of ringing calls, by what was done", ["answer"], registry=r)
        self.greeting_ms = Histogram(
            "relay_greeting_ms",
            "Stream start to first audio written, by rung",
            ["rung"],
            buckets=_GREETING_MS,
            registry=r,
        )
        self.greeting_heard_ms = Histogram(
            "relay_greeting_heard_ms",
            "Stream start to the first mark, by rung",
            ["rung"],
            buckets=_GREETING_MS,
            registry=r,
        )
        self.webhook_greeting_ms = Histogram(
            "relay_webhook_greeting_ms",
            "Webhook to first audio written, by rung",
            ["rung"],
            buckets=_WEBHOOK_MS,
            registry=r,
        )
        self.webhook_greeting_heard_ms = Histogram(
            "relay_webhook_greeting_heard_ms",
            "Webhook to the first mark, by rung",
            ["rung"],
            buckets=_WEBHOOK_MS,
            registry=r,
        )
        self.greeting_slo_broken = Counter(
            "relay_greeting_slo_broken", "Greetings later than 500 ms, by rung", ["rung"], registry=r
        )
        self.turn_ms = Histogram(
            "relay_turn_ms", "Caller's last sound to each step of the answer", ["step"], buckets=_TURN_MS, registry=r
        )
        self.barge_ins = Counter("relay_barge_ins", "Answers that callers cut off", registry=r)
        self.false_stops = Counter("relay_false_stops", "Answers held and resumed", registry=r)
        self.model_errors = Counter(
            "relay_model_errors",
            "Error events of the model: harmful, or crossing (two messages crossed on their way: no harm)",
            ["kind"],
            registry=r,
        )
        self.functions = Counter("relay_functions", "Function calls, by name and end", ["name", "ok"], registry=r)
        self.functions_blocked = Counter(
            "relay_functions_blocked",
            "Functions that kept the whole process waiting, by name",
            ["function"],
            registry=r,
        )
        self.voices_lost = Counter(
            "relay_voices_lost", "Calls whose voice was lost, so that the model speaks by itself", ["fault"], registry=r
        )
        self.usd = Counter("relay_usd", "Dollars spent at OpenAI and ElevenLabs, also in test calls", registry=r)
        self.unknown_events = Counter("relay_unknown_events", "Messages of a kind not known here", ["peer"], registry=r)
        self.bad_messages = Counter("relay_bad_messages", "Messages that could not be read", ["peer"], registry=r)
        self.dropped_frames_ms = Counter(
            "relay_dropped_caller_ms", "Caller audio dropped while no model was there", registry=r
        )
        self.padded_ms = Counter("relay_padded_caller_ms", "Silence put in for missing caller audio", registry=r)
        self.loop_lag_ms = Gauge("relay_loop_lag_ms", "How late the loop's last wake-up was", registry=r)
        self.refused_webhooks = Counter("relay_refused_webhooks", "Webhooks not signed by Twilio", registry=r)
        self.refused_sockets = Counter("relay_refused_sockets", "Sockets refused, by why", ["why"], registry=r)
        self.recordings = Counter(
            "relay_recordings", "Recordings that were closed: whole, stopped (disk), after_a_crash", ["how"], registry=r
        )
        self.recordings_waiting = Gauge(
            "relay_recordings_waiting", "Closed recordings that the store has not taken yet", registry=r
        )
        self.recordings_deleted = Counter("relay_recordings_deleted", "Recordings deleted by age", registry=r)
        self.recordings_oldest_s = Gauge(
            "relay_recordings_oldest_seconds",
            "Age of the oldest recording, after the last deletion",
            ["where"],
            registry=r,
        )
        self.words_deleted = Counter(
            "relay_words_deleted", "Calls whose words and numbers were deleted by age", registry=r
        )
        self.words_oldest_s = Gauge(
            "relay_words_oldest_seconds",
            "Age of the oldest call whose words or number are kept, as of the last check",
            registry=r,
        )
        self.files_broken = Gauge(
            "relay_files_broken",
            "1 while the owner's files have a mistake, so that the earlier version stays in use",
            registry=r,
        )
        self.watchers = Gauge("relay_console_watchers", "Pages that watch running calls at this moment", registry=r)
        self.listeners = Gauge("relay_console_listeners", "Sockets that listen in at this moment", registry=r)
        self.orders = Counter(
            "relay_owner_orders",
            "Orders in running calls: put_through, hang_up, say; done, already, too_late",
            ["order", "answer"],
            registry=r,
        )
        self.files_taken_over = Counter(
            "relay_files_taken_over", "Changes of the owner's files that new calls use", registry=r
        )

    def watch_ledger(self, counts: Callable[[], object]) -> None:
        """Show the ledger's `Counts` (ledger/rows.py). They are read at each request for the metrics."""
        rows = Gauge(
            "relay_ledger_rows",
            "Rows: queued (in memory), spilled (on disk, until Postgres takes them), refused (set aside), lost",
            ["state"],
            registry=self._registry,
        )
        for state in ("queued", "spilled", "refused", "lost"):
            rows.labels(state).set_function(partial(lambda name: getattr(counts(), name), state))

    def watch_outbox(self, states: Callable[[], Mapping[str, int]]) -> None:
        """Show how much news for the owner waits, was sent, or could not be sent (dead)."""
        news = Gauge(
            "relay_outbox", "News for the owner, by state, as of the last check", ["state"], registry=self._registry
        )
        for state in ("waiting", "sent", "dead"):
            news.labels(state).set_function(partial(lambda name: states().get(name, 0), state))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
