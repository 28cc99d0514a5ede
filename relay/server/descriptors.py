"""Raises the limit of file descriptors, and warns if it is too low. Each connection needs one descriptor.

A process without a free descriptor cannot accept a webhook, so callers would not reach the agent.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger()

# The limit is never raised above this, even if the system reports "unlimited".
ENOUGH = 65_536
# The descriptors of a call: the caller's socket, one or two of the model's, and sometimes one of the backend's or of
# the other voice's.
BY_CALL = 4
# The descriptors for everything else: the log, the ledger, the listening sockets, HTTP for rings and health.
BESIDES_CALLS = 100
# Idle connections may use a quarter of all descriptors (limit() // IDLE_SHARE), and at least FEWEST_IDLE descriptors.
IDLE_SHARE = 4
FEWEST_IDLE = 16


def raise_limit(max_calls: int) -> int:
    """Raise the soft limit of descriptors to ENOUGH, or as far as the system allows, and return it.

    Log a warning if MAX_CALLS needs more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some values below its reported limit.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    has = limit()
    needed = BY_CALL * max_calls + BESIDES_CALLS
    if has < needed:
        log.warning(
            "descriptors.few",
            has=has,
            needed=needed,
            caller_hears="no change, until all descriptors are in use",
            do=f"raise the hard limit (ulimit -Hn {needed}), or set MAX_CALLS lower",
        )
    return has


def limit() -> int:
    """The number of descriptors that this process may have, but at most ENOUGH."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else min(soft, ENOUGH)


class IdleConnections:
    """The connections that have no request now. If there are too many, the one that has waited longest is closed."""

    def __init__(self, most: int | None = None) -> None:
        self._most = max(FEWEST_IDLE, limit() // IDLE_SHARE) if most is None else most
        # The connection that has waited longest comes first.
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self.shed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: Hashable, close: Callable[[], None]) -> None:
        """Note that this connection now waits for a request. Close others if there are too many."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = close
        while len(self._waiting) > self._most:
            longest = next(iter(self._waiting))
            self._waiting.pop(longest)()
            self.shed += 1
            if self.shed in (1, 100, 10_000):
                log.warning(
                    "http.idle_shed", closed=self.shed, words="more idle connections than this process can hold"
                )

    def remove(self, connection: Hashable) -> None:
        """Note that a request has come on this connection, or that it is closed."""
        self._waiting.pop(connection, None)
