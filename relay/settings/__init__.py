"""Reads all settings from the environment, and checks them. No other code takes settings from the environment.

One error message names all mistakes, so that the operator can correct them together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.settings.database_url import DatabaseUrlUnclear, understood
from relay.settings.hosts import HOST, is_host, is_listenable, names_host
from relay.settings.password_hash import is_password_hash
from relay.settings.shipped import folder
from relay.settings.smtp_url import Server, SmtpUrlUnclear
from relay.settings.webhook_secret import SecretUnreadable, keys_of

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SettingsInvalid(ValueError):
    """Settings are missing or wrong. The message names all of them. The command ends with exit code 2."""


def _secret(default: str = "") -> str:
    return field(default=default, repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. A field's name is the environment variable in small letters. Seconds and dollars are floats."""

    openai_api_key: str = _secret()
    twilio_account_sid: str = ""
    twilio_auth_token: str = _secret()
    twilio_phone_number: str = ""
    business_api_base: str = "embedded"
    business_api_http: str = "loopback"
    business_file: Path = folder("prompts") / "business.toml"
    database_url: str = _secret("embedded")
    human_transfer_number: str = ""
    public_url: str = ""
    host: str = ""
    port: int = 8080
    openai_realtime_url: str = "wss://api.openai.com/v1/realtime"
    openai_model: str = "gpt-realtime-2.1-mini"
    openai_model_hard: str = "gpt-realtime-2.1"
    openai_voice: str = "marin"
    openai_transcribe_model: str = "gpt-transcribe"
    answer_early: str = "on"
    voice: str = "openai"
    elevenlabs_api_key: str = _secret()
    elevenlabs_voice_id: str = ""
    elevenlabs_model: str = "eleven_flash_v2_5"
    elevenlabs_slots: int = 0
    elevenlabs_url: str = "wss://api.elevenlabs.io"
    agent_name: str = "Robin"
    business_name: str = "our office"
    twilio_api_base: str = "https://api.twilio.com"
    twilio_api_key: str = ""
    twilio_api_secret: str = _secret()
    business_api_key: str = _secret()
    max_call_s: float = 600.0
    max_silence_s: float = 30.0
    max_call_usd: float = 2.00
    max_day_usd: float = 50.0
    max_calls: int = 100
    record: str = "transcripts"
    record_notice: str = "always"
    business_state: str = ""
    business_country: str = "US"
    business_tz: str = "America/New_York"
    human_hours: str = "always"
    human_numbers_also: tuple[str, ...] = ()
    recording_key: str = _secret()
    recordings_url: str = ""
    retention_days: int = 30
    retention_days_words: int = 365
    aws_access_key_id: str = ""
    aws_secret_access_key: str = _secret()
    aws_session_token: str = _secret()
    aws_region: str = ""
    aws_endpoint_url: str = ""
    aws_endpoint_url_s3: str = ""
    notify_email: str = ""
    notify_from: str = ""
    notify_digest: str = "off"
    smtp_url: str = _secret()
    notify_webhook_url: str = _secret()
    notify_webhook_secret: str = _secret()
    notify_webhook_private: str = "off"
    functions: str = ""
    data_dir: Path = Path("data")
    log_format: str = ""
    console_password_hash: str = _secret()
    fly_app_name: str = ""
    fly_machine_id: str = ""
    fly_region: str = ""
    fly_image_ref: str = ""
    # The names of the settings that the environment or `.env` sets. The business file may set some settings that are
    # not among them.
    given: frozenset[str] = field(default=frozenset(), metadata={"derived": True})

    @property
    def tz(self) -> ZoneInfo:
        """The business's time zone."""
        return ZoneInfo(self.business_tz)

    @property
    def speaks_itself(self) -> bool:
        """True if the model speaks. Otherwise a voice service speaks what the model writes."""
        return self.voice == "openai"

    @property
    def phrase_voice(self) -> str:
        """The voice that speaks the relay's own phrases. It is the same voice that speaks the answers."""
        return self.openai_voice if self.speaks_itself else self.elevenlabs_voice_id

    @property
    def phrase_model(self) -> str:
        """The model that speaks the relay's own phrases: OpenAI's or ElevenLabs'."""
        return self.openai_model if self.speaks_itself else self.elevenlabs_model

    @property
    def machine(self) -> str:
        """The name of this machine in the paths of streams: Fly's id, or "local"."""
        return self.fly_machine_id or "local"

    @property
    def twilio_auth_tokens(self) -> tuple[str, ...]:
        """The auth tokens that Twilio may sign with. There are two while the operator changes the token."""
        return tuple(self.twilio_auth_token.split(",")) if self.twilio_auth_token else ()

    @property
    def is_local(self) -> bool:
        """True if PUBLIC_URL is not set or is on this machine, so that Twilio cannot reach the relay."""
        return not self.public_url or urlsplit(self.public_url).hostname in _LOOPBACK

    @property
    def business_is_embedded(self) -> bool:
        """True if the backend is embedded: the relay uses BUSINESS_FILE and its own diary."""
        return self.business_api_base == "embedded"

    @property
    def reads_business_file(self) -> bool:
        """True if the relay reads the business file.

        With a backend of your own, it does so only if BUSINESS_FILE is set.
        """
        return self.business_is_embedded or "business_file" in self.given

    @property
    def keeps_words(self) -> bool:
        """True if the ledger may store callers' words: with every value of RECORD except "off"."""
        return self.record != "off"

    @property
    def records(self) -> bool:
        """True if the sound of calls is recorded."""
        return self.record == "on"

    @property
    def answers_early(self) -> bool:
        """True if the relay may ask for an early answer: one before it is certain that the caller has finished."""
        return self.answer_early == "on"

    def masked(self) -> dict[str, object]:
        """All settings, for the log line at the start. A secret is shown as "set" or "".

        Of a phone number only the last two digits are shown. Of HUMAN_NUMBERS_ALSO only the count is shown.
        """
        shown: dict[str, object] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.metadata.get("derived"):
                continue
            if one.metadata.get("secret"):
                shown[one.name] = "set" if value else ""
            elif one.name in ("twilio_phone_number", "human_transfer_number"):
                shown[one.name] = f"…{value[-2:]}" if value else ""
            elif one.name == "human_numbers_also":
                shown[one.name] = len(value)
            else:
                shown[one.name] = str(value) if isinstance(value, Path) else value
        return shown


