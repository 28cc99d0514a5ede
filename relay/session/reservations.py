"""Reserves a call's idempotency keys in the ledger, without words that may not be kept."""

from __future__ import annotations

from typing import Final, Protocol

from relay.call.consent import Consent, Words
from relay.ledger.port import Ledger
from relay.ledger.rows import Already, Json, Reserved, Unavailable

# The fields that a repeat on another machine needs: that the write was done, and its id. They hold no words of the
# caller.
_BARE: Final = frozenset({"status", "done", "id"})


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
        """Like Ledger.settle. The output is stored only as far as words may be kept now."""
        await self._ledger.settle(key, ok, self._kept(output), limit_s=limit_s)

    def _kept(self, output: Json) -> Json:
        match self._file.consent.words:
            case Words.KEPT:
                return output
            case Words.WAITING:
                return {}
            case Words.NEVER:
                return {name: value for name, value in output.items() if name in _BARE}
