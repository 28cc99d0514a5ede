"""`relay demo`: which troubles it can make, and one of them made with real processes."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from relay import settings
from relay.demo import DemoFailed, lacking, run
from relay.demo_stage import NOT_HERE
from relay.standin.model import StandInModel
from relay.standin.scenario import Trouble, load, shipped
from tests.realtime_line import Line
from tests.test_standin_model import BOOKING, listening


def test_the_troubles_that_cannot_be_made_are_ones_that_there_are() -> None:
    known = set(typing.get_args(typing.get_type_hints(Trouble)["does"]))
    assert known > NOT_HERE
    refused = {name for name in shipped() if {trouble.does for trouble in load(name).trouble} & NOT_HERE}
    assert refused == {"drained"}


def test_a_scenario_that_cannot_be_played_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="drained needs relay_drains, which takes minutes"):
        run(settings.load({"DATA_DIR": str(tmp_path)}, serving=False), "drained", tmp_path / "out.wav", live=False)


def test_what_the_stand_in_model_lacked_is_told_word_by_word() -> None:
    model, line = StandInModel(), Line(BOOKING)
    model.sessions.append(line.peer)
    line.configure(audio=listening(), tools=[])
    line.caller("ask_hours")
    model.voice.say("Let me book that for you. We close at nine.")
    assert lacking(model) == [
        "babbled   We close at nine. (no recorded clip)",
        "script    the script calls lookup_hours, which the session does not declare",
    ]


@pytest.mark.real
def test_a_relay_that_is_killed_before_the_ring_reaches_the_human(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    loaded = settings.load({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url}, serving=False)
    assert run(loaded, "relay_dead", tmp_path / "out.wav", live=False) == 0
    told = capsys.readouterr().out
    assert "demo: killed process" in told
    assert "as expected" in told
    assert (tmp_path / "out.wav").stat().st_size > 50_000
