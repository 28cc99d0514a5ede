"""Reads aloud a text that comes in pieces, so that the pieces together sound like the whole text.

The stand-in knows in advance the texts that may come: the texts of a stand-in model in the same process, or the texts
of the clips. The sound of a piece is then cut out of the sound of the whole text. So `speech/clip_recogniser.py` still
recognises a sentence that the client has cut at its commas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay.standin.speech.voice import GAP_MS, RATE_HZ, Voice, clips, words

GAP = b"\xff" * (GAP_MS * RATE_HZ // 1000)


def shipped_texts() -> list[str]:
    """The agent's texts that have clips."""
    return [clip.text for clip in clips().values() if clip.speaker == "agent"]


@dataclass(frozen=True, slots=True)
class Piece:
    """The sound of a piece of text. Its characters are spread evenly over the sound."""

    text: str
    mulaw: bytes


class Reading:
    """Reads the text of one context aloud."""

    def __init__(self, voice: Voice, foretold: Callable[[], Sequence[str]]) -> None:
        self._voice, self._foretold = voice, foretold
        self._whole, self._mulaw = "", b""  # The text that is being read, as words, and its sound.
        self._read = ""  # The words of `_whole` that were read so far.
        self._has_spoken = False

    def read(self, text: str) -> Piece:
        """Read the next piece of the text. A piece may have any length."""
        so_far = words(f"{self._read} {text}")
        if not self._whole or not _begins_with(self._whole, so_far):
            so_far = words(text)
            self._choose(so_far)
        if not self._whole:
            self._read = ""
            return Piece(text, self._gap() + (self._voice.say(text.strip()) if so_far else b""))
        gap = self._gap() if not self._read else b""
        begin, end = self._at(self._read), self._at(so_far)
        self._read = so_far
        if so_far == self._whole:
            self._whole = self._read = ""
        return Piece(text, gap + self._mulaw[begin:end])

    def _choose(self, so_far: str) -> None:
        """Choose the newest text of `foretold` that begins with these words."""
        self._whole = self._read = ""
        if so_far:
            for text in reversed(self._foretold()):
                if _begins_with(words(text), so_far):
                    self._whole, self._mulaw = words(text), self._voice.say(text)
                    return

    def _at(self, read: str) -> int:
        return len(self._mulaw) * len(read) // len(self._whole)

    def _gap(self) -> bytes:
        gap, self._has_spoken = GAP if self._has_spoken else b"", True
        return gap


def _begins_with(whole: str, part: str) -> bool:
    return whole == part or whole.startswith(f"{part} ")
