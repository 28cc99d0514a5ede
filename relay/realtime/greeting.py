"""Our own words in the agent's own voice: rendered once through the model, checked, kept, and found again by a hash.

Kept in Postgres and on disk under a key of all that went into them (words, voice, model). Until a phrase is kept, the
same words come in the voice that ships with the relay (`relay/clips/`); a greeting has no such stand-in: its ladder
is in call/machine.py.
Upstream: daemon.py (at start), cli.py (`relay greet`).  Downstream: realtime/session.py, ledger.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec
import pybase64
import structlog
import trio

import dsp
from relay.call import wording
from relay.call.plan import Greeting, Phrase
from relay.call.vocabulary import AskForResponse, ResponseBegan, ResponseEnded
from relay.ledger.port import Ledger, LedgerUnavailable
from relay.ledger.rows import Greeting as KeptPhrase
from relay.prompts import Prompts
from relay.realtime import dialect
from relay.realtime.session import ModelUnreachable, Realtime, Wanted
from relay.websocket import Gone

log = structlog.get_logger()

CLIPS_DIR = Path(__file__).parent.parent / "clips"
# How a phrase is asked for; a change here makes every key new.
_STYLE = "You are the voice of a phone line. You speak exactly the sentence you are given, warmly, and nothing else."
# A sentence of speech takes 40-130 ms a character (piper and the API's voices, measured); outside it is no sentence.
MS_PER_CHARACTER = (30, 160)
# The API's voices come at -18..-28 dBFS; quieter than this is silence, louder is clipped.
LOUDNESS_DBFS = (-45.0, -3.0)
# Models begin with 75-340 ms of silence: what is over this is cut off, so that the caller hears us sooner.
LEADING_SILENCE_MS = 40
QUIET_DBFS = -50.0
RENDER_LIMIT_S = 30.0
TRIES = 3
# Phrases rendered at the same time: a start is quick, and the model's rate limits are not felt.
AT_ONCE = 4
LEDGER_LIMIT_S = 2.0


class NotRendered(Exception):
    """A phrase could not be rendered, or what came was not the phrase: says which check failed."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A phrase as the model spoke it: mu-law at 8 kHz."""

    mulaw: bytes = field(repr=False)
    transcript: str


@cache
def shipped_clip(key: str) -> Phrase:
    """The phrase that ships with the relay, in its own words. Raises KeyError for a key that has none."""
    texts = msgspec.toml.decode((CLIPS_DIR / "clips.toml").read_bytes(), type=dict[str, str])
    return Phrase(texts[key], (CLIPS_DIR / f"{key}.ulaw").read_bytes())


def key_of(text: str, voice: str, model: str) -> str:
    """The hash under which a phrase is kept: everything that went into its sound."""
    return hashlib.sha256("\0".join((text, voice, model, _STYLE)).encode()).hexdigest()


async def render(realtime: Realtime, model: str, text: str) -> Rendered:
    """Have the model speak a sentence. Raises ModelUnreachable or NotRendered."""
    session = await realtime.open(Wanted(model, _STYLE))
    line, mulaw, words = dsp.Downlink(), bytearray(), ""
    response_id = ""
    try:
        with trio.fail_after(RENDER_LIMIT_S):
            await session.end.send(dialect.ask_for_response(AskForResponse("render", wording.say_exactly(text))))
            while True:
                for raw in await session.end.receive():
                    message = dialect.decode(raw)
                    if message.type == dialect.AUDIO_DELTA and message.response_id == response_id:
                        mulaw += line.feed(pybase64.b64decode(message.delta or ""))
                    elif message.type == "response.output_audio_transcript.delta":
                        words += message.delta or ""
                    event = dialect.event_of(message)
                    if isinstance(event, ResponseBegan):
                        response_id = event.response_id
                    elif isinstance(event, ResponseEnded):
                        if event.status != "completed":
                            raise NotRendered(
                                f"the model ended with {event.status}: {event.detail or 'no reason given'}"
                            )
                        mulaw += line.flush()
                        return Rendered(trimmed(bytes(mulaw)), words)
    except trio.TooSlowError:
        raise NotRendered(f"nothing complete within {RENDER_LIMIT_S:.0f} s") from None
    except Gone as error:
        raise NotRendered(f"the model closed the session: {error.code} {error.reason}") from None
    except (dialect.ModelProtocolError, ValueError) as error:
        raise NotRendered(str(error)) from None
    finally:
        await session.end.close()


def trimmed(mulaw: bytes) -> bytes:
    """Without the silence before the first sound, but for 40 ms, and in whole frames."""
    start = 0
    while start + 80 <= len(mulaw) and dsp.level_dbfs(mulaw[start : start + 80]) < QUIET_DBFS:
        start += 80
    start = max(0, start - LEADING_SILENCE_MS * 8)
    body = mulaw[start:]
    return body + b"\xff" * (-len(body) % 160)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.casefold())


def check(rendered: Rendered, text: str) -> None:
    """Raise NotRendered unless this is the sentence: its words, a plausible length, a plausible loudness."""
    if _words(rendered.transcript) != _words(text):
        raise NotRendered("the model said other words than it was given")
    ms, (shortest, longest) = len(rendered.mulaw) / 8, MS_PER_CHARACTER
    if not shortest * len(text) <= ms <= longest * len(text) + 1_000:
        raise NotRendered(f"{ms:.0f} ms of sound for {len(text)} characters is no sentence")
    level = dsp.level_dbfs(rendered.mulaw)
    if not LOUDNESS_DBFS[0] <= level <= LOUDNESS_DBFS[1]:
        raise NotRendered(
            f"its loudness is {level:.0f} dBFS, wanted is {LOUDNESS_DBFS[0]:.0f} to {LOUDNESS_DBFS[1]:.0f}"
        )


