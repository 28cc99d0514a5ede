"""Reports a call at the stand-in Twilio: figures, the words that were heard, and whether all was as expected."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import dsp
from relay.standin.scenario.scenario_file import ANY_NUMBER, Expect
from relay.standin.speech.audio_files import RATE_HZ, write_stereo
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import find, words
from relay.standin.twilio.call_state import CallState, Event, Leg
from relay.standin.twilio.caller_speech import Utterance
from relay.standin.twilio.exchange import LiveCall
from relay.standin.twilio.listening import BLOCK, is_loud
from relay.standin.twilio.media_stream import Complaint
from relay.standin.twilio.playback import samples_at
from relay.standin.twilio.ringing import with_ringing

GAP_LIMIT_S = 1.0
"""If the buffer is empty for longer than this, it is a pause between answers. A shorter time is a gap inside an
answer."""

RESUMED_S = 2.0
"""A held answer goes on within this time, if the caller's sound was no interruption (relay/call/turn_taking.py)."""

PAUSED_S = 5.0
"""If a model pauses in the middle of a sentence and goes on within this time, it is still the same answer."""

AROUND_S = 0.1
"""`recognise` gives the recogniser the wanted part of the audio and this much more on both sides. A cut this soon after
the part belongs to it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said, and when (seconds from the first ring). `text` is "" if no words were recognised."""

    who: Literal["caller", "agent", "twilio"]
    from_s: float
    to_s: float
    text: str
    cut: bool = False  # True if the relay stopped this turn.


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the relay's ledger and the stand-in business know of the call. The code that runs a scenario provides it."""

    end_reason: str = ""
    outcome: str = ""
    functions: Sequence[str] = ()
    transcript: Sequence[tuple[str, str]] = ()
    cut: int = 0  # The number of the agent's turns that were interrupted.
    transfer: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    bookings: int = 0
    messages: int = 0
    # How often each route of the stand-in business was requested.
    asked: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class CallReport:
    """The summary of one call. Times are in ms, unless the name has another unit."""

    scenario: str
    call_sid: str
    ended_by: str
    status: str
    duration_s: float
    greeting_ms: int | None  # The time from the stream's `start` to the first sound.
    pickup_ms: int | None  # The time from the first ring to the first sound.
    turns: list[Turn]
    latencies_ms: list[int]  # For each turn of the caller that was answered: see `_latencies`.
    stops_ms: list[int]  # For each interruption: from the caller's first sound to the agent's last.
    gaps_ms: list[int]  # The length of each gap: the buffer was empty while the agent spoke.
    silences_ms: list[int]  # The length of each silence before and inside the agent's answers: see `_silences`.
    complaints: list[Complaint]
    streams: int
    dialled: list[str]
    human_legs: list[str]
    whispers: list[str]
    read_out: list[str]
    bridged_s: float
    recordings: int
    failures: list[str]
    babbled: list[str]  # The caller's sentences that were babbled, because they have no clip.
    events: list[Event]
    evidence: Evidence | None
    caller_mulaw: bytes = b""
    heard_mulaw: bytes = b""

    @property
    def heard(self) -> list[str]:
        """The texts of the agent's turns, in order. Turns in which no words were recognised are left out."""
        return [turn.text for turn in self.turns if turn.who == "agent" and turn.text]

    def write_wav(self, path: Path) -> None:
        """Write the call as a WAV: the caller's speech on the left, what the caller heard on the right."""
        write_stereo(path, self.caller_mulaw, self.heard_mulaw)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON, without the audio, turns, events, evidence, babbled texts and notes."""
        names = "scenario call_sid ended_by status duration_s greeting_ms pickup_ms latencies_ms stops_ms gaps_ms"
        names += " silences_ms streams dialled human_legs whispers read_out bridged_s recordings failures heard"
        return {name: getattr(self, name) for name in names.split()} | {
            "complaints": [str(each) for each in self.complaints if each.level != "note"],
        }

    def check(self, expect: Expect) -> list[str]:
        """What was not as expected, in words. Empty if all was as expected."""
        return [*self.failures, *_check_call(self, expect), *_check_evidence(self, expect)]


def report(
    call: LiveCall,
    scenario: str,
    failures: list[str],
    evidence: Evidence | None,
    recordings: int,
    babbled: list[str],
    known_words: tuple[str, ...] = (),
) -> CallReport:
    """Sum up a call that has ended."""
    state = call.state
    ended_s = state.leg.ended_s if state.leg.ended_s is not None else state.started_s
    state.listener.listen(ended_s)
    first, count = samples_at(state.started_s), samples_at(ended_s) - samples_at(state.started_s)
    spoken = [said for said in state.speech.utterances if said.at < samples_at(ended_s)]
    stretches = state.listener.stretches
    first_sound = stretches[0][0] if stretches else None
    starts = [event.at_s for event in state.events if event.kind == "stream_started"]
    return CallReport(
        scenario=scenario,
        call_sid=state.sid,
        ended_by=state.ended_by or "",
        status=state.leg.status,
        duration_s=ended_s - state.started_s,
        greeting_ms=_ms(first_sound - state.started_s - starts[0]) if first_sound is not None and starts else None,
        pickup_ms=_ms(first_sound - state.started_s) if first_sound is not None else None,
        turns=_turns(state, spoken, known_words),
        latencies_ms=_latencies(spoken, stretches),
        stops_ms=_stops(spoken, stretches),
        gaps_ms=_gaps(state, ended_s),
        silences_ms=_silences(spoken, stretches),
        complaints=state.complaints,
        streams=len(starts),
        dialled=[leg.number for leg in state.humans],
        human_legs=[leg.status for leg in state.humans],
        whispers=[said.text for leg in state.humans for said in leg.words],
        read_out=[said.text for said in state.leg.words],
        bridged_s=sum(_bridged_s(leg) for leg in state.humans),
        recordings=recordings,
        failures=failures,
        babbled=babbled,
        events=state.events,
        evidence=evidence,
        caller_mulaw=state.speech.read(first, count),
        heard_mulaw=with_ringing(state.playback.read(first, count), state.started_s, state.ringing),
    )


def recognise(state: CallState, from_s: float, to_s: float, known_words: tuple[str, ...] = ()) -> str:
    """The words that the caller heard between two moments. Only clips and `known_words` are recognised.

    Returns "" if nothing was recognised. Gaps in the playback are left out, so an answer that was held and resumed is
    whole again.
    """
    return _words_in(state.playback.played(samples_at(from_s - AROUND_S), samples_at(to_s + AROUND_S)), known_words)


@functools.lru_cache(maxsize=256)  # The result is cached, because many calls begin with the same greeting.
def _words_in(mulaw: bytes, known_words: tuple[str, ...]) -> str:
    return ClipRecogniser(("agent", "human"), known_words).transcribe(dsp.decode(mulaw), RATE_HZ)


def _bridged_s(leg: Leg) -> float:
    return leg.ended_s - leg.bridged_s if leg.bridged_s is not None and leg.ended_s is not None else 0.0


def _turns(state: CallState, spoken: list[Utterance], known_words: tuple[str, ...]) -> list[Turn]:
    begun = state.started_s
    turns = [
        Turn("caller", said.sound_s[0] - begun, said.sound_s[1] - begun, said.text or f"({said.kind})")
        for said in spoken
    ]
    turns += [Turn("twilio", said.from_s - begun, said.to_s - begun, said.text) for said in state.leg.words]
    return sorted(turns + _agent_turns(state, known_words), key=lambda turn: turn.from_s)


def _agent_turns(state: CallState, known_words: tuple[str, ...]) -> list[Turn]:
    """The agent's turns that the caller heard. A turn that was held and resumed is one turn."""
    turns: list[Turn] = []
    for from_s, to_s in state.listener.stretches:
        text = recognise(state, from_s, to_s, known_words)
        cut = any(from_s <= each.at_s <= to_s + AROUND_S and each.lost_ms > 0 for each in state.playback.cuts)
        turn = Turn("agent", from_s - state.started_s, to_s - state.started_s, text, cut)
        before = turns[-1] if turns else None
        if before is not None and turn.from_s - before.to_s < _may_go_on_s(before):
            whole = recognise(state, before.from_s + state.started_s, to_s, known_words)
            if whole not in ("", text, before.text):
                turns[-1] = Turn("agent", before.from_s, turn.to_s, whole, cut)
                continue
        turns.append(turn)
    return turns