# The settings without which `relay serve` does not start, and what each of them is. A test, a stand-in, and a demo
# without --live need none of them.
REQUIRED = {
    "openai_api_key": "the key of your OpenAI project",
    "twilio_account_sid": "your Twilio account, AC…",
    "twilio_auth_token": "the account's auth token: it signs the webhooks (two, with a comma, while you change it)",
    "twilio_phone_number": "the number that callers dial, like +12125550123",
    "human_transfer_number": "whom callers are connected with, like +12125550123",
    "public_url": "the https origin that Twilio calls, like https://relay.example.com",
}


def _number(text: str, kind: Callable[[str], float], low: float, high: float) -> float:
    value = kind(text)
    if not low <= value <= high:
        raise ValueError
    return value


_NUMBERS: dict[str, tuple[Callable[[str], float], float, float]] = {
    "port": (int, 0, 65_535),
    "max_call_s": (float, 30, 14_000),
    "max_silence_s": (float, 5, 600),
    "max_call_usd": (float, 0.01, 1_000),
    "max_day_usd": (float, 0.01, 1_000_000),
    "max_calls": (int, 1, 10_000),
    "elevenlabs_slots": (int, 0, 10_000),
    "retention_days": (int, 1, 36_500),
    "retention_days_words": (int, 1, 36_500),
}
_CHOICES = {
    "record": ("off", "transcripts", "on"),
    "voice": ("openai", "elevenlabs"),
    "business_api_http": ("loopback", "private"),
    "record_notice": ("always", "by_state"),
    "log_format": ("", "json", "text"),
    "notify_webhook_private": ("off", "on"),
    "answer_early": ("on", "off"),
}
_IN_HEADERS = (
    "openai_api_key", "twilio_api_key", "twilio_api_secret", "business_api_key", "elevenlabs_api_key",
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
)  # fmt: skip
_COPIED_FROM_EXAMPLES = (*_IN_HEADERS, "twilio_auth_token", "public_url", "business_api_base", "database_url")
_IN_PATHS = ("elevenlabs_voice_id", "elevenlabs_model")
_PHONES = ("twilio_phone_number", "human_transfer_number")
_PLACES = {
    "business_state": "state, like CA: state and country decide who hears the notice",
    "business_country": "country, like US: it completes a number that has no country code",
}
_URLS = {
    "openai_realtime_url": ("wss", "ws"),
    "elevenlabs_url": ("wss", "ws"),
    "twilio_api_base": ("https", "http"),
    "business_api_base": ("https", "http"),
    "public_url": ("https", "http"),
    "notify_webhook_url": ("https", "http"),
    "aws_endpoint_url": ("https", "http"),
    "aws_endpoint_url_s3": ("https", "http"),
}
# The URLs in which the relay sends a user and a password, if they have one. In the others, the key of another setting
# is sent, or nothing.
_WITH_USER = ("business_api_base", "notify_webhook_url")
_RECORDING_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
# A user name that a mail can have without quotes (RFC 5322 3.2.3, dot-atom).
_MAIL_USER = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def load(environ: Mapping[str, str], *, serving: bool, keeps_rows: bool = False) -> Settings:
    """Read the settings from `environ`. Raises SettingsInvalid. With `serving`, all settings of REQUIRED must be set.

    A command that uses the relay's database passes `keeps_rows`. Then a missing DATABASE_URL is refused where `relay
    serve` would refuse it, so that the command cannot use another database than `relay serve`.
    """
    wrong: list[str] = []
    asked: set[str] = set()  # The settings that have a value, right or wrong.
    values: dict[str, object] = {}
    needs_bucket = bool(_unquoted(environ.get("RECORDINGS_URL", "").strip()))
    for one in fields(Settings):
        # Without a bucket, the AWS_ variables are not for the relay. Many platforms set them for other programs.
        if one.metadata.get("derived") or (one.name.startswith("aws_") and not needs_bucket):
            continue
        text = _unquoted(environ.get(one.name.upper(), "").strip())
        if not text:
            continue
        asked.add(one.name)
        try:
            values[one.name] = _read(one.name, _encrypted(one.name, text, environ))
        except _Wrong as error:
            wrong.append(f"{one.name.upper()} {error}")
    # Each value was read and checked above.
    settings = Settings(**values, given=frozenset(values))  # type: ignore[arg-type]
    if serving:
        wrong = [f"{name.upper()} is not set: {why}" for name, why in REQUIRED.items() if name not in asked] + wrong
    if serving or keeps_rows:
        is_wrong = "database_url" in asked and "database_url" not in values
        if settings.database_url == "embedded" and not settings.is_local and not is_wrong:
            wrong += _embedded_in_public(settings, is_asked_for="database_url" in values)
        wrong += _recording_mistakes(settings, asked)
    if settings.twilio_phone_number in {settings.human_transfer_number, *settings.human_numbers_also} - {""}:
        wrong.append(
            "HUMAN_TRANSFER_NUMBER and HUMAN_NUMBERS_ALSO must not name TWILIO_PHONE_NUMBER: "
            "a caller who wants a human would be put through to the agent again"
        )
    if ("twilio_api_key" in asked) != ("twilio_api_secret" in asked):
        wrong.append("TWILIO_API_KEY and TWILIO_API_SECRET belong together: set both, or neither")
    if settings.voice == "elevenlabs":
        lacks = [name for name in ("ELEVENLABS_API_KEY", "ELEVENLABS_VOICE_ID") if name.lower() not in asked]
        wrong += [f"{name} is not set: VOICE=elevenlabs needs it" for name in lacks]
    for first, others in (
        ("NOTIFY_EMAIL", ("SMTP_URL", "NOTIFY_FROM")),
        ("NOTIFY_WEBHOOK_URL", ("NOTIFY_WEBHOOK_SECRET",)),
    ):
        together = (first, *others)
        if 0 < sum(name.lower() in asked for name in together) < len(together):
            wrong.append(f"{' and '.join(together)} belong together: set all of them, or none")
    if wrong:
        raise SettingsInvalid("these settings are wrong:\n" + "\n".join(f"  - {line}" for line in wrong))
    return settings


