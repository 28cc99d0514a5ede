"""The cost of a call so far, while it runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from relay.call.call_config import Bill, Price
from relay.call.cost import Meter, response_usd, transcription_usd

PRICE = Price(text_in=4.0, text_cached=0.4, text_out=16.0, audio_in=32.0, audio_cached=0.4, audio_out=64.0)
USAGE = {
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


def test_cached_tokens_are_a_part_of_the_input_and_cost_less() -> None:
    wanted = (55 * 4.0 + 64 * 0.4 + 13 * 32.0 + 30 * 16.0 + 91 * 64.0) / 1e6
    assert math.isclose(response_usd(USAGE, PRICE), wanted)


def test_cached_tokens_without_details_are_counted_as_text() -> None:
    usage = {"input_token_details": {"text_tokens": 100, "cached_tokens": 64}}
    assert math.isclose(response_usd(usage, PRICE), (36 * 4.0 + 64 * 0.4) / 1e6)


def test_a_response_with_a_missing_or_invalid_bill_costs_nothing_and_causes_no_error() -> None:
    assert response_usd(None, PRICE) == 0.0
    assert response_usd({"input_token_details": None, "output_token_details": {"audio_tokens": "many"}}, PRICE) == 0.0


def test_a_transcription_is_paid_by_seconds_or_by_tokens() -> None:
    assert math.isclose(transcription_usd({"seconds": 30.0}, 0.006), 0.003)
    assert math.isclose(transcription_usd({"input_token_details": {"audio_tokens": 300}}, 0.006), 0.003)
    assert transcription_usd(None, 0.006) == 0.0


def test_the_cost_of_a_running_answer_is_an_estimate_until_its_bill_comes() -> None:
    meter = Meter("mini", PRICE, 0.006, Bill({"input_tokens": 1}, {"small": 0.5}))
    meter.generated("resp_1", 1_000.0)
    estimate = (20 * 64.0 + 20 / 3 * 16.0) / 1e6
    assert math.isclose(meter.usd, 0.5 + estimate)
    meter.responded("resp_1", USAGE)
    assert math.isclose(meter.usd, 0.5 + response_usd(USAGE, PRICE))
    assert meter.tokens == {"input_tokens": 133, "output_tokens": 121, "cached_tokens": 64}


def test_a_cancelled_answer_without_a_bill_keeps_its_estimate() -> None:
    meter = Meter("mini", PRICE, 0.006, Bill())
    meter.generated("resp_1", 1_000.0)
    before = meter.usd
    meter.responded("resp_1", None)
    assert math.isclose(meter.usd, before)
    assert meter.settled_usd == before


def test_each_model_is_billed_by_its_own_price_and_under_its_name() -> None:
    dear = replace(PRICE, audio_out=128.0)
    meter = Meter("mini", PRICE, 0.006, Bill())
    meter.responded("resp_1", USAGE)
    meter.generated("resp_2", 1_000.0)  # lost with its session: its bill will never come
    before = meter.usd
    meter.serves("hard", dear)
    assert math.isclose(meter.usd, before)
    meter.responded("resp_3", USAGE)
    meter.generated("resp_4", 1_000.0)  # still running
    meter.transcribed({"seconds": 30.0})
    under_way = (20 * 128.0 + 20 / 3 * 16.0) / 1e6
    bill = meter.bill()
    assert bill.tokens == {"input_tokens": 264, "output_tokens": 242, "cached_tokens": 128}
    wanted = {"mini": before, "hard": response_usd(USAGE, dear) + under_way, "transcription": 0.003}
    assert bill.usd_by == pytest.approx(wanted)
    assert math.isclose(meter.usd, before + response_usd(USAGE, dear) + under_way + 0.003)
