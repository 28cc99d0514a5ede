"""The functions of a call that run: which of them the caller waits for, and what the caller was told about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ResponseId

# The name under which the failures and refusals of all functions in a row are counted.
ANY = ""
# The most answers in a row that only call functions. Three to five look-ups before an answer are usual. Five are: the
# caller, the hours, two days, and a booking. A model that goes on after this is lost.
SILENT_ROUNDS = 6
# The same limit, for answers with words between them ("let me check"), until the caller has said something.
ROUNDS = 10
# The most functions that one turn of the caller may start, even if one answer calls many of them at once.
CALLS = 24
# How often a model is asked for an answer without functions before a human takes over: once in one turn of the caller,
# twice in the whole call.
FORCED_IN_A_TURN, FORCED = 1, 2


# What must follow when outputs have come: nothing yet; an answer; an answer in words, without functions; a human.
NextAnswer = Literal["none", "any", "in words", "human"]


@dataclass(slots=True)
class Rounds:
    """Counts how often the model has called functions without an answer in words."""

    silent: int = 0  # Answers since the model or the caller was last heard.
    since_caller: int = 0  # Answers since the caller's last turn.
    calls: int = 0  # Functions since the caller's last turn.
    forced_in_turn: int = 0  # Answers without functions that were asked for since the caller's last turn.
    forced: int = 0  # Answers without functions that were asked for in the whole call.
    _last: ResponseId | None = None
    _heard: tuple[int, int] = (-1, -1)  # The numbers of the caller's and of the model's last turns.

    def heard(self, caller_turn: int, model_turn: int) -> bool:
        """Note the last turns. True if the caller or the model has spoken since the last time."""
        if (caller_turn, model_turn) == self._heard:
            return False
        if caller_turn != self._heard[0]:
            self.since_caller = self.calls = self.forced_in_turn = 0
        self.silent, self._heard = 0, (caller_turn, model_turn)
        return True

    def returned(self, response_id: ResponseId) -> None:
        """The output of a function has come that must be answered."""
        if response_id != self._last:
            self._last = response_id
            self.silent, self.since_caller = self.silent + 1, self.since_caller + 1

    @property
    def are_enough(self) -> bool:
        """True if the next answer must be in words."""
        return self.silent >= SILENT_ROUNDS or self.since_caller >= ROUNDS or self.calls >= CALLS

    def force(self) -> bool:
        """Require an answer in words. False if it was required before. Then a human takes over."""
        self.silent = 0
        self.forced_in_turn, self.forced = self.forced_in_turn + 1, self.forced + 1
        return self.forced_in_turn <= FORCED_IN_A_TURN and self.forced <= FORCED


@dataclass(slots=True)
class RunningFunctions:
    """The functions that the model has called and that have no output yet."""

    failed_attempts: dict[str, int]  # Function -> its failures in a row.
    running: dict[str, ResponseId] = field(default_factory=dict)  # Call id -> the response that called it.
    _quiet: set[str] = field(default_factory=set)  # Those of `running` whose waiting is not announced to the caller.
    _outputs_wanted: list[ResponseId] = field(default_factory=list)  # Responses whose outputs must be answered.
    _callers: set[ResponseId] = field(default_factory=set)  # Responses that called a function.
    phrase: str = "holding"  # The first phrase for the newest of them.
    phrase_at: float = 0.0  # When the last phrase was said for them, Trio clock. 0: none yet.
    asked_at: float = 0.0  # When the newest of them was called, Trio clock.
    phrases: int = 0  # Phrases in a row, without words of the model or the caller between them.
    rounds: Rounds = field(default_factory=lambda: Rounds())

    @classmethod
    def of(cls, failed_attempts: Mapping[str, int]) -> RunningFunctions:
        """The state when no function runs. `failed_attempts` come from the call's earlier streams."""
        return cls(dict(failed_attempts))

    def __bool__(self) -> bool:
        """True while any of them runs."""
        return bool(self.running)

    def _listen(self, newest: tuple[int, int]) -> None:
        """Note the newest turns of the caller and the model. If somebody has spoken, counting begins again."""
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
        """The model calls a function after the `newest` turns. With an empty `phrase`, the caller hears no phrase.

        False if it must not run: an answer in words is due, or the model has called too many functions.
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
        if not self.phrases:  # A function that follows another without words continues the same wait.
            self.phrase_at = 0.0
        return True

    def are_called_by(self, response_id: ResponseId) -> None:
        """A response calls a function that does not run yet."""
        self._callers.add(response_id)

    def end(self, function_call_id: str, *, wants_answer: bool) -> bool:
        """A function's output has come. False if the function does not run (any more).

        `wants_answer`: the model must answer it.
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
        """True while a function that this response called still runs."""
        return response_id in self.running.values()

    def has_called(self, response_id: ResponseId) -> bool:
        """True for a response that called a function."""
        return response_id in self._callers

    def _want_answer(self, response_id: ResponseId) -> None:
        """The outputs of this response's functions must be answered."""
        if response_id not in self._outputs_wanted:
            self._outputs_wanted.append(response_id)

    def _take_complete(self, active: ResponseId | None) -> int:
        """Take the responses that are complete and whose outputs have all come. Returns their number."""
        due = [r for r in self._outputs_wanted if r != active and not self.were_called_by(r)]
        self._outputs_wanted = [r for r in self._outputs_wanted if r not in due]
        return len(due)

    def next_answer(self, active: ResponseId | None, newest: tuple[int, int]) -> NextAnswer:
        """What must follow the outputs that have come, after the `newest` turns. `active`: the response in progress."""
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
        """An attempt failed. Returns the number of failures in a row."""
        self.failed_attempts[name] = self.failed_attempts.get(name, 0) + 1
        return self.failed_attempts[name]

    def worked(self, name: str) -> None:
        """An attempt did not fail, or a human was called because of the failures. Counting begins again."""
        self.failed_attempts.pop(name, None)
        self.failed_attempts.pop(ANY, None)
