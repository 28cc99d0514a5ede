"""Plays `<Dial>`: rings the human, plays the whisper, connects human and caller (docs/protocol/twilio.md 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import format_datetime
from typing import Literal, Protocol

import trio

from relay.standin.twilio.call_state import CallState, Leg, Status
from relay.standin.twilio.phone import Phone
from relay.standin.twilio.twiml_interpreter import TwimlRefused
from relay.standin.twilio.twiml_verbs import Dial, Document, Gather, Hangup, Number, Pause, Play, Say
from relay.standin.twilio.webhooks import FetchFailed, Webhooks

ANSWER_BUFFER_S = 5.0
"""Twilio lets a phone ring about this much longer than `timeout` says (docs/protocol/twilio.md 5.1)."""

THINK_S = 1.0
"""A human takes this long to press a key after the question."""

Behaviour = Literal["accepts", "declines", "hangs_up", "no_answer", "busy", "failed", "voicemail"]


@dataclass(frozen=True, slots=True)
class Human:
    """How a dialled human behaves. A voicemail answers, but cannot press a key."""

    does: Behaviour = "accepts"
    ring_s: float = 4.0
    talk_s: float = 5.0
    hello: bytes = b""  # What the human says to the caller when the two are connected, as mu-law.


class DialHost(Protocol):
    """What Dialling needs from its call."""

    state: CallState
    webhooks: Webhooks

    def next_human(self) -> Human:
        """The behaviour of the next human who is dialled."""

    def notify(self, url: str, method: str, fields: dict[str, str]) -> None:
        """Send a status callback in the background."""

    async def fetch_document(self, url: str, method: str, fields: dict[str, str], whisper: bool = False) -> Document:
        """Request a TwiML document and read it. Raises FetchFailed, TwimlRefused."""


class Dialling:
    """One `<Dial>`, while it runs."""

    def __init__(self, host: DialHost, verb: Dial) -> None:
        self._host, self._state, self._verb = host, host.state, verb
        self._winner: Leg | None = None
        self._picked_up = trio.Event()
        self._sequence: dict[str, int] = {}
        self._rings_from_s: float | None = None

    async def run(self) -> dict[str, str]:
        """Dial until the conversation has ended, or no number is left. Returns the fields of the action request.

        If this is cancelled, because the caller hung up or REST brought new TwiML, all legs are ended.
        """
        try:
            last = await self._dial_all()
        finally:
            self._stop_ringing()
        fields = {
            "DialCallStatus": last.status,
            "DialCallSid": last.sid,
            "DialBridged": "true" if last.bridged_s is not None else "false",
        }
        if last.bridged_s is not None and last.ended_s is not None:
            fields["DialCallDuration"] = str(round(last.ended_s - last.bridged_s))
        self._state.log(trio.current_time(), "dial_ended", **fields)
        return fields

    async def _dial_all(self) -> Leg:
        """Dial the numbers one after the other, or all at once. Returns the leg that decides the result."""
        legs: list[Leg] = []
        if self._verb.sequential:
            for number in self._verb.numbers:
                await self._dial_into(number, legs)
                if legs[-1].answered_s is not None:
                    break
            return legs[-1]
        async with trio.open_nursery() as nursery:
            for number in self._verb.numbers:
                nursery.start_soon(self._dial_into, number, legs)
        return self._winner or legs[-1]

    def _stop_ringing(self) -> None:
        """Stop the ringing tone that the caller hears."""
        if self._rings_from_s is not None:
            self._state.ringing.append((self._rings_from_s, trio.current_time()))
            self._rings_from_s = None

    async def _dial_into(self, number: Number, legs: list[Leg]) -> None:
        legs.append(await self._dial(number))

    async def _dial(self, number: Number) -> Leg:
        state, human = self._state, self._host.next_human()
        now = trio.current_time()
        caller_id = self._verb.caller_id or state.leg.caller_id
        leg = Leg(state.new_sid("CA"), state.sid, "outbound-dial", caller_id, number.number, "initiated", now)
        state.humans.append(leg)
        state.log(now, "dialled", number=number.number, caller_id=caller_id)
        self._report(number, leg, "initiated")
        try:
            answered = await self._ring(number, leg, human)
            if answered:
                await self._talk(number, leg, human)
        finally:
            if leg.ended_s is None:  # Cancelled: the caller has hung up, or gets new TwiML.
                self._hang_up(number, leg, "completed" if leg.answered_s is not None else "canceled")
        return leg

    async def _ring(self, number: Number, leg: Leg, human: Human) -> bool:
        if human.does == "failed":
            self._hang_up(number, leg, "failed")
            return False
        leg.status = "ringing"
        if self._rings_from_s is None:
            self._rings_from_s = trio.current_time()
        self._report(number, leg, "ringing")
        patience_s = self._verb.timeout_s + ANSWER_BUFFER_S
        if human.does == "no_answer" or human.ring_s > patience_s:
            await self._wait(patience_s)
            self._hang_up(number, leg, "no-answer" if self._winner is None else "canceled")
            return False
        await self._wait(human.ring_s)
        if self._winner is not None:
            self._hang_up(number, leg, "canceled")  # Another phone was faster.
            return False
        if human.does == "busy":
            self._hang_up(number, leg, "busy")
            return False
        self._winner = leg
        self._picked_up.set()
        leg.status, leg.answered_s = "in-progress", trio.current_time()
        self._state.log(leg.answered_s, "human_answered", number=leg.number, does=human.does)
        self._report(number, leg, "answered")
        # With answerOnBridge, the caller hears ringing while the human hears the whisper.
        if not self._verb.answer_on_bridge:
            self._stop_ringing()
        return True

    async def _wait(self, for_s: float) -> None:
        """Ring for `for_s`, or until another phone of the same `<Dial>` is picked up."""
        with trio.move_on_after(for_s):
            await self._picked_up.wait()

    async def _talk(self, number: Number, leg: Leg, human: Human) -> None:
        if number.url and not await self._whisper(number, leg, human):
            self._hang_up(number, leg, "completed")
            return
        now = leg.bridged_s = trio.current_time()
        self._stop_ringing()
        self._state.log(now, "bridged", number=leg.number, does=human.does)
        self._state.playback.media(human.hello, now)
        with trio.move_on_after(self._verb.time_limit_s):
            await trio.sleep(human.talk_s)
        self._hang_up(number, leg, "completed")

    async def _whisper(self, number: Number, leg: Leg, human: Human) -> bool:
        """Run the whisper's TwiML on the human's leg. Returns True if it ends without a hang-up.

        Then human and caller are connected.
        """
        state, phone = self._state, Phone(self._state, leg, self._host.webhooks)
        url, method, fields = number.url, number.method, state.human_fields(leg)

        async def react() -> None:
            await self._react(phone, human)

        phone.gathering = react
        while True:
            try:
                document = await self._host.fetch_document(url, method, fields, whisper=True)
            except (FetchFailed, TwimlRefused) as failed:
                state.complain(trio.current_time(), failed.code, failed.rule, url)
                return False
            for verb in document.verbs:
                if isinstance(verb, Hangup):
                    return False
                if isinstance(verb, Say | Play | Pause):
                    await phone.prompt(verb)
                elif isinstance(verb, Gather):
                    found = await phone.gather(verb)
                    if human.does == "hangs_up":
                        return False
                    if not found.empty or verb.action_on_empty:
                        url, method, fields = verb.action, verb.method, state.human_fields(leg) | found.fields()
                        break
            else:
                return True

    async def _react(self, phone: Phone, human: Human) -> None:
        """Listen to the whisper to its end, then press the key that this human presses."""
        key = {"accepts": "1", "declines": "2"}.get(human.does)
        if key is None:
            return
        await trio.sleep(THINK_S)
        if phone.leg.words:
            await trio.sleep_until(phone.leg.words[-1].to_s + THINK_S)
        self._state.log(trio.current_time(), "human_pressed", key=key)
        phone.press(key)

    def _hang_up(self, number: Number, leg: Leg, status: Status) -> None:
        leg.status, leg.ended_s = status, trio.current_time()
        self._state.log(leg.ended_s, "human_leg_ended", number=leg.number, status=status)
        self._report(number, leg, "completed")

    def _report(self, number: Number, leg: Leg, event: str) -> None:
        """Send the leg's status callback, if its TwiML asks for this event (docs/protocol/twilio.md 1.4)."""
        if not number.status_callback or event not in number.status_events:
            return
        now = trio.current_time()
        sequence = self._sequence[leg.sid] = self._sequence.get(leg.sid, -1) + 1
        fields = self._state.human_fields(leg) | {
            "Timestamp": format_datetime(self._state.wall(now)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(sequence),
        }
        if event == "completed":
            fields["CallDuration"] = str(leg.duration_s(now))
        self._host.notify(number.status_callback, number.status_method, fields)
