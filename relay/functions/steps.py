"""Runs a coroutine step by step, and measures how long it makes the whole loop wait."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Steps(Generic[T]):
    """Await it once, like the coroutine. `longest_s`: the longest time between two of its awaits, in real seconds.

    While a step runs, nothing else runs: no caller hears anything, and nobody hears them.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.longest_s = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        answer: Any = None
        error: BaseException | None = None
        while True:
            began_s = time.perf_counter()
            try:
                wait = self._work.send(answer) if error is None else self._work.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
            answer, error = None, None
            try:
                answer = yield wait
            except BaseException as thrown:
                error = thrown
