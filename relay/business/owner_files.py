"""Reads and checks the owner's files together: the prompts and the business file.

One message names all mistakes in all files.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from relay.business.file import BusinessFileInvalid
from relay.business.file import load as load_business
from relay.business.identity import settle
from relay.business.opening import is_open, minute_of, moment_of, next_opening
from relay.business.rules import Business
from relay.business.told import told
from relay.functions.builtin.times import time_words
from relay.phrases import prompts
from relay.phrases.prompts import Prompts, PromptsInvalid
from relay.settings import Settings


class FilesInvalid(PromptsInvalid):
    """The files have mistakes. The message names all of them."""


@dataclass(frozen=True, slots=True)
class Read:
    """The content of the files."""

    settings: Settings
    prompts: Prompts
    business: Business | None
    # One sentence for each value that differs between the environment and the business file.
    conflicts: tuple[str, ...] = ()
    business_text: str = ""  # The text of the business file.

    def is_closed(self, now: dt.datetime) -> bool:
        """True if a call at this time gets the greeting for closed hours."""
        return bool(self.business and closed_words(self.business, now))


def read(settings: Settings) -> Read:
    """Read and check all files. Raises FilesInvalid."""
    wrong: list[str] = []
    business: Business | None = None
    conflicts: list[str] = []
    if settings.reads_business_file:
        try:
            settings, business, conflicts = settle(settings, load_business(settings.business_file))
        except BusinessFileInvalid as error:
            wrong.append(str(error))
    after = business.after_hours if business else None
    try:
        texts = prompts.load(
            settings,
            prompts.PROMPTS_DIR,
            business=told(business).text if business else "",
            closed_greeting=(after.greeting, after.question) if after else None,
        )
    except PromptsInvalid as error:
        wrong.append(str(error))
    if wrong:
        raise FilesInvalid("\n".join(wrong))
    text = settings.business_file.read_text("utf-8-sig") if business else ""
    return Read(settings, texts, business, tuple(conflicts), text)


def closed_words(business: Business, now: dt.datetime) -> str:
    """What the model is told while the business is closed.

    Returns "" while the business is open, or if the file has no [after_hours].
    """
    minute = minute_of(now)
    if business.after_hours is None or is_open(business, minute):
        return ""
    opens = next_opening(business, minute)
    again = f" It opens again on {time_words(moment_of(opens, business.tz), business.tz)}." if opens else ""
    return f"The business is closed at the moment.{again} {business.after_hours.offer}"
