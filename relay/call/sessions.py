"""Knows which model session a call uses, and which order about sessions is being carried out.

Each order has exactly one event as its result. No other order is given before this event has come:

    order        what it does                                   result
    DialModel    opens a session because there is none          ModelReady, or ModelLost with code 0
    DialBeside   opens a session and keeps it ready             NextModelReady, or MoveFailed
    SwitchModel  replaces the present session by the kept one   ModelReady, or ModelLost with code 0

If the present session ends by itself, ModelLost comes with the code of its socket. If the kept session ends by itself,
NextModelLost comes. At the beginning of a call, DialModel counts as ordered, because the session is opened when the
phone rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.call.actions import DialBeside, DialModel, ForgetNext, SwitchModel

Order = Literal["dial", "beside", "switch"]
# "expiry" and "escalation" are planned moves, which wait until nobody speaks. All other reasons are urgent: the next
# session is used as soon as it is ready.
Why = Literal["lost", "expiry", "escalation", "stuck", "deaf", "dead air"]


@dataclass(slots=True)
class Sessions:
    """The model sessions of one stream, as the machine knows them."""

    model: str  # The model of the present session, or of the last one.
    count: int = 0  # How many sessions the stream has used.
    serves: bool = False  # True while there is a session that seems to work.
    ready_at: float = 0.0  # When the present session became ready (Trio clock).
    order: Order | None = "dial"  # The order whose result has not come.
    next_is_ready: bool = False  # True while a session is kept ready beside the present one.
    why: Why = "lost"  # Why the newest session was ordered.
    # True while the caller waits for the next session, so that it is used as soon as it is ready.
    is_urgent: bool = False
    was_deaf: bool = False  # True if the previous session did not hear the caller's last words.

    @property
    def is_moving(self) -> bool:
        """True while another session is being opened beside the present one, is ready, or replaces it."""
        return self.next_is_ready or self.order in ("beside", "switch")

    @property
    def is_switching(self) -> bool:
        """True while the kept session replaces the present one."""
        return self.order == "switch"

    # Orders

    def dial(self, model: str, why: Why) -> DialModel | SwitchModel | None:
        """There is no session any more. Returns the order for the next one.

        If a session is kept ready, the call switches to it. Returns None if a session is being opened already.
        """
        self.serves, self.is_urgent = False, True
        if self.next_is_ready:
            return self.switch()
        if self.order is not None:
            return None
        self.order, self.why = "dial", why
        return DialModel(model, why)

    def dial_beside(self, model: str, why: Why, *, urgent: bool) -> DialBeside | None:
        """Returns the order to open another session. Until it is ready, the call uses the present one.

        Returns None if another session is being opened already, or is ready.
        """
        self.is_urgent |= urgent
        if self.order is not None or self.next_is_ready:
            return None
        self.order, self.why = "beside", why
        return DialBeside(model, why)

    def switch(self) -> SwitchModel:
        """Replace the present session by the kept one."""
        self.order, self.next_is_ready, self.serves = "switch", False, False
        return SwitchModel()

    def forget_next(self) -> ForgetNext:
        """The kept session is not needed any more."""
        self.next_is_ready, self.is_urgent = False, False
        return ForgetNext()

    # The results of the orders

    def began(self, model: str, now: float) -> None:
        """A session is ready, and is used from now on."""
        self.model, self.serves, self.ready_at = model, True, now
        self.count += 1
        if self.order in ("dial", "switch"):
            self.order = None
        self.is_urgent = self.is_urgent and self.is_moving

    def next_began(self) -> bool:
        """The session beside the present one is ready. Returns False if no such session was being opened."""
        if self.order != "beside":
            return False
        self.order, self.next_is_ready = None, True
        return True

    def next_failed(self) -> bool:
        """The session beside the present one could not be opened, or was closed.

        Returns False if there was no such session.
        """
        was_moving = self.order == "beside" or self.next_is_ready
        if self.order == "beside":
            self.order = None
        self.next_is_ready = False
        return was_moving

    def was_lost(self, code: int) -> bool:
        """ModelLost came. Returns False if it changes nothing, because a session is being opened already."""
        if self.order in ("dial", "switch"):
            if code != 0:
                return False
            self.order = None
        self.serves = False
        return True

    def given_up(self) -> None:
        """The present session is not used any more, although it is open."""
        self.serves = False

    def expires_no_sooner(self, ready_at: float) -> None:
        """A planned move has failed. The next move is due as if the present session had begun at `ready_at`."""
        self.ready_at = max(self.ready_at, ready_at)

    def relieved(self) -> None:
        """The caller hears an answer of the present session, so they do not wait for the next one."""
        if self.serves and self.is_urgent and not self.was_deaf:
            self.is_urgent = False
