"""The state of one call at the stand-in Twilio: its legs, what the caller heard, Twilio's complaints, and who ended the
call.

Pure: the time is passed in. `exchange.py` uses it and does the I/O.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from relay.standin.twilio.caller_speech import CallerSpeech
from relay.standin.twilio.listening import Listener
from relay.standin.twilio.media_stream import Complaint, Level
from relay.standin.twilio.playback import Playback

API_VERSION = "2010-04-01"

SAY_S_PER_CHARACTER = 0.06
"""The speed of `<Say>`: about 1,000 characters a minute."""

EndedBy = Literal["caller", "relay", "human", "twilio"]
Status = Literal[
    "queued", "initiated", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"
]
# The kinds of events that a call logs. A scenario may wait for each kind.
EventKind = Literal[
    "agent_said",
    "agent_said_by_twilio",
    "answered",
    "bridged",
    "caller_pressed",
    "caller_said",
    "cleared",
    "complaint",
    "dial_ended",
    "dialled",
    "ended",
    "fallback",
    "first_media",
    "human_answered",
    "human_leg_ended",
    "human_pressed",
    "recorded",
    "recording_by_rest",
    "recording_started",
    "redirected_by_rest",
    "ringing",
    "stream_closed_by_relay",
    "stream_cut",
    "stream_started",
    "stream_stopped",
    "trouble",
    "twiml",
    "webhook_retried",
    "whisper",
]
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `at_s` is the time since the first ring."""

    at_s: float
    kind: EventKind
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """Words that Twilio itself read aloud (`<Say>`), and when (seconds of the clock)."""

    from_s: float
    to_s: float
    text: str


