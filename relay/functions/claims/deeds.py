"""The deeds of one call, and what the caller was told of them, over all streams of the call (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from relay.functions.claims import claims
from relay.functions.claims.patterns import DONE, LISTED

# The relay forces a turn that corrects what was said about a deed. After this many corrections, this deed is no longer
# a reason for another one.
CORRECTIONS: Final = 2


@dataclass(slots=True)
class Deeds:
    """The deeds that were done, claimed and told. Times are those of Trio's clock, in seconds."""

    done: set[str] = field(default_factory=set)
    unproved: set[str] = field(default_factory=set)  # Claimed deeds that no function did.
    # Deeds that were done, but not told by a turn that should have told them.
    untold: set[str] = field(default_factory=set)
    _news: dict[str, float] = field(default_factory=dict)  # Deed -> when it was done. Only untold deeds.
    _outputs: set[str] = field(default_factory=set)
    _corrected: Counter[str] = field(default_factory=Counter)

    @property
    def are_told_right(self) -> bool:
        """True if the caller was told exactly the deeds that were done."""
        return not self.unproved and not self.untold

    def in_words(self) -> str:
        """What was done, for a human: "the booking was made". "" if nothing was done."""
        return " and ".join(claims.TOLD_AS[deed] for deed in sorted(self.done) if deed in claims.TOLD_AS)

    def returned(self, function: str, ok: bool, output: Mapping[str, Any], now: float) -> None:
        """A function has ended. A repeat that got the first result is not a second deed."""
        deeds = deeds_of(function, ok, output)
        self.done |= deeds
        self.unproved -= self.done
        if deeds - {LISTED}:
            self.unproved.discard(DONE)  # Now it is true that something was done.
        known = repr(sorted(output.items(), key=str))
        if known not in self._outputs:
            self._outputs.add(known)
            self._news |= dict.fromkeys(deeds - {LISTED}, now)

    def heard(self, said: str, began_s: float, *, more_comes: bool) -> str | None:
        """The caller heard a turn of the model, which began at this time. Returns instructions for a turn to be forced.

        `more_comes`: another answer was asked for or is coming. That answer may still tell what this one does not tell.
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
    """The deeds that an outcome proves: its `done`, and "listed" if a look-up showed appointments."""
    if not ok:
        return frozenset()
    done = output.get("done")
    shown = {LISTED} if output.get("appointments") else set()
    return frozenset({str(done)} if done else set()) | shown
