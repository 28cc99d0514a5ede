"""Decides when the model is asked for a response (`response.create`). No other file of call/ asks for one.

A wish is an answer that is wanted and not asked for yet. This file holds at most one wish. It also knows which
responses must not be heard any more. Only one response may write to the conversation at a time (docs/protocol/openai.md
2.1). The server refuses a request for a second one. This error has ended calls of other relays (openai-agents-python
#1466, #1168). So a wish waits until the active response has ended. A later wish replaces an earlier one. But a wish
without special instructions does not replace one that has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.call.actions import AskForResponse, CancelResponse
from relay.call.vocabulary import ResponseId

# If `response.created` takes longer than this, the session is stuck. Usually it comes after one round trip (0.28 s from
# India).
BEGIN_LIMIT_S = 5.0
# If nothing of a response comes for this long, the session is stuck. The slowest first audio measured was 4.7 s.
PROGRESS_LIMIT_S = 10.0
# An answer that has failed is asked for again at most this often in a row. After that a human takes over.
ASK_AGAIN_LIMIT = 2
# A request that was refused or that failed is repeated after this pause. If it was refused because another response is
# active, the pause doubles each time, up to ASK_AGAIN_AFTER_LIMIT_S.
ASK_AGAIN_AFTER_S = 0.5
ASK_AGAIN_AFTER_LIMIT_S = 4.0
# If the server says "Please try again in 2.5s", the relay waits that long and RETRY_MARGIN_S more, because the two
# clocks differ. All such waits for one answer together last at most RETRY_LIMIT_S. After that a human takes over.
RETRY_MARGIN_S = 0.1
RETRY_LIMIT_S = 15.0
# `response.done` usually comes within 50 ms after the last audio of a response (captures). If it has not come after
# this time, the next answer is asked for without it. If the server is not ready then, it refuses the request, which
# does no harm.
END_EXPECTED_S = 1.0
# If `response.done` has not come after this time, the response counts as ended. The time is this long because a
# function call may come after the spoken words.
END_LIMIT_S = 3.0

# What follows after a response has ended. "nothing": no request. "again": the same request again. "rest": a request for
# the rest of an answer that broke off. "later": a request at the time that the server has named. "failed": no request,
# because the model has failed too often.
Follows = Literal["nothing", "again", "rest", "later", "failed"]


@dataclass(frozen=True, slots=True)
class Wish:
    """An answer that is wanted: its kind, and its special instructions if it has any."""

    kind: str
    instructions: str | None = None


class Answers:
    """The answers of one stream, over its model sessions: wanted, asked for, active, cancelled and ended."""

    def __init__(self) -> None:
        self.active: ResponseId | None = None
        self.active_ref = ""
        self._active_wish = Wish("turn")
        self._produced = False  # True if the active response has brought sound or a function call.
        self.wish: Wish | None = None
        self._asked: Wish | None = None
        self._asked_ref = ""
        self._since = 0.0  # When the answer was asked for, or when its newest part came.
        self._not_before = 0.0
        self._number = 0
        self._failures = 0
        self._refusals = 0  # How often in a row the server refused because another response was active.
        self._retry_until = 0.0  # The server has said not to ask before this time.
        self._retry_s = 0.0  # How long the server has asked to wait for the present answer, all waits together.
        # When the active response seemed to be complete. None if more of it seems to come.
        self._complete_at: float | None = None
        self._cancel_when_begun = False
        self._discarded: set[ResponseId] = set()  # Responses of which nothing more may be heard.
        self._ended: set[ResponseId] = set()
        self._presumed: set[ResponseId] = set()  # Responses that count as ended, although their end was not reported.

    @property
    def is_busy(self) -> bool:
        """True while an answer was asked for, or is being generated."""
        return self.active is not None or self._asked is not None

    @property
    def is_greeting(self) -> bool:
        """True while the greeting was asked for, or is being generated."""
        ref = self._asked_ref if self._asked is not None else self.active_ref
        return self.is_busy and ref.startswith("greeting")

    @property
    def is_wanted(self) -> bool:
        """True while a wish waits to be asked for."""
        return self.wish is not None

    @property
    def is_pending(self) -> bool:
        """True while an answer that the caller should hear is wanted, asked for, or being generated."""
        asked = self._asked is not None and not self._cancel_when_begun
        return self.is_wanted or asked or (self.active is not None and self.active not in self._discarded)

    def want(self, kind: str, instructions: str | None = None) -> None:
        """Note that an answer is wanted. A wish without instructions does not replace a wish with instructions."""
        if self.wish is None or instructions is not None or self.wish.instructions is None:
            self.wish = Wish(kind, instructions)

    @property
    def is_asked(self) -> bool:
        """True while an answer is wanted or asked for, and the model has not begun it."""
        return self.is_wanted or (self._asked is not None and not self._cancel_when_begun)

    @property
    def is_going_on(self) -> bool:
        """Like `is_pending`, but False if only a response is left that seems complete."""
        return self.is_asked or (self.is_pending and self._complete_at is None)

    def waits_as_told(self, now: float) -> bool:
        """True while the relay must wait because the server said so."""
        return self.is_wanted and now < self._retry_until

    def forbids_functions(self, response_id: ResponseId) -> bool:
        """True for an answer with special instructions. It must be in words, and may not call a function."""
        return response_id == self.active and self._active_wish.instructions is not None

    def due(self, now: float) -> AskForResponse | None:
        """The request that must be sent now. None if no answer is wanted, or if it cannot be asked for yet."""
        if self.wish is None or self._asked is not None or now < max(self._not_before, self._retry_until):
            return None
        if self.active is not None and not self._seems_over(now, END_EXPECTED_S):
            return None
        self._asked, self.wish = self.wish, None
        self._number += 1
        self._asked_ref = f"{self._asked.kind}-{self._number}"
        self._since = now
        return AskForResponse(self._asked_ref, self._asked.instructions)

    def _seems_over(self, now: float, after_s: float) -> bool:
        return self._complete_at is not None and now - self._complete_at >= after_s

    def unended(self, now: float) -> ResponseId | None:
        """The active response, if it counts as ended because its `response.done` is overdue."""
        return self.active if self._seems_over(now, END_LIMIT_S) else None

    def expect(self, ref: str, now: float, instructions: str | None = None) -> None:
        """The greeting was asked for when the phone rang (realtime/client.py), before the call had this session."""
        self._asked, self._asked_ref, self._since = Wish(ref, instructions), ref, now

    def began(self, response_id: ResponseId, ref: str | None, now: float) -> CancelResponse | None:
        """A response began. Returns its cancellation if the answer was given up before it began."""
        if response_id in self._ended or response_id == self.active:
            return None
        self.active, self.active_ref, self._since, self._produced = response_id, ref or "", now, False
        self._active_wish, self._complete_at, self._refusals = Wish("turn"), None, 0
        if self._asked is None or ref not in (None, self._asked_ref):
            return None  # The relay did not ask for this response. It is treated like any other.
        self._active_wish, self._asked = self._asked, None
        if self._cancel_when_begun:
            self._cancel_when_begun = False
            self._discarded.add(response_id)
            self._complete_at = now  # Its `response.done` is due at once.
            return CancelResponse(response_id)
        return None

    def progressed(self, response_id: ResponseId, now: float, *, is_audible: bool = True) -> None:
        """A part of the response came. `is_audible` is False if the part is only text, because nobody hears text."""
        if self.active is None and response_id in self._presumed:  # It counted as ended, but was only slow.
            self._presumed.discard(response_id)
            self._ended.discard(response_id)
            self.active, self._active_wish, self._produced = response_id, Wish("turn"), True
        if response_id == self.active:
            self._since, self._produced = now, self._produced or is_audible
            if response_id not in self._discarded:
                self._complete_at = None

    def sounded(self, response_id: ResponseId, now: float) -> Literal["unwanted", "goes on", "has ended"]:
        """The response brought sound. Returns what to do with it.

        "unwanted": nobody may hear it. "goes on": play it. "has ended": play it, although the response's end came
        before.
        """
        if response_id in self._discarded:
            return "unwanted"
        self.progressed(response_id, now)
        return "has ended" if response_id in self._ended else "goes on"

    def called(self, response_id: ResponseId, now: float) -> Literal["call", "speak", "nothing"]:
        """The response called a function. Returns what the response may do: call it, only speak, or nothing."""
        if self.is_discarded(response_id):
            return "nothing"
        self.progressed(response_id, now)
        self.completed(response_id, now)
        return "speak" if self.forbids_functions(response_id) else "call"

    def completed(self, response_id: ResponseId, now: float) -> None:
        """All items of this response that have come are complete, so its `response.done` is due."""
        if response_id == self.active:
            self._since = self._complete_at = now

    def discard(self, response_id: ResponseId) -> None:
        """Nothing of this response may be heard: its session was given up."""
        self._discarded.add(response_id)

    def presume_ended(self, response_id: ResponseId) -> None:
        """Treat this response as ended, although its end was not reported. `ended` is called next."""
        self._presumed.add(response_id)

    def ended(self, response_id: ResponseId, status: str, now: float, retry_after_s: float | None = None) -> Follows:
        """A response ended. Returns what follows: it may have failed, broken off, or been empty."""
        self._ended.add(response_id)
        if self.active != response_id:
            return "nothing"
        self.active, self._complete_at = None, None
        self._not_before = 0.0
        if response_id in self._discarded:
            return "nothing"
        if self._produced and status == "completed":
            self._failures, self._retry_s = 0, 0.0
            return "nothing"
        if self._produced:
            # The caller has heard its beginning, so only the rest is asked for.
            return self._ask_again(Wish("rest"), now)
        return self._ask_again(self._active_wish, now, retry_after_s)

    def has_ended(self, response_id: ResponseId) -> bool:
        """True for a response that has ended, or counts as ended."""
        return response_id in self._ended

    def was_presumed_ended(self, response_id: ResponseId) -> bool:
        """True for a response that counted as ended before its `response.done` came.

        True only once, so that the usage in `response.done` is counted only once.
        """
        if response_id not in self._presumed:
            return False
        self._presumed.discard(response_id)
        return True

    def ask_again(self, now: float) -> Follows:
        """The response was no real answer and was cancelled. Ask again."""
        return self._ask_again(Wish("again"), now)

    def _ask_again(self, wish: Wish, now: float, retry_after_s: float | None = None) -> Follows:
        if retry_after_s is not None and self._retry_s + retry_after_s <= RETRY_LIMIT_S:
            self._retry_s += retry_after_s
            self._retry_until = now + retry_after_s + RETRY_MARGIN_S
            self.wish = self.wish or wish
            return "later"
        self._failures = ASK_AGAIN_LIMIT + 1 if retry_after_s is not None else self._failures + 1
        if self._failures > ASK_AGAIN_LIMIT:
            return "failed"
        self._not_before = now + ASK_AGAIN_AFTER_S
        self.wish = self.wish or wish
        return "rest" if wish.kind == "rest" else "again"

    @property
    def has_failed(self) -> bool:
        """True if the model has failed too often."""
        return self._failures > ASK_AGAIN_LIMIT

    def refused(self, ref: str | None, as_active: bool, now: float, retry_after_s: float | None = None) -> Follows:
        """The server refused the request.

        `as_active`: it refused because another response is active. The relay asks again after a pause.
        """
        asked = self._asked
        if asked is None or (ref != self._asked_ref and not (as_active and ref is None)):
            return "nothing"
        self._asked = None
        if self._cancel_when_begun:
            self._cancel_when_begun = False
            return "nothing"
        if as_active:
            self.wish = self.wish or asked
            pause_s = ASK_AGAIN_AFTER_S * 2.0**self._refusals
            self._refusals += 1
            self._not_before = now + min(pause_s, ASK_AGAIN_AFTER_LIMIT_S)
            return "again"
        return self._ask_again(asked, now, retry_after_s)

    def nothing_is_active(self, cancelled: ResponseId | None) -> ResponseId | None:
        """The server says that nothing was active that could be cancelled.

        Returns the response that must have ended without `response.done`.
        """
        active = self.active
        return active if active in self._discarded and cancelled in (None, active) else None

    def cancel(self, now: float) -> CancelResponse | None:
        """Give up every answer that is wanted, asked for or active.

        Returns what cancels the active answer, or None. An answer that was asked for is cancelled when it begins.
        """
        self.wish = None
        if self._asked is not None:
            self._cancel_when_begun = True
        if self.active is not None and self.active not in self._discarded:
            self._discarded.add(self.active)
            self._complete_at = now  # Its `response.done` is due at once.
            return CancelResponse(self.active)
        return None

    def restart(self, now: float, *, wants_rest: bool) -> CancelResponse | None:
        """The voice that speaks the answer was lost. Cancel the answer, and note that it is wanted again.

        If sound of the answer has come, only its rest is wanted, and only if `wants_rest` is set. A greeting is always
        repeated as a whole.
        """
        again = self.wish
        if again is None and self._asked is not None and not self._cancel_when_begun:
            again = self._asked
        elif again is None and self.active is not None and self.active not in self._discarded:
            if self.is_greeting or not self._produced:
                again = self._active_wish
            elif wants_rest:
                again = Wish("rest")
        cancel = self.cancel(now)
        self.wish = again
        return cancel

    def is_discarded(self, response_id: ResponseId) -> bool:
        """True for a response of which nothing more may be heard."""
        return response_id in self._discarded

    def is_stuck(self, now: float) -> bool:
        """True if the model has taken too long to begin or to continue an answer."""
        if self._asked is not None:
            return now - self._since > BEGIN_LIMIT_S
        return self.active is not None and now - self._since > PROGRESS_LIMIT_S

    @property
    def has_begun(self) -> bool:
        """True while the active answer has brought sound or called a function."""
        return self.active is not None and self._produced

    def lost(self) -> None:
        """The session has ended. The next session must give the answer."""
        again: Wish | None = None
        if self._asked is not None and not self._cancel_when_begun:
            again = self._asked
        elif self.active is not None and self.active not in self._discarded:
            # The caller has heard the beginning of the answer, so it is not asked for with the same instructions.
            again = Wish("again") if self._produced else self._active_wish
        self.wish = self.wish or again
        if self.active is not None:
            self._ended.add(self.active)
            self._discarded.add(self.active)  # If the session was only given up, its audio may still come.
        self.active, self._asked, self._cancel_when_begun, self._not_before = None, None, False, 0.0
        self._complete_at = None
