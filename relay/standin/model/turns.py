"""Runs the responses of a session: at most one in the conversation, and any number out of band."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from relay.standin.model import errors
from relay.standin.model.agenda import Agenda
from relay.standin.model.errors import RefusedError
from relay.standin.model.items import Item
from relay.standin.model.reactions import Director
from relay.standin.model.response import Order, Response, Stage
from relay.standin.model.script import Faults
from relay.standin.speech.voice import Voice

RATE_LIMIT_TOKENS = 15_000_000
RATE_LIMITS_S = 0.043  # The time from response.done to rate_limits.updated (docs/protocol/openai.md 2.3).
# The time from speech_started to the end of the interrupted response. One of its deltas may still come in this time
# (docs/protocol/openai.md 2.3).
CANCEL_S = 0.02


SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Responses:
    """The responses of one session.

    When a response in the conversation has ended, `on_over` is called with the length of its audio in ms.
    """

    def __init__(
        self, stage: Stage, agenda: Agenda, voice: Voice, director: Director, faults: Faults, conversation_id: str,
        on_over: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._stage, self._agenda, self._voice, self._director = stage, agenda, voice, director
        self._faults, self._conversation_id, self._on_over = faults, conversation_id, on_over
        self._active: Response | None = None
        self._interrupted: Response | None = None
        self._beside: list[Response] = []
        self._count = 0

    def respond(self, session: Mapping[str, Any], asked: Mapping[str, Any], items: list[Item], turn: int) -> str:
        """Begin a response to `items`. Returns the text that it will say.

        `asked` are the options of response.create. `settings.check_response` must have checked them. A response in the
        conversation raises RefusedError if another one runs there, or if the conversation has audio of another voice.
        """
        in_conversation = asked.get("conversation", "auto") == "auto"
        if in_conversation and self._active is not None:
            raise RefusedError(errors.already_active(self._active.id))
        voice = session["audio"]["output"]["voice"]
        wanted = asked.get("audio", {}).get("output", {}).get("voice", voice)
        if in_conversation and wanted != voice and self._stage.history.has_voice:
            raise RefusedError(errors.VOICE_FIXED)
        faults = self._faults_for(in_conversation)
        response = Response(self._stage, self._order(session, asked, items, turn, faults), faults)
        if in_conversation:
            self._active = response
        else:
            self._beside.append(response)
        self._advance(response, response.run())
        return response.order.plan.say

    def cancel(self, response_id: str | None) -> None:
        """Cancel the response with this id. Without an id, cancel the response in the conversation.

        Raises RefusedError if no such response runs.
        """
        running = (self._active, *self._beside) if response_id else (self._active,)
        meant = next((each for each in running if each and response_id in (None, each.id)), None)
        if meant is None:
            raise RefusedError(errors.CANCEL_IDLE)
        self._stop(meant, "client_cancelled")

    def interrupt(self, announce: Callable[[], None]) -> None:
        """The caller begins to speak. Send speech_started (`announce`), and stop the response in the conversation."""
        active = self._active
        if active is not None and self._faults.cancel_first:
            self._stop(active, "turn_detected")
        announce()
        if active is not None:
            self._interrupted = active
            self._agenda.after(CANCEL_S, self.settle)

    def settle(self) -> None:
        """End the interrupted response. This happens after CANCEL_S, or earlier if the caller's turn ends earlier."""
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is not None:
            self._stop(interrupted, "turn_detected")

    def _order(
        self, session: Mapping[str, Any], asked: Mapping[str, Any], items: list[Item], turn: int, faults: Faults
    ) -> Order:
        effective = {**session, **asked}
        output = {**session["audio"]["output"], **asked.get("audio", {}).get("output", {})}
        choice = effective["tool_choice"]
        tools = [] if choice == "none" else effective["tools"]
        if isinstance(choice, dict):
            tools = [each for each in tools if each.get("name") == choice.get("name")]
        must_call = choice == "required" or isinstance(choice, dict)
        plan = self._director.choose(items, asked.get("instructions", ""), turn, tools, must_call=must_call)
        modality = effective["output_modalities"][0]
        messages = SENTENCE_END.split(plan.say, 1) if faults.two_messages else [plan.say]
        return Order(
            plan=plan,
            speech=[(words, self._voice.say(words)) for words in messages if words and modality == "audio"],
            modality=modality,
            format=output["format"],
            voice=output["voice"],
            max_output_tokens=effective["max_output_tokens"],
            metadata=asked.get("metadata"),
            input_tokens=self._stage.history.input_tokens(effective["instructions"] + str(effective["tools"]), items),
            conversation_id=self._conversation_id if asked.get("conversation", "auto") == "auto" else None,
        )

    def _faults_for(self, in_conversation: bool) -> Faults:
        self._count += in_conversation
        return self._faults if in_conversation and self._faults.response in (0, self._count) else Faults()

    def _advance(self, response: Response, course: Iterator[float]) -> None:
        if response.over:
            return
        wait_s = next(course, None)
        if wait_s is None or response.over:
            self._is_over(response)
        else:
            self._agenda.after(wait_s, lambda: self._advance(response, course))

    def _stop(self, response: Response, reason: str) -> None:
        if not response.over:
            response.stop(reason)
            self._is_over(response)

    def _is_over(self, response: Response) -> None:
        self._agenda.after(RATE_LIMITS_S, self._rate_limits)
        if response is self._active:
            self._active = None
            self._on_over(response.audio_ms)
        else:
            self._beside.remove(response)

    def _rate_limits(self) -> None:
        remaining = RATE_LIMIT_TOKENS - self._stage.chance.randint(100, 2000)
        limit = {"name": "tokens", "limit": RATE_LIMIT_TOKENS, "remaining": remaining, "reset_seconds": 0.001}
        self._stage.emit("rate_limits.updated", rate_limits=[limit])
