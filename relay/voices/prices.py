"""Holds ElevenLabs' prices in USD per million characters, for the pay-as-you-go plans of the API.

The price of Flash and v4 Turbo ($40 since 2026-10-12) comes from other sites, which quoted ElevenLabs' price page late
in 2026. Multilingual v2 costs twice as much, because a character of Flash or Turbo costs half a credit (ElevenLabs'
documentation, "Models"). Nobody has compared these prices with a bill. A model that is not in the table is charged like
the most expensive model, so that no dollar limit is reached too late.
"""

from __future__ import annotations

DATED = "2026-11-29"

_USD_PER_MILLION = {
    "eleven_flash_v2_5": 40.0,
    "eleven_flash_v2": 40.0,
    "eleven_turbo_v2_5": 40.0,
    "eleven_turbo_v2": 40.0,
    "eleven_v4_turbo": 40.0,  # This model does not work with the protocol of elevenlabs_protocol.py.
    "eleven_multilingual_v2": 80.0,
}


def usd_per_character(model: str) -> float:
    """The price of one character in USD. An unknown model gets the highest price."""
    return _USD_PER_MILLION.get(model, max(_USD_PER_MILLION.values())) / 1e6
