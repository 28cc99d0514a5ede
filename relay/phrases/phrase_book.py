"""Renders the relay's own sentences once in the agent's voice, and stores their sound on disk and in Postgres.

Each sound is checked. It is stored under a hash of everything that it was made from: the text, the voice, the model,
the instructions, and the service. While a phrase has no sound, its clip is played. Clips ship with the relay and have
another voice (`relay/phrases/clips/`). A greeting has no clip: relay/call/greeting.py decides what is played instead.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import msgspec
import pybase64
import structlog
import trio

import dsp
from relay.call import wording
from relay.call.actions import AskForResponse
from relay.call.call_config import Greeting, Phrase
from relay.call.conversation import words_of
from relay.call.vocabulary import ResponseBegan, ResponseEnded
from relay.ledger.port import Ledger, LedgerUnavailable
from relay.ledger.rows import Greeting as KeptPhrase
from relay.phrases.prompts import Prompts
from relay.realtime import protocol
from relay.realtime.client import ModelUnreachable, Realtime, Wanted
from relay.transport.websocket import Gone
from relay.voices.voice import Voices, VoiceUnavailable

log = structlog.get_logger()

CLIPS_DIR = Path(__file__).parent / "clips"
# The instructions of the session that renders phrases. If they change, all phrases are rendered again.
_STYLE = "You are the voice of a phone line. You speak exactly the sentence you are given, warmly, and nothing else."
# Speech has 40 to 130 ms for each character (measured with piper and the API's voices). A sound outside these wider
# limits is not the sentence.
MS_PER_CHARACTER = (30, 160)
# The API's voices have -18 to -28 dBFS. A sound below these limits is silence, and a sound above them is distorted.
LOUDNESS_DBFS = (-45.0, -3.0)
# Models begin with 75 to 340 ms of silence. Only this much silence is kept, so that the caller hears the phrase sooner.
LEADING_SILENCE_MS = 40
QUIET_DBFS = -50.0
RENDER_LIMIT_S = 30.0
TRIES = 3
# How many phrases are rendered at a time. This is enough for a quick start, and below the model's rate limits.
AT_ONCE = 4
# If phrases are missing, rendering is tried again after the first pause. Each further pause is twice as long, up to the
# second value.
AGAIN_S = (60.0, 3_600.0)
# This many greetings that calls have heard live may wait to be stored. There are at most four greetings: for open and
# closed hours, with and without the notice.
LEARNED_WAITING = 8
LEDGER_LIMIT_S = 2.0
EMERGENCY = "emergency"  # The key of the phrase with the emergency number.
DIGEST_BYTES = hashlib.sha256().digest_size


class NotRendered(Exception):
    """A phrase could not be rendered, or its sound is not the sentence. The message says what failed."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A phrase as the model spoke it: mu-law at 8 kHz."""

    mulaw: bytes = field(repr=False)
    transcript: str


@cache
def shipped_texts() -> dict[str, str]:
    """The texts of all phrases that ship with the relay, by key."""
    return msgspec.toml.decode((CLIPS_DIR / "clips.toml").read_bytes(), type=dict[str, str])


@cache
def shipped_clip(key: str) -> Phrase:
    """The clip of a phrase, with its text. Raises KeyError if the phrase has no clip."""
    return Phrase(shipped_texts()[key], (CLIPS_DIR / f"{key}.ulaw").read_bytes())


def key_of(text: str, voice: str, model: str, rendered_by: str = "") -> str:
    """The hash under which a phrase is stored. It covers what the sound was made from, and which service made it.

    The hash covers the service, because a stand-in or a proxy uses the names of OpenAI's voices, but sounds different.
    """
    return hashlib.sha256(
        "\0".join((wording.say_exactly(text), voice, model, _STYLE, rendered_by)).encode()
    ).hexdigest()


