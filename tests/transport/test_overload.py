"""When the loop counts as behind, and what follows from it."""

from relay.transport.overload import BEHIND_S, FULL, LEVEL_S, ROOM, Pace


def _run(pace: Pace, took_s: float, for_s: float, at_work: float = 1.0) -> None:
    """Passes of `took_s` for `for_s` seconds; of these the loop is at work for the share `at_work`."""
    for _ in range(round(for_s * at_work / took_s)):
        pace.passed(took_s, took_s / at_work - took_s)


def test_long_passes_for_a_while_mean_behind_and_short_ones_level_again() -> None:
    pace = Pace()
    _run(pace, 2 * BEHIND_S, 3.0)
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
    pace.passed(3.0, 0.0)
    assert not pace.is_behind


def test_a_core_that_neighbours_take_makes_long_passes_and_is_not_full() -> None:
    pace = Pace()
    _run(pace, 4 * BEHIND_S, 10.0, at_work=FULL - 0.1)
    assert not pace.is_behind


def test_a_loop_that_has_room_again_is_not_behind_however_long_its_passes_are() -> None:
    pace = Pace()
    _run(pace, 2 * BEHIND_S, 3.0)
    _run(pace, 2 * LEVEL_S, 5.0, at_work=ROOM + 0.1)
    assert pace.is_behind
    _run(pace, 2 * LEVEL_S, 5.0, at_work=ROOM - 0.1)
    assert not pace.is_behind
