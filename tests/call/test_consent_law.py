"""Which callers must hear the notice by law."""

from __future__ import annotations

import pytest

from relay.call.consent_law import TWO_PARTY_STATES, must_announce


def test_the_nine_states_are_listed_with_their_law() -> None:
    assert {"IL", "CA", "FL", "MA", "MD", "MT", "NH", "PA", "WA"} <= set(TWO_PARTY_STATES)
    assert all("§" in law or "ILCS" in law for law in TWO_PARTY_STATES.values())


@pytest.mark.parametrize(
    ("caller", "caller_state", "country", "business_state", "told"),
    [
        ("+12125550100", "NY", "US", "NY", False),
        ("+12125550100", "CA", "US", "NY", True),  # Twilio says California
        ("+12125550100", "NY", "US", "CA", True),  # the business is in California
        ("+14155550100", "NY", "US", "NY", True),  # a number of San Francisco
        ("+12125550100", "", "US", "NY", True),  # the caller's state is not known
        ("+12125550100", "NY", "US", "", True),
        ("", "NY", "US", "NY", True),  # anonymous
        ("+442079460000", "NY", "GB", "NY", True),  # a number of another country, which is not in the list
        ("+12125550100", "ny", "us", "ny", False),
    ],
)
def test_with_the_setting_by_state_the_notice_is_said_if_any_party_may_be_in_a_listed_state(
    caller: str, caller_state: str, country: str, business_state: str, told: bool
) -> None:
    assert must_announce("by_state", caller, caller_state, country, business_state) is told


def test_with_the_default_setting_everybody_hears_the_notice() -> None:
    assert must_announce("always", "+12125550100", "NY", "US", "NY")
