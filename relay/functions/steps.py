"""A coroutine run step by step. If it makes the whole loop wait, it is reported by its name."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Steps(Generic[T]):
    """Await it once, like the coroutine itself. `longest_s`: the longest time between two of its awaits (real seconds).

    While a step runs, nothing else does: no call hears or says anything.
    """

    _work: Coroutine[Any, Any, T]
    longest_s: float = 0.0

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
