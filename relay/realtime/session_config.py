"""Holds the settings of a model session.

Audio is PCM16 at 24 kHz in both directions. The server's VAD reports speech, and neither answers nor interrupts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The VAD ends a turn after this much silence. OpenAI's documentation calls 500 ms the default, but the API's real
# default is 200 ms. With 200 ms, callers are cut off in the middle of a phone number (docs/protocol/openai.md 2.1).
# With early answers, the relay itself decides when a turn ends (relay/call/early_answer.py), and sets a shorter
# silence.
SILENCE_MS = 500
# The VAD only reports speech. The relay decides when to answer and when to stop (relay/call/turn_taking.py). The values
# 0.5 and 300 ms are the API's defaults.
_TURN_DETECTION = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "create_response": False,
    "interrupt_response": False,
}
_PCM24K = {"type": "audio/pcm", "rate": 24000}
# The longest answer, in tokens. It is more than a minute of speech, and nobody listens to that on the phone.
_MAX_OUTPUT_TOKENS = 2_048


def is_reasoning(model: str) -> bool:
    """True for models with the setting `reasoning`: gpt-realtime-2 and later versions.

    The name of a snapshot of the first version has a date in this place: gpt-realtime-2025-08-28.
    """
    version = re.match(r"gpt-realtime-(\d{1,2})(?!\d)", model)
    return version is not None and int(version[1]) >= 2


def session_config(
    model: str,
    voice: str,
    transcribe_model: str,
    instructions: str,
    tools: Sequence[dict[str, object]],
    *,
    writes: bool = False,
    silence_ms: int = SILENCE_MS,
) -> dict[str, object]:
    """The content of the `session.update` with which a session begins.

    During a call only the output can change, from text to audio (`protocol.SPEAK`). All other settings stay, because a
    change would empty the prompt cache. `writes`: the model answers in text at first. `silence_ms`: the VAD ends the
    caller's speech after this much silence.
    """
    config: dict[str, object] = {
        "type": "realtime",
        "output_modalities": ["text" if writes else "audio"],
        "instructions": instructions,
        "audio": {
            "input": {
                "format": _PCM24K,
                "transcription": {"model": transcribe_model},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": _TURN_DETECTION | {"silence_duration_ms": silence_ms},
            },
            "output": {"format": _PCM24K, "voice": voice},
        },
        "tools": list(tools),
        "tool_choice": "auto",
        "max_output_tokens": _MAX_OUTPUT_TOKENS,
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
    }
    if is_reasoning(model):
        config["reasoning"] = {"effort": "low"}
    return config
