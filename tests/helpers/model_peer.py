"""Makes messages that tests send to the stand-in model, and a script for the model (BOOKING)."""

from __future__ import annotations

from typing import Any

from relay.standin.model.script import Reaction, Script
from tests.helpers.realtime_line import Line, one

SERVER_VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}


HOURS_TOOL = {
    "type": "function",
    "name": "lookup_hours",
    "description": "Opening hours of a day.",
    "parameters": {"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]},
}


def say(line: Line, text: str, **response: Any) -> list[dict[str, Any]]:
    """Send response.create with words that must be spoken exactly."""
    return line.send("response.create", response={"instructions": f"Say exactly: {text}", **response})


def listening(**detection: Any) -> dict[str, Any]:
    """The audio configuration of a session whose input has server VAD."""
    return {"input": {"turn_detection": {**SERVER_VAD, **detection}}}


def error(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The only error among the events."""
    found: dict[str, Any] = one(events, "error")["error"]
    return found


BOOKING = Script(
    reactions=(
        Reaction(after="lookup_hours", output="closed", say="We are closed."),
        Reaction(
            heard="what time do you open", say="Let me book that for you.", call="lookup_hours",
            arguments={"date": "{tomorrow}"}, then="We are open from {open} until {hours.close}.",
        ),
    )
)  # fmt: skip
