"""Which model session serves a call, and the only order about sessions that is not answered yet.

Each order is answered by exactly one event. No other order is given before that:

    DialModel    no session serves: open one      ModelReady, or ModelLost with code 0
    DialBeside   open one and keep it             NextModelReady, or MoveFailed
    SwitchModel  let the kept session serve       ModelReady, or ModelLost with code 0

If a session ends by itself, ModelLost comes with the socket's code. For a kept session it is NextModelLost. When a call
begins, a DialModel is already given, because the first session is opened while the phone rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.call.actions import DialBeside, DialModel, ForgetNext, SwitchModel

Order = Literal["dial", "beside", "switch"]
# "expiry" and "escalation" are planned moves, which wait for a silent moment. The others are urgent: the caller waits.
Why = Literal["lost", "expiry", "escalation", "stuck", "deaf", "dead air"]


@dataclass(slots=True)
class Sessions:
    """The model sessions of one stream, as the machine knows them."""

    model: str  # The model of the session that serves, or that served last.
    count: int = 0  # How many sessions have served.
    serves: bool = False  # True while a session serves and seems to work.
    ready_at: float = 0.0
    order: Order | None = "dial"  # The order that is not answered yet.
    next_is_ready: bool = False  # True while a session is kept beside the present one.
    why: Why = "lost"  # The reason of the newest dial.
    is_urgent: bool = False  # The caller waits, so the next session serves as soon as it is ready.
    was_deaf: bool = False  # The session before this one did not hear the caller's last words.

    @property
    def is_moving(self) -> bool:
        """True while a session beside the present one is being opened, or is ready."""
        return self.next_is_ready or self.order in ("beside", "switch")

    @property
    def is_switching(self) -> bool:
        """True while the present session is replaced by the next."""
        return self.order == "switch"

    # Orders

    def dial(self, model: str, why: Why) -> DialModel | SwitchModel | None:
        """No session serves any more.

        The next one is the kept session, or the session that is being opened, or a new one.
        """
        self.serves, self.is_urgent = False, True
        if self.next_is_ready:
            return self.switch()
        if self.order is not None:
            return None
        self.order, self.why = "dial", why
        return DialModel(model, why)

    def dial_beside(self, model: str, why: Why, *, urgent: bool) -> DialBeside | None:
        """Another session is wanted. The present one serves until then. None if one is being opened or is ready."""
        self.is_urgent |= urgent
        if self.order is not None or self.next_is_ready:
            return None
        self.order, self.why = "beside", why
        return DialBeside(model, why)

    def switch(self) -> SwitchModel:
        """Let the kept session serve. The present one is closed."""
        self.order, self.next_is_ready, self.serves = "switch", False, False
        return SwitchModel()

    def forget_next(self) -> ForgetNext:
        """The kept session is not needed any more."""
        self.next_is_ready, self.is_urgent = False, False
        return ForgetNext()

    # The results of the orders

    def began(self, model: str, now: float) -> None:
        """A session serves from now on."""
        self.model, self.serves, self.ready_at = model, True, now
        self.count += 1
        if self.order in ("dial", "switch"):
            self.order = None
        self.is_urgent = self.is_urgent and self.is_moving

    def next_began(self) -> bool:
        """The session beside the present one is ready. False if none was being opened."""
        if self.order != "beside":
            return False
        self.order, self.next_is_ready = None, True
        return True

    def next_failed(self) -> bool:
        """The session beside the present one could not be opened, or was closed too early. False if there was none."""
        was_moving = self.order == "beside" or self.next_is_ready
        if self.order == "beside":
            self.order = None
        self.next_is_ready = False
        return was_moving

    def was_lost(self, code: int) -> bool:
        """A ModelLost came. False if it changes nothing, because another order waits for its answer."""
        if self.order in ("dial", "switch"):
            if code != 0:
                return False
            self.order = None
        self.serves = False
        return True

    def given_up(self) -> None:
        """Nothing more of the present session must be heard, although it is open."""
        self.serves = False

    def expires_no_sooner(self, ready_at: float) -> None:
        """A move away from the session failed. The next try comes as if the session had begun at `ready_at`."""
        self.ready_at = max(self.ready_at, ready_at)

    def relieved(self) -> None:
        """The caller hears an answer of the present session, so nobody waits for the next one any more."""
        if self.serves and self.is_urgent and not self.was_deaf:
            self.is_urgent = False
