"""Twilio's signatures, compared with Twilio's published examples and with the twilio package."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # ships no types
from werkzeug.datastructures import MultiDict

from relay.twilio.signature import SignatureRefused, check_handshake, check_webhook, sign

TOKEN = "12345"
PUBLIC = "https://mycompany.com"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
FIELDS = [("Called", "+13231234567"), ("ToZip", ""), ("CalledCity", ""), ("From", "+18181234567")]


def check(
    fields: list[tuple[str, str]],
    signature: str | None,
    *,
    public_url: str = PUBLIC,
    target: str = "/voice",
    tokens: tuple[str, ...] = (TOKEN,),
    settings: str | None = None,
) -> dict[str, str]:
    return check_webhook(
        tokens=tokens,
        public_url=public_url,
        target=target,
        signature=signature,
        settings=settings,
        content_type=FORM,
        body=urlencode(fields).encode(),
    )


def handshake(signature: str | None, target: str = "/media-stream", public_url: str = PUBLIC) -> None:
    check_handshake(tokens=[TOKEN], public_url=public_url, target=target, signature=signature)


@pytest.mark.parametrize(
    ("url", "fields", "signature"),
    [
        (
            "https://example.com/myapp.php?foo=1&bar=2",
            [
                ("CallSid", "CA1234567890ABCDE"),
                ("Caller", "+14158675310"),
                ("Digits", "1234"),
                ("From", "+14158675310"),
                ("To", "+18005551212"),
            ],
            "L/OH5YylLD5NRKLltdqwSvS0BnU=",  # from Twilio's own page
        ),
        (
            "https://mycompany.com/voice",
            [
                ("Called", "+13231234567"),
                ("ToZip", ""),
                ("CalledCity", ""),
                ("CallSid", "CA450188bc524230c5086da78b80861648"),
                ("CallStatus", "ringing"),
                ("From", "+18181234567"),
            ],
            "q+x4zlZSQbg7sZ7in/0z5dtKCcQ=",
        ),
        ("wss://mycompany.com/media-stream", [], "N2Y//FHA042H22oVtTOPT1X3yoU="),
        ("wss://mycompany.com/media-stream/", [], "B+WT+LSnUu+RWlK9v/62zQuXpec="),
    ],
)
def test_the_signature_equals_the_published_examples_of_twilio(
    url: str, fields: list[tuple[str, str]], signature: str
) -> None:
    assert sign(TOKEN, url, fields) == signature


names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=8)
values = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(names, values), max_size=8), st.sampled_from(["/a", "/a?b=1&c", "/a/?x=%2F"]))
def test_the_signature_of_any_form_equals_that_of_the_twilio_package(
    fields: list[tuple[str, str]], target: str
) -> None:
    theirs = RequestValidator(TOKEN)
    params = _Many(fields)
    for algorithm in ("HMAC_SHA1", "HMAC_SHA256"):
        signature = theirs.compute_signature(PUBLIC + target, params, algorithm)
        assert sign(TOKEN, PUBLIC + target, fields, algorithm) == signature
        settings = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
        assert theirs.validate(PUBLIC + target, params, signature, algorithm)
        got = check(fields, signature, target=target, settings=settings)
        assert not fields or got == dict(fields)


class _Many(MultiDict[str, str]):
    """A form in the type that the twilio package reads."""

    def getall(self, name: str) -> list[str]:
        return self.getlist(name)


def test_blank_and_repeated_fields_are_signed_and_returned() -> None:
    fields = [*FIELDS, ("Media", "b"), ("Media", "a"), ("Media", "b")]
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC + "/voice", _Many(fields))
    assert check(fields, signature)["ToZip"] == ""
    with pytest.raises(SignatureRefused):
        check([pair for pair in fields if pair[1]], signature)


@pytest.mark.parametrize(
    "signed",
    ["https://mycompany.com/voice", "https://mycompany.com:443/voice"],
)
@pytest.mark.parametrize(
    "public_url",
    ["https://mycompany.com", "https://mycompany.com/", "https://mycompany.com:443", "https://user:pw@mycompany.com"],
)
def test_a_port_or_a_password_in_public_url_or_in_the_signed_url_does_not_matter(signed: str, public_url: str) -> None:
    check(FIELDS, sign(TOKEN, signed, FIELDS), public_url=public_url)


MIXED = "https://Relay.MyCompany.com"


@pytest.mark.parametrize("signed", [MIXED, MIXED.lower(), MIXED + ":443", MIXED.lower() + ":443"])
@pytest.mark.parametrize("public_url", [MIXED, MIXED + ":443"])
def test_a_host_in_capital_letters_may_be_signed_in_capital_or_small_letters(signed: str, public_url: str) -> None:
    assert check([], sign(TOKEN, f"{signed}/voice"), public_url=public_url) == {}
    handshake(sign(TOKEN, f"{signed.replace('https', 'wss')}/media-stream"), public_url=public_url)


def test_if_the_url_in_twilios_console_has_capital_letters_they_are_read_from_the_host_header() -> None:
    def asked(host: str, signed: str) -> None:
        signature = sign(TOKEN, f"{signed}/voice")
        check_webhook(tokens=[TOKEN], public_url=MIXED.lower(), target="/voice", signature=signature, host=host)

    asked("Relay.MyCompany.com", MIXED)
    asked("Relay.MyCompany.com:443", MIXED)
    for host in ("evil.example.com", "Relay.MyCompany.com.evil.example.com", "[::", ""):
        with pytest.raises(SignatureRefused):
            asked(host, f"https://{host}")
        with pytest.raises(SignatureRefused):
            asked(host, MIXED)


@pytest.mark.parametrize("signed", ["http://127.0.0.1:8080/voice", "http://127.0.0.1/voice"])
def test_an_unusual_port_may_be_signed_or_left_out(signed: str) -> None:
    check(FIELDS, sign(TOKEN, signed, FIELDS), public_url="http://127.0.0.1:8080")


@pytest.mark.parametrize("public_url", ["https://[2001:db8::1]:8443", "https://[2001:db8::1]"])
def test_an_ipv6_origin_keeps_its_brackets(public_url: str) -> None:
    check(FIELDS, sign(TOKEN, public_url + "/voice", FIELDS), public_url=public_url)


@pytest.mark.parametrize(
    ("signed", "tampered"),
    [
        ("http://mycompany.com/voice", FIELDS),
        ("https://mycompany.com/voice/", FIELDS),
        ("https://evil.example/voice", FIELDS),
        ("https://mycompany.com/voice?a=1", FIELDS),
        ("https://mycompany.com/voice", [*FIELDS, ("New", "1")]),
        ("https://mycompany.com:80/voice", FIELDS),
    ],
)
def test_a_request_whose_url_or_fields_differ_from_the_signed_ones_is_refused(
    signed: str, tampered: list[tuple[str, str]]
) -> None:
    with pytest.raises(SignatureRefused, match="PUBLIC_URL"):
        check(tampered, sign(TOKEN, signed, FIELDS))


def test_a_get_is_signed_only_by_its_url_with_the_query() -> None:
    target = "/voice?" + urlencode(FIELDS)
    got = check_webhook(tokens=[TOKEN], public_url=PUBLIC, target=target, signature=sign(TOKEN, PUBLIC + target))
    assert got == dict(FIELDS)


def test_json_is_checked_against_the_hash_in_the_url() -> None:
    body = b'{"CallSid":"CA1234567890ABCDE","Caller":"+12349013030"}'
    digest = "5ccde7145dfb8f56479710896586cb9d5911809d83afbe34627818790db0aec9"  # from Twilio's own page
    target = f"/voice?bodySHA256={digest}"
    signature = sign(TOKEN, PUBLIC + target)
    assert RequestValidator(TOKEN).validate(PUBLIC + target, body.decode(), signature)

    def post(target: str, body: bytes) -> None:
        check_webhook(
            tokens=[TOKEN],
            public_url=PUBLIC,
            target=target,
            signature=sign(TOKEN, PUBLIC + target),
            content_type="application/json",
            body=body,
        )

    post(target, body)
    with pytest.raises(SignatureRefused, match="hash"):
        post(target, body + b" ")
    with pytest.raises(SignatureRefused, match="bodySHA256"):
        post("/voice", body)


def test_the_old_token_and_the_new_one_are_both_accepted_during_a_change() -> None:
    for token in ("old", "new"):
        check(FIELDS, sign(token, PUBLIC + "/voice", FIELDS), tokens=("old", "new"))


@pytest.mark.parametrize("signature", [None, "", "é", "N2Y//FHA042H22oVtTOPT1X3yoU="])
def test_a_missing_or_foreign_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(SignatureRefused):
        check(FIELDS, signature)


@pytest.mark.parametrize("tokens", [(), ("",)])
def test_without_a_token_everything_is_refused(tokens: tuple[str, ...]) -> None:
    with pytest.raises(SignatureRefused, match="TWILIO_AUTH_TOKEN"):
        check(FIELDS, sign("", PUBLIC + "/voice", FIELDS), tokens=tokens)


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(SignatureRefused, match="HMAC_SHA512"):
        check(FIELDS, sign(TOKEN, PUBLIC + "/voice", FIELDS), settings="key=k1,algorithm=HMAC_SHA512")


def test_an_unknown_shared_key_is_named() -> None:
    with pytest.raises(SignatureRefused, match="k1"):
        check(FIELDS, sign("x", PUBLIC + "/voice", FIELDS, "HMAC_SHA256"), settings="key=k1,algorithm=HMAC_SHA256")


def test_an_absolute_target_cannot_choose_the_host() -> None:
    with pytest.raises(SignatureRefused, match="not a path"):
        check(FIELDS, sign(TOKEN, PUBLIC + "@evil/", FIELDS), target="@evil/")


def test_too_many_fields_or_a_body_of_an_unknown_type_are_refused() -> None:
    with pytest.raises(SignatureRefused, match="fields"):
        check([("a", str(n)) for n in range(1001)], "x")
    with pytest.raises(SignatureRefused, match="text/plain"):
        check_webhook(
            tokens=[TOKEN], public_url=PUBLIC, target="/", signature="x", content_type="text/plain", body=b"a"
        )


@given(st.binary(max_size=40))
def test_any_target_and_body_are_accepted_or_refused(raw: bytes) -> None:
    target = "/" + raw.decode("ascii", "surrogateescape").replace("#", "")
    url = (PUBLIC.encode() + b"/" + raw.replace(b"#", b"")).decode("utf-8", "surrogateescape")
    handshake(sign(TOKEN, url.replace("https", "wss", 1)), target)
    with pytest.raises(SignatureRefused):
        check_webhook(tokens=[TOKEN], public_url=PUBLIC, target="/", signature="x", content_type=FORM, body=raw or b"a")


@pytest.mark.parametrize("port", ["", ":443"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_handshake_in_any_of_twilios_four_forms_is_accepted(port: str, slash: str) -> None:
    handshake(sign(TOKEN, f"wss://mycompany.com{port}/media-stream{slash}"))


def test_on_loopback_a_handshake_is_signed_with_a_ws_url() -> None:
    handshake(sign(TOKEN, "ws://127.0.0.1:8080/media-stream"), public_url="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "signed", ["https://mycompany.com/media-stream", "wss://mycompany.com/other", "wss://e.com/media-stream"]
)
def test_a_handshake_that_was_signed_for_another_url_is_refused(signed: str) -> None:
    with pytest.raises(SignatureRefused):
        handshake(sign(TOKEN, signed))


def test_the_hash_of_a_json_body_is_computed_from_the_raw_bytes() -> None:
    body = b'{"a":"\xff"}'
    target = f"/j?bodySHA256={hashlib.sha256(body).hexdigest()}"
    check_webhook(
        tokens=[TOKEN],
        public_url=PUBLIC,
        target=target,
        signature=sign(TOKEN, PUBLIC + target),
        content_type="application/json",
        body=body,
    )
