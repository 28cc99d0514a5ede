"""Defines the error of a try to send news."""

from __future__ import annotations


class NotSent(Exception):
    """The news did not arrive. If `for_good`, another try would fail too. The message quotes no part of the news."""

    def __init__(self, words: str, *, for_good: bool = False, after_s: float | None = None) -> None:
        super().__init__(words)
        self.for_good, self.after_s = for_good, after_s
