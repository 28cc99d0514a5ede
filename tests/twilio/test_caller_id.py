"""Who calls: which numbers stand for one caller, which for many or nobody, and what the network says of them."""

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
def test_a_number_in_any_dress_is_the_same_number(number: str) -> None:
    assert (who(number).number, who(number).is_hidden) == (CALLER, False)


def test_a_national_number_is_read_by_the_plan_of_the_businesss_country() -> None:
    assert who("020 7946 0018", "GB").number == "+442079460018"
    assert who("sip:02079460018@pbx", "GB").number == "+442079460018"
    assert who("442079460018", "US").number == "+442079460018"


@pytest.mark.parametrize("number", ["", "anonymous", "client:alice", "sip:100@pbx", "sip:bob@pbx", "911", "unknown"])
def test_what_is_no_number_is_a_hidden_caller(number: str) -> None:
    caller = who(number)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", "", True)


@pytest.mark.parametrize("keys", ["266696687", "7378742833", "86282452253", "8656696", "2562533"])
@pytest.mark.parametrize("prefix", ["", "+", "+1", "1"])
def test_a_withheld_number_that_is_spelled_in_keys_is_hidden(keys: str, prefix: str) -> None:
    caller = who(prefix + keys)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", "", True)


@pytest.mark.parametrize("number", ["+10000000000", "+11111111111", "+15550100001", "+12222222222", "+999999999999"])
def test_a_number_that_no_plan_has_is_nobodys_but_stays_in_the_books(number: str) -> None:
    caller = who(number)
    assert (caller.number, caller.presented, caller.is_hidden) == ("", number, True)


@pytest.mark.parametrize("field", ["ForwardedFrom", "CalledVia"])
@pytest.mark.parametrize("written", [LINE, "sip:+12125550150@carrier", "2125550150"])
def test_the_line_that_forwards_stands_for_all_its_callers(field: str, written: str) -> None:
    caller = who(LINE, **{field: written})
    assert (caller.number, caller.presented, caller.is_shared, caller.is_hidden) == ("", LINE, True, False)


def test_a_customer_whom_the_line_forwards_with_their_own_number_is_known_by_it() -> None:
    caller = who(CALLER, ForwardedFrom=LINE)
    assert (caller.number, caller.is_shared) == (CALLER, False)


def test_our_own_number_calls_only_where_a_phone_forwards_back_to_us() -> None:
    assert who(OURS).is_own
    assert who("sip:+12125550100@carrier").is_own
    assert who(OURS, ForwardedFrom=HUMAN).is_own
    assert not who(HUMAN).is_own
    assert who(HUMAN).is_shared  # the main line, or the owner who tries it out
    assert not who(CALLER, ForwardedFrom=HUMAN).is_own
    assert not caller_id({"From": HUMAN}, country="US", own={OURS, HUMAN}, humans={HUMAN}).is_own


def test_a_call_that_we_made_is_no_echo_and_tells_nothing_of_who_answered() -> None:
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
def test_the_networks_word_is_read(verstat: str, attestation: Attestation) -> None:
    assert attested(verstat) is attestation


@pytest.mark.parametrize(
    ("number", "verstat", "believed"),
    [
        (CALLER, "TN-Validation-Passed-A", True),
        (CALLER, "TN-Validation-Failed-C", False),
        (CALLER, "No-TN-Validation", False),
        (CALLER, "", False),
        ("+14165550123", "", False),  # Toronto
        ("+442079460018", "", True),  # nobody signs there
        ("+442079460018", "TN-Validation-Failed", False),
        ("+17875550123", "", True),  # Puerto Rico
    ],
)
def test_a_number_is_believed_unless_the_check_failed_or_is_missing_where_numbers_are_signed(
    number: str, verstat: str, believed: bool
) -> None:
    assert who(number, StirVerstat=verstat).is_attested is believed


def test_the_numbers_of_the_fiction_exist() -> None:
    assert all(is_a_number(fictional_number(which)) for which in range(0, 8_400, 37))
