"""Holds the prices of models, from OpenAI's model pages in the second half of 2026.

A model that speaks costs USD per million tokens, a transcription model USD per minute of the caller's audio. The prices
may have changed, so compare them with a bill. A model that is not here is charged like the most expensive one, so that
no limit is reached too late. If a model of the settings is not here, `relay serve` says so when it starts.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.call.call_config import Price

_LARGE = Price(
    text_in=4, text_cached=0.40, text_out=24, audio_in=32, audio_cached=0.40, audio_out=64, image_in=5, image_cached=0.5
)
_LARGE_1 = Price(
    text_in=4, text_cached=0.40, text_out=16, audio_in=32, audio_cached=0.40, audio_out=64, image_in=5, image_cached=0.5
)
_MINI = Price(
    text_in=0.60,
    text_cached=0.06,
    text_out=2.40,
    audio_in=10,
    audio_cached=0.30,
    audio_out=20,
    image_in=0.8,
    image_cached=0.08,
)

PRICES = {
    "gpt-realtime-2.1": _LARGE,
    "gpt-realtime-2": _LARGE,
    "gpt-realtime-1.5": _LARGE_1,
    "gpt-realtime": _LARGE_1,
    "gpt-realtime-2025-08-28": _LARGE_1,
    "gpt-realtime-2.1-mini": _MINI,
    "gpt-realtime-mini": _MINI,
    "gpt-realtime-mini-2025-12-15": _MINI,
}

# USD per minute of caller audio.
TRANSCRIPTION = {
    "gpt-transcribe": 0.0045,
    "gpt-live-transcribe": 0.017,
    "gpt-realtime-whisper": 0.017,
    "whisper-1": 0.006,
    "gpt-4o-transcribe": 0.006,
    "gpt-4o-mini-transcribe": 0.003,
}


def price_of(model: str) -> Price:
    """The price of this model. For an unknown model: the highest of all."""
    return PRICES.get(model, _LARGE)


def transcription_price_of(model: str) -> float:
    """The price of a minute with this transcription model. For an unknown model: the highest of all."""
    return TRANSCRIPTION.get(model, max(TRANSCRIPTION.values()))


def unpriced(models: Iterable[str], transcribes: str) -> list[str]:
    """These models, and this transcription model, if their prices are not known here."""
    unknown = dict.fromkeys(model for model in models if model not in PRICES)
    return [*unknown, *([transcribes] if transcribes not in TRANSCRIPTION else [])]
