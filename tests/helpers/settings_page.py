"""Writes docs/settings.md from relay/settings/__init__.py: `python -m tests.helpers.settings_page`.

Names, defaults, limits and choices come from the code. Only the sentence about each setting is here.
"""

from __future__ import annotations

from dataclasses import Field, fields
from pathlib import Path

from relay import settings
from relay.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

HEAD = """# Every setting

This page is generated from `relay/settings/__init__.py`. Do not edit it. After a change run
`.venv/bin/python -m tests.helpers.settings_page`. A test compares the page with the code.

Settings are environment variables. Every `relay` command except `demo` and `bench` also reads the file `.env` in the
folder where it is started. If a setting is in the environment and in the file, the value of the environment is used.
To use another file, set `RELAY_ENV_FILE`. To make your own `.env`, copy `.env.example`.

`relay check` reads all settings and names the mistakes. `relay serve` does not start while a setting is wrong.
"""

GROUPS: dict[str, dict[str, str]] = {
    "Needed to take calls": {
        "openai_api_key": "The key of your OpenAI project.",
        "twilio_account_sid": "Your Twilio account. It begins with AC.",
        "twilio_auth_token": "The auth token of the account. Twilio signs its webhooks with it. When you change the "
        "token at Twilio, set the old and the new one with a comma between them.",
        "twilio_phone_number": "The number that callers dial.",
        "human_transfer_number": "The phone number of the person with whom the relay connects callers.",
        "public_url": "The https address that Twilio calls, without a path. Twilio signs the address that it "
        "calls. So the addresses in the number's settings at Twilio must begin with exactly this address. http is "
        "allowed only for an address of this machine.",
        "database_url": "The address of your Postgres. With `embedded` the relay runs its own Postgres, with its files "
        "in DATA_DIR. If PUBLIC_URL is a public address, you must set DATABASE_URL. On Fly `embedded` is refused, "
        "because the disk is lost with the machine.",
    },
    "The business": {
        "business_file": "The file with hours, services, people and answers. See [business-toml.md](business-toml.md).",
        "business_api_base": "`embedded`: the relay itself keeps the diary. Or the URL of your own backend. "
        "See [functions.md](functions.md).",
        "business_api_key": "The relay sends this key to your backend as `Authorization: Bearer`.",
        "business_api_http": "`private` allows a backend with http:// in a private network.",
        "agent_name": "The name that the agent says in the greeting.",
        "business_name": "The name of the business. If it is set, the name in the business file is not used.",
        "business_tz": "The time zone of the business. If it is set, the zone in the business file is not used. Name a "
        "place. Abbreviations like EST are refused, because they have no summer time.",
        "business_country": "The country of the business, in two letters. The relay uses it for phone numbers without "
        "a country code, and to choose the emergency number.",
        "business_state": "The state of the business in the US, in two letters. RECORD_NOTICE=by_state needs it: see "
        "[privacy.md](privacy.md).",
        "functions": "A Python package with functions of your own. See [functions.md](functions.md).",
    },
    "The human": {
        "human_hours": "When the human can take calls: `always`, or hours in the time zone of the business like "
        "`mon-fri 09:00-17:00, sat 18:00-02:00`.",
        "human_numbers_also": "More phone numbers, with commas between them. If nobody takes the call at "
        "HUMAN_TRANSFER_NUMBER, the relay rings them one after another.",
    },
    "Limits": {
        "max_call_s": "The longest call, in seconds. After this time the agent says goodbye and ends the call.",
        "max_silence_s": 'If the caller says nothing for this many seconds, the agent asks "Are you still there?". It '
        "asks again 10 s later. 10 s after that it says goodbye and ends the call.",
        "max_call_usd": "When a call has cost this many dollars, the agent says goodbye and ends the call.",
        "max_day_usd": "When the calls of a day have cost this many dollars on all machines together, new calls go to "
        "the human.",
        "max_calls": "The largest number of calls at the same time in this process. Further calls go to the human. "
        "`relay bench` measures how many calls the machine can serve.",
    },
    "What is stored": {
        "record": "What the relay stores of a conversation. `off`: no words. `transcripts`: the words. `on`: the "
        "words and the sound. See [privacy.md](privacy.md).",
        "record_notice": "Who hears the notice. `always`: everybody. `by_state`: only some callers, see "
        "[privacy.md](privacy.md).",
        "recording_key": "The key that encrypts the recordings. `relay key` prints one. RECORD=on needs it. While you "
        "change it, set the new and the old key with a comma between them, the new one first.",
        "recordings_url": "The bucket for recordings: s3://BUCKET or s3://BUCKET/FOLDER. If it is not set, recordings "
        "are in DATA_DIR/recordings.",
        "retention_days": "After this many days a recording is deleted.",
        "retention_days_words": "After this many days the words and the number of a call are deleted from Postgres: "
        "transcripts, messages, arguments and results of functions, past appointments. See [privacy.md](privacy.md).",
        "aws_access_key_id": "The id of the access key to the bucket.",
        "aws_secret_access_key": "The secret of the access key.",
        "aws_session_token": "The session token, if the access key is temporary.",
        "aws_region": "The region of the bucket.",
        "aws_endpoint_url": "The address of the S3 service that has the bucket, if it is not Amazon's.",
        "aws_endpoint_url_s3": "If it is set, it is used instead of AWS_ENDPOINT_URL.",
    },
    "The owner": {
        "console_password_hash": "The hash of the password for PUBLIC_URL/console/. `relay key --console` prints it. "
        "Put it in single quotes, because it contains $. See [console.md](console.md).",
        "notify_email": "The owner's mail address. Set NOTIFY_EMAIL, NOTIFY_FROM and SMTP_URL together, or none of "
        "them.",
        "notify_from": "The sender's address of the mails to the owner.",
        "notify_digest": "`off`, or a time in BUSINESS_TZ like `18:00`. At this time one daily mail reports bookings "
        "and faults. Messages, call backs and alarms still come at once.",
        "smtp_url": "The mail server, like smtps://user:password@mail.example.com. Percent-encode special characters "
        "in the user name and the password.",
        "notify_webhook_url": "The URL of a program of yours. It gets the notifications to the owner by POST. This "
        "needs NOTIFY_WEBHOOK_SECRET. [webhook.schema.json](webhook.schema.json) describes what is sent.",
        "notify_webhook_secret": "`whsec_` and the base64 of 24 to 64 random bytes. While you change it, set the new "
        "and the old one with a comma between them.",
        "notify_webhook_private": "`on` allows a NOTIFY_WEBHOOK_URL with a private IP address.",
    },
    "The model": {
        "openai_model": "The model that talks with callers.",
        "openai_model_hard": "The model to which difficult calls change. See [prompt.md](prompt.md).",
        "openai_voice": "The voice of the agent.",
        "openai_transcribe_model": "The model that writes down what callers say.",
        "openai_realtime_url": "The address of OpenAI's Realtime API.",
        "answer_early": "`on`: the relay asks the model for an answer 0.17 s after the caller's last word. The caller "
        "hears the answer when the silence is [long enough](early-answers.md). `off`: the relay asks after 0.5 s.",
    },
    "Another voice": {
        "voice": "Who speaks. `openai`: the model. `elevenlabs`: the model writes, and ElevenLabs speaks. This needs "
        "ELEVENLABS_API_KEY and ELEVENLABS_VOICE_ID. See [voices.md](voices.md).",
        "elevenlabs_api_key": "The key of your ElevenLabs account.",
        "elevenlabs_voice_id": "The id of the voice, as ElevenLabs shows it.",
        "elevenlabs_model": "ElevenLabs' model. v3 and v4 models do not work, because they have another protocol.",
        "elevenlabs_slots": "For how many calls at the same time ElevenLabs may speak in this process. In further "
        "calls the model itself speaks. `0`: the relay sets no limit; the limit of your ElevenLabs account applies.",
        "elevenlabs_url": "The address of ElevenLabs' API.",
    },
    "Twilio's REST API": {
        "twilio_api_key": "The relay uses this API key instead of the auth token. It needs TWILIO_API_SECRET.",
        "twilio_api_secret": "The secret of TWILIO_API_KEY.",
        "twilio_api_base": "The address of Twilio's REST API.",
    },
    "The process": {
        "host": "The address to listen on. If it is not set: 127.0.0.1 if PUBLIC_URL names this machine, otherwise all "
        "addresses, IPv4 and IPv6.",
        "port": "The port to listen on.",
        "data_dir": "The folder for recordings, rendered phrases, the embedded Postgres, and rows that wait for "
        "Postgres.",
        "log_format": "The format of the log. If it is not set: text on a terminal, otherwise JSON.",
    },
    "Set by Fly": {
        "fly_app_name": "Fly sets it. The relay uses it to know that it runs on Fly.",
        "fly_machine_id": "Fly sets it. The relay puts it into the addresses of streams and webhooks.",
        "fly_region": "Fly sets it. The relay writes it into the table `calls`.",
        "fly_image_ref": "Fly sets it. The relay writes it into the table `calls`.",
    },
}


