"""Keeps the deeds of one call and what the caller was told about them, over all streams of the call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from relay.functions.claims import claims
from relay.functions.claims.patterns import DONE, LISTED

# If the agent says something wrong about a deed, the relay makes it correct itself. After this many corrections of the
# same deed, the relay stops doing so.
CORRECTIONS: Final = 2


@dataclass(slots=True)
class Deeds:
    """Deeds that were done, claimed, or told to the caller. Times are seconds of Trio's clock."""

    done: set[str] = field(default_factory=set)
    unproved: set[str] = field(default_factory=set)  # Deeds that the agent claimed and no function did.
    # Deeds that were done, and that the agent has not told the caller in its next turn.
    untold: set[str] = field(default_factory=set)
    # Deed -> when it was done. It is removed when the caller was told.
    _news: dict[str, float] = field(default_factory=dict)
    _outputs: set[str] = field(default_factory=set)
    _corrected: Counter[str] = field(default_factory=Counter)

    @property
    def are_told_right(self) -> bool:
        """True if the caller was told what was done, and nothing else."""
        return not self.unproved and not self.untold

    def in_words(self) -> str:
        """What was done, in words for a human: "the booking was made". Deeds that are not in `TOLD_AS` are left out."""
        return " and ".join(claims.TOLD_AS[deed] for deed in sorted(self.done) if deed in claims.TOLD_AS)

    def returned(self, function: str, ok: bool, output: Mapping[str, Any], now: float) -> None:
        """A function has returned. If it repeats its first result, that is no second deed."""
        deeds = deeds_of(function, ok, output)
        self.done |= deeds
        self.unproved -= self.done
        if deeds - {LISTED}:
            self.unproved.discard(DONE)  # Something was done, so "Done" is true now.
        known = repr(sorted(output.items(), key=str))
        if known not in self._outputs:
            self._outputs.add(known)
            self._news |= dict.fromkeys(deeds - {LISTED}, now)

    def heard(self, said: str, began_s: float, *, more_comes: bool) -> str | None:
        """The caller has heard a turn of the model. The turn began at `began_s`.

        Returns instructions with which the agent must correct itself, or None. `more_comes`: True if another answer was
        asked for or is coming. It may still tell the deed.
        """
        known = {deed for deed, at_s in self._news.items() if at_s <= began_s}
        verdict = claims.check(said, self.done, known, more_comes=more_comes)
        for deed in verdict.told:
            del self._news[deed]
        self.untold -= verdict.told
        withdrawn = verdict.withdrawn | ({DONE} if verdict.withdrawn else set())
        self.unproved = (self.unproved - withdrawn) | verdict.unproved
        self.untold |= verdict.untold
        wrong = verdict.unproved | verdict.untold
        if not wrong or all(self._corrected[deed] >= CORRECTIONS for deed in wrong):
            return None
        self._corrected.update(wrong)
        return verdict.correction


def deeds_of(function: str, ok: bool, output: Mapping[str, Any]) -> frozenset[str]:
    """The deeds that a function's result proves: its `done`, and "listed" if it showed appointments."""
    if not ok:
        return frozenset()
    done = output.get("done")
    shown = {LISTED} if output.get("appointments") else set()
    return frozenset({str(done)} if done else set()) | shown
