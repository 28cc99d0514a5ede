"""What the two ends of the load share: the relay that is called, the figures, and each end's view of the other.

The generator makes the callers and the model's listener. Each end knows the other and the load only by these types.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.standin.load.loop import Loop


@dataclass(frozen=True, slots=True)
class Target:
    """The URL that the callers ring, and the account with which they sign."""

    origin: str
    webhook_path: str = "/twilio/incoming"
    account_sid: str = "AC" + "0" * 32
    auth_token: str = "load"  # noqa: S105 -- the stand-in account's


@dataclass(slots=True)
class Window:
    """What is gathered while a step is measured. Times are in seconds."""

    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    clear: list[float] = field(default_factory=list)  # From speech_started over an answer to its `clear`.
    interruptions: int = 0
    dry_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    up_bytes: int = 0
    up_messages: int = 0

    def lateness(self, late_s: float) -> None:
        """Note how late the load itself sent a frame."""
        self.late_s.append(late_s)


class CallerEnd(Protocol):
    """A caller, as the model's end sees it."""

    number: int
    began: float
    is_streaming: bool
    speaks: bool
    session: ModelEnd | None
    up_pending: deque[float]

    def hears_for_s(self, now: float) -> float:
        """How long the answer still plays at the caller."""


class ModelEnd(Protocol):
    """A model session, as the caller's end sees it. Times are in seconds. 0.0 means that nothing is awaited."""

    caller: CallerEnd | None
    down_sent: float  # When the delta with the marker was sent that the caller has not heard yet.
    stop_asked: float  # When speech_started was sent over an answer that the caller still hears.

    def begin_turns(self, caller: CallerEnd) -> None:
        """From now on this caller takes turns."""


class Stage(Protocol):
    """The load, as both ends see it."""

    target: Target
    loop: Loop
    run_id: int
    turn_s: float
    window: Window
    failures: list[str]

    @property
    def session_class(self) -> type[Any]:
        """The class that listens and answers in a session with the relay."""

    def new_session(self, session: ModelEnd) -> None:
        """The relay opened a model session."""
