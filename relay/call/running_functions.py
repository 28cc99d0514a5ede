"""The functions of a call that run: which of them the caller waits for, and what the caller was told meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ResponseId

# Failures and refusals of all functions together, in a row, are counted under this name.
ANY = ""
# The most answers in a row that only call functions. Three look-ups before an answer are usual. So are one of the
# caller, of the hours, of two days, and a booking. A model that goes on is lost.
SILENT_ROUNDS = 6
# The same with words in between ("let me check"), until the caller has said something.
ROUNDS = 10
# The most functions that one of the caller's turns may start, also if one answer calls many at once.
CALLS = 24
# How often a model is asked for an answer without functions before a human takes over: once in one turn of the
# caller's, twice in the whole call.
FORCED_IN_A_TURN, FORCED = 1, 2


# What is due when outputs are there: nothing yet; an answer; one in words, without functions; a person.
NextAnswer = Literal["none", "any", "in words", "human"]


@dataclass(slots=True)
class Rounds:
    """How often the model has called functions without an answer in words."""

    silent: int = 0  # since the model or the caller was last heard
    since_caller: int = 0  # since the caller's last turn
    calls: int = 0  # functions since then
    forced_in_turn: int = 0  # answers without functions that were asked for since then
    forced: int = 0  # in the whole call
    _last: ResponseId | None = None
    _heard: tuple[int, int] = (-1, -1)  # the numbers of the caller's and of the model's last turns

    def heard(self, caller_turn: int, model_turn: int) -> bool:
        """What has been said so far. True if the caller or the model has spoken since the last time."""
        if (caller_turn, model_turn) == self._heard:
            return False
        if caller_turn != self._heard[0]:
            self.since_caller = self.calls = self.forced_in_turn = 0
        self.silent, self._heard = 0, (caller_turn, model_turn)
        return True

    def returned(self, response_id: ResponseId) -> None:
        """The output of a function has come, and wants an answer."""
        if response_id != self._last:
            self._last = response_id
            self.silent, self.since_caller = self.silent + 1, self.since_caller + 1

    @property
    def are_enough(self) -> bool:
        """True if the next answer must be in words."""
        return self.silent >= SILENT_ROUNDS or self.since_caller >= ROUNDS or self.calls >= CALLS

    def force(self) -> bool:
        """An answer in words must come. False if it was asked for before: then a human takes over."""
        self.silent = 0
        self.forced_in_turn, self.forced = self.forced_in_turn + 1, self.forced + 1
        return self.forced_in_turn <= FORCED_IN_A_TURN and self.forced <= FORCED


@dataclass(slots=True)
class RunningFunctions:
    """What the model has called and has no output for yet."""

    failed_attempts: dict[str, int]  # function -> how often in a row
    running: dict[str, ResponseId] = field(default_factory=dict)  # call id -> the response that called it
    _quiet: set[str] = field(default_factory=set)  # of these the caller hears nothing
    _outputs_wanted: list[ResponseId] = field(default_factory=list)  # responses whose outputs want an answer
    _callers: set[ResponseId] = field(default_factory=set)  # responses that called a function
    phrase: str = "holding"  # the first thing to be said while the newest of them runs
    phrase_at: float = 0.0  # when the last phrase was said for them; 0: none yet
    asked_at: float = 0.0  # when the newest of them was called
    phrases: int = 0  # said in a row, without words of the model's or the caller's between them
    rounds: Rounds = field(default_factory=lambda: Rounds())

    @classmethod
    def of(cls, failed_attempts: Mapping[str, int]) -> RunningFunctions:
        """None runs. `failed_attempts` come from the call's earlier streams."""
        return cls(dict(failed_attempts))

    def __bool__(self) -> bool:
        """True while any of them runs."""
        return bool(self.running)

    def _listen(self, newest: tuple[int, int]) -> None:
        """The caller's and the model's newest turns: what was counted until somebody spoke is over."""
        if self.rounds.heard(*newest):
            self.phrases = 0

    def begin(
        self,
        function_call_id: str,
        response_id: ResponseId,
        phrase: str,
        now: float,
        *,
        newest: tuple[int, int],
        may_call: bool,
    ) -> bool:
        """The model calls a function after the `newest` turns; an empty `phrase`: the caller hears nothing of it.

        False if it is not to be run: an answer in words is due, because it may call none, or has called too many.
        """
        self._listen(newest)
        self.rounds.calls += 1
        if self.rounds.calls > CALLS or not may_call:
            self.rounds.silent = max(self.rounds.silent, SILENT_ROUNDS)
            self._want_answer(response_id)
            return False
        self.running[function_call_id] = response_id
        self._callers.add(response_id)
        if not phrase:
            self._quiet.add(function_call_id)
        self.phrase, self.asked_at = phrase, now
        if not self.phrases:  # a function that follows another without words continues the same wait
            self.phrase_at = 0.0
        return True

    def are_called_by(self, response_id: ResponseId) -> None:
        """A response calls a function, which is not run yet."""
        self._callers.add(response_id)

    def end(self, function_call_id: str, *, wants_answer: bool) -> bool:
        """A function's output has come. False if the function does not run (any more).

        `wants_answer`: the model is to say something to it.
        """
        self._quiet.discard(function_call_id)
        response_id = self.running.pop(function_call_id, None)
        if response_id is None:
            return False
        if wants_answer:
            self.rounds.returned(response_id)
            self._want_answer(response_id)
        return True

    @property
    def is_awaited(self) -> bool:
        """True while the caller waits for one of them."""
        return any(function not in self._quiet for function in self.running)

    def were_called_by(self, response_id: ResponseId | None) -> bool:
        """True while a function runs that this response called."""
        return response_id in self.running.values()

    def has_called(self, response_id: ResponseId) -> bool:
        """True for a response that called a function."""
        return response_id in self._callers

    def _want_answer(self, response_id: ResponseId) -> None:
        """The outputs of this response's functions must be answered."""
        if response_id not in self._outputs_wanted:
            self._outputs_wanted.append(response_id)

    def _take_complete(self, active: ResponseId | None) -> int:
        """Take the responses that are complete and whose outputs have all come. Returns how many."""
        due = [r for r in self._outputs_wanted if r != active and not self.were_called_by(r)]
        self._outputs_wanted = [r for r in self._outputs_wanted if r not in due]
        return len(due)

    def next_answer(self, active: ResponseId | None, newest: tuple[int, int]) -> NextAnswer:
        """What is to answer the outputs that are there, after the `newest` turns; `active`: the response under way."""
        if not self._take_complete(active):
            return "none"
        self._listen(newest)
        if not self.rounds.are_enough:
            return "any"
        return "in words" if self.rounds.force() else "human"

    def said_phrase(self, now: float) -> None:
        """The caller was told that it takes a while."""
        self.phrase_at, self.phrases = now, self.phrases + 1

    def failed(self, name: str) -> int:
        """An attempt failed. Returns how many did in a row."""
        self.failed_attempts[name] = self.failed_attempts.get(name, 0) + 1
        return self.failed_attempts[name]

    def worked(self, name: str) -> None:
        """An attempt did not fail, or the failures have had their effect: the count begins again."""
        self.failed_attempts.pop(name, None)
        self.failed_attempts.pop(ANY, None)