@dataclass(slots=True)
class Leg:
    """One telephone in a call."""

    sid: str
    parent_sid: str
    direction: Literal["inbound", "outbound-dial"]
    caller_id: str
    number: str
    status: Status
    started_s: float
    answered_s: float | None = None
    bridged_s: float | None = None
    ended_s: float | None = None
    words: list[Words] = field(default_factory=list)
    keys: str = ""

    def duration_s(self, now: float) -> int:
        """The whole seconds of the call since it was answered, as Twilio reports them. 0 if nobody answered."""
        if self.answered_s is None:
            return 0
        return round((now if self.ended_s is None else self.ended_s) - self.answered_s)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a phone number, as far as Twilio knows it. Empty fields are usual (docs/protocol/twilio.md 1.1)."""

    city: str = ""
    state: str = ""
    postcode: str = ""
    country: str = ""


class CallState:
    """Everything that is known about one call."""

    def __init__(
        self,
        *,
        account_sid: str,
        caller_number: str,
        called_number: str,
        place: Place,
        speech: CallerSpeech,
        now: float,
        epoch: datetime,
        rng: random.Random,
        on_event: OnEvent,
    ) -> None:
        self.account_sid, self.place, self.speech = account_sid, place, speech
        self.rng, self._on_event = rng, on_event
        self._epoch, self._epoch_s = epoch, now
        self.started_s = now
        self.leg = Leg(self.new_sid("CA"), "", "inbound", caller_number, called_number, "ringing", now)
        self.humans: list[Leg] = []
        # The spans in which the caller heard a human's phone ring, in seconds.
        self.ringing: list[tuple[float, float]] = []
        self.playback = Playback()
        self.listener = Listener(self.playback, now)
        self.events: list[Event] = []
        self.complaints: list[Complaint] = []
        self.ended_by: EndedBy | None = None

    @property
    def sid(self) -> str:
        """The CallSid of the caller's leg."""
        return self.leg.sid

    def new_sid(self, prefix: str) -> str:
        """A new SID in Twilio's form: two letters and 32 hex digits."""
        return f"{prefix}{self.rng.getrandbits(128):032x}"

    def wall(self, now: float) -> datetime:
        """The date and time of a moment of the clock."""
        return self._epoch + timedelta(seconds=now - self._epoch_s)

    def log(self, now: float, kind: EventKind, **fields: Any) -> None:
        """Keep an event, and pass it to `on_event`."""
        self.events.append(Event(now - self.started_s, kind, fields))
        self._on_event(kind, {"at_s": now - self.started_s, "call_sid": self.sid, **fields})

    def complain(self, now: float, code: int, rule: str, detail: str = "", level: Level = "error") -> None:
        """Add an entry to Twilio's debugger."""
        self.take_complaint(Complaint(code, rule, detail, now, level), now)

    def take_complaint(self, complaint: Complaint, now: float) -> None:
        """Add a complete entry to Twilio's debugger."""
        self.complaints.append(complaint)
        self.log(now, "complaint", code=complaint.code, text=str(complaint), level=complaint.level)

    def answer(self, now: float) -> None:
        """Answer the caller's leg, if it is not answered yet. Twilio does this at the first verb that is not
        <Reject>."""
        if self.leg.answered_s is None:
            self.leg.status, self.leg.answered_s = "in-progress", now
            self.log(now, "answered")

    def end(self, now: float, by: EndedBy, status: Status = "completed") -> None:
        """End the call. If this is called again, the first reason stays."""
        if self.ended_by is None:
            self.ended_by = by
            self.leg.status, self.leg.ended_s = status, now
            self.playback.stop(now)
            self.log(now, "ended", by=by, status=status)

    def read_out(self, leg: Leg, text: str, now: float) -> float:
        """Read a text aloud on one leg. Returns the time at which this will end (seconds)."""
        words = Words(now, now + len(text) * SAY_S_PER_CHARACTER, text)
        leg.words.append(words)
        if leg is self.leg:
            self.log(now, "agent_said_by_twilio", text=text)
        else:
            self.log(now, "whisper", text=text, to=leg.number)
        return words.to_s

    def quiet_for_s(self, now: float) -> float:
        """For how long the caller has heard no sound. Before the first sound, this is the time since the first ring."""
        self.listener.listen(now)
        last = self.listener.stretches[-1][1] if self.listener.stretches else self.started_s
        if self.leg.words:
            last = max(last, min(self.leg.words[-1].to_s, now))
        return max(0.0, now - last)

    def answer_begun_s(self, now: float) -> float | None:
        """When the last sound for the caller began (seconds of the clock). It may still be playing."""
        self.listener.listen(now)
        begun = [self.listener.stretches[-1][0]] if self.listener.stretches else []
        begun += [self.leg.words[-1].from_s] if self.leg.words else []
        return max(begun, default=None)

    # What Twilio posts

    def caller_fields(self) -> dict[str, str]:
        """The form fields of every webhook about the caller's leg, as captured (docs/protocol/twilio.md 1.1)."""
        leg, place = self.leg, self.place
        token = quote(json.dumps({"parentCallInfoToken": f"eyJ{leg.sid}"}, separators=(",", ":")), safe="")
        named = leg.caller_id.startswith("+")
        return {
            "Called": leg.number,
            "ToState": "CA",
            "CallerCountry": place.country,
            "Direction": leg.direction,
            "CallerState": place.state,
            "ToZip": "",
            "CallSid": leg.sid,
            "To": leg.number,
            "CallerZip": place.postcode,
            "ToCountry": "US",
            "StirVerstat": "TN-Validation-Passed-A" if named else "No-TN-Validation",
            "CallToken": token,
            "CalledZip": "",
            "ApiVersion": API_VERSION,
            "CalledCity": "",
            "CallStatus": leg.status,
            "From": leg.caller_id,
            "AccountSid": self.account_sid,
            "CalledCountry": "US",
            "CallerCity": place.city,
            "ToCity": "",
            "FromCountry": place.country,
            "Caller": leg.caller_id,
            "FromCity": place.city,
            "CalledState": "CA",
            "FromZip": place.postcode,
            "FromState": place.state,
        }

    def human_fields(self, leg: Leg) -> dict[str, str]:
        """The form fields of a webhook about a dialled leg."""
        return {
            "Called": leg.number,
            "ParentCallSid": leg.parent_sid,
            "ToState": "",
            "CallerCountry": "US",
            "Direction": leg.direction,
            "CallerState": "CA",
            "ToZip": "",
            "CallSid": leg.sid,
            "To": leg.number,
            "CallerZip": "",
            "ToCountry": "US",
            "CalledZip": "",
            "ApiVersion": API_VERSION,
            "CalledCity": "",
            "CallStatus": leg.status,
            "From": leg.caller_id,
            "AccountSid": self.account_sid,
            "CalledCountry": "US",
            "CallerCity": "",
            "ToCity": "",
            "FromCountry": "US",
            "Caller": leg.caller_id,
            "FromCity": "",
            "CalledState": "",
            "FromZip": "",
            "FromState": "CA",
        }