def page() -> str:
    """The text of the whole page."""
    known = {one.name: one for one in fields(Settings) if not one.metadata.get("derived")}
    told = [name for group in GROUPS.values() for name in group]
    if sorted(told) != sorted(known):
        raise KeyError(f"each setting must have exactly one sentence here: {set(told) ^ set(known)}")
    parts = [HEAD]
    for title, group in GROUPS.items():
        parts.append(f"\n## {title}\n\n| Setting | Default | May be | What it is |\n|---|---|---|---|\n")
        parts += [
            f"| `{name.upper()}` | {_default(known[name])} | {_may_be(name)} | {what} |\n"
            for name, what in group.items()
        ]
    return "".join(parts)


def _default(one: Field[object]) -> str:
    if one.name in settings.REQUIRED:
        return "must be set"
    value = getattr(Settings(), one.name)
    if isinstance(value, Path):
        value = value.relative_to(PAGE.parents[1]) if value.is_absolute() else value
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{value}`" if value not in ("", ()) else "not set"


def _may_be(name: str) -> str:
    if name in settings._NUMBERS:
        _, low, high = settings._NUMBERS[name]
        return f"{low:,} to {high:,}"
    if name in settings._CHOICES:
        return ", ".join(f"`{one}`" for one in settings._CHOICES[name] if one)
    if name in settings._URLS:
        return f"{settings._URLS[name][0]}://…"
    return ""


if __name__ == "__main__":
    PAGE.write_text(page())
