"""Keeps the files (`CallFile`) of all calls of this process, and the times at which each number rang."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from relay.call.vocabulary import CallSid
from relay.session.call_file import Caller, CallFile

# A file is kept for at least this long after its call's last webhook or stream. Twilio's longest call is four hours.
FILE_LIFE_S = 4 * 3600.0
# Each new call drops at most this many old files. Each call adds only one, so the number of old files falls.
FORGET_AT_ONCE = 8


class CallFiles(dict[CallSid, CallFile]):
    """CallSid -> the file of the call."""

    def __init__(self) -> None:
        super().__init__()
        self._at_hand: set[CallSid] = set()
        # Called when a call needs this process no more: Twilio has not asked about it in time, or the call is over.
        self.dropped: Callable[[CallFile], None] = lambda _: None
        # The time of the next check whether a file can be dropped, and the file's CallSid.
        self._looked_at: deque[tuple[float, CallSid]] = deque()
        self._rings: dict[str, deque[float]] = {}

    def add(self, file: CallFile, now: float) -> None:
        """Add the file of a call that this process did not know."""
        self._forget_old(now)
        self[file.call_sid] = file
        file.at_hand = self._at_hand
        self._looked_at.append((now + FILE_LIFE_S, file.call_sid))
        if not file.is_test:  # A test call has no ring.
            self._rings.setdefault(_who(file.caller), deque()).append(now)

    def at_hand(self) -> list[CallFile]:
        """The calls that need this process: they have a stream, or Twilio may soon ask about them."""
        now = trio.current_time()
        found = []
        for sid in tuple(self._at_hand):
            file = self.get(sid)
            if file is not None and (file.live or now < file.asks_until):
                found.append(file)
            else:
                self._at_hand.discard(sid)
                if file is not None:
                    self.dropped(file)
        return found

    def rings(self, caller: Caller, within_s: float, now: float) -> int:
        """How often this number rang in the last `within_s` seconds, the present ring included.

        All hidden numbers count as one number.
        """
        count = 0
        # The newest ring is checked first, so the loop ends at the first ring that is too old.
        for at in reversed(self._rings.get(_who(caller), ())):
            if now - at >= within_s:
                break
            count += 1
        return count

    def _forget_old(self, now: float) -> None:
        for _ in range(FORGET_AT_ONCE):
            if not self._looked_at or self._looked_at[0][0] > now:
                return
            _, sid = self._looked_at.popleft()
            file = self.get(sid)
            if file is None:
                continue
            if file.live or now - file.last_seen < FILE_LIFE_S:
                self._looked_at.append((now + FILE_LIFE_S, sid))
                continue
            del self[sid]
            who = _who(file.caller)
            rings = self._rings.get(who) if not file.is_test else None
            if rings:
                rings.popleft()  # The oldest ring of this number belongs to this file, or is older.
                if not rings:
                    del self._rings[who]


def _who(caller: Caller) -> str:
    return "hidden" if caller.id.is_hidden else caller.number
