"""Write docs/settings.md from relay/settings/__init__.py: `python -m tests.helpers.settings_page`.

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

Settings are environment variables. Every `relay` command also reads the file `.env` in the folder where it is started.
The environment wins over the file. `RELAY_ENV_FILE` names another file. `.env.example` is a file to copy.

`relay check` reads all settings and names every mistake. `relay serve` does not start while one is wrong.
"""

GROUPS: dict[str, dict[str, str]] = {
    "Needed to take calls": {
        "openai_api_key": "The key of your OpenAI project.",
        "twilio_account_sid": "Your Twilio account. It begins with AC.",
        "twilio_auth_token": "The auth token of the account. Twilio signs its webhooks with it. While you change it, "
        "give both with a comma between them.",
        "twilio_phone_number": "The number that callers dial.",
        "human_transfer_number": "The person whom callers are connected with.",
        "public_url": "The https origin that Twilio calls, without a path. Twilio signs this address, so it must be "
        "exactly what the number's settings at Twilio have. http is allowed only on this machine itself.",
        "database_url": "Your Postgres. `embedded` means a Postgres of the relay's own in DATA_DIR. With a public "
        "PUBLIC_URL you must set it. On Fly `embedded` is refused, because the disk goes away with the machine.",
    },
    "The business": {
        "business_file": "The file with hours, services, people and answers. See [business-toml.md](business-toml.md).",
        "business_api_base": "`embedded`: the relay keeps the diary itself. Otherwise the URL of your own backend. "
        "See [functions.md](functions.md).",
        "business_api_key": "Is sent to your backend as `Authorization: Bearer`.",
        "business_api_http": "`private` allows a backend with http:// in a private network.",
        "agent_name": "How the agent calls itself.",
        "business_name": "The name of the business. It wins over the business file.",
        "business_tz": "The time zone of the business. It wins over the business file. Name a place: zones without "
        "summer time, like EST, are refused.",
        "business_country": "Two letters. By it a number without a country code is understood, and the emergency "
        "number is chosen.",
        "business_state": "Two letters. With RECORD_NOTICE=by_state it helps to decide who hears the notice.",
        "functions": "A Python package with functions of your own. See [functions.md](functions.md).",
    },
    "The human": {
        "human_hours": "When somebody is there: `always`, or like `mon-fri 09:00-17:00, sat 18:00-02:00`.",
        "human_numbers_also": "More numbers, with commas between them. They are rung one after another.",
    },
    "Limits": {
        "max_call_s": "Seconds until a call is ended politely.",
        "max_silence_s": "Seconds without a word until a call is ended politely.",
        "max_call_usd": "Dollars until a call is ended politely.",
        "max_day_usd": "Dollars of one day, over all machines. Beyond it, new calls go to the human.",
        "max_calls": "Calls at the same time in this process. Beyond it, new calls go to the human. `relay bench` "
        "measures what the machine carries.",
    },
    "What is kept": {
        "record": "`off`: no words. `transcripts`: words. `on`: words and sound. See [privacy.md](privacy.md).",
        "record_notice": "Who hears the notice: everybody, or `by_state`.",
        "recording_key": "The key of the recordings, as `relay key` prints it. RECORD=on needs it. Several with commas "
        "between them, the newest first.",
        "recordings_url": "A bucket like s3://BUCKET or s3://BUCKET/FOLDER. Not set: DATA_DIR/recordings.",
        "retention_days": "Days until a recording is deleted.",
        "aws_access_key_id": "Of the bucket's store.",
        "aws_secret_access_key": "Of the bucket's store.",
        "aws_session_token": "Of the bucket's store, where it gives temporary keys.",
        "aws_region": "Of the bucket's store.",
        "aws_endpoint_url": "The address of a store that is not Amazon's.",
        "aws_endpoint_url_s3": "The same, for S3 alone.",
    },
    "The owner": {
        "console_password_hash": "Opens the console at PUBLIC_URL/console/. `relay key --console` prints it. Quote it: "
        "it holds $. See [console.md](console.md).",
        "notify_email": "The owner's mail address. NOTIFY_EMAIL, NOTIFY_FROM and SMTP_URL go together.",
        "notify_from": "The sender's address of these mails.",
        "notify_digest": "`off`, or a time in BUSINESS_TZ like `18:00`. Bookings and faults come in one daily mail. "
        "Messages and alarms never wait.",
        "smtp_url": "The mail server, like smtps://user:password@mail.example.com. Percent-encode signs in it.",
        "notify_webhook_url": "A URL that is told of the same events. It goes together with NOTIFY_WEBHOOK_SECRET. "
        "[webhook.schema.json](webhook.schema.json) describes what is sent.",
        "notify_webhook_secret": "`whsec_` and the base64 of 24 to 64 random bytes. Two with a comma while it changes.",
        "notify_webhook_private": "`on` allows a webhook receiver with a private address.",
    },
    "The model": {
        "openai_model": "The model that answers.",
        "openai_model_hard": "The model that takes over a hard conversation. See [prompt.md](prompt.md).",
        "openai_voice": "The voice.",
        "openai_transcribe_model": "The model that writes down what callers say.",
        "openai_realtime_url": "Where the model is reached.",
        "answer_early": "`on`: the answer is asked for 0.17 s after the caller's last word, and heard when the silence "
        "is [long enough](early-answers.md). `off`: it is asked for after 0.5 s.",
    },
    "Another voice": {
        "voice": "Who speaks. `openai`: the model itself. `elevenlabs`: the model writes and ElevenLabs speaks; the "
        "two settings below are needed. See [cost.md](cost.md) for what it costs.",
        "elevenlabs_api_key": "The key of your ElevenLabs account.",
        "elevenlabs_voice_id": "The id of the voice, as ElevenLabs shows it.",
        "elevenlabs_model": "The model that speaks. v4 models do not work here: they have another protocol.",
        "elevenlabs_slots": "How many calls this process may have spoken at once. Each holds one of your account's "
        "slots. Beyond it the model speaks by itself. `0` leaves the counting to ElevenLabs.",
        "elevenlabs_url": "Where ElevenLabs is reached.",
    },
    "Twilio's REST API": {
        "twilio_api_key": "An API key instead of the auth token. It goes together with TWILIO_API_SECRET.",
        "twilio_api_secret": "The secret of that key.",
        "twilio_api_base": "Where Twilio's REST API is reached.",
    },
    "The process": {
        "host": "The address to listen on. Not set: 127.0.0.1 while PUBLIC_URL is on this machine, otherwise all "
        "addresses, IPv4 and IPv6.",
        "port": "The port to listen on.",
        "data_dir": "The folder for recordings, kept phrases, and rows that wait for Postgres.",
        "log_format": "Not set: text on a terminal, otherwise JSON.",
    },
    "Set by Fly": {
        "fly_app_name": "Fly sets it. The relay uses it to know that it runs on Fly.",
        "fly_machine_id": "Fly sets it. It stands in the addresses of streams and webhooks.",
        "fly_region": "Fly sets it.",
        "fly_image_ref": "Fly sets it.",
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
