"""When the loop counts as behind, and what follows from it."""

from relay.pace import BEHIND_S, LEVEL_S, Pace


def _run(pace: Pace, took_s: float, for_s: float) -> None:
    for _ in range(round(for_s / took_s)):
        pace.passed(took_s)


def test_long_passes_for_a_while_mean_behind_and_short_ones_level_again() -> None:
    pace = Pace()
    _run(pace, 2 * BEHIND_S, 1.0)
    assert pace.is_behind
    _run(pace, 2 * LEVEL_S, 5.0)
    assert pace.is_behind, "the saving itself must not end the saving"
    _run(pace, LEVEL_S / 5, 5.0)
    assert not pace.is_behind


def test_a_loop_with_short_passes_is_never_behind() -> None:
    pace = Pace()
    _run(pace, BEHIND_S / 2, 5.0)
    assert not pace.is_behind


def test_one_stall_however_long_is_no_overload() -> None:
    pace = Pace()
    _run(pace, LEVEL_S / 5, 1.0)
    pace.passed(3.0)
    assert not pace.is_behind
