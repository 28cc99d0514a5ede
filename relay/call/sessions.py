"""Which model session serves a call, and the one order about sessions that is not answered yet.

Each order is answered by exactly one event. No other order is given before that:

    DialModel    none serves: open one       ModelReady, or ModelLost with code 0
    DialBeside   open one and keep it        NextModelReady, or MoveFailed
    SwitchModel  serve with the one kept     ModelReady, or ModelLost with code 0

If a session ends by itself, ModelLost comes with the socket's code. For one that was kept it is NextModelLost. When a
call begins, a DialModel is already given: the first session is opened while the phone rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.call.actions import DialBeside, DialModel, ForgetNext, SwitchModel

Order = Literal["dial", "beside", "switch"]
# Planned moves wait for a silent moment. The others are urgent: somebody waits.
Why = Literal["lost", "expiry", "escalation", "stuck", "deaf", "dead air"]


@dataclass(slots=True)
class Sessions:
    """The model sessions of one stream, as the machine knows them."""

    model: str  # of the session that serves, or served last
    count: int = 0  # how many have served
    serves: bool = False  # there is one, and it seems to work
    ready_at: float = 0.0
    order: Order | None = "dial"  # that is not answered yet
    next_is_ready: bool = False  # one is kept beside the present one
    why: Why = "lost"  # of the newest dial
    is_urgent: bool = False  # the caller waits: the next one serves as soon as it is ready
    was_deaf: bool = False  # the session before this one did not hear the caller's last words

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
        """None serves any more.

        The next one is the one that is ready, or the one that is being opened, or a new one.
        """
        self.serves, self.is_urgent = False, True
        if self.next_is_ready:
            return self.switch()
        if self.order is not None:
            return None
        self.order, self.why = "dial", why
        return DialModel(model, why)

    def dial_beside(self, model: str, why: Why, *, urgent: bool) -> DialBeside | None:
        """Another one is wanted; the present one serves until then. Nothing if one is being opened, or is ready."""
        self.is_urgent |= urgent
        if self.order is not None or self.next_is_ready:
            return None
        self.order, self.why = "beside", why
        return DialBeside(model, why)

    def switch(self) -> SwitchModel:
        """The one that is ready shall serve. The present one is closed."""
        self.order, self.next_is_ready, self.serves = "switch", False, False
        return SwitchModel()

    def forget_next(self) -> ForgetNext:
        """The one that is ready is not needed any more."""
        self.next_is_ready, self.is_urgent = False, False
        return ForgetNext()

    # What became of the orders

    def began(self, model: str, now: float) -> None:
        """A session serves from now on."""
        self.model, self.serves, self.ready_at = model, True, now
        self.count += 1
        if self.order in ("dial", "switch"):
            self.order = None
        self.is_urgent = self.is_urgent and self.is_moving

    def next_began(self) -> bool:
        """The one beside is ready. False if none was being opened."""
        if self.order != "beside":
            return False
        self.order, self.next_is_ready = None, True
        return True

    def next_failed(self) -> bool:
        """The one beside could not be opened, or was closed before it was needed. False if there was none."""
        was_moving = self.order == "beside" or self.next_is_ready
        if self.order == "beside":
            self.order = None
        self.next_is_ready = False
        return was_moving

    def was_lost(self, code: int) -> bool:
        """A ModelLost came. False if it is no news: another order is waiting for its answer."""
        if self.order in ("dial", "switch"):
            if code != 0:
                return False
            self.order = None
        self.serves = False
        return True

    def given_up(self) -> None:
        """Nothing more of the present one must be heard, although it is open."""
        self.serves = False

    def expires_no_sooner(self, ready_at: float) -> None:
        """A move away from it failed. It is tried again later, as if the session had begun then."""
        self.ready_at = max(self.ready_at, ready_at)

    def relieved(self) -> None:
        """The caller hears an answer of the present session: nobody waits for the next one any more."""
        if self.serves and self.is_urgent and not self.was_deaf:
            self.is_urgent = False
