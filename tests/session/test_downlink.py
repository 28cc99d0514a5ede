"""The model's audio on its way to the playout: each item is converted separately, to its last sample."""

from __future__ import annotations

import numpy as np
import pybase64
import pytest

import dsp
from relay.call.vocabulary import ItemId, ModelFinished, ModelSpoke, ResponseId
from relay.session.downlink import AnswerAudio

R1 = ResponseId("resp_1")
FIRST, SECOND = ItemId("item_1"), ItemId("item_2")
PCM24K = np.random.default_rng(7).integers(-9_000, 9_000, 4_801, np.int16).tobytes()


def spoke(audio: AnswerAudio, item: ItemId, pcm24k: bytes) -> list[ModelFinished | ModelSpoke]:
    return audio.spoke(R1, item, pybase64.b64encode(pcm24k).decode())


def alone(pcm24k: bytes) -> bytes:
    line = dsp.Downlink()
    return line.feed(pcm24k) + line.flush()


def test_a_message_gets_the_filters_tail_even_if_the_next_one_begins_before_its_end_is_reported() -> None:
    audio = AnswerAudio()
    (begun,) = spoke(audio, FIRST, PCM24K)
    ended, following = spoke(audio, SECOND, PCM24K)
    last = audio.finished(R1, SECOND)

    assert isinstance(begun, ModelSpoke)
    assert isinstance(ended, ModelFinished)
    assert isinstance(following, ModelSpoke)
    assert (ended.response_id, ended.item_id) == (R1, FIRST)
    assert begun.mulaw + ended.mulaw == alone(PCM24K)
    assert following.mulaw + last.mulaw == alone(PCM24K), "audio of the first message is in the second"
    assert following.said_ms == pytest.approx(4_801 / 24)


def test_the_end_of_a_message_that_is_reported_late_adds_no_audio() -> None:
    audio = AnswerAudio()
    spoke(audio, FIRST, PCM24K[:4_000])
    spoke(audio, SECOND, PCM24K[:4_000])

    late = audio.finished(R1, FIRST)
    (more,) = spoke(audio, SECOND, PCM24K[4_000:])

    assert late.mulaw == b""
    assert isinstance(more, ModelSpoke)
    assert more.said_ms == pytest.approx(4_801 / 24)


def test_after_a_delta_that_is_not_base64_the_message_before_it_is_still_complete() -> None:
    audio = AnswerAudio()
    spoke(audio, FIRST, PCM24K[:4_000])

    with pytest.raises(ValueError, match="base64"):
        audio.spoke(R1, SECOND, "***")
    (more,) = spoke(audio, FIRST, PCM24K[4_000:])

    assert isinstance(more, ModelSpoke)
    assert more.said_ms == pytest.approx(4_801 / 24)