_PRIVATE_NAMES = (".internal", ".flycast", ".local", ".lan", ".home.arpa", ".svc")


def _encrypted(name: str, text: str, environ: Mapping[str, str]) -> str:
    """Check that the backend's URL does not send callers' data unencrypted over a network that others can read.

    Returns `text` unchanged, or raises _Wrong. BUSINESS_API_HTTP=private allows a backend without TLS in a private
    network (compose, Fly's .flycast, 10.x).
    """
    if name != "business_api_base" or not text.casefold().startswith("http://"):
        return text
    allowed = _unquoted(environ.get("BUSINESS_API_HTTP", "").strip()) == "private"
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return text  # The text is not a URL. _read_url() reports that.
    if host in _LOOPBACK or (allowed and _is_private(host)):
        return text
    hint = "BUSINESS_API_HTTP=private allows http:// in a private network"
    raise _Wrong(f"must begin with https:// ({'this host is in no private network' if allowed else hint})")


def _is_private(host: str) -> bool:
    """True for an address or a name that only a private network can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.casefold().endswith(_PRIVATE_NAMES)
    return address.is_private and not address.is_unspecified


# The settings that change how the business file and the prompts are read.
_OF_THE_FILES = (
    "BUSINESS_API_HTTP", "BUSINESS_API_BASE", "BUSINESS_FILE", "BUSINESS_NAME", "BUSINESS_TZ", "BUSINESS_COUNTRY",
    "AGENT_NAME", "FUNCTIONS",
)  # fmt: skip


def load_what_is_right(environ: Mapping[str, str]) -> Settings:
    """Read only the settings of _OF_THE_FILES. A setting whose value is wrong gets its default.

    `relay check` uses this to report the mistakes in the files together with the mistakes in the settings.
    """
    right: dict[str, str] = {}
    for name in _OF_THE_FILES:
        try:
            load(
                {name: environ.get(name, ""), "BUSINESS_API_HTTP": environ.get("BUSINESS_API_HTTP", "")}, serving=False
            )
        except SettingsInvalid:
            continue
        right[name] = environ.get(name, "")
    return load(right, serving=False)


def _recording_mistakes(settings: Settings, asked: set[str]) -> list[str]:
    """Settings that recordings need and that are not set. Those in `asked` are set."""
    wrong: list[str] = []
    if not settings.records:
        return wrong
    if "recording_key" not in asked:
        wrong.append("RECORDING_KEY is not set: RECORD=on encrypts recordings with it; `relay key` makes one")
    if settings.recordings_url and not {"aws_access_key_id", "aws_secret_access_key"} <= asked:
        wrong.append("RECORDINGS_URL needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: the store's credentials")
    return wrong


def doubts(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Warnings about settings with which a deployed relay can run, but probably should not run.

    `relay serve` logs the warnings at its start. `relay check` logs them too.
    """
    if settings.is_local:
        return []
    told = [
        f"{name} is not set: {what}"
        for name, what in {
            "BUSINESS_NAME": f'callers are greeted by "{settings.business_name}"',
            "BUSINESS_TZ": f"hours and appointments count in the time zone {settings.business_tz}",
        }.items()
        if not settings.reads_business_file and not environ.get(name, "").strip()
    ]
    if settings.database_url == "embedded":
        told.append(
            f"DATABASE_URL=embedded keeps every call only in {settings.data_dir}/postgres: make sure that this disk "
            "stays, and is backed up"
        )
    return told


