"""How `relay bench` judges its figures, and which limit it advises."""

from __future__ import annotations

from dataclasses import replace

from relay.standin.commands.bench import advice, disturbed, limit_of, reckoned
from relay.standin.load.generator import Spread, Step

_IN_TIME = Spread(1.0, 5.0, 9.0, 100)
_LATE = Spread(20.0, 41.0, 90.0, 100)
_STEP = Step("relay", 20, 10.0, _IN_TIME, _IN_TIME, 0.0, 0, 1.0, 10.0, 0.2, 90.0, 0.1, _IN_TIME, 0.0, ())


def _steps(*steps: Step) -> list[Step]:
    return list(steps)


def test_the_limit_is_the_last_step_that_was_in_time_in_both_directions() -> None:
    late = replace(_STEP, calls=60, down=_LATE)
    assert limit_of(_steps(_STEP, replace(_STEP, calls=40), late, replace(_STEP, calls=80))) == 40
    assert limit_of(_steps(late)) == 0


def test_a_step_whose_load_process_was_too_busy_proves_nothing() -> None:
    assert limit_of(_steps(_STEP, replace(_STEP, calls=40, load_busy=0.71))) == 20


def test_lost_markers_and_failed_calls_and_gaps_in_answers_count_as_late() -> None:
    for worse in ({"lost_markers": 1}, {"failures": ("call 1: gone",)}, {"dry_ms": 500.0}):
        assert not replace(_STEP, **worse).keeps_up()


def test_a_step_without_figures_does_not_count_as_in_time() -> None:
    assert not replace(_STEP, up=Spread.of([])).keeps_up()


def test_the_calls_that_one_core_can_carry_are_computed_from_the_cpu_of_a_call() -> None:
    assert reckoned(_steps(_STEP, replace(_STEP, calls=40, cpu_ms_per_call_s=6.0))) == 100
    assert reckoned(_steps(replace(_STEP, up=_LATE))) == 0


def test_a_limit_that_was_measured_while_other_programs_ran_is_reported_as_too_low() -> None:
    late = replace(_STEP, down=_LATE, others_busy=0.22)
    assert "22%" in disturbed(_steps(_STEP, late))
    assert disturbed(_steps(replace(late, others_busy=0.04))) == ""
    assert disturbed(_steps(replace(_STEP, others_busy=0.22))) == ""


def test_the_advised_settings_are_below_the_limit_and_leave_room_for_webhooks() -> None:
    words = advice(200)
    assert "MAX_CALLS=160" in words
    assert "soft_limit = 128" in words
    assert "hard_limit = 192" in words
