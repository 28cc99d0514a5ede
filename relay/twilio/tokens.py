"""One-use stream tokens. Only Twilio gets the path with the token, and can open the media socket of the call.

Twilio removes the query of a stream's URL, so the token is in the path. The handshake does not name its call. `claim`
gives the call of a token, and `start.callSid` must be the same.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

from relay.call.vocabulary import CallSid

# The seconds until a token expires. Twilio opens the socket about half a second after it got the TwiML.
LIFE_S = 60.0
# The most calls that may ring within a minute on one process: a hundred times what a process can carry.
MAX_TOKENS = 20_000
TOKEN_BYTES = 16


class Tokens:
    """The tokens that are in use. `now` is any clock in seconds that never goes back."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, tuple[CallSid, float]] = OrderedDict()  # Token -> (call, expiry). Oldest first.

    def __len__(self) -> int:
        return len(self._calls)

    def issue(self, call_sid: CallSid, now: float) -> str:
        """A new token for this call: 128 random bits, safe in a path. A call may have several."""
        self._forget_old(now)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._calls[token] = (call_sid, now + LIFE_S)
        return token

    def claim(self, token: str, call_sid: CallSid | None, now: float) -> CallSid | None:
        """The call of a valid token, else None. The token then does not work any more.

        With a `call_sid` the token must belong to that call. If it does not, it is used up as well.
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