# Names of zones with a fixed offset from UTC. UTC itself is allowed, because nobody writes it by mistake.
_FIXED_OFFSET = re.compile(r"EST|MST|HST|GMT.*|Greenwich|Etc/(?!UTC|UCT|Universal|Zulu).*")


def lacks_summer_time(zone: str) -> bool:
    """True if this name of a time zone means a fixed offset from UTC, like EST.

    At a place that has summer time, such a zone would make appointments in summer an hour late. UTC is allowed (see
    _FIXED_OFFSET).
    """
    return _FIXED_OFFSET.fullmatch(zone) is not None


def _embedded_in_public(settings: Settings, *, is_asked_for: bool) -> list[str]:
    """Why a deployed relay may not use the embedded database. Empty if it may."""
    if settings.fly_app_name:
        how = "is embedded" if is_asked_for else "is not set"
        return [
            f"DATABASE_URL {how}: on Fly the disk is lost with the machine, and all rows with it; "
            "write the URL of a Postgres"
        ]
    if not is_asked_for:
        return [
            "DATABASE_URL is not set: a relay with a public PUBLIC_URL must not write to a disk that may be lost; "
            "write the URL of a Postgres, or DATABASE_URL=embedded if the disk stays (a server of your own)"
        ]
    return []


def _unquoted(text: str) -> str:
    """The text without quotes around it.

    A shell removes the quotes of a line in .env, but `docker --env-file` does not.
    """
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


