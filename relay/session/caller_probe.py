"""Finds out whether the caller's socket is alive. A muted phone and a dead socket look the same: no message comes.

Twilio sends 50 frames a second, but none while the caller's phone is muted. So the relay sends a mark, which Twilio
sends back at once if nothing is playing. If no message comes within PROBE_LIMIT_S, the socket is dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# After this many seconds without any message, the relay sends a mark. Then it waits PROBE_LIMIT_S for the mark.
NOTHING_HEARD_S = 15.0
PROBE_LIMIT_S = 5.0
PROBE_MARK = "still there?"


@dataclass(slots=True)
class CallerProbe:
    """Remembers when a message came, and when a mark was sent. All times are of the Trio clock."""

    heard_at: float  # When the newest readable message came. Before the first one: when the stream began.
    asked_at: float | None = None

    def due(self, now: float) -> Literal["nothing", "ask", "dead"]:
        """What must be done now. `ask`: send a mark. `dead`: the mark did not come back in time."""
        if now - self.heard_at <= NOTHING_HEARD_S:
            return "nothing"
        if self.asked_at is None or self.asked_at < self.heard_at:
            self.asked_at = now
            return "ask"
        return "dead" if now - self.asked_at > PROBE_LIMIT_S else "nothing"
