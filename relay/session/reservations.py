"""Exactly-once keys of a call whose caller has not heard the notice yet: claimed as ever, but without any words."""

from __future__ import annotations

from collections.abc import Callable

from relay.ledger.port import Ledger
from relay.ledger.rows import Already, Json, Reserved, Unavailable


class ConsentedReservations:
    """The ledger's reservations; `may_store_words` is asked anew each time."""

    def __init__(self, ledger: Ledger, may_store_words: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._may_store_words = may_store_words

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """As Ledger.reserve."""
        said = arguments if self._may_store_words() else {}
        return await self._ledger.reserve(
            key, call_sid, function, said, function_call_id=function_call_id, limit_s=limit_s
        )

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """As Ledger.settle."""
        await self._ledger.settle(key, ok, output if self._may_store_words() else {}, limit_s=limit_s)
