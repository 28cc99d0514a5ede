"""The price list, compared with the published one. A mistake here makes the operator's bill wrong."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from relay.call.call_config import Price
from relay.realtime.prices import PRICES, TRANSCRIPTION, price_of, transcription_price_of, unpriced

# As published, USD per million tokens: text in, cached, out; audio in, cached, out; image in, cached.
LARGE = (4, 0.40, 24, 32, 0.40, 64, 5, 0.50)
LARGE_1 = (4, 0.40, 16, 32, 0.40, 64, 5, 0.50)
MINI = (0.60, 0.06, 2.40, 10, 0.30, 20, 0.80, 0.08)


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("gpt-realtime-2.1", LARGE),
        ("gpt-realtime-2", LARGE),
        ("gpt-realtime-1.5", LARGE_1),
        ("gpt-realtime", LARGE_1),
        ("gpt-realtime-2.1-mini", MINI),
        ("gpt-realtime-mini", MINI),
    ],
)
def test_the_prices_of_a_model_equal_the_published_prices(model: str, published: tuple[float, ...]) -> None:
    assert astuple(price_of(model)) == published


@pytest.mark.parametrize(
    ("model", "published"),
    [("gpt-transcribe", 0.0045), ("gpt-live-transcribe", 0.017), ("gpt-realtime-whisper", 0.017), ("whisper-1", 0.006)],
)
def test_the_price_of_transcription_equals_the_published_price(model: str, published: float) -> None:
    assert transcription_price_of(model) == published


@pytest.mark.parametrize("model", ["gpt-realtime-9", "gpt-realtime-9-mini", ""])
def test_a_model_without_a_price_is_counted_with_the_highest_prices(model: str) -> None:
    dearest = Price(*(max(prices) for prices in zip(*map(astuple, PRICES.values()), strict=True)))
    assert price_of(model) == dearest
    assert transcription_price_of(model) == max(TRANSCRIPTION.values())


def test_each_model_of_the_settings_without_a_price_is_named_once() -> None:
    assert unpriced(("gpt-realtime-2.1", "gpt-realtime-2.1-mini"), "gpt-transcribe") == []
    assert unpriced(("new-model", "new-model"), "new-ears") == ["new-model", "new-ears"]
