"""When the event loop counts as late (behind with its work)."""

from relay.transport.overload import BEHIND_S, BUSY, FULL, LEVEL_S, ROOM, Pace


def _run(pace: Pace, took_s: float, for_s: float, at_work: float = 1.0) -> None:
    """Let the loop run for `for_s` seconds in passes of `took_s`. It works for the share `at_work` of the time."""
    for _ in range(round(for_s * at_work / took_s)):
        pace.passed(took_s, took_s / at_work - took_s)


def test_the_loop_counts_as_behind_after_long_passes_and_no_longer_after_short_ones() -> None:
    pace = Pace()
    _run(pace, 2 * BEHIND_S, 3.0)
    assert pace.is_behind
    _run(pace, 2 * LEVEL_S, 5.0)
    assert pace.is_behind, "shorter passes because of the saving must not end the saving"
    _run(pace, LEVEL_S / 5, 5.0)
    assert not pace.is_behind


def test_a_loop_with_short_passes_is_never_behind() -> None:
    pace = Pace()
    _run(pace, BEHIND_S / 2, 5.0)
    assert not pace.is_behind


def test_a_single_stall_of_any_length_does_not_count_as_behind() -> None:
    pace = Pace()
    _run(pace, LEVEL_S / 5, 1.0)
    pace.passed(3.0, 0.0)
    assert not pace.is_behind


def test_long_passes_because_other_processes_use_the_core_do_not_count_as_behind() -> None:
    pace = Pace()
    _run(pace, 4 * BEHIND_S, 10.0, at_work=FULL - 0.1)
    assert not pace.is_behind


def test_a_loop_with_idle_time_is_not_behind_however_long_its_passes_are() -> None:
    pace = Pace()
    _run(pace, 2 * BEHIND_S, 3.0)
    _run(pace, 2 * LEVEL_S, 5.0, at_work=ROOM + 0.1)
    assert pace.is_behind
    _run(pace, 2 * LEVEL_S, 5.0, at_work=ROOM - 0.1)
    assert not pace.is_behind


def test_a_loop_is_busy_when_its_share_of_work_is_large_enough_whatever_its_passes_are() -> None:
    pace = Pace()
    _run(pace, LEVEL_S / 5, 5.0, at_work=BUSY + 0.05)
    assert pace.is_busy
    _run(pace, LEVEL_S / 5, 5.0, at_work=BUSY - 0.05)
    assert not pace.is_busy
