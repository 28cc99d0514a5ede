"""Knows which refusals of OpenAI need the operator, and what the operator must do."""

from __future__ import annotations

_OF_THE_KEY = frozenset(
    "invalid_api_key invalid_issuer account_deactivated invalid_organization mismatched_organization "
    "mismatched_project missing_scope insufficient_permissions permission_denied unsupported_country_region_territory"
    .split()
)  # fmt: skip
_OF_THE_MODEL = frozenset("model_not_found invalid_model missing_model model_deprecated".split())
_OF_THE_BILL = frozenset(
    "insufficient_quota credit_balance_exhausted billing_hard_limit_reached billing_not_active quota_exceeded".split()
)


def remedy(code: str, param: str = "", model: str = "") -> str:
    """What the operator must do about a refusal.

    "" if there is nothing to do, because OpenAI may accept a later attempt. `code` and `param` are those of OpenAI's
    error. `model` is the model that was asked for.
    """
    code = code.rpartition(".")[2]  # The reason of a close frame has the form type.code.
    if param.endswith("output.voice") or param == "voice" or "voice_id" in code:
        return "set OPENAI_VOICE to a voice of the Realtime API"
    if "transcription" in param:
        return "set OPENAI_TRANSCRIBE_MODEL to a model that transcribes"
    if code in _OF_THE_MODEL or param in ("model", "session.model"):
        return (
            f"set OPENAI_MODEL (or OPENAI_MODEL_HARD) to a Realtime model that your project has, not {model or 'this'}"
        )
    if code in _OF_THE_KEY:
        return "set OPENAI_API_KEY to a key of your OpenAI project that is in force"
    if code in _OF_THE_BILL:
        return "pay for, or raise the limit of, the OpenAI project of OPENAI_API_KEY"
    return ""


def remedy_of_status(status: int) -> str:
    """What the operator must do if the upgrade was answered with this HTTP status."""
    if status in (401, 403):
        return remedy("invalid_api_key")
    return "set OPENAI_REALTIME_URL to the service's endpoint" if status in (404, 405, 410, 426) else ""
