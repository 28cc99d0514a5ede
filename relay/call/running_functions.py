"""The functions of a call that run: which of them the caller waits for, and what was said to them meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.call.vocabulary import ResponseId


@dataclass(slots=True)
class RunningFunctions:
    """What the model has called and has no answer to yet."""

    failed_attempts: dict[str, int]  # function -> how often in a row
    _running: dict[str, ResponseId] = field(default_factory=dict)  # call id -> the response that called it
    _quiet: set[str] = field(default_factory=set)  # of these the caller hears nothing
    _outputs_wanted: list[ResponseId] = field(default_factory=list)  # responses whose outputs want an answer
    _callers: set[ResponseId] = field(default_factory=set)  # responses that called any
    phrase: str = "holding"  # what is said first while the newest of them runs
    phrase_at: float = 0.0  # when the last phrase was said for them; 0: none yet
    asked_at: float = 0.0  # when the newest of them was called

    @classmethod
    def of(cls, failed_attempts: Mapping[str, int]) -> RunningFunctions:
        """None run; `failed_attempts` come from the call's earlier streams."""
        return cls(dict(failed_attempts))

    def __bool__(self) -> bool:
        """True while any of them runs."""
        return bool(self._running)

    def begin(self, function_call_id: str, response_id: ResponseId, phrase: str, now: float) -> None:
        """The model called a function; an empty `phrase` means that the caller hears nothing of it."""
        self._running[function_call_id] = response_id
        self._callers.add(response_id)
        if not phrase:
            self._quiet.add(function_call_id)
        self.phrase, self.phrase_at, self.asked_at = phrase, 0.0, now

    def end(self, function_call_id: str) -> ResponseId | None:
        """A function's answer is there: which response called it. None for one that does not run (any more)."""
        self._quiet.discard(function_call_id)
        return self._running.pop(function_call_id, None)

    @property
    def is_awaited(self) -> bool:
        """True while the caller waits for one of them."""
        return any(function not in self._quiet for function in self._running)

    def were_called_by(self, response_id: ResponseId | None) -> bool:
        """True while a function runs that this response called."""
        return response_id in self._running.values()

    def has_called(self, response_id: ResponseId) -> bool:
        """True for a response that called a function."""
        return response_id in self._callers

    def want_answer(self, response_id: ResponseId) -> None:
        """The outputs of this response's functions are to be answered."""
        if response_id not in self._outputs_wanted:
            self._outputs_wanted.append(response_id)

    def complete(self, active: ResponseId | None) -> int:
        """Take the responses whose outputs are all there and that are complete themselves; how many there were."""
        due = [r for r in self._outputs_wanted if r != active and not self.were_called_by(r)]
        self._outputs_wanted = [r for r in self._outputs_wanted if r not in due]
        return len(due)

    def failed(self, name: str) -> int:
        """An attempt failed. How many did in a row."""
        self.failed_attempts[name] = self.failed_attempts.get(name, 0) + 1
        return self.failed_attempts[name]

    def worked(self, name: str) -> None:
        """An attempt did not fail, or its failures were heeded: they are counted anew."""
        self.failed_attempts.pop(name, None)
