"""A circuit breaker: while a backend is down, only a few requests are sent to it. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAULTS_TO_OPEN: Final = 5  # Faults in a row.
REST_S: Final = 10.0


@dataclass
class Breaker:
    """Closed, open, or half open: one request every `REST_S` tests whether the backend is back."""

    faults: int = 0
    next_try: float = 0.0

    def wait_s(self, now: float) -> float:
        """0.0 if this request may ask the backend, else the seconds until the next test.

        If the breaker is open and a test is due, this request is the test.
        """
        if self.faults < FAULTS_TO_OPEN:
            return 0.0
        if now < self.next_try:
            return self.next_try - now
        # If the result of the test is never reported (the caller hung up), the next test comes after this time.
        self.next_try = now + REST_S
        return 0.0

    def answered(self) -> None:
        self.faults = 0

    def failed(self, now: float) -> None:
        self.faults += 1
        if self.faults >= FAULTS_TO_OPEN:
            self.next_try = now + REST_S
