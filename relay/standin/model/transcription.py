"""Sends the transcripts of the caller's turns. They come late, often after the answer has begun."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.standin.model.agenda import Agenda
from relay.standin.model.items import Item, transcription_usage
from relay.standin.model.response import Stage
from relay.standin.model.script import Faults

NAME = "conversation.item.input_audio_transcription"
DELTA_CHARACTERS = 24
UNINTELLIGIBLE = {
    "type": "transcription_error",
    "code": "audio_unintelligible",
    "message": "The audio could not be transcribed.",
    "param": None,
}


def transcribe(stage: Stage, agenda: Agenda, item: Item, model: str, faults: Faults) -> None:
    """Plan the transcription events of a committed turn. They come `script.transcription_s` after the commit."""
    soonest_s = stage.script.transcription_s[0]
    whole_s = stage.chance.uniform(*stage.script.transcription_s)
    at = {"item_id": item.id, "content_index": 0}
    if faults.transcription_failed:
        agenda.after(whole_s, lambda: stage.emit(f"{NAME}.failed", **at, error=UNINTELLIGIBLE))
        return

    words = item.text or faults.noise_words

    def tell(delta: str) -> None:
        stage.emit(f"{NAME}.delta", **at, delta=delta, obfuscation=stage.padding())

    def conclude() -> None:
        item.content = [{"type": "input_audio", "transcript": words}]
        spent: dict[str, Any] = transcription_usage(item, model)
        stage.emit(f"{NAME}.completed", **at, transcript=words, usage=spent)

    deltas = [words[start : start + DELTA_CHARACTERS] for start in range(0, len(words), DELTA_CHARACTERS)]
    first_s = (soonest_s + whole_s) / 2
    for number, delta in enumerate(deltas):
        agenda.after(first_s + (whole_s - first_s) * number / len(deltas), partial(tell, delta))
    agenda.after(whole_s, conclude)
