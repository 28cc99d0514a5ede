"""A call that crosses midnight: its session was told the date of the day before."""

from __future__ import annotations

from dataclasses import replace

from relay.call.actions import CreateItem
from relay.call.call_config import Midnight
from tests.helpers.answering import of
from tests.helpers.playbook import PLAIN, Stage


def notes(stage: Stage) -> list[str]:
    return [item.text for item in of(stage, CreateItem) if "past midnight" in item.text]


def test_after_midnight_the_model_is_told_the_new_day_once() -> None:
    stage = Stage(replace(PLAIN, midnight=Midnight(5.0, "Tuesday, November 24, 2026"))).arrive(3_000)
    assert notes(stage) == []
    stage.wait(5_000)
    assert len(notes(stage)) == 1
    assert "today is Tuesday, November 24, 2026 now" in notes(stage)[0]


def test_in_a_call_that_does_not_cross_midnight_the_model_is_told_no_new_day() -> None:
    stage = Stage(PLAIN).arrive(8_000)
    assert notes(stage) == []
