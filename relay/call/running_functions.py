"""Knows which functions of a call run, for which of them the caller waits, and how many phrases were said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ResponseId

# Under this name, the refusals and failures of all functions together are counted.
ANY = ""
# After this many answers in a row that only call functions, the model must answer in words. Three to five look-ups are
# usual before an answer: the caller, the hours, two days, and a booking.
SILENT_ROUNDS = 6
# After this many answers with functions since the caller's last turn, the model must answer in words, even if those
# answers had words too ("let me check").
ROUNDS = 10
# How many functions the model may call after one turn of the caller. One answer may call many at once.
CALLS = 24
# How often the model is asked for an answer without functions before a human takes over: once after each turn of the
# caller, but at most twice in one stream of a call.
FORCED_IN_A_TURN, FORCED = 1, 2


# What must follow after outputs have come. "none": nothing yet. "any": an answer. "in words": an answer without
# functions. "human": a human takes over.
NextAnswer = Literal["none", "any", "in words", "human"]


@dataclass(slots=True)
class Rounds:
    """Counts how often the model has called functions without answering the caller."""

    silent: int = 0  # Answers with functions since somebody last spoke.
    since_caller: int = 0  # Answers with functions since the caller's last turn.
    calls: int = 0  # Functions since the caller's last turn.
    forced_in_turn: int = 0  # How many answers without functions were asked for since the caller's last turn.
    forced: int = 0  # How many answers without functions were asked for in this stream.
    _last: ResponseId | None = None
    _heard: tuple[int, int] = (-1, -1)  # The numbers of the caller's and the model's newest turns.

    def heard(self, caller_turn: int, model_turn: int) -> bool:
        """Note the newest turns. Returns True if somebody has spoken since the last time."""
        if (caller_turn, model_turn) == self._heard:
            return False
        if caller_turn != self._heard[0]:
            self.since_caller = self.calls = self.forced_in_turn = 0
        self.silent, self._heard = 0, (caller_turn, model_turn)
        return True

    def returned(self, response_id: ResponseId) -> None:
        """A function's output has come, and the model must answer it."""
        if response_id != self._last:
            self._last = response_id
            self.silent, self.since_caller = self.silent + 1, self.since_caller + 1

    @property
    def are_enough(self) -> bool:
        """True if the next answer must be in words."""
        return self.silent >= SILENT_ROUNDS or self.since_caller >= ROUNDS or self.calls >= CALLS

    def force(self) -> bool:
        """Count a request for an answer in words. Returns False if there were too many: then a human takes over."""
        self.silent = 0
        self.forced_in_turn, self.forced = self.forced_in_turn + 1, self.forced + 1
        return self.forced_in_turn <= FORCED_IN_A_TURN and self.forced <= FORCED


@dataclass(slots=True)
class RunningFunctions:
    """The functions that the model has called and that have not returned yet."""

    failed_attempts: dict[str, int]  # Function -> how often it has failed in a row.
    # Id of the function call -> the response that called it.
    running: dict[str, ResponseId] = field(default_factory=dict)
    _quiet: set[str] = field(default_factory=set)  # Running functions without a holding phrase.
    _outputs_wanted: list[ResponseId] = field(default_factory=list)  # Responses whose outputs the model must answer.
    _callers: set[ResponseId] = field(default_factory=set)  # All responses that have called a function.
    phrase: str = "holding"  # The key of the first phrase for the newest function.
    phrase_at: float = 0.0  # When the last phrase of this wait was said (Trio clock). 0: none was said.
    asked_at: float = 0.0  # When the newest function was called (Trio clock).
    phrases: int = 0  # How many phrases were said since somebody last spoke.
    rounds: Rounds = field(default_factory=lambda: Rounds())

    @classmethod
    def of(cls, failed_attempts: Mapping[str, int]) -> RunningFunctions:
        """The state at the beginning of a stream. `failed_attempts` come from the earlier streams of the call."""
        return cls(dict(failed_attempts))

    def __bool__(self) -> bool:
        """True while a function runs."""
        return bool(self.running)

    def _listen(self, newest: tuple[int, int]) -> None:
        """Note the newest turns. If somebody has spoken, the phrases are counted from zero again."""
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
        """The model calls a function. Returns False if it may not run.

        It may not run if the answer had to be in words, or if the model has called too many functions. `newest`: the
        numbers of the newest turns. `phrase` is "" if this function has no holding phrase.
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
        if not self.phrases:  # Otherwise nobody has spoken since the last phrase, so the same wait continues.
            self.phrase_at = 0.0
        return True

    def are_called_by(self, response_id: ResponseId) -> None:
        """This response has called a function that does not run yet."""
        self._callers.add(response_id)

    def end(self, function_call_id: str, *, wants_answer: bool) -> bool:
        """A function has returned. Returns False if it does not run (any more).

        `wants_answer`: the model must answer its output.
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
        """True while the caller waits for a running function."""
        return any(function not in self._quiet for function in self.running)

    def were_called_by(self, response_id: ResponseId | None) -> bool:
        """True while a function runs that this response has called."""
        return response_id in self.running.values()

    def has_called(self, response_id: ResponseId) -> bool:
        """True if this response has called a function."""
        return response_id in self._callers

    def _want_answer(self, response_id: ResponseId) -> None:
        """The model must answer the outputs of this response's functions."""
        if response_id not in self._outputs_wanted:
            self._outputs_wanted.append(response_id)

    def _take_complete(self, active: ResponseId | None) -> int:
        """Remove the responses that have ended and whose functions have all returned. Returns how many they were."""
        due = [r for r in self._outputs_wanted if r != active and not self.were_called_by(r)]
        self._outputs_wanted = [r for r in self._outputs_wanted if r not in due]
        return len(due)

    def next_answer(self, active: ResponseId | None, newest: tuple[int, int]) -> NextAnswer:
        """What must follow after outputs have come. `active` is the active response.

        `newest`: the numbers of the newest turns.
        """
        if not self._take_complete(active):
            return "none"
        self._listen(newest)
        if not self.rounds.are_enough:
            return "any"
        return "in words" if self.rounds.force() else "human"

    def said_phrase(self, now: float) -> None:
        self.phrase_at, self.phrases = now, self.phrases + 1

    def failed(self, name: str) -> int:
        """A function has failed. Returns how often it has failed in a row."""
        self.failed_attempts[name] = self.failed_attempts.get(name, 0) + 1
        return self.failed_attempts[name]

    def worked(self, name: str) -> None:
        """A function has not failed, or a human was called because of failures.

        Its failures are counted from zero again.
        """
        self.failed_attempts.pop(name, None)
        self.failed_attempts.pop(ANY, None)