def _may_go_on_s(turn: Turn) -> float:
    """For how long after this turn the same answer may go on. If the turn was not cut, and its words were recognised,
    the answer has ended."""
    if turn.cut:
        return RESUMED_S
    return 0.0 if turn.text else PAUSED_S


def _latencies(spoken: list[Utterance], stretches: list[tuple[float, float]]) -> list[int]:
    """The times from the caller's last sound to the agent's first, for each turn that was answered before the caller's
    next sound. A cough is not a turn.
    """
    found = []
    for at, said in enumerate(spoken):
        if said.kind == "cough":
            continue
        last_sound = said.sound_s[1]
        until = spoken[at + 1].sound_s[0] if at + 1 < len(spoken) else float("inf")
        answer = next((from_s for from_s, _ in stretches if last_sound <= from_s < until), None)
        if answer is not None:
            found.append(_ms(answer - last_sound))
    return found


def _stops(spoken: list[Utterance], stretches: list[tuple[float, float]]) -> list[int]:
    """The time until the agent stopped, for each time that the caller said words while the agent spoke."""
    return [
        _ms(to_s - said.sound_s[0])
        for said in spoken
        if said.kind != "cough"
        for from_s, to_s in stretches
        if from_s < said.sound_s[0] < to_s
    ]


def _gaps(state: CallState, ended_s: float) -> list[int]:
    """The gaps: the buffer became empty in the middle of sound, and the sound went on within a second."""
    gaps = []
    for (_, dry_s), (again_s, _) in pairwise(state.playback.runs(ended_s)):
        cut = any(abs(each.at_s - dry_s) < 0.001 for each in state.playback.cuts)
        tail = state.playback.read(samples_at(dry_s) - 3 * BLOCK, 3 * BLOCK)
        loud = any(is_loud(tail[at : at + BLOCK]) for at in range(0, len(tail), BLOCK))
        if again_s - dry_s < GAP_LIMIT_S and loud and not cut:
            gaps.append(_ms(again_s - dry_s))
    return gaps


