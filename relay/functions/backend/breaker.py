"""A circuit breaker: a backend that is down is not asked by every caller (pure, time comes in)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAULTS_TO_OPEN: Final = 5  # in a row
REST_S: Final = 10.0


@dataclass
class Breaker:
    """Closed, open, or half open: one request every `REST_S` tries whether the backend is back."""

    faults: int = 0
    next_try: float = 0.0

    def wait_s(self, now: float) -> float:
        """0.0: ask (when open, this claims the one try); else the seconds until the next try."""
        if self.faults < FAULTS_TO_OPEN:
            return 0.0
        if now < self.next_try:
            return self.next_try - now
        self.next_try = now + REST_S  # a try that is never reported (the caller hung up) blocks nobody for longer
        return 0.0

    def answered(self) -> None:
        self.faults = 0

    def failed(self, now: float) -> None:
        self.faults += 1
        if self.faults >= FAULTS_TO_OPEN:
            self.next_try = now + REST_S
