"""Holds what a call knows of the business: settings, prompts, phrases, and the backend.

When a file of the owner changes, a new briefing is made for the calls that begin later. A running call keeps its
briefing until it ends.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.functions import BackendPort
from relay.phrases.phrase_book import PhraseBook
from relay.phrases.prompts import Prompts
from relay.settings import Settings, check_hours


@dataclass(frozen=True, slots=True)
class Briefing:
    """One version of the owner's files.

    `closed_words` returns what the model is told while the business is closed. It returns "" while the business is
    open, or if the file has no [after_hours].
    """

    settings: Settings
    prompts: Prompts
    phrases: PhraseBook
    backend: BackendPort
    # Answers that do not fit into the prompt. `lookup_answer` reads them.
    answers: Mapping[str, str] = field(default_factory=dict)
    business_text: str = ""  # The business file as text. "" if there is none.
    closed_words: Callable[[dt.datetime], str] = lambda _: ""

    @property
    def unused_functions(self) -> frozenset[str]:
        """The names of the functions that the model is not offered."""
        return frozenset() if self.answers else frozenset({"lookup_answer"})

    def human_is_there(self, at: dt.datetime) -> bool:
        """True if a human takes calls at this time. HUMAN_HOURS are in the business's time zone."""
        rows = check_hours(self.settings.human_hours)
        if rows is None:
            return True
        local = at.astimezone(self.settings.tz)
        clock = f"{local:%H:%M}"
        return any(day == local.weekday() and opens <= clock < closes for day, opens, closes in rows)
