"""What a call knows of the business, from its ring to its end: settings, words, sounds, and the backend.

A process has one briefing at a time. When a file changes, a new one is made for the calls that begin after that.
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
    """One version of the owner's files.

    `closed_words`: the words for the model while the business is closed. "" while the business is open.
    """

    settings: Settings
    prompts: Prompts
    phrases: PhraseBook
    backend: BackendPort
    answers: Mapping[str, str] = field(default_factory=dict)  # The answers that do not fit into the prompt.
    business_text: str = ""  # The business file, word for word. "" if none is read.
    closed_words: Callable[[dt.datetime], str] = lambda _: ""

    @property
    def unused_functions(self) -> frozenset[str]:
        """The functions that the model is not offered."""
        return frozenset() if self.answers else frozenset({"lookup_answer"})
