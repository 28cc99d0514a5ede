"""Makes the tokens that open the socket of a call. Each token works only once.

The token is in the path of the socket. Only Twilio gets this path (for a test call: only the owner's page). So nobody
else can open the socket of a call. The token is not in the query, because Twilio removes the query of a stream's URL.
The handshake does not name its call: `claim` returns the call of the token. Later, the `start` message must have the
CallSid of this call.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

from relay.call.vocabulary import CallSid

# A token expires after this time. Twilio opens the socket within half a second (docs/protocol/twilio.md 1.3).
LIFE_S = 60.0
# The largest number of tokens at the same time. If there are more, the oldest token is dropped. This number is a
# hundred times the calls that a process can carry.
MAX_TOKENS = 20_000
TOKEN_BYTES = 16


class Tokens:
    """The valid tokens. `now` is any clock in seconds that never goes back."""

    def __init__(self) -> None:
        # Token -> (call, when it expires). The oldest token comes first.
        self._calls: OrderedDict[str, tuple[CallSid, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def issue(self, call_sid: CallSid, now: float) -> str:
        """Make a new token for a call. It has 128 random bits, and only characters that a path may contain.

        A call may have several tokens.
        """
        self._forget_old(now)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._calls[token] = (call_sid, now + LIFE_S)
        return token

    def claim(self, token: str, call_sid: CallSid | None, now: float) -> CallSid | None:
        """Use up a token. Returns its call, or None if the token is not valid.

        If `call_sid` is given, the token must belong to that call. A token of another call is used up too.
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
