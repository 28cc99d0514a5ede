"""Runs `<Record>`: records what the caller says after the beep. exchange.py sends the recording's URL to the relay."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from relay.standin.speech.audio_files import RATE_HZ
from relay.standin.twilio.call_state import CallState
from relay.standin.twilio.listening import is_loud
from relay.standin.twilio.phone import Phone
from relay.standin.twilio.playback import samples_at
from relay.standin.twilio.twiml_verbs import Record

BEEP_S = 0.5
STEP_S = 0.02
STEP = 160


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that Twilio keeps."""

    sid: str
    call_sid: str
    mulaw: bytes
    words: str  # The words that the caller said in the recording, for tests.
    ended_by: str  # What ended the recording: a key, "timeout", "limit" or "hangup".

    @property
    def seconds(self) -> int:
        """The length of the recording in whole seconds, as Twilio gives it."""
        return round(len(self.mulaw) / RATE_HZ)


async def record(verb: Record, state: CallState, phone: Phone) -> Recording | None:
    """Record until silence, a key or the limit. Returns None if nothing was said.

    If the caller hangs up, this is cancelled. Then exchange.py makes the recording with `kept`.
    """
    if verb.play_beep:
        await trio.sleep(BEEP_S)
    phone.forget_keys()
    begun = trio.current_time()
    state.log(begun, "recording_started")
    ended_by = "timeout"
    async with trio.open_nursery() as nursery:

        async def stop_on_key() -> None:
            nonlocal ended_by
            while True:
                key = await phone.key()
                if key in verb.finish_on_key:
                    ended_by = key
                    nursery.cancel_scope.cancel()

        nursery.start_soon(stop_on_key)
        last_sound = begun
        while trio.current_time() < begun + verb.max_length_s:
            await trio.sleep(STEP_S)
            now = trio.current_time()
            if is_loud(state.speech.read(samples_at(now) - STEP, STEP)):
                last_sound = now
            if now - last_sound >= verb.timeout_s:
                break
        else:
            ended_by = "limit"
        nursery.cancel_scope.cancel()
    return kept(state, begun, trio.current_time(), ended_by)


def kept(state: CallState, begun: float, now: float, ended_by: str) -> Recording | None:
    """Make a recording of what the caller said between two moments. None if nothing was said."""
    first, last = samples_at(begun), samples_at(now)
    mulaw = state.speech.read(first, last - first)
    if not any(is_loud(mulaw[at : at + STEP]) for at in range(0, len(mulaw), STEP)):
        return None
    words = state.speech.heard_words(begun, now)
    recording = Recording(state.new_sid("RE"), state.sid, mulaw, words, ended_by)
    state.log(now, "recorded", seconds=recording.seconds, words=words)
    return recording
