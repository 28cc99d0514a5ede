"""Counts what a call has cost so far: what the server has reported, and an estimate for the present answer.

A response's `usage` comes with `response.done`. Its cached tokens are a part of its input tokens. Generated audio must
be paid for even if nobody has heard it. Source: docs/protocol/openai.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.call.call_config import Bill, Price, Voice

# The model's audio has 20 tokens a second. Its transcript has about one third as many text tokens
# (docs/protocol/openai.md 5).
AUDIO_TOKENS_OUT_PER_S = 20.0
TEXT_PER_AUDIO_TOKEN = 1 / 3
# English text has about four characters in a token [OpenAI, "What are tokens"].
CHARACTERS_A_TOKEN = 4.0


def _number(table: Mapping[str, object], key: str) -> float:
    value = table.get(key)
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0


def _table(table: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def response_usd(usage: Mapping[str, object] | None, price: Price) -> float:
    """What one response costs in USD, by its `usage`. 0 if there is no usage, for example after a failure."""
    if not usage:
        return 0.0
    inputs, outputs = _table(usage, "input_token_details"), _table(usage, "output_token_details")
    cached = _table(inputs, "cached_tokens_details")
    if not cached and _number(inputs, "cached_tokens"):
        cached = {"text_tokens": min(_number(inputs, "cached_tokens"), _number(inputs, "text_tokens"))}
    total = 0.0
    for kind, full, reduced in (
        ("text_tokens", price.text_in, price.text_cached),
        ("audio_tokens", price.audio_in, price.audio_cached),
        ("image_tokens", price.image_in, price.image_cached),
    ):
        of_cache = min(_number(cached, kind), _number(inputs, kind))
        total += (_number(inputs, kind) - of_cache) * full + of_cache * reduced
    total += _number(outputs, "text_tokens") * price.text_out + _number(outputs, "audio_tokens") * price.audio_out
    return total / 1e6


def transcription_usd(usage: Mapping[str, object] | None, usd_per_minute: float) -> float:
    """What one transcription costs in USD, by its seconds or by its audio tokens (ten a second)."""
    if not usage:
        return 0.0
    seconds = _number(usage, "seconds") or _number(_table(usage, "input_token_details"), "audio_tokens") / 10
    return seconds / 60 * usd_per_minute


class Meter:
    """Counts the cost of one call. `before` is what the earlier streams of the call have cost."""

    def __init__(
        self, model: str, price: Price, transcription_usd_per_minute: float, before: Bill, *, voice: Voice | None = None
    ) -> None:
        self._model, self.price = model, price
        self._per_minute = transcription_usd_per_minute
        self._voice = voice or Voice()
        self.settled_usd = before.usd
        self._by = dict(before.usd_by)  # Model -> its cost in USD, as reported, or as estimated if no usage came.
        self.tokens = dict(before.tokens)
        self.early = dict(before.early)
        self._pending_ms: dict[str, float] = {}
        # The last response whose usage was counted, and its amounts.
        self._latest: tuple[str, Mapping[str, float]] = "", {}
        self._pending_characters: dict[str, int] = {}
        self._characters_of: dict[str, int] = {}  # Response -> how many of its characters were sent to another voice.

    def serves(self, model: str, price: Price) -> None:
        """Another session is used from now on.

        The earlier session reports nothing more, so its answers without a usage are estimated and counted.
        """
        self._settle(self._model, self._pending_usd)
        self._pending_ms.clear()
        self._pending_characters.clear()
        self._model, self.price = model, price

    def _settle(self, meter: str, usd: float) -> None:
        self.settled_usd += usd
        if usd:
            self._by[meter] = self._by.get(meter, 0.0) + usd

    def generated(self, response_id: str, ms: float) -> None:
        """`ms` milliseconds of a response's audio have come. Its usage will come later."""
        self._pending_ms[response_id] = self._pending_ms.get(response_id, 0.0) + ms

    def wrote(self, response_id: str, characters: int) -> None:
        """`characters` of a response's text have come. A voice will speak them. The usage will come later."""
        self._pending_characters[response_id] = self._pending_characters.get(response_id, 0) + characters

    def responded(self, response_id: str, usage: Mapping[str, object] | None, *, taken_back: bool = False) -> None:
        """A response has ended. Count its usage, or the estimate if the server has sent no usage.

        `taken_back`: the response was an early answer that was taken back.
        """
        estimate_usd = self._estimate_usd(
            self._pending_ms.pop(response_id, 0.0), self._pending_characters.pop(response_id, 0)
        )
        usd = response_usd(usage, self.price) if usage else estimate_usd
        self._settle(self._model, usd)
        used = {key: int(_number(usage or {}, key)) for key in ("input_tokens", "output_tokens")}
        used["cached_tokens"] = int(_number(_table(usage or {}, "input_token_details"), "cached_tokens"))
        for key, count in used.items():
            self.tokens[key] = self.tokens.get(key, 0) + count
        self._latest = response_id, {**used, "usd": usd}
        if taken_back:
            self.taken_back_early(response_id)

    def taken_back_early(self, response_id: str) -> None:
        """This response was an early answer that was taken back. Add its cost to `early`, if its usage has come."""
        if characters := self._characters_of.pop(response_id, 0):
            usd = characters * self._voice.usd_per_character
            for key, amount in (("characters", characters), ("usd", usd)):
                self.early[key] = self.early.get(key, 0) + amount
        of, amounts = self._latest
        if of == response_id:
            for key, amount in {**amounts, "taken_back": 1}.items():
                self.early[key] = self.early.get(key, 0) + amount
            self._latest = "", {}

    def asked_early(self) -> None:
        """An early answer was asked for."""
        self.early["asked"] = self.early.get("asked", 0) + 1

    def transcribed(self, usage: Mapping[str, object] | None) -> None:
        """The usage of a transcription has come."""
        self._settle("transcription", transcription_usd(usage, self._per_minute))

    def spoken(self, characters: int, response_id: str | None = None) -> None:
        """`characters` of the model's text were sent to the voice that speaks them. They must be paid for."""
        self._settle(self._voice.name, characters * self._voice.usd_per_character)
        self.tokens["characters"] = self.tokens.get("characters", 0) + characters
        if response_id is not None:
            self._characters_of[response_id] = self._characters_of.get(response_id, 0) + characters

    def _estimate_usd(self, ms: float, characters: int) -> float:
        tokens = ms / 1000 * AUDIO_TOKENS_OUT_PER_S
        text_tokens = tokens * TEXT_PER_AUDIO_TOKEN + characters / CHARACTERS_A_TOKEN
        return (tokens * self.price.audio_out + text_tokens * self.price.text_out) / 1e6

    @property
    def _pending_usd(self) -> float:
        return self._estimate_usd(sum(self._pending_ms.values()), sum(self._pending_characters.values()))

    def bill(self) -> Bill:
        """The cost so far, with the estimate for the present answer."""
        by = dict(self._by)
        if pending_usd := self._pending_usd:
            by[self._model] = by.get(self._model, 0.0) + pending_usd
        return Bill(dict(self.tokens), by, dict(self.early))

    @property
    def usd(self) -> float:
        """The cost so far in USD, with the estimate for the present answer."""
        return self.settled_usd + self._pending_usd