async def render(realtime: Realtime, model: str, text: str) -> Rendered:
    """Let the model speak a sentence. Raises ModelUnreachable or NotRendered."""
    session = await realtime.open(Wanted(model, _STYLE))
    line, mulaw, words = dsp.Downlink(), bytearray(), ""
    response_id = ""
    try:
        with trio.fail_after(RENDER_LIMIT_S):
            await session.end.send(protocol.ask_for_response(AskForResponse("render", wording.say_exactly(text))))
            while True:
                for raw in await session.end.receive():
                    message = protocol.decode(raw)
                    if message.type == protocol.AUDIO_DELTA and message.response_id == response_id:
                        mulaw += line.feed(pybase64.b64decode(message.delta or ""))
                    elif message.type == "response.output_audio_transcript.delta":
                        words += message.delta or ""
                    event = protocol.event_of(message)
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
    except (protocol.ModelProtocolError, ValueError) as error:
        raise NotRendered(str(error)) from None
    finally:
        await session.end.close()


def trimmed(mulaw: bytes) -> bytes:
    """The sound with at most LEADING_SILENCE_MS of silence at its beginning, filled up to whole frames."""
    start = 0
    while start + 80 <= len(mulaw) and dsp.level_dbfs(mulaw[start : start + 80]) < QUIET_DBFS:
        start += 80
    start = max(0, start - LEADING_SILENCE_MS * 8)
    body = mulaw[start:]
    return body + b"\xff" * (-len(body) % 160)


def check(rendered: Rendered, text: str) -> None:
    """Raise NotRendered if the sound is not this sentence: its words, length or loudness are wrong."""
    if words_of(rendered.transcript) != words_of(text):
        raise NotRendered("the model said other words than the sentence")
    ms, (shortest, longest) = len(rendered.mulaw) / 8, MS_PER_CHARACTER
    if not shortest * len(text) <= ms <= longest * len(text) + 1_000:
        raise NotRendered(f"{ms:.0f} ms of sound cannot be a sentence of {len(text)} characters")
    level = dsp.level_dbfs(rendered.mulaw)
    if not LOUDNESS_DBFS[0] <= level <= LOUDNESS_DBFS[1]:
        raise NotRendered(
            f"its loudness is {level:.0f} dBFS, and must be {LOUDNESS_DBFS[0]:.0f} to {LOUDNESS_DBFS[1]:.0f}"
        )


# A function that renders a sentence. Raises ModelUnreachable (nothing can be rendered now) or NotRendered (only this
# sentence failed).
Renderer = Callable[[str], Awaitable[Rendered]]


def by_model(realtime: Realtime, model: str) -> Renderer:
    """The renderer in which the model speaks."""
    return partial(render, realtime, model)


def by_voice(voices: Voices) -> Renderer:
    """The renderer in which another voice speaks, because the same voice speaks in calls."""

    async def speak(text: str) -> Rendered:
        try:
            with trio.fail_after(RENDER_LIMIT_S):
                return Rendered(trimmed(await voices.render(text)), text)
        except trio.TooSlowError:
            raise NotRendered(f"nothing complete within {RENDER_LIMIT_S:.0f} s") from None
        except VoiceUnavailable as error:
            raise ModelUnreachable(str(error), error.do) from None

    return speak


