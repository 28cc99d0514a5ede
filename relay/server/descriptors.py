"""File descriptors. Each connection needs one, and a process without a free one cannot even accept a ring."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger()

# More is never needed. Some systems report "unlimited".
ENOUGH = 65_536
# The descriptors of a call: the caller's socket, one or two of the model's, and sometimes one of the backend's.
BY_CALL = 4
# The descriptors for everything else: the log, the ledger, the listening sockets, HTTP for rings and health.
BESIDES_CALLS = 100
# Connections without a request may use one descriptor in this many.
IDLE_SHARE = 4
FEWEST_IDLE = 16


def raise_limit(max_calls: int) -> int:
    """Raise the soft limit as far as the system allows. Returns the limit. Warns if MAX_CALLS needs more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # MacOS has a lower limit, which it does not report.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    has = limit()
    needed = BY_CALL * max_calls + BESIDES_CALLS
    if has < needed:
        log.warning(
            "descriptors.few",
            has=has,
            needed=needed,
            caller_hears="nothing, until this many call at once",
            do=f"raise the hard limit (ulimit -Hn {needed}), or set MAX_CALLS lower",
        )
    return has


def limit() -> int:
    """The number of descriptors that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else min(soft, ENOUGH)


class IdleConnections:
    """Connections without a request. If there are too many, the one that has waited longest is closed."""

    def __init__(self, most: int | None = None) -> None:
        self._most = max(FEWEST_IDLE, limit() // IDLE_SHARE) if most is None else most
        # In the order of waiting: the connection that has waited longest comes first.
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self.shed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: Hashable, close: Callable[[], None]) -> None:
        """This connection waits for a request from now on."""
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
        """A request has come on this connection, or it is closed."""
        self._waiting.pop(connection, None)
