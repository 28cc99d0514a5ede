"""Defines the rows that the ledger keeps.

Rule 1: None in a field means "not known yet". It changes nothing in the table. Any other value replaces the old one. So
        a row may be recorded early with few fields, and later again, with the same identity and the other fields.
Rule 2: the identity of most rows is the call's SID and a position in the call. Writing a row twice never changes its
        identity, so it is one row in the table.
Rule 3: a row is encoded when it is recorded. A dict that is changed afterwards does not change the row.

The columns of each table have the names of these fields. tests/ledger/test_postgres.py compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import ClassVar, Literal, TypeVar

import msgspec

Json = dict[str, object]
Role = Literal["caller", "agent", "system"]
FunctionState = Literal["reserved", "done", "failed", "unknown"]
Identity = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A call: who called, and how the call was greeted. Phone numbers are personal data, so they never go into the
    log."""

    statement: ClassVar[str] = "keep_calls"
    call_sid: str
    started_at: datetime | None = None
    from_number: str | None = None
    to_number: str | None = None
    caller_state: str | None = None  # Twilio's field FromState.
    machine: str | None = None
    region: str | None = None
    image: str | None = None
    model: str | None = None
    voice: str | None = None
    prompt_hash: str | None = None
    greeting_rung: str | None = None
    greeting_ms: float | None = None  # The time from the stream's `start` to the first audio that was written, in ms.
    greeting_heard_ms: float | None = None  # The time from the stream's `start` to the greeting's first mark, in ms.
    webhook_greeting_ms: float | None = None  # Like greeting_ms, but from the webhook of the ringing call, in ms.
    webhook_greeting_heard_ms: float | None = None  # Like greeting_heard_ms, but from this webhook, in ms.
    resumed: int | None = None  # How many times a new stream took over the call.
    process: str | None = None  # The id of the relay process that carries the call.
    spent_usd: Decimal | None = None  # The dollars that a running call has cost so far.
    spent_at: datetime | None = None
    is_test: bool | None = (
        None  # True for a test call from the console, which no statistics count. None for a phone call.
    )

    def identities(self) -> tuple[Identity, ...]:
        return (("calls", self.call_sid),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptRow:
    """One turn: what was said, and how much of it was heard. Times are ms since the call's first stream began."""

    statement: ClassVar[str] = "keep_transcripts"
    call_sid: str
    seq: int
    role: Role
    item_id: str | None = None
    said: str | None = None
    heard: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    interrupted: bool | None = None
    gap: bool | None = None  # True if words are missing in this turn.
    latency: Json | None = None  # How long each step of this turn took: name -> ms.

    def identities(self) -> tuple[Identity, ...]:
        return (("transcripts", self.call_sid, self.seq),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCallRow:
    """One function call of the model. `key` is its idempotency key.

    A function that only reads has no key. A repeat of an earlier function call has none in the table.
    """

    statement: ClassVar[str] = "keep_function_calls"
    call_sid: str
    function_call_id: str
    name: str
    arguments: Json | None = None
    output: Json | None = None
    ok: bool | None = None
    took_ms: float | None = None
    key: str | None = None
    state: FunctionState | None = None

    def identities(self) -> tuple[Identity, ...]:
        row: Identity = ("function_calls", self.call_sid, self.function_call_id)
        return (row,) if self.key is None else (row, ("key", self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The result of a reserved function. The state `done` is never replaced."""

    statement: ClassVar[str] = "settle_function_calls"
    key: str
    state: FunctionState
    ok: bool
    output: Json

    def identities(self) -> tuple[Identity, ...]:
        return (("key", self.key),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """How a call ended and what it cost.

    If a call has several outcomes, the one with the highest `seq` counts. `ended_at` does not decide this, because the
    clock may be set back.
    """

    statement: ClassVar[str] = "keep_call_outcomes"
    call_sid: str
    ended_at: datetime
    end_reason: str | None = None
    fault: str | None = None
    seconds: float | None = None
    turns: int | None = None
    barge_ins: int | None = None
    cost_usd: Decimal | None = None
    cost: Json | None = None  # For each kind of cost: the amount that was counted, and the dollars.
    outcome: str | None = None  # The result of the call: which functions succeeded.
    summary: str | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    verified: bool | None = None  # False if the agent said that it did something and no function did it.
    dialled: str | None = None  # The number of the human that was called. It never goes into the log.
    transfer_result: str | None = None
    process: str | None = None  # The id of the relay process that recorded this row.
    seq: int | None = None  # This row's number among the outcomes of this call.
    voice_fault: str | None = None  # Why the voice service that spoke the model's text was lost.

    def identities(self) -> tuple[Identity, ...]:
        return (("call_outcomes", self.call_sid),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRow:
    """What was announced about recording, under which rule, and when it was heard."""

    statement: ClassVar[str] = "keep_consents"
    call_sid: str
    seq: int
    announced: str | None = None
    version: str | None = None  # The hash of the text that was announced.
    rule: str | None = None
    announced_at: datetime | None = None
    heard_at: datetime | None = None
    refused_at: datetime | None = None  # When the caller asked that no words are kept. No later words are kept.

    def identities(self) -> tuple[Identity, ...]:
        return (("consents", self.call_sid, self.seq),)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message that a caller left for the business. The row with `seq` 0 may instead ask for a call back."""

    statement: ClassVar[str] = "keep_messages"
    call_sid: str
    seq: int
    name: str | None = None
    phone: str | None = None
    text: str | None = None
    created_at: datetime | None = None
    delivered: bool | None = None

    def identities(self) -> tuple[Identity, ...]:
        return (("messages", self.call_sid, self.seq),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """One file of a call's recording. Each stream of a call makes one file.

    `name` is the file's name, on disk and in S3.
    """

    statement: ClassVar[str] = "keep_recordings"
    name: str
    call_sid: str
    started_ms: int | None = None  # Where the file starts on the call's time line, in ms.
    length_ms: int | None = None
    stored_in: str | None = None  # "disk" (of the machine in calls.machine), or a store's URL.
    n_bytes: int | None = None
    key_id: str | None = None  # The id of the key in RECORDING_KEY that decrypts the file.
    ended: str | None = None  # "whole", "closed after a crash", or why recording stopped.
    peaks_step_ms: int | None = None  # How much time each pair of peaks covers, in ms.
    # Pairs of bytes, left and right, as hexadecimal text for Postgres ("\\x..."). 0 is silence, 127 the loudest.
    peaks: str | None = None
    created_at: datetime | None = None
    deleted_at: datetime | None = None

    def identities(self) -> tuple[Identity, ...]:
        return (("recordings", self.name),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPauseRow:
    """A part of a call that was not recorded. In it both channels of the recording are silent, or there is no file."""

    statement: ClassVar[str] = "keep_recording_pauses"
    call_sid: str
    from_ms: int  # On the call's time line.
    to_ms: int | None = None  # None means the call's end.
    why: str | None = None

    def identities(self) -> tuple[Identity, ...]:
        return (("recording_pauses", self.call_sid, self.from_ms),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One item of news for the owner, for one channel.

    A call or an alarm writes it once. relay/notify sends it, and updates its state.
    """

    statement: ClassVar[str] = "keep_outbox"
    news: str  # The id of the news. It is the same if the news is recorded or sent twice.
    channel: str
    kind: str
    body: Json
    created_at: datetime
    call_sid: str | None = None

    def identities(self) -> tuple[Identity, ...]:
        return (("outbox", self.news, self.channel),)


Row = (
    CallRow
    | TranscriptRow
    | FunctionCallRow
    | Settlement
    | OutcomeRow
    | ConsentRow
    | MessageRow
    | RecordingRow
    | RecordingPauseRow
    | OutboxRow
)
AnyRow = TypeVar(
    "AnyRow",
    CallRow,
    TranscriptRow,
    FunctionCallRow,
    OutcomeRow,
    ConsentRow,
    MessageRow,
    RecordingRow,
    RecordingPauseRow,
    OutboxRow,
)

ROW_TYPES: tuple[type[Row], ...] = (
    CallRow,
    TranscriptRow,
    FunctionCallRow,
    Settlement,
    OutcomeRow,
    ConsentRow,
    MessageRow,
    RecordingRow,
    RecordingPauseRow,
    OutboxRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """A greeting that was rendered in the agent's voice. `key` is a hash of everything that changes its sound."""

    key: str
    text: str
    mulaw: bytes  # Mu-law at 8 kHz, mono.
    ms: int
    voice: str
    model: str
    transcript: str
    loudness_dbfs: float
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCall:
    """What the ledger knows of a call when its stream has ended and Twilio asks what comes next."""

    call_sid: str
    resumed: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None  # None if no outcome was recorded. Then the process with the call has died.
    end_reason: str | None = None
    transfer_result: str | None = None
    outcome_seq: int = 0


@dataclass(frozen=True, slots=True)
class Reserved:
    """This process has reserved the key. It must run the function, and then call `settle`."""


@dataclass(frozen=True, slots=True)
class Already:
    """The key was reserved before. In the state `done`, return `output`.

    In the state `reserved`, another relay runs the function now, or has died while it ran the function.
    """

    state: FunctionState
    ok: bool | None
    output: Json | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The key could not be reserved. `words` says why.

    Now only the file of this call (relay/session/call_file.py) and the header Idempotency-Key of the request to the
    backend prevent a second booking.
    """

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The numbers of rows since the start. recorded = written + queued + spilled + refused + lost.

    Rows that an earlier process left on disk are not in `recorded`, but in the other numbers. A written row whose file
    could not be removed counts as spilled too. Each recorded version of a row counts.
    """

    recorded: int
    written: int
    queued: int
    spilled: int  # Rows that are on disk now, and not in Postgres yet.
    refused: int  # Rows that Postgres will never take (they are kept in `refused-*.jsonl`), or that are not JSON.
    lost: int  # Rows that neither Postgres nor the disk took.


def encode(row: Row) -> bytes:
    """A row as JSON, with its fields as keys. Raises msgspec's error for a value that is not JSON."""
    try:
        encoded = msgspec.json.encode(row)
    except UnicodeEncodeError:
        return msgspec.json.encode(_storable(msgspec.to_builtins(row)))
    if b"\\u0000" in encoded:
        return msgspec.json.encode(_storable(msgspec.to_builtins(row)))
    return encoded


# UTF-8 cannot hold half of a surrogate pair, and Postgres' text and jsonb cannot hold NUL. The model's transcripts may
# have both, so both are replaced.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_BARE = frozenset({"status", "done", "id"})


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _UNSTORABLE.sub("�", value)
    if isinstance(value, dict):
        return {_storable(name): _storable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value


def without_words(row: Row) -> Row:
    """The row without spoken words, for calls whose words may not be stored. Outcomes, times and costs stay.

    Two things are kept: a message for the business, because the caller asked for it, and of the result of a function
    with a key those fields that have no words. Without the result, a repeat would run the function again.
    """
    if isinstance(row, TranscriptRow):
        return replace(row, said=None, heard=None)
    if isinstance(row, FunctionCallRow):
        return replace(row, arguments=None, output=bare(row.output) if row.key and row.output is not None else None)
    if isinstance(row, OutcomeRow):
        return replace(row, summary=None)
    return row


def bare(output: Json) -> Json:
    """The fields of a function's result that a repeat on another machine needs. They hold no words of the caller."""
    return {name: value for name, value in output.items() if name in _BARE}


def merge(old: AnyRow, new: AnyRow) -> AnyRow:
    """Return `old` with all values of `new` that are not None. sql/statements.sql does the same in Postgres.

    If `old` has a higher `resumed` (of a CallRow) or a higher `seq` (of an OutcomeRow), the values of `old` replace
    those of `new`. The result of a function in the state `done` is not replaced. Only its output is replaced if `new`
    is in the state `done`, too: then `new` has the words that could not be stored before the notice was heard.
    """
    if isinstance(old, OutcomeRow) and isinstance(new, OutcomeRow) and (new.seq or 0) < (old.seq or 0):
        old, new = new, old
    if isinstance(old, CallRow) and isinstance(new, CallRow) and (new.resumed or 0) < (old.resumed or 0):
        old, new = new, old
    known = {f.name: value for f in fields(new) if (value := getattr(new, f.name)) is not None}
    if isinstance(old, FunctionCallRow) and isinstance(new, FunctionCallRow) and old.state == "done":
        for name in ("state", "ok") if new.state == "done" else ("state", "ok", "output"):
            if getattr(old, name) is not None:
                known.pop(name, None)
    return replace(old, **known)


def seen(call_sid: str, stored: SeenCall | None, pending: Iterable[CallRow | OutcomeRow]) -> SeenCall | None:
    """What is known of a call: `stored`, which Postgres has, changed by the rows `pending`, in order."""
    known = stored
    for row in pending:
        if row.call_sid != call_sid:
            continue
        known = known or SeenCall(call_sid=call_sid)
        if isinstance(row, CallRow):
            known = replace(
                known,
                resumed=max(known.resumed, row.resumed or 0),
                started_at=row.started_at or known.started_at,
            )
        else:
            said = (row.end_reason, row.transfer_result)
            before = (known.end_reason, known.transfer_result)
            is_newer = known.ended_at is None or (row.seq or 0) >= known.outcome_seq
            end_reason, transfer_result = (
                (new or old) if is_newer else (old or new) for new, old in zip(said, before, strict=True)
            )
            known = replace(
                known,
                ended_at=row.ended_at if is_newer else known.ended_at,
                outcome_seq=max(row.seq or 0, known.outcome_seq),
                end_reason=end_reason,
                transfer_result=transfer_result,
            )
    return known


def day_bounds(day: date, tz: tzinfo) -> tuple[datetime, datetime]:
    """The first moment of a day in a time zone, and of the next day.

    The day has 23 to 25 hours, because clocks are changed twice a year.
    """
    return datetime.combine(day, time(), tz), datetime.combine(day + timedelta(days=1), time(), tz)