class PhraseBook:
    """All sentences of the relay's own, and the sounds that exist for them.

    `also`: the holding phrases of functions. `rendered_by`: the service that speaks.
    """

    def __init__(
        self,
        prompts: Prompts,
        voice: str,
        model: str,
        folder: Path,
        ledger: Ledger,
        also: Iterable[str] = (),
        *,
        rendered_by: str = "",
    ) -> None:
        self._prompts = prompts
        self._also = tuple(also)
        self._voice, self._model, self._rendered_by = voice, model, rendered_by
        self._folder = folder
        self._ledger = ledger
        self._kept: dict[str, bytes] = {}  # Text -> its sound in mu-law.
        self._teach, self._taught = trio.open_memory_channel[tuple[str, Rendered]](LEARNED_WAITING)
        self._told: set[tuple[str, str]] = set()  # The faults that were logged since `fill` began.
        # Why the service refuses everything until the operator acts. None if the service does not refuse everything.
        self.refused: ModelUnreachable | None = None
        # Set when the texts of `_first_texts` have sounds, or could not be rendered.
        self.complete = trio.Event()

    def adopt(self, other: PhraseBook) -> None:
        """Take over the sounds of another book with the same voice and model."""
        wanted = {*self.texts(), *self._wholes()}
        self._kept.update((text, mulaw) for text, mulaw in other._kept.items() if text in wanted)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The texts among `texts` that have no sound."""
        return [text for text in texts if text not in self._kept]

    def texts(self) -> list[str]:
        """All texts that must be rendered."""
        return list(dict.fromkeys((*self._first_texts(), *self._prompts.phrases.values(), *self._also)))

    def _first_texts(self) -> list[str]:
        """The texts that are rendered first: the greetings and the emergency phrase. `/readyz` waits for them."""
        return list(dict.fromkeys((*self._parts(), self._prompts.phrases[EMERGENCY])))

    def _parts(self) -> list[str]:
        return [part for greeting in self._greetings() for part in greeting if part]

    def _greetings(self) -> list[tuple[str, str]]:
        return [self._prompts.greeting(announces, closed) for closed in (False, True) for announces in (True, False)]

    def _wholes(self) -> list[str]:
        """The text of each greeting with both its parts, as the model speaks it live."""
        return list(dict.fromkeys(" ".join(filter(None, greeting)) for greeting in self._greetings()))

    def greeting(self, announces: bool, closed: bool = False) -> Greeting:
        """The greeting, with its sound if there is one.

        Each part has its own sound. If a part has none, the sound of the whole greeting is used, if a call has heard
        it live before.
        """
        opening, question = self._prompts.greeting(announces, closed)
        notice = self._prompts.notice if announces else ""
        parts = Greeting(Phrase(opening, self._kept.get(opening)), Phrase(question, self._kept.get(question)), notice)
        learned = self._kept.get(parts.text)
        if not parts.is_kept and learned is not None:
            return Greeting(Phrase(parts.text, learned), Phrase(""), notice)
        return parts

    def phrases(self) -> dict[str, Phrase]:
        """All phrases by key, in the agent's voice. A phrase without a sound in this voice has its clip."""
        book: dict[str, Phrase] = {}
        for key, text in self._prompts.phrases.items():
            mulaw = self._kept.get(text)
            book[key] = Phrase(text, mulaw) if mulaw is not None else self._shipped(key)
        return book

    def _shipped(self, key: str) -> Phrase:
        clip = shipped_clip(key)
        if key == EMERGENCY and self._prompts.rules.emergency_number not in clip.text:
            # The usual clip says the number of another country. This clip says no number, because a wrong number would
            # be worse.
            return shipped_clip("emergency_elsewhere")
        return clip

    def holding(self, text: str) -> Phrase | None:
        """The holding phrase of a function. None if it has no sound."""
        mulaw = self._kept.get(text)
        return Phrase(text, mulaw) if mulaw is not None else None

    async def keep(self, speak: Renderer) -> None:
        """Fill the book, try missing phrases again, and store greetings that calls have heard. Runs until cancelled."""
        again_s = AGAIN_S[0]
        while True:
            missing = await self.fill(speak)
            if missing:
                hears = "the live greeting, or the clips that ship with the relay"
                log.warning("greeting.missing", phrases=len(missing), again_s=again_s, caller_hears=hears)
            with trio.move_on_after(again_s if missing else math.inf):
                while True:
                    text, rendered = await self._taught.receive()
                    await self._put_away(text, rendered)
            again_s = min(2 * again_s, AGAIN_S[1])

    async def fill(self, speak: Renderer, *, again: bool = False) -> dict[str, str]:
        """Load the stored sounds and render the missing ones, `_first_texts` first.

        Returns each text that is still missing, and why. If `again`, the stored sounds are rendered again too.
        """
        missing: dict[str, str] = {}
        self._told.clear()
        self.refused = None
        first = self._first_texts()
        if not again:
            for whole in self._wholes():  # A greeting that a call has heard live is used until both parts are rendered.
                await self._load(whole)
        for texts in (first, [text for text in self.texts() if text not in first]):
            limiter = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as nursery:
                for text in texts:
                    nursery.start_soon(self._load_or_render, speak, text, again, limiter, missing)
            self.complete.set()
        return missing

    async def _load_or_render(
        self, speak: Renderer, text: str, again: bool, limiter: trio.CapacityLimiter, missing: dict[str, str]
    ) -> None:
        async with limiter:
            if again or not await self._load(text):
                words = await self._render(speak, text)
                if words is not None:
                    missing[text] = words

    def learn(self, text: str, mulaw: bytes, transcript: str) -> bool:
        """Take the sound of a whole greeting that a call has just heard live. `keep` stores this sound later.

        Returns False if the sound is not used: it is wrong, or no greeting has this text, or there is a sound already,
        or too many greetings wait.
        This method does not wait, because it runs inside a call.
        """
        if text in self._kept or text not in self._wholes():
            return False
        rendered = Rendered(trimmed(mulaw), transcript)
        try:
            check(rendered, text)
            self._teach.send_nowait((text, rendered))
        except (NotRendered, trio.WouldBlock) as error:
            log.info("greeting.not_learned", words=str(error))
            return False
        self._kept[text] = rendered.mulaw
        return True

    async def _render(self, speak: Renderer, text: str) -> str | None:
        words = ""
        for number in range(TRIES):
            if number:
                await trio.sleep(2.0**number)
            if self.refused is not None:  # The service refuses all phrases.
                return str(self.refused)
            try:
                rendered = await speak(text)
                check(rendered, text)
            except (ModelUnreachable, NotRendered) as error:
                words = str(error)
                if isinstance(error, ModelUnreachable) and error.do:
                    self.refused = error
                    self._complain("greeting.not_rendered", words, error.do)
                    return words
                self._complain("greeting.not_rendered", words, "nothing, if it passes: it is tried again")
                continue
            self._kept[text] = rendered.mulaw
            await self._put_away(text, rendered)
            return None
        return words

    async def _put_away(self, text: str, rendered: Rendered) -> None:
        self._write(text, rendered.mulaw)
        await self._store(text, rendered)

    # Files: the SHA-256 of the sound, then the sound

    def _read(self, text: str) -> bytes | None:
        path = self._path(text)
        try:
            content = path.read_bytes()
        except OSError:
            return None  # This disk does not have the file. Postgres may have the sound from another machine.
        digest, mulaw = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if not mulaw or hashlib.sha256(mulaw).digest() != digest:
            log.warning("greeting.file_is_broken", file=path.name, do="nothing: it is fetched or rendered again")
            return None
        return mulaw

    def _write(self, text: str, mulaw: bytes) -> None:
        path = self._path(text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(hashlib.sha256(mulaw).digest() + mulaw)
            part.replace(path)
        except OSError as error:
            words = error.strerror or type(error).__name__
            self._complain(
                "greeting.not_on_disk", words, "look at DATA_DIR: is it full, and may the relay write to it?"
            )

    def _path(self, text: str) -> Path:
        return self._folder / f"{self._key(text)}.phrase"

    def _key(self, text: str) -> str:
        return key_of(text, self._voice, self._model, self._rendered_by)

    # Postgres

    async def _load(self, text: str) -> bool:
        if text in self._kept:
            return True
        mulaw = self._read(text)
        if mulaw is None:
            mulaw = await self._fetch(text)
            if mulaw is None:
                return False
            self._write(text, mulaw)
        self._kept[text] = mulaw
        return True

    async def _fetch(self, text: str) -> bytes | None:
        try:
            kept = await self._ledger.load_greeting(self._key(text), limit_s=LEDGER_LIMIT_S)
        except LedgerUnavailable:
            return None
        if kept is None:
            return None
        try:
            check(Rendered(kept.mulaw, kept.transcript), text)
        except NotRendered as error:
            log.warning("greeting.row_is_broken", words=str(error), do="nothing: it is rendered again")
            return None
        return kept.mulaw

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
            self._complain(
                "greeting.not_in_postgres", str(error), "look at Postgres: the next machine renders all again"
            )

    def _complain(self, event: str, words: str, do: str) -> None:
        """Log a fault only once in each run of `fill`, because the same fault usually comes for all phrases."""
        if (event, words) not in self._told:
            self._told.add((event, words))
            log.warning(event, words=words, do=do)
