"""Which model session serves a call, and the one order about sessions that is under way.

Each order is answered by exactly one event, and no other is given before that:

    DialModel    none serves: open one       ModelReady, or ModelLost with code 0
    DialBeside   open one and keep it        NextModelReady, or MoveFailed
    SwitchModel  serve by the one kept       ModelReady, or ModelLost with code 0

A session that dies by itself is told by ModelLost with the socket's code, one that was kept by NextModelLost. A call
begins with a DialModel under way: the first session is opened while the phone rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.call.actions import DialBeside, DialModel, ForgetNext, SwitchModel

Order = Literal["dial", "beside", "switch"]
# Planned moves wait for a silent moment; for the others somebody waits.
Why = Literal["lost", "expiry", "escalation", "stuck", "deaf", "dead air"]


@dataclass(slots=True)
class Sessions:
    """The model sessions of one stream, as the machine knows them."""

    model: str  # of the session that serves, or served last
    count: int = 0  # how many have served
    serves: bool = False  # one is there and is believed in
    ready_at: float = 0.0
    order: Order | None = "dial"  # that is not answered yet
    next_is_ready: bool = False  # one is kept beside the present one
    why: Why = "lost"  # the newest dial was ordered
    is_urgent: bool = False  # the caller waits: the next one serves as soon as it is ready
    was_deaf: bool = False  # the session before this one: the caller's last words are lost

    @property
    def is_moving(self) -> bool:
        """True while a session beside the present one is on its way or ready."""
        return self.next_is_ready or self.order in ("beside", "switch")

    @property
    def is_switching(self) -> bool:
        """True while the present session makes room for the next."""
        return self.order == "switch"

    # Orders

    def dial(self, model: str, why: Why) -> DialModel | SwitchModel | None:
        """None serves any more: the one that is ready is to serve, or the one on its way, or a new one."""
        self.serves, self.is_urgent = False, True
        if self.next_is_ready:
            return self.switch()
        if self.order is not None:
            return None
        self.order, self.why = "dial", why
        return DialModel(model, why)

    def dial_beside(self, model: str, why: Why, *, urgent: bool) -> DialBeside | None:
        """Another one is wanted; the present one serves until then. Nothing where one is on its way or ready."""
        self.is_urgent |= urgent
        if self.order is not None or self.next_is_ready:
            return None
        self.order, self.why = "beside", why
        return DialBeside(model, why)

    def switch(self) -> SwitchModel:
        """The one that is ready is to serve; the present one is closed."""
        self.order, self.next_is_ready, self.serves = "switch", False, False
        return SwitchModel()

    def forget_next(self) -> ForgetNext:
        """The one that is ready is not wanted any more."""
        self.next_is_ready, self.is_urgent = False, False
        return ForgetNext()

    # What became of them

    def began(self, model: str, now: float) -> None:
        """A session serves from now on."""
        self.model, self.serves, self.ready_at = model, True, now
        self.count += 1
        if self.order in ("dial", "switch"):
            self.order = None
        self.is_urgent = self.is_urgent and self.is_moving

    def next_began(self) -> bool:
        """The one beside is ready. False where none was on its way."""
        if self.order != "beside":
            return False
        self.order, self.next_is_ready = None, True
        return True

    def next_failed(self) -> bool:
        """The one beside could not be opened, or was closed before it was needed. False where there was none."""
        was_moving = self.order == "beside" or self.next_is_ready
        if self.order == "beside":
            self.order = None
        self.next_is_ready = False
        return was_moving

    def was_lost(self, code: int) -> bool:
        """A ModelLost came. False where it tells nothing new: an order is under way whose answer it is not."""
        if self.order in ("dial", "switch"):
            if code != 0:
                return False
            self.order = None
        self.serves = False
        return True

    def given_up(self) -> None:
        """Nothing more of the present one is to be heard, although it is open."""
        self.serves = False

    def expires_no_sooner(self, ready_at: float) -> None:
        """A move away from it failed: it is tried again later, as if the session had begun then."""
        self.ready_at = max(self.ready_at, ready_at)

    def relieved(self) -> None:
        """The caller hears an answer of the present session: nobody waits for the next one any more."""
        if self.serves and self.is_urgent and not self.was_deaf:
            self.is_urgent = False
