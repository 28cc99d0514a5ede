"""Tells functions whether the caller has said a name or number, and which turn of the caller is the newest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import trio

from relay.call.state import Call

# A function waits at most this many seconds for the transcription of the caller's last turn. Transcriptions took 1.0 to
# 1.5 s (docs/protocol/openai.md 3).
WORDS_LIMIT_S: Final = 2.0
LOOK_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class CallerWords:
    """The caller's words, for one function call.

    `turn` is the number of the caller's newest turn when the model called the function, counted over all streams. It is
    -1 before the first turn.
    """

    _call: Call
    turn: int

    async def have(self, value: str) -> bool:
        """True if the caller has said this name or number.

        Waits up to WORDS_LIMIT_S while their last words are being transcribed.
        """
        with trio.move_on_after(WORDS_LIMIT_S):
            while not self._hold(value) and self._call.caller_turns.awaited:  # noqa: ASYNC110  # no trio.Event to wait for
                await trio.sleep(LOOK_AGAIN_S)
        return self._hold(value)

    def _hold(self, value: str) -> bool:
        said = " ".join(turn.text for turn in self._call.conversation.past() if turn.role == "user")
        digits = re.sub(r"\D", "", value)
        if len(digits) >= 7:
            return digits[-10:] in re.sub(r"\D", "", said)
        return f" {_plain(value)} " in f" {_plain(said)} "


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.casefold()).split())
