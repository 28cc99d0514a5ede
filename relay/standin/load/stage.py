"""What the two ends of the load (callers and model) share: the target, the figures, and each end's view of the other
end.

Each end knows the other end and the load only by these types.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.standin.load.loop import Loop


@dataclass(frozen=True, slots=True)
class Target:
    """The webhook's URL, and the Twilio account with which callers sign."""

    origin: str
    webhook_path: str = "/twilio/incoming"
    account_sid: str = "AC" + "0" * 32
    auth_token: str = "load"  # noqa: S105 -- the stand-in account's


@dataclass(slots=True)
class Window:
    """The figures of the step that is being measured. Times are in seconds.

    `up` and `down` are latencies. `dry_s` are gaps inside answers. `late_s` are delays of the load's own frames.
    """

    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    # The times from a speech_started during an answer to the answer's `clear`.
    clear: list[float] = field(default_factory=list)
    interruptions: int = 0
    dry_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    up_bytes: int = 0
    up_messages: int = 0

    def lateness(self, late_s: float) -> None:
        """Note by how much the load itself was late with a frame."""
        self.late_s.append(late_s)


class CallerEnd(Protocol):
    """What the model's end needs of a caller."""

    number: int
    began: float
    is_streaming: bool
    speaks: bool
    session: ModelEnd | None
    up_pending: deque[float]

    def hears_for_s(self, now: float) -> float:
        """How long the answer will still play at the caller."""


class ModelEnd(Protocol):
    """What the caller's end needs of a model session. Times are in seconds. 0.0 means that nothing is awaited."""

    caller: CallerEnd | None
    down_sent: float  # When the delta with a marker was sent that the caller has not received yet.
    stop_asked: float  # When speech_started was sent during an answer that was not cleared yet.

    def begin_turns(self, caller: CallerEnd) -> None:
        """Begin the turns of this session's caller."""


class Stage(Protocol):
    """What both ends need of the load."""

    target: Target
    loop: Loop
    run_id: int
    turn_s: float
    window: Window
    failures: list[str]

    @property
    def session_class(self) -> type[Any]:
        """The class of model sessions."""

    def new_session(self, session: ModelEnd) -> None:
        """The relay has opened a model session."""
