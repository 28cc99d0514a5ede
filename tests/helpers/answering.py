"""Makes a call on a `Stage` (playbook.py), from the greeting to the beginning of the first answer."""

from __future__ import annotations

from dataclasses import replace

from relay.call.vocabulary import (
    ResponseBegan,
    ResponseId,
)
from tests.helpers.playbook import PLAIN, Stage

R1 = ResponseId("resp_1")


def of(stage: Stage, kind: type) -> list:  # type: ignore[type-arg] # actions of the wanted kind
    return [action for action in stage.actions if isinstance(action, kind)]


def talking(**plan: object) -> Stage:
    stage = Stage(replace(PLAIN, **plan)).arrive(1_500)  # type: ignore[arg-type] # fields of the plan
    stage.caller_says("what time", 1)
    stage.actions.clear()
    return stage


def begun(stage: Stage) -> Stage:
    stage.tell(ResponseBegan(R1, "turn-1"))
    return stage
