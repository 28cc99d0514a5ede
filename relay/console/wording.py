"""Says reasons, numbers, times and money in the owner's words. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

ENDINGS = {
    "caller_hung_up": "The caller hung up",
    "agent_said_goodbye": "The agent said goodbye",
    "hung_up_by_owner": "You hung up",
    "transferred": "Put through to a person",
    "emergency": "Emergency: put through to a person",
    "duration_cap": "The time limit was reached",
    "silence_cap": "The caller said nothing any more",
    "cost_cap": "The cost limit of a call was reached",
    "model_lost": "OpenAI's connection was lost",
    "model_unreachable": "OpenAI could not be reached",
    "caller_socket_lost": "The caller's connection was lost",
    "caller_socket_stalled": "The caller's side took no more audio",
    "no_caller_audio": "No audio came from the caller",
    "twilio_protocol": "The caller's side sent audio faster than time passes",
    "drained": "The relay was being restarted",
    "relay_fault": "A fault of the relay",
    "rejected": "Not taken: the number rang too often, or the person's phone forwarded the call back",
}
OUTCOMES = {
    "booked": "booked",
    "cancelled": "cancelled an appointment",
    "moved": "moved an appointment",
    "message_taken": "left a message",
    "informed": "got information",
    "talked": "talked",
    # Why a call did not get the agent (relay/server/).
    "draining": "no agent: the relay was being restarted",
    "capacity": "no agent: all lines were taken (MAX_CALLS)",
    "day_spend": "no agent: the day's money was spent (MAX_DAY_USD)",
    "too_often": "no agent: this number rang too often",
    "flood": "not taken: this number rang far too often",
    "own_number": "not taken: the person's phone forwarded the call back",
    "no_stream": "no agent: the audio connection with Twilio did not begin",
    "relay_lost": "cut off: the relay stopped during the call",
    "relay_broke": "no agent: an internal error of the relay",
}
NEWS = {
    "call_back": "A wanted call back",
    "message": "A message",
    "booking": "A booking",
    "fault": "A call that ended by a fault",
    "alarm": "An alarm",
    "digest": "The daily mail",
}
TRANSFERS = {
    "asked": "a person was rung",
    "accepted": "a person took the call",
    "answered": "a person took the call",
    "no_answer": "nobody took the call",
    "no-answer": "nobody took the call",
    "busy": "the line was busy",
    "declined": "the person declined",
    "failed": "the person could not be rung",
    "canceled": "the caller hung up while it rang",
    "caller_hung_up": "the caller hung up while it rang",
    "closed": "nobody was on duty",
    "shown": "a test: nobody was rung",
}
# The results of transfers in which nobody took the call, although the caller waited.
NOT_TAKEN = ("no_answer", "no-answer", "busy", "declined", "failed", "closed")
FUNCTIONS = {
    "lookup_hours": "looked up the hours",
    "check_availability": "looked for free times",
    "book_appointment": "booked",
    "cancel_or_move_appointment": "changed an appointment",
    "lookup_caller": "looked up the caller",
    "transfer_to_human": "asked for a person",
    "take_message": "took a message",
    "end_call": "ended the call",
    "wait_for_user": "waited",
}
STAGES = {
    "ringing": "Ringing",
    "greeting": "Greeting",
    "notice": "The notice is being said",
    "talk": "Talking",
    "function": "Looking something up",
    "holding": "The agent listens",
    "transferring": "Being put through",
    "human": "With a person",
    "ending": "Ending",
}
SLOW_MS = 1_500.0


def ending(reason: str | None) -> str:
    """The text for an end reason. An unknown reason is shown with blanks instead of underscores."""
    if not reason:
        return "Still running, or its end is not known"
    return ENDINGS.get(reason, reason.replace("_", " "))


def outcome(text: str | None) -> str:
    """The text for a call's outcome."""
    if not text:
        return ""
    done, _, doubt = text.partition(" ")
    words = [OUTCOMES.get(part, part.replace("_", " ")) for part in done.split(",") if part != "unverified"]
    if "unverified" in (done, doubt):
        words.append("the agent's words and deeds differ")
    return ", ".join(words)


def transfer(result: str | None) -> str:
    """The text for a transfer's result."""
    return TRANSFERS.get(result or "", (result or "").replace("_", " "))


def function(name: str) -> str:
    """What a function does, in the past tense. A function that the business has added is shown by its name."""
    return FUNCTIONS.get(name, name.replace("_", " "))


def wrong(row: Mapping[str, Any]) -> str:
    """What went wrong in a call, in one sentence. Empty if nothing did."""
    if row.get("fault"):
        return f"{ending(row['fault'])}."
    if row.get("transfer_result") in NOT_TAKEN:
        return f"The caller wanted a person: {transfer(row['transfer_result'])}."
    if row.get("verified") is False:
        return "The agent said something that was not done, or did something that it did not say."
    return ""


def short_number(number: str | None) -> str:
    """The last four digits of a phone number, or the last two of a short number. "hidden number" if there is none."""
    if not number:
        return "hidden number"
    return f"… {number[-4:]}" if len(number) > 8 else f"… {number[-2:]}"


def caller(row: Mapping[str, Any]) -> str:
    """The number of a call's caller, not in full."""
    if not row["from_number"] and row["words_deleted_at"]:
        return "hidden or deleted number"
    return short_number(row["from_number"])


def target(channel: str, email: str, webhook_url: str) -> str:
    """Where news should have gone. Only the host of a webhook is shown, because the rest of its URL may be secret."""
    where = {"email": email, "webhook": urlsplit(webhook_url).hostname if webhook_url else ""}.get(channel)
    by = "by mail" if channel == "email" else "by webhook"
    return f"{by} to {where}" if where else f"{by}, which is not set any more"


def usd(amount: Any) -> str:
    """An amount as text: in cents if it is below a dollar, otherwise in dollars."""
    if amount is None:
        return "–"
    amount = float(amount)
    if abs(amount) < 1:
        return f"{amount * 100:.1f} ¢"
    return f"${amount:,.2f}"


def seconds(value: Any) -> str:
    """A duration in minutes and seconds, like 3:07."""
    if value is None:
        return "–"
    whole = max(0, round(float(value)))
    return f"{whole // 60}:{whole % 60:02d}"


def place(ms: Any) -> str:
    """A position on the call's time line in minutes and seconds, like 0:07."""
    return seconds((ms or 0) / 1000)


def clock(moment: dt.datetime | None, tz: dt.tzinfo, today: dt.date) -> str:
    """A moment as an owner says it: "today 14:05", "yesterday 9:30", "Tue 24 Nov 16:00"."""
    if moment is None:
        return "–"
    local = moment.astimezone(tz)
    days = (today - local.date()).days
    time = f"{local.hour}:{local.minute:02d}"
    if days in (0, 1, -1):
        return f"{('today', 'yesterday', 'tomorrow')[days]} {time}"
    year = f" {local.year}" if local.year != today.year else ""
    return f"{local:%a} {local.day} {local:%b}{year} {time}"
