"""The telephone of one leg, and the verbs that every leg can run: Say, Play, Pause, Gather."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from relay.standin.speech.audio_files import AudioRefused, mulaw_of
from relay.standin.twilio.call_state import CallState, Leg
from relay.standin.twilio.twiml_verbs import Gather, Pause, Play, Prompt, Say
from relay.standin.twilio.webhooks import FetchFailed, Webhooks

DIGIT_S = 0.5
"""The time for one digit of `<Play digits>`. A `w` takes the same time."""

SPEECH_END_S = 1.0
"""This much silence ends a spoken answer to `<Gather input="speech">` (its speechTimeout is `auto`)."""

LOOPS = 1000
"""`loop="0"` repeats until the call ends. Here it repeats this many times, the largest number that `loop` may have."""

POLL_S = 0.02


@dataclass(slots=True)
class Gathered:
    """The result of a `<Gather>`: digits, words, or neither."""

    digits: str = ""
    finished_on: str = ""
    speech: str = ""

    @property
    def empty(self) -> bool:
        """True if nothing was entered."""
        return not self.digits and not self.speech

    def fields(self) -> dict[str, str]:
        """The form fields of the action request."""
        if self.speech:
            return {"SpeechResult": self.speech, "Confidence": "0.94"}
        fields = {"Digits": self.digits}
        return fields | {"FinishedOnKey": self.finished_on} if self.finished_on else fields


class Phone:
    """A telephone: keys can be pressed on it, and Twilio can speak to it."""

    def __init__(self, state: CallState, leg: Leg, webhooks: Webhooks) -> None:
        self.leg = leg
        self.gathering: Callable[[], Awaitable[None]] | None = None  # Runs during each <Gather>, and presses keys.
        self._state, self._webhooks = state, webhooks
        self._keys: deque[str] = deque()
        self._pressed = trio.Event()

    def press(self, keys: str) -> None:
        """Press one key after the other."""
        self.leg.keys += keys
        self._keys.extend(keys)
        self._pressed.set()

    async def key(self) -> str:
        """The next key that is pressed."""
        while not self._keys:
            self._pressed = trio.Event()
            await self._pressed.wait()
        return self._keys.popleft()

    def forget_keys(self) -> None:
        """Drop keys that were pressed earlier."""
        self._keys.clear()

    async def prompt(self, verb: Prompt) -> None:
        """Run one Say, Play or Pause to its end."""
        match verb:
            case Say(text, loop):
                for _ in range((loop or LOOPS) if text else 0):
                    await trio.sleep_until(self._state.read_out(self.leg, text, trio.current_time()))
            case Pause(length_s):
                await trio.sleep(length_s)
            case Play(url, digits, loop):
                await trio.sleep(len(digits) * DIGIT_S)
                for _ in range((loop or LOOPS) if url else 0):
                    await self._play(url)

    async def _play(self, url: str) -> None:
        try:
            reply, _ = await self._webhooks.fetch(url, "GET", {})
            mulaw = mulaw_of(reply.body, reply.headers.get("content-type", ""))
        except FetchFailed as failed:
            self._state.complain(trio.current_time(), failed.code, failed.rule, url)
        except AudioRefused as refused:
            self._state.complain(trio.current_time(), 12300, str(refused), url)
        else:
            now = trio.current_time()
            if self.leg is self._state.leg:
                self._state.playback.media(mulaw, now)
            await trio.sleep_until(now + len(mulaw) / 8000)

    async def gather(self, verb: Gather) -> Gathered:
        """Run the prompts, and wait for keys or words. A key or a word ends the prompts."""
        self.forget_keys()
        found, begun, waiting = Gathered(), trio.current_time(), trio.CancelScope()
        async with trio.open_nursery() as nursery:
            done = nursery.cancel_scope
            if verb.dtmf:
                nursery.start_soon(self._gather_keys, verb, found, waiting, done)
            if verb.speech:
                nursery.start_soon(self._gather_words, begun, found, waiting, done)
            if self.gathering is not None:
                nursery.start_soon(self.gathering)
            with waiting:
                for prompt in verb.prompts:
                    await self.prompt(prompt)
                await trio.sleep(verb.timeout_s)
            if waiting.cancelled_caught:  # The person has begun to answer. The tasks above end the wait.
                await trio.sleep_forever()
            done.cancel()
        return found

    async def _gather_keys(
        self, verb: Gather, found: Gathered, waiting: trio.CancelScope, done: trio.CancelScope
    ) -> None:
        key = await self.key()
        waiting.cancel()
        while True:
            if key in verb.finish_on_key:
                found.finished_on = key
                break
            found.digits += key
            if verb.num_digits is not None and len(found.digits) >= verb.num_digits:
                break
            with trio.move_on_after(verb.timeout_s) as wait:
                key = await self.key()
            if wait.cancelled_caught:
                break
        done.cancel()

    async def _gather_words(
        self, begun: float, found: Gathered, waiting: trio.CancelScope, done: trio.CancelScope
    ) -> None:
        speech = self._state.speech
        while not found.speech:
            await trio.sleep(POLL_S)
            now = trio.current_time()
            if speech.speaking(now):
                waiting.cancel()
            elif words := speech.words_ended(begun, now - SPEECH_END_S):
                found.speech = words
        done.cancel()
