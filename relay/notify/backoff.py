"""When news that could not be sent is tried again (pure)."""

from __future__ import annotations

# The pause after the first failure, the second, and so on: short at first, and over three days in all. Mail servers do
# the same.
PAUSES_S = (10, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 86_400)
LONGEST_ASKED_S = 86_400.0


def pause_s(tries: int, asked_s: float | None = None) -> float | None:
    """Seconds until the next try, after `tries` tries. None: it is given up. `asked_s` is a Retry-After header."""
    if tries > len(PAUSES_S):
        return None
    return max(PAUSES_S[tries - 1], min(asked_s or 0.0, LONGEST_ASKED_S))
