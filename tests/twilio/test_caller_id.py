"""Who calls: which numbers belong to one caller, which to many or to nobody, and the network's verification of them."""

from __future__ import annotations

import pytest

from relay.standin.twilio.numbers import fictional_number
from relay.twilio.caller_id import Attestation, CallerId, attested, caller_id, is_a_number

CALLER, LINE, OURS, HUMAN = "+12125550101", "+12125550150", "+12125550100", "+12125550102"


def who(number: str, country: str = "US", **fields: str) -> CallerId:
    return caller_id({"From": number, "To": OURS, **fields}, country=country, own={OURS}, humans={HUMAN})


@pytest.mark.parametrize(
    "number",
    [
        "+12125550101",
        "sip:+12125550101@pbx.example.com",
        '"Ann" <sip:+12125550101@pbx.example.com>',
        "sips:%2B12125550101@10.0.0.1:5061;transport=tls",
        "sip:2125550101@pbx.example.com;user=phone",
        "SIP:12125550101@pbx.example.com",
        "sip:0012125550101@pbx.example.com",
        "whatsapp:+12125550101",
        "client:+12125550101",
        "client:2125550101",
        "tel:+1-212-555-0101",
        "2125550101",
        "12125550101",
        "(212) 555-0101",
        " +12125550101",
    ],
)
def test_a_number_in_any_spelling_is_the_same_number(number: str) -> None:
    assert (who(number).number, who(number).is_hidden) == (CALLER, False)


def test_a_national_number_is_read_with_the_numbering_plan_of_the_business() -> None:
    assert who("020 7946 0018", "GB").number == "+442079460018"
    assert who("sip:02079460018@pbx", "GB").number == "+442079460018"
    assert who("442079460018", "US").number == "+442079460018"


@pytest.mark.parametrize("number", ["", "anonymous", "client:alice", "sip:100@pbx", "sip:bob@pbx", "911", "unknown"])
def test_a_text_that_is_not_a_number_means_a_caller_without_a_number(number: str) -> None:
    caller = who(number)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", "", True)


@pytest.mark.parametrize("keys", ["266696687", "7378742833", "86282452253", "8656696", "2562533"])
@pytest.mark.parametrize("prefix", ["", "+", "+1", "1"])
def test_a_word_for_withheld_that_is_written_as_keys_of_a_phone_means_a_caller_without_a_number(
    keys: str, prefix: str
) -> None:
    caller = who(prefix + keys)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", "", True)


@pytest.mark.parametrize("number", ["+10000000000", "+11111111111", "+15550100001", "+12222222222", "+999999999999"])
def test_an_impossible_number_belongs_to_no_caller_but_is_stored(number: str) -> None:
    caller = who(number)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", number, True)


@pytest.mark.parametrize("field", ["ForwardedFrom", "CalledVia"])
@pytest.mark.parametrize("written", [LINE, "sip:+12125550150@carrier", "2125550150"])
def test_the_number_of_a_line_that_forwards_is_shared_by_all_its_callers(field: str, written: str) -> None:
    caller = who(LINE, **{field: written})
    assert (caller.number, caller.presented, caller.is_shared, caller.is_hidden) == ("", LINE, True, False)


def test_if_a_line_forwards_the_customers_own_number_the_customer_is_known_by_this_number() -> None:
    caller = who(CALLER, ForwardedFrom=LINE)
    assert (caller.number, caller.is_shared) == (CALLER, False)


def test_a_call_from_the_relays_own_number_counts_as_a_phone_that_forwards_back() -> None:
    assert who(OURS).is_own
    assert who("sip:+12125550100@carrier").is_own
    assert who(OURS, ForwardedFrom=HUMAN).is_own
    assert not who(HUMAN).is_own
    assert who(HUMAN).is_shared  # the main line, or the owner who tries the relay
    assert not who(CALLER, ForwardedFrom=HUMAN).is_own
    assert not caller_id({"From": HUMAN}, country="US", own={OURS, HUMAN}, humans={HUMAN}).is_own


def test_a_call_that_the_relay_made_is_not_an_echo_and_has_no_known_caller() -> None:
    caller = caller_id({"From": OURS, "To": CALLER, "Direction": "outbound-api"}, country="US", own={OURS})
    assert (caller.is_own, caller.is_shared, caller.number, caller.presented) == (False, True, "", CALLER)


@pytest.mark.parametrize(
    ("verstat", "attestation"),
    [
        ("TN-Validation-Passed-A", Attestation.PASSED),
        ("TN-Validation-Passed-B-Diverted", Attestation.PASSED),
        ("TN-Validation-Passed-C-Passthrough", Attestation.PASSED),
        ("TN-Validation-Failed", Attestation.FAILED),
        ("TN-Validation-Failed-A", Attestation.FAILED),
        ("TN-Validation-Failed-C-Diverted", Attestation.FAILED),
        ("No-TN-Validation", Attestation.ABSENT),
        ("NULL", Attestation.ABSENT),
        ("", Attestation.ABSENT),
    ],
)
def test_the_networks_verification_is_read(verstat: str, attestation: Attestation) -> None:
    assert attested(verstat) is attestation


@pytest.mark.parametrize(
    ("number", "verstat", "believed"),
    [
        (CALLER, "TN-Validation-Passed-A", True),
        (CALLER, "TN-Validation-Failed-C", False),
        (CALLER, "No-TN-Validation", False),
        (CALLER, "", False),
        ("+14165550123", "", False),  # Toronto
        ("+442079460018", "", True),  # numbers are not signed in this country
        ("+442079460018", "TN-Validation-Failed", False),
        ("+17875550123", "", True),  # Puerto Rico
    ],
)
def test_a_number_is_trusted_unless_its_check_failed_or_is_missing_in_a_country_with_signed_numbers(
    number: str, verstat: str, believed: bool
) -> None:
    assert who(number, StirVerstat=verstat).is_attested is believed


def test_the_fictional_numbers_are_valid_in_the_numbering_plan() -> None:
    assert all(is_a_number(fictional_number(which)) for which in range(0, 8_400, 37))