class _Wrong(ValueError):
    pass


def _read(name: str, text: str) -> object:
    if name in _NUMBERS:
        kind, low, high = _NUMBERS[name]
        try:
            return _number(text, kind, low, high)
        except ValueError:
            raise _Wrong(f"must be a {'whole ' if kind is int else ''}number from {low} to {high}") from None
    if name in _COPIED_FROM_EXAMPLES and (text.endswith("...") or "//NAME." in text):
        raise _Wrong("is still the example of the documents: put your own value in its place")
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise _Wrong(f"must be one of {', '.join(c for c in _CHOICES[name] if c)}")
    elif name in _PHONES:
        if not _E164.fullmatch(text):
            raise _Wrong("must be a phone number like +12125550123")
    elif name == "human_numbers_also":
        numbers = tuple(part.strip() for part in text.split(",") if part.strip())
        if not all(_E164.fullmatch(number) for number in numbers):
            raise _Wrong("must be phone numbers like +12125550123, separated by commas")
        return numbers
    elif name == "business_api_base" and text.casefold() == "embedded":
        return "embedded"
    elif name in _URLS:
        return _read_url(name, text)
    elif name == "twilio_auth_token":
        return _auth_tokens(text)
    elif name == "database_url":
        return _database_url(text)
    elif name in _IN_HEADERS and not re.fullmatch(r"[\x21-\x7e]+", text):
        raise _Wrong(_COPIED)
    elif name in _IN_PATHS and not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise _Wrong("must be letters and digits, as ElevenLabs shows it")
    elif name in _PLACES:
        if not re.fullmatch(r"[A-Za-z]{2}", text):
            raise _Wrong(f"must be the two letters of a {_PLACES[name]}")
        return text.upper()
    elif name == "business_tz":
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "America" alone is a folder of zones.
            raise _Wrong("must be a time zone like America/New_York") from None
        if lacks_summer_time(text):
            raise _Wrong(
                f"{text} has no summer time, so in summer appointments would be an hour late: name a place in its zone"
            )
    elif name == "twilio_account_sid" and not re.fullmatch(r"AC[0-9a-fA-F]{32}", text):
        raise _Wrong("must be AC followed by 32 hexadecimal digits")
    elif name in ("data_dir", "business_file"):
        try:
            return Path(text).expanduser()  # A shell expands "~" only if the value has no quotes.
        except RuntimeError:  # "~somebody": this machine has no such user.
            what = "folder" if name == "data_dir" else "file"
            raise _Wrong(f"must be a {what}: this machine has no user for the ~ in it") from None
    elif name == "aws_region" and not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", text):
        raise _Wrong("must be a name without a space, like eu-central-1")
    elif name == "host" and not is_listenable(text):
        raise _Wrong("must be the address to listen on, like 0.0.0.0 or ::, without a port")
    elif name == "human_hours":
        check_hours(text)
    elif name == "recording_key":
        if not all(_RECORDING_KEY.fullmatch(part.strip()) for part in text.split(",")):
            raise _Wrong(
                "must be a key as `relay key` prints it, or several with commas between them, the newest first"
            )
    elif name == "console_password_hash" and not is_password_hash(text):
        raise _Wrong("must be the whole hash that `relay key --console` prints, not the password; quote it: it holds $")
    elif name in ("notify_email", "notify_from"):
        user, _, domain = text.partition("@")
        if not _MAIL_USER.fullmatch(user) or not is_host(domain) or domain.endswith("."):
            raise _Wrong("must be one address like owner@example.com")
    elif name == "notify_digest":
        if not re.fullmatch(r"off|([01][0-9]|2[0-3]):[0-5][0-9]", text):
            raise _Wrong("must be off, or the time of the digest in BUSINESS_TZ, like 18:00")
    elif name == "smtp_url":
        try:
            Server.of(text)
        except SmtpUrlUnclear as error:
            raise _Wrong(str(error)) from None
    elif name == "notify_webhook_secret":
        try:
            keys_of(text)
        except SecretUnreadable as error:
            raise _Wrong(str(error)) from None
    elif name == "recordings_url":
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.{1,2}(/|$))[\w.-]+)*/*", text):
            raise _Wrong("must be a bucket like s3://my-recordings, or s3://my-bucket/recordings")
        return text.rstrip("/")
    return text


_COPIED = "must be plain letters, digits and signs without a space: perhaps you copied something else with it"


def _auth_tokens(text: str) -> str:
    """Checks one token, or several with commas between them, and returns them without spaces.

    There are two tokens, the old and the new, while the operator changes the token.
    """
    tokens = [token.strip() for token in text.split(",") if token.strip()]
    if not tokens or not all(re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens):
        raise _Wrong(_COPIED)
    return ",".join(tokens)


def _read_url(name: str, text: str) -> str:
    secure, plain = _URLS[name]
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in (secure, plain) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # The port or the IPv6 address is invalid.
        is_url = False
    if not is_url or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise _Wrong(f"must be a URL that begins with {secure}://")
    if parts.scheme == plain and parts.hostname not in _LOOPBACK and name != "business_api_base":
        raise _Wrong(f"must begin with {secure}:// ({plain}:// only on this machine itself)")
    if name == "public_url" and (parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc):
        raise _Wrong("must be an origin alone: no path, no query, no user")
    if name == "public_url" and "_" in (parts.hostname or ""):
        raise _Wrong("must have no underscore in its host, because Twilio does not call such a host")
    if not names_host(parts):
        raise _Wrong(HOST)
    if name not in _WITH_USER and "@" in parts.netloc:
        raise _Wrong("must have no user and no password (no @): the relay sends them in no such request")
    if name == "twilio_api_base" and parts.path not in ("", "/"):
        raise _Wrong("must be an origin alone, like https://api.twilio.com: the relay adds the paths")
    if name not in ("openai_realtime_url", "notify_webhook_url") and (parts.query or parts.fragment):
        raise _Wrong("must have no query and no fragment: the relay adds the paths")
    if name == "elevenlabs_url" and parts.path not in ("", "/"):
        raise _Wrong("must be an origin alone, like wss://api.elevenlabs.io: the relay adds the voice's path")
    if parts.fragment:
        raise _Wrong("must have no fragment (no # and nothing after it)")
    # Build the URL again. This removes a scheme in capitals and a "?" or "#" with nothing after it. Other code does not
    # expect these.
    return parts.geturl().rstrip("/")


def _database_url(text: str) -> str:
    try:
        return text if text == "embedded" else understood(text)
    except DatabaseUrlUnclear as error:
        raise _Wrong(str(error)) from None


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? (?P<open>\d\d:\d\d)-(?P<close>\d\d:\d\d)")


def check_hours(text: str) -> list[tuple[int, str, str]] | None:
    """Read HUMAN_HOURS, like "mon-fri 09:00-17:00, sat 18:00-02:00".

    Returns rows of (weekday, opens, closes). Weekday 0 is Monday. Hours that end after midnight get a second row for
    the next day. Returns None for "always". Raises ValueError, whose message says which form is right.
    """
    if text == "always":
        return None
    rows: list[tuple[int, str, str]] = []
    for part in text.split(","):
        match = _HOURS.fullmatch(part.strip().casefold())
        ok = match and match["first"] in _DAYS and (match["last"] or "mon") in _DAYS and match["open"] != match["close"]
        if not ok or match is None or not all(t < "24:01" and t[3:] < "60" for t in (match["open"], match["close"])):
            raise _Wrong('must be "always" or like "mon-fri 09:00-17:00, sat 10:00-14:00"')
        first = _DAYS.index(match["first"])
        last = _DAYS.index(match["last"]) if match["last"] else first
        days = range(first, last + 1) if first <= last else [*range(first, 7), *range(last + 1)]
        for day in days:
            if match["open"] < match["close"]:
                rows.append((day, match["open"], match["close"]))
            else:
                rows += [(day, match["open"], "24:00"), ((day + 1) % 7, "00:00", match["close"])]
    return rows
