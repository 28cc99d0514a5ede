"""One-use stream tokens. Only a peer that we have just told the path, for this call, can open the media socket. Pure.

Twilio removes the query of a stream's URL, so the token is in the path. The handshake does not say which call it is
for: `claim` does, and `start.callSid` must be the same.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

from relay.call.vocabulary import CallSid

# From the TwiML to the socket Twilio takes half a second. A minute is enough for a slow one.
LIFE_S = 60.0
# Calls that ring within a minute on one process. The limit is for a flood: a hundred times what a process carries.
MAX_TOKENS = 20_000
TOKEN_BYTES = 16


class Tokens:
    """The tokens that are in use. `now` is any clock in seconds that never goes back."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, tuple[CallSid, float]] = OrderedDict()  # token -> call, its end; oldest first

    def __len__(self) -> int:
        return len(self._calls)

    def issue(self, call_sid: CallSid, now: float) -> str:
        """A new token for this call: 128 random bits, safe in a path. A call may have several."""
        self._forget_old(now)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._calls[token] = (call_sid, now + LIFE_S)
        return token

    def claim(self, token: str, call_sid: CallSid | None, now: float) -> CallSid | None:
        """The call of a valid token, else None. The token is used up.

        With a `call_sid` the token must be that call's. A token shown for another call is used up too.
        """
        owner, end = self._calls.pop(token, (None, 0.0))
        if owner is None or now >= end or call_sid not in (None, owner):
            return None
        return owner

    def _forget_old(self, now: float) -> None:
        while self._calls:
            _, end = next(iter(self._calls.values()))
            if now < end and len(self._calls) < MAX_TOKENS:
                return
            self._calls.popitem(last=False)
