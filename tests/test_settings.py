"""Settings: all mistakes are in one message, and secrets are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.settings import REQUIRED, SettingsInvalid, check_hours, doubts, load

GOOD = {
    "OPENAI_API_KEY": "sk-secret-of-mine",
    "TWILIO_ACCOUNT_SID": "AC" + "a" * 32,
    "TWILIO_AUTH_TOKEN": "token-of-mine",
    "TWILIO_PHONE_NUMBER": "+12125550100",
    "BUSINESS_API_BASE": "https://business.example.com",
    "HUMAN_TRANSFER_NUMBER": "+12125550102",
    "PUBLIC_URL": "https://relay.example.com/",
    "DATABASE_URL": "postgresql://u:pw-of-mine@db/relay",
}


def test_relay_serve_with_an_empty_environment_names_everything_that_is_missing() -> None:
    with pytest.raises(SettingsInvalid) as failure:
        load({}, serving=True)
    for name in REQUIRED:
        assert f"- {name.upper()} is not set" in str(failure.value)


def test_an_empty_environment_is_enough_for_demo_and_tests() -> None:
    settings = load({}, serving=False)
    assert settings.database_url == "embedded"
    assert settings.is_local


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "sk-..."),
        ("TWILIO_AUTH_TOKEN", "..."),
        ("PUBLIC_URL", "https://NAME.ngrok-free.app"),
        ("BUSINESS_API_BASE", "https://..."),
        ("DATABASE_URL", "postgres://..."),
    ],
)
def test_an_example_of_the_documents_that_was_not_filled_in_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name} is still the example"):
        load(GOOD | {name: value}, serving=True)


@pytest.mark.parametrize("name", ["HUMAN_TRANSFER_NUMBER", "HUMAN_NUMBERS_ALSO"])
def test_the_relays_own_number_is_refused_as_the_number_of_a_human(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="would be put through to the agent again"):
        load(GOOD | {name: GOOD["TWILIO_PHONE_NUMBER"]}, serving=True)


def test_valid_settings_are_read_and_a_slash_at_the_end_of_the_origin_is_removed() -> None:
    settings = load(GOOD, serving=True)
    assert settings.public_url == "https://relay.example.com"
    assert settings.data_dir == Path("data")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("BUSINESS_COUNTRY", "us", "US"),
        ("BUSINESS_STATE", "ca", "CA"),
        ("PUBLIC_URL", "HTTPS://relay.example.com", "https://relay.example.com"),
        ("PUBLIC_URL", "https://relay.example.com/?", "https://relay.example.com"),
        ("PUBLIC_URL", "https://relay.example.com#", "https://relay.example.com"),
        ("BUSINESS_API_BASE", "Https://api.example.com/v1/", "https://api.example.com/v1"),
        ("OPENAI_REALTIME_URL", "WSS://api.example.com/v1/realtime?", "wss://api.example.com/v1/realtime"),
        ("OPENAI_REALTIME_URL", "wss://api.example.com/realtime?api=1", "wss://api.example.com/realtime?api=1"),
    ],
)
def test_a_value_is_converted_to_the_form_in_which_it_is_used(name: str, value: str, read: str) -> None:
    assert getattr(load({**GOOD, name: value}, serving=True), name.lower()) == read


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "http", "number from 0 to 65535"),
        ("MAX_CALL_USD", "-1", "number from"),
        ("MAX_CALLS", "nan", "number from"),
        ("MAX_CALLS", "1.5", "a whole number from 1 to 10000"),
        ("RECORD", "yes", "one of off, transcripts, on"),
        ("PUBLIC_URL", "http://relay.example.com", "https://"),
        ("PUBLIC_URL", "https://relay.example.com/voice", "origin alone"),
        ("PUBLIC_URL", "relay.example.com", "https://"),
        ("PUBLIC_URL", "https://relay.example.com:https", "https://"),
        ("PUBLIC_URL", "https://relay.example.com:99999", "https://"),
        ("PUBLIC_URL", "https://[::1", "https://"),
        ("PUBLIC_URL", "https://relay.exa mple.com", "https://"),
        ("PUBLIC_URL", "https://@relay.example.com", "no user"),
        ("BUSINESS_API_BASE", "https://büro.example.com", "https://"),
        ("BUSINESS_API_BASE", "https://api.example.com/v1?tenant=5", "no query"),
        ("TWILIO_API_BASE", "https://api.twilio.com/#top", "no query"),
        ("OPENAI_REALTIME_URL", "wss://api.example.com/v1/realtime#beta", "no fragment"),
        ("DATABASE_URL", "mysql://u:pw-of-mine@db/relay", "postgresql://"),
        ("DATABASE_URL", "db.example.com", "postgresql://"),
        ("OPENAI_API_KEY", "“sk-secret-of-mine”", "copied something else"),
        ("TWILIO_AUTH_TOKEN", "token of mine", "copied something else"),
        ("BUSINESS_STATE", "California", "two letters"),
        ("BUSINESS_COUNTRY", "USA", "two letters"),
        ("OPENAI_REALTIME_URL", "ws://api.example.com/v1/realtime", "wss://"),
        ("TWILIO_PHONE_NUMBER", "555-0100", "+12125550123"),
        ("TWILIO_ACCOUNT_SID", "AC1", "32 hexadecimal"),
        ("BUSINESS_TZ", "Mars/Olympus", "time zone"),
        ("BUSINESS_TZ", "America", "time zone"),
        ("BUSINESS_TZ", "EST", "summer time"),
        ("BUSINESS_TZ", "Etc/GMT+5", "summer time"),
        ("BUSINESS_TZ", "GMT", "summer time"),
        ("BUSINESS_TZ", "x" * 300, "time zone"),
        ("HUMAN_HOURS", "nine to five", "mon-fri"),
        ("HUMAN_HOURS", "mon 09:00-25:00", "mon-fri"),
        ("HUMAN_HOURS", "mon 09:00-09:00", "mon-fri"),
        ("HUMAN_NUMBERS_ALSO", "+12125550101,911", "phone numbers"),
        ("PUBLIC_URL", "https://my_relay.example.com", "underscore"),
        ("PUBLIC_URL", "https://-relay.example.com", "host of letters"),
        ("PUBLIC_URL", "https://relay..example.com", "host of letters"),
        ("PUBLIC_URL", "https://relay.example.com%20", "host of letters"),
        ("TWILIO_API_BASE", "https://api.twilio.com/2010-04-01", "origin alone"),
        ("TWILIO_AUTH_TOKEN", "old,new one", "copied something else"),
        ("TWILIO_AUTH_TOKEN", ",", "copied something else"),
    ],
)
def test_a_wrong_value_is_named_with_the_allowed_values(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsInvalid) as failure:
        load({**GOOD, name: value}, serving=True)
    (line,) = [line for line in str(failure.value).splitlines() if line.startswith("  - ")]
    assert line.startswith(f"  - {name} ")
    assert words in line


def test_a_mistake_in_a_secret_is_reported_without_the_secret() -> None:
    with pytest.raises(SettingsInvalid) as failure:
        load({**GOOD, "OPENAI_API_KEY": "sk of-mine", "DATABASE_URL": "mysql://u:pw-of-mine@db/x"}, serving=True)
    assert "of-mine" not in str(failure.value)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_around_a_value_do_not_belong_to_it(quote: str) -> None:
    settings = load({**GOOD, "BUSINESS_NAME": f"{quote}Joe's Diner{quote}"}, serving=True)
    assert settings.business_name == "Joe's Diner"


def test_all_mistakes_are_in_one_message() -> None:
    with pytest.raises(SettingsInvalid) as failure:
        load({**GOOD, "PORT": "x", "RECORD": "y", "OPENAI_API_KEY": ""}, serving=True)
    lines = [line for line in str(failure.value).splitlines() if line.startswith("  - ")]
    assert {line.split()[1] for line in lines} == {"PORT", "RECORD", "OPENAI_API_KEY"}


def test_a_deployed_relay_without_a_database_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="DATABASE_URL is not set: a relay with a public PUBLIC_URL"):
        load({k: v for k, v in GOOD.items() if k != "DATABASE_URL"}, serving=True)


def test_a_local_relay_may_use_the_embedded_database() -> None:
    environ = {**GOOD, "PUBLIC_URL": "http://127.0.0.1:8080"}
    del environ["DATABASE_URL"]
    assert load(environ, serving=True).database_url == "embedded"


def test_a_deployed_relay_may_use_the_embedded_database_if_it_is_set_but_not_on_fly() -> None:
    asked = {**GOOD, "DATABASE_URL": "embedded", "BUSINESS_NAME": "Harbor Table", "BUSINESS_TZ": "Europe/London"}
    assert [line.split(":")[0] for line in doubts(load(asked, serving=True), asked)] == [
        "DATABASE_URL=embedded keeps every call only in data/postgres"
    ]
    for environ in (asked, {name: value for name, value in asked.items() if name != "DATABASE_URL"}):
        with pytest.raises(SettingsInvalid, match="on Fly the disk is lost with the machine"):
            load({**environ, "FLY_APP_NAME": "harbor"}, serving=True)


def test_a_deployed_relay_with_default_names_is_reported_at_its_start() -> None:
    assert [line.split()[0] for line in doubts(load(GOOD, serving=True), GOOD)] == ["BUSINESS_NAME", "BUSINESS_TZ"]
    said = {**GOOD, "BUSINESS_NAME": "our office", "BUSINESS_TZ": "America/New_York"}  # the defaults, set on purpose
    assert doubts(load(said, serving=True), said) == []
    at_home = {**GOOD, "PUBLIC_URL": "http://127.0.0.1:8080"}
    assert doubts(load(at_home, serving=True), at_home) == []


def test_a_tilde_in_the_data_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert load({"DATA_DIR": "~/data"}, serving=False).data_dir == Path("/home/ann/data")
    assert load({"DATA_DIR": "a~b"}, serving=False).data_dir == Path("a~b")
    with pytest.raises(SettingsInvalid, match="DATA_DIR must be a folder"):
        load({"DATA_DIR": "~nobody-of-this-name/data"}, serving=False)


def test_a_twilio_api_key_without_its_secret_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="belong together"):
        load({**GOOD, "TWILIO_API_KEY": "SK1"}, serving=True)


def test_masked_settings_show_no_secret_and_no_number() -> None:
    settings = load(GOOD, serving=True)
    for text in (str(settings.masked()), repr(settings)):
        for secret in ("sk-secret", "token-of-mine", "pw-of-mine"):
            assert secret not in text
    assert "+12125550102" not in str(settings.masked())


def test_hours_over_the_weekend_are_read() -> None:
    assert check_hours("sat-mon 10:00-14:00") == [(5, "10:00", "14:00"), (6, "10:00", "14:00"), (0, "10:00", "14:00")]
    assert check_hours("always") is None


def test_hours_past_midnight_continue_on_the_next_day() -> None:
    assert check_hours("sun 22:00-02:00") == [(6, "22:00", "24:00"), (0, "00:00", "02:00")]
    assert check_hours("fri 18:00-00:00") == [(4, "18:00", "24:00"), (5, "00:00", "00:00")]


@given(st.dictionaries(st.sampled_from([*GOOD, "PORT", "RECORD", "HUMAN_HOURS", "MAX_DAY_USD"]), st.text(max_size=30)))
def test_any_environment_gives_settings_or_an_error_message(environ: dict[str, str]) -> None:
    try:
        load({**GOOD, **environ}, serving=True)
    except SettingsInvalid as error:
        words = str(error)
    else:
        words = "these settings are wrong:"
    assert words.startswith("these settings are wrong:")


def test_the_embedded_backend_answers_if_no_other_is_set() -> None:
    assert load(
        {name: value for name, value in GOOD.items() if name != "BUSINESS_API_BASE"}, serving=True
    ).business_is_embedded
    assert load(GOOD | {"BUSINESS_API_BASE": "Embedded"}, serving=True).business_is_embedded
    theirs = load(GOOD, serving=True)
    assert not theirs.business_is_embedded
    assert not theirs.reads_business_file
    assert load(GOOD | {"BUSINESS_FILE": "mine.toml"}, serving=True).reads_business_file
    assert "given" not in theirs.masked()


@pytest.mark.parametrize("text", ["old,new", "old, new", " old ,new,"])
def test_two_auth_tokens_are_accepted_during_a_change(text: str) -> None:
    settings = load({**GOOD, "TWILIO_AUTH_TOKEN": text}, serving=True)
    assert settings.twilio_auth_tokens == ("old", "new")
    assert not {"old", "new"} & {*map(str, settings.masked().values())}


def test_capital_letters_in_a_host_are_not_changed() -> None:
    assert (
        load({**GOOD, "PUBLIC_URL": "https://Relay.Example.com/"}, serving=True).public_url
        == "https://Relay.Example.com"
    )


def test_masked_settings_show_the_count_of_other_humans_and_not_their_numbers() -> None:
    numbers = ("+12125550103", "+12125550104")
    settings = load({**GOOD, "HUMAN_NUMBERS_ALSO": ",".join(numbers)}, serving=True)
    assert settings.human_numbers_also == numbers
    shown = settings.masked()
    assert shown["human_numbers_also"] == 2
    for name in ("twilio_phone_number", "human_transfer_number"):
        assert str(shown[name])[:-2] == "…"
    for number in (*numbers, GOOD["HUMAN_TRANSFER_NUMBER"], GOOD["TWILIO_PHONE_NUMBER"]):
        assert number[2:-2] not in str(shown)


def test_a_command_that_stores_rows_of_a_deployed_relay_needs_its_database() -> None:
    deployed = {"PUBLIC_URL": "https://relay.example.com"}
    with pytest.raises(SettingsInvalid, match="DATABASE_URL is not set"):
        load(deployed, serving=False, keeps_rows=True)
    for fine in ({**deployed, "DATABASE_URL": "postgresql://db/relay"}, {}, {"PUBLIC_URL": "http://127.0.0.1:8080"}):
        load(fine, serving=False, keeps_rows=True)


VOICE = {"VOICE": "elevenlabs", "ELEVENLABS_API_KEY": "sk_secret", "ELEVENLABS_VOICE_ID": "21m00Tcm4TlvDq8ikWAM"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"VOICE": "elevenlabs"}, "ELEVENLABS_API_KEY is not set(.|\n)*ELEVENLABS_VOICE_ID is not set"),
        ({"VOICE": "piper"}, "one of openai, elevenlabs"),
        ({**VOICE, "ELEVENLABS_VOICE_ID": "21m/../x"}, "letters and digits"),
        ({**VOICE, "ELEVENLABS_MODEL": "eleven v3"}, "letters and digits"),
        ({**VOICE, "ELEVENLABS_URL": "wss://api.elevenlabs.io/v1"}, "origin alone"),
        ({**VOICE, "ELEVENLABS_URL": "ws://api.elevenlabs.io"}, "wss://"),
        ({**VOICE, "ELEVENLABS_SLOTS": "-1"}, "from 0 to"),
        ({**VOICE, "ELEVENLABS_API_KEY": "sk\u201csecret"}, "copied something else"),
    ],
)
def test_incomplete_or_wrong_settings_of_another_voice_are_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        load({**GOOD, **environ}, serving=True)


def test_another_voice_also_speaks_the_phrases_and_its_key_is_not_shown() -> None:
    own, other = load(GOOD, serving=True), load({**GOOD, **VOICE}, serving=True)
    assert own.speaks_itself
    assert (own.phrase_voice, own.phrase_model) == (own.openai_voice, own.openai_model)
    assert not other.speaks_itself
    assert (other.phrase_voice, other.phrase_model) == ("21m00Tcm4TlvDq8ikWAM", "eleven_flash_v2_5")
    assert "sk_secret" not in str(other.masked()) + repr(other)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"NOTIFY_EMAIL": "owner@example.com"}, "belong together"),
        ({"NOTIFY_WEBHOOK_URL": "https://x.example.com/a?b=c"}, "belong together"),
        ({"NOTIFY_EMAIL": "a@b, c@d"}, "one address"),
        ({"SMTP_URL": "https://mail.example.com"}, "smtps://"),
        ({"NOTIFY_DIGEST": "6pm"}, "like 18:00"),
        ({"NOTIFY_DIGEST": "24:00"}, "like 18:00"),
        ({"NOTIFY_WEBHOOK_SECRET": "secret"}, "whsec_"),
        ({"NOTIFY_WEBHOOK_URL": "https://hooks.example.com/#a"}, r"no fragment \(no #"),
    ],
)
def test_incomplete_or_wrong_settings_for_news_to_the_owner_are_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        load({**GOOD, **environ}, serving=True)


def test_the_settings_of_the_channels_to_the_owner_are_read_and_their_secrets_are_not_shown() -> None:
    secret = "whsec_" + "A" * 43 + "="
    environ = {
        "NOTIFY_EMAIL": "owner@example.com",
        "NOTIFY_FROM": "relay@example.com",
        "NOTIFY_DIGEST": "07:30",
        "SMTP_URL": "smtps://relay:SECRET@mail.example.com:465",
        "NOTIFY_WEBHOOK_URL": "https://hooks.example.com/SECRET?key=SECRET",
        "NOTIFY_WEBHOOK_SECRET": f"{secret},{secret}",
    }
    settings = load({**GOOD, **environ}, serving=True)
    assert settings.notify_webhook_url.endswith("?key=SECRET")
    assert settings.notify_digest == "07:30"
    assert "SECRET" not in str(settings.masked()) + repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://api:8000",
        "http://backend.flycast",
        "http://10.0.3.7:8080/v1",
        "http://192.168.1.20",
        "http://[fd12:3456::1]:8080",
        "http://shop.internal",
    ],
)
def test_a_backend_in_a_private_network_needs_no_tls_if_the_setting_allows_it(url: str) -> None:
    assert load({"BUSINESS_API_BASE": url, "BUSINESS_API_HTTP": "private"}, serving=False).business_api_base == url
    with pytest.raises(SettingsInvalid, match="BUSINESS_API_HTTP=private allows"):
        load({"BUSINESS_API_BASE": url}, serving=False)


@pytest.mark.parametrize("url", ["http://shop.example.com", "http://8.8.8.8", "http://0.0.0.0:80"])
def test_a_backend_outside_a_private_network_needs_tls_whatever_the_setting(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="BUSINESS_API_BASE must begin with https"):
        load({"BUSINESS_API_BASE": url, "BUSINESS_API_HTTP": "private"}, serving=False)