def _silences(spoken: list[Utterance], stretches: list[tuple[float, float]]) -> list[int]:
    """The silences from the caller's last sound to the agent's first sound, and between the agent's sounds after it. A
    silence after the agent's last sound does not count.
    """
    silences = []
    for at, said in enumerate(spoken):
        quiet_from = said.sound_s[1]
        until = spoken[at + 1].sound_s[0] if at + 1 < len(spoken) else float("inf")
        for from_s, to_s in stretches:
            if to_s <= quiet_from or from_s >= until:
                continue
            if from_s > quiet_from:
                silences.append(_ms(from_s - quiet_from))
            quiet_from = to_s
    return silences


def _check_call(got: CallReport, want: Expect) -> list[str]:
    wrong: list[str] = []
    _at_most(wrong, "the greeting", [] if got.greeting_ms is None else [got.greeting_ms], want.greeting_within_ms, True)
    _at_most(wrong, "an answer", got.latencies_ms, want.answer_within_ms, True)
    _at_most(wrong, "the stop at an interruption", got.stops_ms, want.stopped_within_ms, True)
    _at_most(wrong, "a gap in the agent's speech", got.gaps_ms, want.no_gap_over_ms, False)
    _at_most(wrong, "a silence", got.silences_ms, want.no_silence_over_ms, False)
    if want.within_s is not None and got.duration_s > want.within_s:
        wrong.append(f"the call took {got.duration_s:.1f} s, more than {want.within_s:g} s")
    if want.answered_beside is not None:
        wrong += _unanswered(got, want.answered_beside)
    _in_order(wrong, "heard", [_text(each) for each in want.heard], got.heard)
    wrong += [f"heard {each!r}" for each in want.not_heard if _somewhere(_text(each), got.heard)]
    _in_order(wrong, "read out by Twilio", want.read_out, got.read_out)
    if want.ended_by is not None and got.ended_by != want.ended_by:
        wrong.append(f"ended by {got.ended_by or 'nobody'}, not by {want.ended_by}")
    if want.dialled is not None and not _same_numbers(want.dialled, got.dialled):
        wrong.append(f"dialled {got.dialled or 'nobody'}, not {list(want.dialled) or 'nobody'}")
    if want.human_legs is not None and list(want.human_legs) != got.human_legs:
        wrong.append(f"the human's phones ended {got.human_legs}, not {list(want.human_legs)}")
    if want.whisper_contains is not None and not _somewhere(want.whisper_contains, got.whispers):
        wrong.append(f"the human was not told {want.whisper_contains!r} but {got.whispers or 'nothing'}")
    if want.bridged is not None and want.bridged != (got.bridged_s > 0):
        wrong.append("the caller was bridged to a human" if got.bridged_s else "the caller was not bridged to a human")
    _equal(wrong, "recordings", got.recordings, want.recordings)
    _equal(wrong, "media streams", got.streams, want.streams)
    codes = {each.code for each in got.complaints}
    wrong += [f"no complaint {code}" for code in want.complaints if code not in codes]
    if want.no_complaints:
        held = [each for each in got.complaints if each.level != "note" and each.code not in want.complaints]
        wrong += [f"Twilio complained: {each}" for each in held]
    return wrong


