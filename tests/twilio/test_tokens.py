"""Stream tokens: each is valid once, for one minute, and for one call."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from relay.call.vocabulary import CallSid
from relay.twilio import tokens
from relay.twilio.tokens import LIFE_S, Tokens

CALL, OTHER = CallSid("CA1"), CallSid("CA2")


def test_a_token_opens_one_stream_of_its_call() -> None:
    out = Tokens()
    token = out.issue(CALL, 10.0)
    assert out.claim(token, None, 11.0) == CALL
    assert out.claim(token, None, 11.0) is None


def test_a_token_is_accepted_for_its_call_and_becomes_invalid_if_another_call_uses_it() -> None:
    out = Tokens()
    assert out.claim(out.issue(CALL, 0.0), CALL, 0.0) == CALL
    token = out.issue(CALL, 0.0)
    assert out.claim(token, OTHER, 0.0) is None
    assert out.claim(token, CALL, 0.0) is None


def test_a_token_is_valid_for_a_minute() -> None:
    out = Tokens()
    early, late = out.issue(CALL, 5.0), out.issue(CALL, 5.0)
    assert out.claim(early, None, 5.0 + LIFE_S - 0.001) == CALL
    assert out.claim(late, None, 5.0 + LIFE_S) is None


def test_an_unknown_token_opens_nothing() -> None:
    assert Tokens().claim("", None, 0.0) is None


def test_a_repeated_webhook_gets_a_second_token_and_both_are_valid() -> None:
    out = Tokens()
    first, second = out.issue(CALL, 0.0), out.issue(CALL, 1.0)
    assert first != second
    assert out.claim(second, None, 2.0) == out.claim(first, None, 2.0) == CALL


def test_tokens_have_128_bits_and_fit_a_path() -> None:
    token = Tokens().issue(CALL, 0.0)
    assert re.fullmatch(r"[\w-]{22}", token)


def test_unused_tokens_are_forgotten_after_their_minute() -> None:
    out = Tokens()
    for n in range(50):
        out.issue(CallSid(f"CA{n}"), float(n))
    out.issue(CALL, 49.0 + LIFE_S)
    assert len(out) == 1


def test_when_there_are_too_many_tokens_the_oldest_are_lost() -> None:
    out = Tokens()
    flood = [out.issue(CALL, 0.0) for _ in range(tokens.MAX_TOKENS + 10)]
    assert len(out) == tokens.MAX_TOKENS
    assert out.claim(flood[0], None, 0.0) is None
    assert out.claim(flood[-1], None, 0.0) == CALL


@given(st.lists(st.tuples(st.sampled_from("ic"), st.integers(0, 40), st.integers(0, 5)), max_size=60))
def test_no_token_is_ever_accepted_twice_or_too_late(steps: list[tuple[str, int, int]]) -> None:
    out, now = Tokens(), 0.0
    issued: list[tuple[str, float, CallSid]] = []
    used: set[str] = set()
    for kind, wait_s, which in steps:
        now += wait_s
        if kind == "i" or not issued:
            call = CallSid(f"CA{which}")
            issued.append((out.issue(call, now), now, call))
        else:
            token, born, call = issued[which % len(issued)]
            good = token not in used and now < born + LIFE_S
            assert out.claim(token, None, now) == (call if good else None)
            used.add(token)
