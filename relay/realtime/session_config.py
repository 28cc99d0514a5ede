"""The settings of a model session: PCM16 at 24 kHz both ways, a VAD that only reports, the prompt, the functions.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

# A turn ends after 500 ms of silence, as in the documentation. The real default of 200 cuts people off in the middle of
# a phone number (docs/protocol/openai.md 2.1). If the call decides by its own level (relay/call/early_answer.py), the
# server reports shorter silences.
SILENCE_MS = 500
# The server's VAD only reports speech. The call decides when to answer and when to stop (relay/call/turn_taking.py).
# 0.5 and 300 ms are the defaults of the API.
_TURN_DETECTION = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "create_response": False,
    "interrupt_response": False,
}
_PCM24K = {"type": "audio/pcm", "rate": 24000}
# The most tokens of one answer: more than a minute of speech, which is too long on the phone.
_MAX_OUTPUT_TOKENS = 2_048


def is_reasoning(model: str) -> bool:
    """True for models that take `reasoning` (gpt-realtime-2 and later)."""
    return model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-2025")


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
    """The `session` of our one `session.update`. It stays the same over a call: a change would empty the prompt cache.

    `writes`: the model answers in text. The model can be told to speak later. `silence_ms`: after this much silence of
    the caller, the server reports it.
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
