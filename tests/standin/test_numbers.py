"""Numbers reserved for fiction: nobody's, and another one for each caller."""

from __future__ import annotations

from relay.standin.twilio.numbers import fictional_number


def test_eight_thousand_callers_have_a_number_each_and_none_is_the_relays_or_a_humans() -> None:
    numbers = {fictional_number(which) for which in range(8_400)}
    assert len(numbers) == 8_400
    assert all(number[5:9] == "5550" and 100 <= int(number[8:]) <= 199 for number in numbers)
    assert not any(number.startswith("+1212") for number in numbers)
    assert fictional_number(8_400) == fictional_number(0)
