"""Decides how long to wait before the next try to send news (pure)."""

from __future__ import annotations

# The pauses in seconds after the first failure, the second failure, and so on. They are short at first, and all
# together more than three days. Mail servers use such pauses too.
PAUSES_S = (10, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 86_400)
LONGEST_ASKED_S = 86_400.0  # A longer Retry-After is shortened to this.


def pause_s(tries: int, asked_s: float | None = None) -> float | None:
    """The seconds until the next try, after `tries` failures. None if there is no further try.

    `asked_s` is the value of a Retry-After header.
    """
    if tries > len(PAUSES_S):
        return None
    return max(PAUSES_S[tries - 1], min(asked_s or 0.0, LONGEST_ASKED_S))
