"""The idempotency keys of a call. The keys are claimed without words that may not be kept."""

from __future__ import annotations

from typing import Final, Protocol

from relay.call.consent import Consent, Words
from relay.ledger.port import Ledger
from relay.ledger.rows import Already, Json, Reserved, Unavailable

# What a repeat on another machine needs. This holds no words: only the fact that the write was done, and its id.
_BARE: Final = frozenset({"status", "done", "id"})


class HasConsent(Protocol):
    """The file of a call."""

    consent: Consent


class ConsentedReservations:
    """The ledger's reservations. Each time, the consent of the call's newest stream is checked."""

    def __init__(self, ledger: Ledger, file: HasConsent) -> None:
        self._ledger = ledger
        self._file = file

    async def reserve(
        self, key: str, call_sid: str, function: str, arguments: Json, *, function_call_id: str, limit_s: float
    ) -> Reserved | Already | Unavailable:
        """Does the same as Ledger.reserve."""
        said = arguments if self._file.consent.words is Words.KEPT else {}
        return await self._ledger.reserve(
            key, call_sid, function, said, function_call_id=function_call_id, limit_s=limit_s
        )

    async def settle(self, key: str, ok: bool, output: Json, *, limit_s: float) -> None:
        """Does the same as Ledger.settle."""
        await self._ledger.settle(key, ok, self._kept(output), limit_s=limit_s)

    def _kept(self, output: Json) -> Json:
        match self._file.consent.words:
            case Words.KEPT:
                return output
            case Words.WAITING:
                return {}
            case Words.NEVER:
                return {name: value for name, value in output.items() if name in _BARE}
