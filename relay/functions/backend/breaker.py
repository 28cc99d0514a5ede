"""Is a circuit breaker: while a backend keeps failing, only a few requests are sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAULTS_TO_OPEN: Final = 5  # After this many faults in a row, the breaker opens.
REST_S: Final = 10.0  # Seconds between two tests.


@dataclass
class Breaker:
    """Counts faults in a row.

    After FAULTS_TO_OPEN faults, at most one request is sent every REST_S seconds. This request is a test: it shows
    whether the backend works again.
    """

    faults: int = 0
    next_try: float = 0.0

    def wait_s(self, now: float) -> float:
        """0.0 if a request may be sent now. Otherwise this returns the seconds until the next test.

        If a test is due, this request becomes the test.
        """
        if self.faults < FAULTS_TO_OPEN:
            return 0.0
        if now < self.next_try:
            return self.next_try - now
        # The result of this test may never come, because the caller has hung up. So the next test is due after REST_S,
        # with or without a result.
        self.next_try = now + REST_S
        return 0.0

    def answered(self) -> None:
        self.faults = 0

    def failed(self, now: float) -> None:
        self.faults += 1
        if self.faults >= FAULTS_TO_OPEN:
            self.next_try = now + REST_S
