"""An environment that `relay serve` accepts. Its addresses do not answer."""

from __future__ import annotations

GOOD = {
    "OPENAI_API_KEY": "sk-x",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "x",
    "TWILIO_PHONE_NUMBER": "+12125550100",
    "BUSINESS_API_BASE": "http://127.0.0.1:9",
    "HUMAN_TRANSFER_NUMBER": "+12125550102",
    "PUBLIC_URL": "http://127.0.0.1:1",
    "DATABASE_URL": "postgresql://127.0.0.1:9/none",
}
