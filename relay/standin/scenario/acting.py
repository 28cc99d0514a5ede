"""Plays the caller of a scenario: listens, speaks, interrupts, presses keys, and hangs up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from relay.standin.scenario.scenario_file import QUIET_MS, Scenario, Step
from relay.standin.speech.audio_files import read_wav
from relay.standin.speech.voice import Clip, Voice, find
from relay.standin.twilio.exchange import LiveCall

LOOK_S = 0.02
"""How often the caller checks what is heard: once in each frame."""

HINDSIGHT_S = 2 * LOOK_S
"""Sound is noticed up to this much after it has begun."""


class Actor:
    """Does the steps of a scenario in one call. `failures` says in words which steps could not be done."""

    def __init__(self, scenario: Scenario) -> None:
        self.failures: list[str] = []
        self.babbled: list[str] = []  # The parts of the caller's texts that have no clip.
        self._scenario = scenario
        self._listened_until = 0.0  # Only an answer that began after this time answers the caller's last action.
        self._events_seen = 0

    async def act(self, call: LiveCall) -> None:
        """Do one step after the other. Then stay on the line for a while, and hang up.

        If a wait takes too long, the call ends.
        """
        self._listened_until = trio.current_time()
        for number, step in enumerate(self._scenario.caller.steps, 1):
            with trio.move_on_after(step.limit_s) as limit:
                await self._wait(call, step)
            if limit.cancelled_caught:
                kind = "interrupt" if step.interrupt_after_ms is not None else step.kinds[0]
                self.failures.append(f"step {number} ({kind}): it did not come within {step.limit_s:g} s")
                call.hang_up()
                return
            await self._do(call, step)
        await trio.sleep(self._scenario.caller.patience_s)
        self.failures.append(f"the caller hung up {self._scenario.caller.patience_s:g} s after the last step")
        call.hang_up()

    async def _wait(self, call: LiveCall, step: Step) -> None:
        if step.after_ms:
            await trio.sleep(step.after_ms / 1000)
        if step.interrupt_after_ms is not None:
            await self._into_answer(call, step.interrupt_after_ms / 1000)
        if step.listen:
            quiet_ms = QUIET_MS if step.listen is True else step.listen
            await self._answer_over(call, quiet_ms / 1000)
        if step.until is not None:
            await self._event(call, step.until)
            self._listened_until = trio.current_time()  # The next `listen` waits for a later answer.

    async def _do(self, call: LiveCall, step: Step) -> None:
        speech, now = call.state.speech, trio.current_time()
        if step.say is not None or step.cough:
            clip = find(step.say or "cough") or self._babbled(step.say or "")
            text = "" if clip.speaker == "noise" else clip.text
            if text:
                self._listened_until = now  # An answer to this action begins after this time.
            call.state.log(now, "caller_said", text=text or clip.text, clip=clip.id)
            await trio.sleep_until(speech.say(clip.mulaw, now, text, "speech" if text else "cough"))
        elif step.play is not None:
            mulaw = read_wav(Path(step.play))
            call.state.log(now, "caller_said", text=f"({step.play})", clip="")
            await trio.sleep_until(speech.say(mulaw, now, kind="wav"))
        elif step.press is not None:
            for key in step.press:
                if key == "w":
                    await trio.sleep(0.5)
                else:
                    await call.press(key)
        elif step.silent_s is not None:
            await trio.sleep(step.silent_s)
        elif step.mute_s is not None:
            speech.mute(now, step.mute_s)
            await trio.sleep(step.mute_s)
        elif step.hang_up:
            call.hang_up()

    def _babbled(self, text: str) -> Clip:
        """Make a babbled clip for a text that has no clip, or has clips for only a part of it.

        The babbled parts are noted for the report.
        """
        voice = Voice()
        clip = Clip("", "caller", text, voice.say(text))
        self.babbled += voice.babbled
        return clip

    async def _answer_over(self, call: LiveCall, quiet_s: float) -> None:
        """Wait until the agent has said something new and has been quiet for `quiet_s`."""

        def missing_s() -> float:
            now = trio.current_time()
            if not self._is_new(call.state.answer_begun_s(now)):
                return max(quiet_s - HINDSIGHT_S, LOOK_S)
            return quiet_s - call.state.quiet_for_s(now)

        await _until(missing_s)
        self._listened_until = trio.current_time() - quiet_s

    async def _into_answer(self, call: LiveCall, for_s: float) -> None:
        """Wait until the agent has spoken for `for_s`."""

        def missing_s() -> float:
            now = trio.current_time()
            begun = call.state.answer_begun_s(now)
            if begun is None or not self._is_new(begun):
                return max(for_s - HINDSIGHT_S, LOOK_S)
            paused = call.state.quiet_for_s(now) >= 2 * LOOK_S
            return max(for_s - (now - begun), LOOK_S if paused else 0.0)

        await _until(missing_s)

    def _is_new(self, begun: float | None) -> bool:
        """True if sound that began at `begun` answers the caller's last action."""
        return begun is not None and begun > self._listened_until

    async def _event(self, call: LiveCall, kind: str) -> None:
        """Wait until the exchange's log has a new event of this kind.

        The search begins after the event that ended the previous `until`. So it may find an event that is already in
        the log.
        """
        events = call.state.events
        while True:
            while self._events_seen < len(events):
                self._events_seen += 1
                if events[self._events_seen - 1].kind == kind:
                    return
            await call.next_event()


async def _until(missing_s: Callable[[], float]) -> None:
    """Wait until `missing_s` returns 0 or less. Until then it returns how many seconds must still pass at least.

    The wait sleeps for this time, in whole steps of LOOK_S.
    """
    while (missing := missing_s()) > 0:  # noqa: ASYNC110 -- what is heard changes with the clock, without an event
        await trio.sleep(max(1, int(missing / LOOK_S)) * LOOK_S)
