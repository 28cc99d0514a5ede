"""The cases of bench.greeting: which greeting is stored and what is broken when the phone rings."""

from __future__ import annotations

from dataclasses import dataclass

from relay.standin.model.script import Faults, Script
from relay.standin.speech.voice import Voice

# A usual model: 150 ms to the open socket, 300 to 700 ms to the first delta (docs/protocol/openai.md 3).
CONNECT_MS = 150.0
ORDINARY = Script(connect_ms=CONNECT_MS)
# The session opens at once. A pool of sessions that are always open could be no faster.
POOLED = Script(connect_ms=0.0)
DEAD = Script(faults=Faults(connect_refused=True))
HUNG = Script(faults=Faults(silent_after_connect=True))


class Hoarse(Voice):
    """A voice that is silent when it must speak only one of the two parts of the greeting.

    The relay renders these parts one by one, and refuses silence.
    """

    def say(self, text: str) -> bytes:
        sound = super().say(text)
        is_part = text.startswith("Hello") is not text.endswith("How can I help you?")
        return b"\xff" * len(sound) if is_part else sound


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    script: Script
    kept: bool  # the greeting was rendered before the relay started
    postgres: bool = True
    hoarse: bool = False  # the model has the voice Hoarse, so no greeting can be kept and every greeting is live
    fresh: bool = False  # every call is the first call of a relay that has just started
    goal_ms: float | None = None  # the goal for the p99 at 20 calls at once


CASES = (
    Case("kept greeting", ORDINARY, kept=True, goal_ms=20.0),
    Case("no kept greeting", ORDINARY, kept=False, hoarse=True),
    Case("no kept greeting, session pooled", POOLED, kept=False, hoarse=True),
    Case("model dead, kept greeting", DEAD, kept=True),
    Case("model dead, no kept greeting", DEAD, kept=False),
    Case("model hangs after 101, kept greeting", HUNG, kept=True),
    Case("model hangs after 101, no kept greeting", HUNG, kept=False),
    Case("Postgres down, kept greeting on disk", ORDINARY, kept=True, postgres=False),
    Case("first call after start, kept greeting", ORDINARY, kept=True, fresh=True),
    Case("first call after start, nothing kept", ORDINARY, kept=False, fresh=True),
)