class PhraseBook:
    """All phrases of this relay with their sounds, as far as they are there."""

    def __init__(self, prompts: Prompts, voice: str, model: str, folder: Path, ledger: Ledger) -> None:
        self._prompts = prompts
        self._voice, self._model = voice, model
        self._folder = folder
        self._ledger = ledger
        self._kept: dict[str, bytes] = {}  # text -> mulaw
        self.complete = trio.Event()  # the greetings are there, or have been tried

    def texts(self) -> list[str]:
        """Everything that is to be rendered: the greetings first."""
        parts = [*self._prompts.greeting(True), *self._prompts.greeting(False), *self._prompts.phrases.values()]
        return list(dict.fromkeys(text for text in parts if text))

    def greeting(self, announces: bool) -> Greeting:
        """The greeting with what sound there is."""
        opening, question = self._prompts.greeting(announces)
        return Greeting(
            Phrase(opening, self._kept.get(opening)),
            Phrase(question, self._kept.get(question)),
            announces and bool(self._prompts.notice),
        )

    def phrases(self) -> dict[str, Phrase]:
        """The phrases by key: kept ones in the agent's voice, the others as they ship."""
        book: dict[str, Phrase] = {}
        for key, text in self._prompts.phrases.items():
            mulaw = self._kept.get(text)
            book[key] = Phrase(text, mulaw) if mulaw is not None else shipped_clip(key)
        return book

    def holding(self, text: str) -> Phrase | None:
        """A function's own holding phrase, if it is kept."""
        mulaw = self._kept.get(text)
        return Phrase(text, mulaw) if mulaw is not None else None

    async def fill(self, realtime: Realtime, *, again: bool = False) -> list[str]:
        """Load what is kept and render the rest, the greetings first. Returns what is missing, in words.

        `again`: render also what is kept.
        """
        missing: list[str] = []
        greetings = {text for announces in (True, False) for text in self._prompts.greeting(announces)}
        for texts in (
            [text for text in self.texts() if text in greetings],
            [text for text in self.texts() if text not in greetings],
        ):
            limiter = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as nursery:
                for text in texts:
                    nursery.start_soon(self._load_or_render, realtime, text, again, limiter, missing)
            self.complete.set()
        return missing

    async def _load_or_render(
        self, realtime: Realtime, text: str, again: bool, limiter: trio.CapacityLimiter, missing: list[str]
    ) -> None:
        async with limiter:
            if again or not await self._load(text):
                words = await self._render(realtime, text)
                if words is not None:
                    missing.append(f"{text[:40]!r}: {words}")

    def learn(self, text: str, mulaw: bytes, transcript: str) -> bool:
        """Keep a greeting that a call has just spoken live. False if it is not the text, or kept already."""
        rendered = Rendered(trimmed(mulaw), transcript)
        if text in self._kept or text not in self.texts():
            return False
        try:
            check(rendered, text)
        except NotRendered:
            return False
        self._kept[text] = rendered.mulaw
        self._write(text, rendered)
        return True

    async def _render(self, realtime: Realtime, text: str) -> str | None:
        words = ""
        for number in range(TRIES):
            if number:
                await trio.sleep(2.0**number)
            try:
                rendered = await render(realtime, self._model, text)
                check(rendered, text)
            except (ModelUnreachable, NotRendered) as error:
                words = str(error)
                continue
            self._kept[text] = rendered.mulaw
            self._write(text, rendered)
            await self._store(text, rendered)
            return None
        log.warning("greeting.not_rendered", words=words, tries=TRIES)
        return words

    async def _load(self, text: str) -> bool:
        path = self._path(text)
        try:
            mulaw = path.read_bytes()
            if mulaw and len(mulaw) % 160 == 0:
                self._kept[text] = mulaw
                return True
        except OSError:
            pass  # not on this disk: perhaps another machine rendered it
        try:
            kept = await self._ledger.load_greeting(self._key(text), limit_s=LEDGER_LIMIT_S)
        except LedgerUnavailable:
            return False
        if kept is None:
            return False
        self._kept[text] = kept.mulaw
        self._write(text, Rendered(kept.mulaw, kept.transcript))
        return True

    def _key(self, text: str) -> str:
        return key_of(text, self._voice, self._model)

    def _path(self, text: str) -> Path:
        return self._folder / f"{self._key(text)}.ulaw"

    def _write(self, text: str, rendered: Rendered) -> None:
        path = self._path(text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(rendered.mulaw)
            part.replace(path)
        except OSError as error:
            log.warning("greeting.not_on_disk", words=error.strerror)

    async def _store(self, text: str, rendered: Rendered) -> None:
        kept = KeptPhrase(
            key=self._key(text),
            text=text,
            mulaw=rendered.mulaw,
            ms=len(rendered.mulaw) // 8,
            voice=self._voice,
            model=self._model,
            transcript=rendered.transcript,
            loudness_dbfs=dsp.level_dbfs(rendered.mulaw),
            created_at=dt.datetime.now(dt.UTC),
        )
        try:
            await self._ledger.keep_greeting(kept, limit_s=LEDGER_LIMIT_S)
        except LedgerUnavailable as error:
            log.warning("greeting.not_in_postgres", words=str(error))