def _unanswered(got: CallReport, no_answers: Sequence[str]) -> list[str]:
    """What is wrong if nothing answered the caller's last words. Empty if they were answered.

    The sentences in `no_answers`, for example the goodbye, do not count as an answer.
    """
    said = next((turn for turn in reversed(got.turns) if turn.who == "caller"), None)
    if said is None:
        return ["the caller did not get to say anything"]
    streams = [event for event in got.events if event.kind in ("stream_started", "stream_stopped")]
    before = [event for event in streams if event.at_s <= said.from_s]
    if not before or before[-1].kind == "stream_stopped":
        return ["the agent had left before the caller said anything"]
    over_s = next((event.at_s for event in streams if event.at_s > said.to_s), math.inf)
    answers = [turn.text for turn in got.turns if turn.who == "agent" and said.from_s < turn.from_s < over_s]
    if not answers:
        return ["the agent did not answer"]
    held = [text for text in answers if text and not _beside(text, no_answers)]
    return [f"the agent did not answer but said {held}"] if len(held) == len(answers) else []


def _beside(text: str, others: Sequence[str]) -> str:
    """The text without the sentences that are in `others`."""
    left = f" {words(text)} "
    for own in sorted(others, key=len, reverse=True):
        left = left.replace(f" {words(own)} ", " ")
    return left.strip()


def _same_numbers(wanted: Sequence[str], dialled: Sequence[str]) -> bool:
    """True if these numbers were dialled, in this order. ANY_NUMBER stands for a number that is not known here."""
    same = [each in (ANY_NUMBER, number) for each, number in zip(wanted, dialled, strict=False)]
    return len(wanted) == len(dialled) and all(same)


def _check_evidence(got: CallReport, want: Expect) -> list[str]:
    asked = (want.end_reason, want.outcome, want.functions, want.bookings, want.messages, want.rows or None,
             want.said or None, want.not_said or None, want.cut, want.transfer, want.asked or None)  # fmt: skip
    if all(each is None for each in asked):
        return []
    if got.evidence is None:
        return ["the relay's ledger cannot be seen from here, so that nothing in it could be checked"]
    wrong: list[str] = []
    _equal(wrong, "end reason", got.evidence.end_reason, want.end_reason)
    _equal(wrong, "outcome", got.evidence.outcome, want.outcome)
    _equal(wrong, "turns cut off", got.evidence.cut, want.cut)
    _equal(wrong, "transfer", got.evidence.transfer, want.transfer)
    _equal(wrong, "bookings", got.evidence.bookings, want.bookings)
    _equal(wrong, "messages", got.evidence.messages, want.messages)
    for route, times in want.asked.items():
        _equal(wrong, f"the business was asked {route}", got.evidence.asked.get(route, 0), times)
    if want.functions is not None and sorted(want.functions) != sorted(got.evidence.functions):
        wrong.append(f"functions ran: {list(got.evidence.functions)}, not {list(want.functions)}")
    spoken = [text for _, text in got.evidence.transcript]
    _in_order(wrong, "in the transcript", want.said, spoken)
    wrong += [f"in the transcript: {each!r}" for each in want.not_said if _somewhere(each, spoken)]
    for table, rows in want.rows.items():
        have = got.evidence.rows.get(table, 0)
        if have < int(rows[:-1]) if isinstance(rows, str) and rows.endswith("+") else have != int(rows):
            wrong.append(f"{have} rows in {table}, not {rows}")
    return wrong


def _at_most(wrong: list[str], what: str, values: list[int], limit_ms: int | None, needed: bool) -> None:
    if limit_ms is None:
        return
    if needed and not values:
        wrong.append(f"there was no sign of {what}")
    wrong += [f"{what} took {value} ms, more than {limit_ms} ms" for value in values if value > limit_ms]


def _in_order(wrong: list[str], what: str, wanted: Sequence[str], got: Sequence[str]) -> None:
    """Check that all wanted texts came, in this order."""
    rest, at = " ".join(words(text) for text in got), 0
    for text in wanted:
        found = rest.find(words(text), at)
        if found < 0:
            wrong.append(f"not {what}: {text!r}; {what} was: {list(got)}")
        else:
            at = found + len(words(text))


def _somewhere(text: str, texts: Sequence[str]) -> bool:
    return any(words(text) in words(each) for each in texts)


def _text(name: str) -> str:
    """The text of a clip, if this is a clip's id. Any other text is returned unchanged."""
    clip = find(name)
    return clip.text if clip is not None else name


def _equal(wrong: list[str], what: str, have: object, want: object) -> None:
    if want is not None and have != want:
        wrong.append(f"{what}: {have}, not {want}")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
