"""The one owner of `response.create`: a queue of one, and what is still to be thrown away of what came before.

Only one response may write to the conversation at a time; asking again meanwhile is an error that other relays die of
[openai-agents-python #1466, #1168]. So a wish waits until the active response has ended, and later wishes replace it.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.call.actions import AskForResponse, CancelResponse
from relay.call.vocabulary import ResponseId

# `response.created` follows the request by one round trip (0.28 s seen from India); nothing for this long is a fault.
BEGIN_LIMIT_S = 5.0
# A response that produces neither audio nor an end for this long is stuck. Slowest first audio measured: 4.7 s.
PROGRESS_LIMIT_S = 10.0
ASK_AGAIN_LIMIT = 2
# A refused or failed request is not repeated at once: the server would be asked at the speed of the line.
ASK_AGAIN_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """A response that is wanted: why, and special instructions."""

    kind: str
    instructions: str | None = None


class Answers:
    """State of the model's answering in one session."""

    def __init__(self) -> None:
        self.active: ResponseId | None = None
        self.active_ref = ""
        self._active_wish = Wish("turn")
        self._produced = False  # the active response has sounded or called something
        self._wish: Wish | None = None
        self._asked: Wish | None = None
        self._asked_ref = ""
        self._since = 0.0
        self._not_before = 0.0
        self._number = 0
        self._failures = 0
        self._cancel_when_begun = False
        self._discarded: set[ResponseId] = set()
        self._ended: set[ResponseId] = set()

    @property
    def is_busy(self) -> bool:
        """True while an answer is asked for or being generated."""
        return self.active is not None or self._asked is not None

    @property
    def is_greeting(self) -> bool:
        """True while the greeting is asked for or being generated."""
        ref = self._asked_ref if self._asked is not None else self.active_ref
        return self.is_busy and ref.startswith("greeting")

    @property
    def is_wanted(self) -> bool:
        """True while a wish waits for its turn."""
        return self._wish is not None

    @property
    def is_pending(self) -> bool:
        """True while an answer that the caller shall hear is wished for, asked for or being generated."""
        asked = self._asked is not None and not self._cancel_when_begun
        return self.is_wanted or asked or (self.active is not None and self.active not in self._discarded)

    def want(self, kind: str, instructions: str | None = None) -> None:
        """Wish for a response. A wish with instructions is not replaced by one without."""
        if self._wish is None or instructions is not None or self._wish.instructions is None:
            self._wish = Wish(kind, instructions)

    def forbids_functions(self, response_id: ResponseId) -> bool:
        """True for an answer that was asked for in words: with instructions, it may call nothing."""
        return response_id == self.active and self._active_wish.instructions is not None

    def due(self, now: float) -> AskForResponse | None:
        """The request to send now, if there is one to send and nothing is active."""
        if self._wish is None or self.is_busy or now < self._not_before:
            return None
        self._asked, self._wish = self._wish, None
        self._number += 1
        self._asked_ref = f"{self._asked.kind}-{self._number}"
        self._since = now
        return AskForResponse(self._asked_ref, self._asked.instructions)

    def expect(self, ref: str, now: float, instructions: str | None = None) -> None:
        """A response was asked for before the call had this session (the greeting, at the webhook)."""
        self._asked, self._asked_ref, self._since = Wish(ref, instructions), ref, now

    def began(self, response_id: ResponseId, ref: str | None, now: float) -> CancelResponse | None:
        """A response began. Returns its cancellation where it came too late to be wanted."""
        if response_id in self._ended or response_id == self.active:
            return None
        self.active, self.active_ref, self._since, self._produced = response_id, ref or "", now, False
        self._active_wish = Wish("turn")
        if self._asked is None or ref not in (None, self._asked_ref):
            return None  # not asked for by us: it is heard like any other
        self._active_wish, self._asked = self._asked, None
        if self._cancel_when_begun:
            self._cancel_when_begun = False
            self._discarded.add(response_id)
            return CancelResponse(response_id)
        return None

    def progressed(self, response_id: ResponseId, now: float, *, is_audible: bool = True) -> None:
        """The response produced sound or a function call; or words, which alone nobody hears (`is_audible` false)."""
        if response_id == self.active:
            self._since, self._produced = now, self._produced or is_audible

    def ended(self, response_id: ResponseId, status: str, now: float) -> bool:
        """A response ended. True if it is to be asked for again: it failed, or had nothing to be heard or done."""
        self._ended.add(response_id)
        if self.active != response_id:
            return False
        self.active = None
        self._not_before = 0.0
        if response_id in self._discarded:
            return False
        if self._produced and status != "failed":
            self._failures = 0
            return False
        return self._ask_again(self._active_wish, now)

    def has_ended(self, response_id: ResponseId) -> bool:
        """True for a response whose end has been seen."""
        return response_id in self._ended

    def _ask_again(self, wish: Wish, now: float) -> bool:
        self._failures += 1
        if self._failures > ASK_AGAIN_LIMIT:
            return False
        self._not_before = now + ASK_AGAIN_AFTER_S
        self._wish = self._wish or wish
        return True

    @property
    def has_failed(self) -> bool:
        """True once the model failed to answer more often than it may."""
        return self._failures > ASK_AGAIN_LIMIT

    def refused(self, ref: str | None, as_active: bool, now: float) -> None:
        """An error came instead of a response. `as_active`: one runs already, so wait for its end and ask again."""
        asked = self._asked
        if asked is None or (ref != self._asked_ref and not (as_active and ref is None)):
            return
        self._asked = None
        if self._cancel_when_begun:
            self._cancel_when_begun = False
        elif as_active:
            self._wish = self._wish or asked
            self._not_before = now + ASK_AGAIN_AFTER_S
        else:
            self._ask_again(asked, now)

    def cancel(self) -> CancelResponse | None:
        """Throw the active answer away, whatever still comes of it. Nothing active: nothing is sent."""
        self._wish = None
        if self._asked is not None:
            self._cancel_when_begun = True
        if self.active is not None and self.active not in self._discarded:
            self._discarded.add(self.active)
            return CancelResponse(self.active)
        return None

    def is_discarded(self, response_id: ResponseId) -> bool:
        """True for a response whose late deltas must not be heard."""
        return response_id in self._discarded

    def is_stuck(self, now: float) -> bool:
        """True if the model has neither begun nor gone on for too long."""
        if self.active is not None:
            return now - self._since > PROGRESS_LIMIT_S
        return self._asked is not None and now - self._since > BEGIN_LIMIT_S

    def lost(self) -> None:
        """The session is gone: what was asked of it must be asked again of the next one."""
        again: Wish | None = None
        if self._asked is not None and not self._cancel_when_begun:
            again = self._asked
        elif self.active is not None and self.active not in self._discarded:
            again = Wish("again") if self._produced else self._active_wish  # begun words are not begun anew
        self._wish = self._wish or again
        if self.active is not None:
            self._ended.add(self.active)
        self.active, self._asked, self._cancel_when_begun, self._not_before = None, None, False, 0.0
