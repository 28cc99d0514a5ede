"""What a call knows of the business, from its ring to its end: settings, words, sounds, and the backend.

A process has one at a time. When a file changes, a new one is made for the calls that come from then on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.functions import BackendPort
from relay.phrases.phrase_book import PhraseBook
from relay.phrases.prompts import Prompts
from relay.settings import Settings


@dataclass(frozen=True, slots=True)
class Briefing:
    """One version of the files.

    `closed_words`: what the model is told while the business is closed; "" while it is open.
    """

    settings: Settings
    prompts: Prompts
    phrases: PhraseBook
    backend: BackendPort
    answers: Mapping[str, str] = field(default_factory=dict)  # those that do not fit into the prompt
    business_text: str = ""  # the business file, word for word; "" if none is read
    closed_words: Callable[[dt.datetime], str] = lambda _: ""

    @property
    def unused_functions(self) -> frozenset[str]:
        """What the model is not offered."""
        return frozenset() if self.answers else frozenset({"lookup_answer"})
