"""Makes briefings from the owner's files: at the start, and again when the files change.

A briefing is one version of the owner's files. A running call keeps its briefing. Only later calls use a new briefing.

Rule 1: if a file has a mistake, the old briefing stays in use, and the mistake is logged.
Rule 2: changed phrases are rendered before calls use them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

import structlog
import trio

from relay.business.diary import Diary
from relay.business.embedded import Embedded
from relay.business.owner_files import FilesInvalid, Read, closed_words, read
from relay.business.told import told
from relay.functions import BackendPort
from relay.ledger.port import Ledger
from relay.phrases import prompts
from relay.phrases.phrase_book import PhraseBook, Renderer
from relay.session.briefing import Briefing
from relay.settings import Settings
from relay.telemetry.metrics import Metrics

log = structlog.get_logger()

# `watch` compares the times and sizes of the files this often. It reads a changed file only if the file has not changed
# again at the next comparison, because an editor may still be writing it.
LOOK_EVERY_S: Final = 1.0
# If a phrase of the new files could not be rendered, the files are read and rendered again after this time.
AGAIN_S: Final = 30.0

# The addresses of the example businesses that ship with the relay.
EXAMPLES: Final = frozenset({"12 Water Street, by the old pier", "48 Mill Lane, next to the bakery"})

Fingerprint = frozenset[tuple[str, int, int]]
"""For each file: its path, time of change in ns, and size in bytes. It differs if a file has changed."""


class Briefings:
    """Makes briefings. If `backend` is None, the embedded backend with `diary` is used."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        also: tuple[str, ...],
        *,
        rendered_by: str,
        backend: BackendPort | None,
        diary: Diary | None,
        utc_now: Callable[[], dt.datetime],
        metrics: Metrics,
    ) -> None:
        self._settings, self._ledger, self._also, self._rendered_by = settings, ledger, also, rendered_by
        self._backend, self._diary, self._utc_now, self._metrics = backend, diary, utc_now, metrics
        self._in_force: Read | None = None
        self.trouble = ""  # What is wrong with the files as they are now. "" if nothing is wrong.
        self._known: Fingerprint = frozenset()
        self._keeping = trio.CancelScope()

    def first(self) -> Briefing:
        """The first briefing, at the start. Raises FilesInvalid."""
        self._known = self._fingerprint()  # Taken before the reading, so that a file that changes then is read again.
        found = read(self._settings)
        for words in found.conflicts:
            log.warning("business.file_differs", words=words)
        if found.business and found.business.place in EXAMPLES and not self._settings.is_local:
            log.warning(
                "business.is_the_example",
                caller_hears="the hours, services and people of an example business",
                do=f"write your own into {self._settings.business_file}",
            )
        self._in_force = found
        return self._made(found)

    def _made(self, found: Read) -> Briefing:
        settings, business = found.settings, found.business
        folder = settings.data_dir / "greetings"
        book = PhraseBook(
            found.prompts,
            settings.phrase_voice,
            settings.phrase_model,
            folder,
            self._ledger,
            self._also,
            rendered_by=self._rendered_by,
        )
        backend = self._backend
        if backend is None:
            assert business is not None, "an embedded backend reads the file"
            assert self._diary is not None, "an embedded backend has a diary"
            backend = Embedded(business, self._diary, self._utc_now)
        looked_up = told(business).looked_up if business else ()
        return Briefing(
            settings=settings,
            prompts=found.prompts,
            phrases=book,
            backend=backend,
            answers={", ".join((each.about, *each.also)): each.answer for each in looked_up},
            closed_words=lambda now: closed_words(business, now) if business else "",
            business_text=found.business_text,
        )

    async def keep_phrases(self, current: Callable[[], Briefing], speak: Renderer) -> None:
        """Keep the phrases of the current briefing rendered. Start again when `watch` has made a new briefing."""
        while True:
            with trio.CancelScope() as self._keeping:
                await current().phrases.keep(speak)

    async def watch(
        self, current: Callable[[], Briefing], take_over: Callable[[Briefing], None], speak: Renderer
    ) -> None:
        """Look for changed files every LOOK_EVERY_S.

        Read changed files. If they have no mistake, render their new phrases, and pass a new briefing to `take_over`.
        """
        seen = self._known
        while True:
            await trio.sleep(LOOK_EVERY_S)
            now = await trio.to_thread.run_sync(self._fingerprint)
            if now == seen != self._known and await self._renew(current(), take_over, speak):
                self._known = now
            seen = now

    def _fingerprint(self) -> Fingerprint:
        paths = [*prompts.PROMPTS_DIR.rglob("*"), self._settings.business_file]
        found = set()
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                continue  # A missing file is not in the fingerprint, so its removal counts as a change.
            found.add((str(path), stat.st_mtime_ns, stat.st_size))
        return frozenset(found)

    def _read_for_calls(self) -> Read:
        found = read(self._settings)
        found.prompts.rules.words.compile_all()
        return found

    async def _renew(self, old: Briefing, take_over: Callable[[Briefing], None], speak: Renderer) -> bool:
        """Read changed files, and put a new briefing in use. Returns False if the same files must be read again."""
        try:
            found = await trio.to_thread.run_sync(self._read_for_calls)
        except FilesInvalid as error:
            self._metrics.files_broken.set(1)
            self.trouble = str(error)
            log.error(
                "files.broken",
                words=str(error),
                caller_hears="no change: the old files stay in use",
                do="correct the file: it is read again when it changes; `relay check` names every mistake",
            )
            return True
        self._metrics.files_broken.set(0)
        self.trouble = ""
        if found == self._in_force:
            return True
        new = self._made(found)
        new.phrases.adopt(old.phrases)
        await new.phrases.fill(speak)
        missing = new.phrases.missing(set(new.phrases.texts()) - set(old.phrases.texts()))
        if missing:
            log.warning(
                "files.not_rendered",
                phrases=len(missing),
                again_s=AGAIN_S,
                caller_hears="no change: the old files stay in use until the new phrases are rendered",
            )
            await trio.sleep(AGAIN_S)
            return False
        self._in_force = found
        take_over(new)
        self._keeping.cancel()
        self._metrics.files_taken_over.inc()
        log.info(
            "files.taken_over", prompt=new.prompts.version, calls="new calls use them, running calls keep the old files"
        )
        return True
