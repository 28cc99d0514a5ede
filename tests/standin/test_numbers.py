"""Phone numbers that are reserved for fiction: they belong to nobody, and each caller gets another one."""

from __future__ import annotations

from relay.standin.twilio.numbers import fictional_number


def test_8000_callers_have_different_numbers_and_no_number_belongs_to_the_relay_or_a_human() -> None:
    numbers = {fictional_number(which) for which in range(8_400)}
    assert len(numbers) == 8_400
    assert all(number[5:9] == "5550" and 100 <= int(number[8:]) <= 199 for number in numbers)
    assert not any(number.startswith("+1212") for number in numbers)
    assert fictional_number(8_400) == fictional_number(0)
