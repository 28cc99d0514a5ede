"""The one owner of `response.create`: a queue of one, and what is still to be thrown away of what came before.

Only one response may write to the conversation at a time; asking again meanwhile is an error that other relays die of
[openai-agents-python #1466, #1168]. So a wish waits until the active response has ended, and later wishes replace it.
Upstream: machine.py.  Downstream: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.call.vocabulary import AskForResponse, CancelResponse, ResponseId

# `response.created` follows the request by one round trip (0.28 s seen from India); nothing for this long is a fault.
BEGIN_LIMIT_S = 5.0
# A response that produces neither audio nor an end for this long is stuck. Slowest first audio measured: 4.7 s.
PROGRESS_LIMIT_S = 10.0
ASK_AGAIN_LIMIT = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """A response that is wanted: why, and special instructions."""

    kind: str
    instructions: str | None


class Answers:
    """State of the model's answering in one session."""

    def __init__(self) -> None:
        self.active: ResponseId | None = None
        self.active_ref = ""
        self._wish: Wish | None = None
        self._asked: Wish | None = None
        self._asked_ref = ""
        self._since = 0.0
        self._number = 0
        self._failures = 0
        self._cancel_when_begun = False
        self._discarded: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """True while an answer is asked for or being generated."""
        return self.active is not None or self._asked is not None

    @property
    def is_wanted(self) -> bool:
        """True while a wish waits for its turn."""
        return self._wish is not None

    def want(self, kind: str, instructions: str | None = None) -> None:
        """Wish for a response. A wish with instructions is not replaced by one without."""
        if self._wish is None or instructions is not None or self._wish.instructions is None:
            self._wish = Wish(kind, instructions)

    def forget_wish(self) -> None:
        """The caller goes on talking: the answer to what came before is not wanted any more."""
        self._wish = None

    def due(self, now: float) -> AskForResponse | None:
        """The request to send now, if there is one to send and nothing is active."""
        if self._wish is None or self.is_busy:
            return None
        self._asked, self._wish = self._wish, None
        self._number += 1
        self._asked_ref = f"{self._asked.kind}-{self._number}"
        self._since = now
        return AskForResponse(self._asked_ref, self._asked.instructions)

    def expect(self, ref: str, now: float) -> None:
        """A response was asked for before the call had this session (the greeting, at the webhook)."""
        self._asked, self._asked_ref, self._since = Wish(ref, None), ref, now

    def began(self, response_id: ResponseId, ref: str | None, now: float) -> CancelResponse | None:
        """A response began. Returns its cancellation where it came too late to be wanted."""
        self.active, self.active_ref, self._since = response_id, ref or "", now
        if ref == self._asked_ref:
            self._asked = None
        if self._cancel_when_begun:
            self._cancel_when_begun = False
            self._discarded.add(response_id)
            return CancelResponse(response_id)
        return None

    def progressed(self, now: float) -> None:
        """The active response produced something."""
        self._since = now

    def ended(self, response_id: ResponseId, status: str) -> bool:
        """A response ended. True if it failed and was not asked for again too often: the wish is back."""
        if self.active != response_id:
            return False
        kind = self.active_ref.rsplit("-", 1)[0] or "turn"
        self.active = None
        if status != "failed" or response_id in self._discarded:
            self._failures = 0 if status != "failed" else self._failures
            return False
        self._failures += 1
        if self._failures > ASK_AGAIN_LIMIT:
            return False
        self.want(kind)
        return True

    @property
    def has_failed(self) -> bool:
        """True once the model failed to answer more often than it may."""
        return self._failures > ASK_AGAIN_LIMIT

    def refused_as_active(self) -> None:
        """The server says that a response is active: wait for its end and ask again."""
        if self._asked is not None:
            self._wish = self._wish or self._asked
            self._asked = None

    def cancel(self) -> CancelResponse | None:
        """Throw the active answer away, whatever still comes of it. Nothing active: nothing is sent."""
        self._wish = None
        if self.active is not None and self.active not in self._discarded:
            self._discarded.add(self.active)
            return CancelResponse(self.active)
        if self._asked is not None:
            self._cancel_when_begun = True
        return None

    def is_discarded(self, response_id: ResponseId) -> bool:
        """True for a response whose late deltas must not be heard."""
        return response_id in self._discarded

    def is_stuck(self, now: float) -> bool:
        """True if the model has neither begun nor gone on for too long."""
        if self._asked is not None and self.active is None:
            return now - self._since > BEGIN_LIMIT_S
        return self.active is not None and now - self._since > PROGRESS_LIMIT_S

    def lost(self) -> None:
        """The session is gone: what was asked of it must be asked again of the next one."""
        if self._asked is not None or (self.active is not None and self.active not in self._discarded):
            self._wish = self._wish or Wish("again", None)
        self.active, self._asked, self._cancel_when_begun = None, None, False
