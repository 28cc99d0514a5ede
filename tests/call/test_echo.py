"""The level of our own voice that may come back as an echo.

`Echo` keeps its result from one question to the next. The result must equal a search through all audio that was sent.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import dsp
from relay.call.echo import LATEST_S, NOTHING_DBFS, PIECE_BYTES, SOONEST_S, Echo

# Mu-law codes: silence, then from the loudest to quieter ones. A piece of audio repeats one of them.
CODES = (0xFF, 0x80, 0x90, 0xB0, 0xD0, 0xE0)
STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 20), st.sampled_from(CODES)),  # frames, loudness
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
    st.tuples(st.just("look"), st.integers(1, 30), st.integers(0, 3)),  # frames, lag in units of 10 ms
)


class Anew:
    """An oracle for `Echo`: it stores every piece of audio, and searches all pieces at each question."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, float, float]] = []

    def sent(self, mulaw: bytes, from_s: float) -> None:
        for start in range(0, len(mulaw), PIECE_BYTES):
            piece = mulaw[start : start + PIECE_BYTES]
            since_s = from_s + start / 8000
            self.pieces.append((since_s, since_s + len(piece) / 8000, dsp.level_dbfs(piece)))

    def cleared(self, now: float) -> None:
        self.pieces = [(a, min(b, now), level) for a, b, level in self.pieces if a < now]

    def level_dbfs(self, played_s: float) -> float:
        around = [level for a, b, level in self.pieces if b > played_s - LATEST_S and a < played_s - SOONEST_S]
        return max(around, default=NOTHING_DBFS)


@given(st.lists(STEP, max_size=40))
def test_the_kept_level_equals_a_search_through_all_audio_that_was_sent(steps: list[tuple[str, int, int]]) -> None:
    echo, anew = Echo(), Anew()
    now, play_end = 0.0037, 0.0  # `now` is never at the edge of a piece, where the two may round differently
    for what, count, more in steps:
        if what == "send":
            play_end = max(play_end, now)
            mulaw = bytes([more]) * (160 * count)
            echo.sent(mulaw, play_end)
            anew.sent(mulaw, play_end)
            play_end += 0.02 * count
        elif what == "clear":
            echo.cleared(now)
            anew.cleared(now)
            play_end = min(play_end, now)
        else:
            for _ in range(count):
                now += 0.0201
                assert echo.level_dbfs(now, 0.0) == anew.level_dbfs(now)
            if more:  # Another lag, and a place 0.1 us before the last one: the kept result does not fit.
                later = now + 0.01 * more
                assert echo.level_dbfs(later, 0.01 * more + 1e-7) == anew.level_dbfs(later - 0.01 * more - 1e-7)
