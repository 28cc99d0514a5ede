"""Reserves a call's idempotency keys in the ledger, without words that may not be kept."""

from __future__ import annotations

from typing import Protocol

from relay.call.consent import Consent, Words
from relay.ledger.port import Ledger
from relay.ledger.rows import Already, Json, Reserved, Unavailable, bare


class HasConsent(Protocol):
    """The part of a call's file that is needed here."""

    consent: Consent


class ConsentedReservations:
    """Reserves keys in the ledger. The words are left out if the call's consent does not allow them at that moment."""

    def __init__(self, ledger: Ledger, file: HasConsent) -> None:
        self._ledger = ledger
        self._file = file

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Like Ledger.reserve. The arguments are stored only if words may be kept now."""
        said = arguments if self._file.consent.words is Words.KEPT else {}
        return await self._ledger.reserve(
            key, call_sid, function, said, function_call_id=function_call_id, limit_s=limit_s
        )

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Like Ledger.settle. If words may not be kept now, only the fields without words are stored.

        If the caller hears the notice later, the function's row replaces this output.
        """
        kept = output if self._file.consent.words is Words.KEPT else bare(output)
        await self._ledger.settle(key, ok, kept, limit_s=limit_s)
