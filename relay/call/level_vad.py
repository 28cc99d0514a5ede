"""The caller's voice as a level: does somebody speak, since when, and is it not just our own echo.

Only the *decision* to stop uses this. The model always gets the audio as it came.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

# Speech on a phone line has -15 to -35 dBFS (espeak and piper over mu-law; measured). A quiet caller has 15 dB less.
# The noise of a quiet line is below -60.
QUIETEST_SPEECH_DBFS = -50.0
# A sound that is louder than the noise by this much counts as a voice. Usual cars and offices stay below it.
ABOVE_NOISE_DB = 12.0
LOUDEST_DBFS = 0.0
# Noise cannot raise the threshold beyond this. Otherwise a caller who shouts in a loud place could not interrupt.
LOUDEST_THRESHOLD_DBFS = -25.0
# Noise has no pauses. Speech and its echo have some in every second. So a level that was never undercut for this long
# is noise. It is known before it has lasted as long as words that interrupt a greeting (turn_taking.py, EARLY_WORD_MS).
NOISE_MS = 750
# Pauses up to this long do not end a run of speech: consonants, and breath between syllables.
BREAK_MS = 120
# Echo: a bad hands-free phone is assumed until the line has shown a better value, and never better than -45 dB. It is
# learned while we speak and the caller does not. Five seconds of a greeting take it from the worst value to the best.
ECHO_RETURN_AT_FIRST_DB = -10.0
ECHO_RETURN_BEST_DB = -45.0
ECHO_MARGIN_DB = 6.0
ECHO_UP_DB_PER_S = 50.0
ECHO_DOWN_DB_PER_S = 10.0
# What came back is judged by its loudest frame in this time, like what we said (echo.py). A soft syllable of an echo
# says nothing about a loud one that is still to come back.
ECHO_PEAK_FRAMES = 15
# Below this we are silent, and nothing comes back.
OWN_SILENCE_DBFS = -60.0
# Above this our voice is loud enough to learn from.
OWN_SPEECH_DBFS = -40.0


# A click is shorter, the shortest word longer. So much of a turn must be louder than the line's noise, by this much.
SOUND_FRAMES = 3
SOUND_ABOVE_NOISE_DB = 6.0
# The server's VAD reports speech up to 0.3 s after its beginning, and a quiet voice later.
LEAD_IN_FRAMES = 30


class Sound:
    """How loud a turn was: the level that so many of its frames reached."""

    def __init__(self, levels_dbfs: Iterable[float] = ()) -> None:
        self._loudest_dbfs = heapq.nlargest(SOUND_FRAMES, levels_dbfs)
        self._loudest_dbfs += [-100.0] * (SOUND_FRAMES - len(self._loudest_dbfs))
        heapq.heapify(self._loudest_dbfs)

    def hear(self, level_dbfs: float) -> None:
        """One more frame of it."""
        if level_dbfs > self._loudest_dbfs[0]:
            heapq.heapreplace(self._loudest_dbfs, level_dbfs)

    @property
    def level_dbfs(self) -> float:
        """The level that `SOUND_FRAMES` of its frames reached."""
        return self._loudest_dbfs[0]


class CallerVoice:
    """The levels of one caller. Times are milliseconds of caller audio, not of the clock."""

    def __init__(self) -> None:
        self._noise_dbfs = -60.0
        self._lowest_dbfs, self._lowest_for_ms = LOUDEST_DBFS, 0  # of the caller's line, in the present NOISE_MS
        self._lowest_before_dbfs = LOUDEST_DBFS  # in the NOISE_MS before
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
        self._lately = deque[float](maxlen=ECHO_PEAK_FRAMES)
        self._lead_in = deque[float](maxlen=LEAD_IN_FRAMES)
        self.level_dbfs = -100.0  # of the latest frame
        self.run_ms = 0  # length of the present run of speech, with its breaks
        self.quiet_ms = BREAK_MS  # since its last loud frame
        self.is_up = False  # a run of speech goes on

    @property
    def threshold_dbfs(self) -> float:
        """A frame above this counts as voice, apart from echo."""
        return min(LOUDEST_THRESHOLD_DBFS, max(QUIETEST_SPEECH_DBFS, self._noise_dbfs + ABOVE_NOISE_DB))

    def hear(self, level_dbfs: float, ms: int, echo_dbfs: float = -100.0) -> None:
        """Take in `ms` of caller audio at a level. `echo_dbfs` is what the caller heard of us, at our own level."""
        loud = level_dbfs > QUIETEST_SPEECH_DBFS and level_dbfs > self.threshold_dbfs
        if loud and echo_dbfs > OWN_SILENCE_DBFS:
            loud = level_dbfs > echo_dbfs + self._echo_return_db + ECHO_MARGIN_DB
        self.level_dbfs = level_dbfs
        self._lately.append(level_dbfs)
        self._lead_in.append(level_dbfs)
        if echo_dbfs > OWN_SPEECH_DBFS and not loud and not self.is_up:
            self._learn_echo(max(self._lately) - echo_dbfs, ms)
        if loud:
            begins = not self.is_up
            self.run_ms = ms if begins else self.run_ms + self.quiet_ms + ms
            self.quiet_ms = 0
        else:
            self.quiet_ms += ms
        self.is_up = self.quiet_ms < BREAK_MS
        self._learn_noise(level_dbfs, ms)

    def _learn_noise(self, level_dbfs: float, ms: int) -> None:
        """Follow the lowest level: down at once, and up to the level that nothing was below for one to two NOISE_MS."""
        if level_dbfs < self._lowest_dbfs:
            self._lowest_dbfs = level_dbfs
        self._lowest_for_ms += ms
        if self._lowest_for_ms >= NOISE_MS:
            self._noise_dbfs = max(self._noise_dbfs, min(self._lowest_before_dbfs, self._lowest_dbfs))
            self._lowest_before_dbfs = self._lowest_dbfs
            self._lowest_dbfs, self._lowest_for_ms = LOUDEST_DBFS, 0
        if level_dbfs < self._noise_dbfs:
            self._noise_dbfs = max(-70.0, level_dbfs)

    def _learn_echo(self, return_db: float, ms: int) -> None:
        """Follow the highest level of what comes back: up quickly, down slowly. So one loud syllable is remembered."""
        rising = return_db > self._echo_return_db
        step_db = (ECHO_UP_DB_PER_S if rising else -ECHO_DOWN_DB_PER_S) * ms / 1000
        wanted_db = self._echo_return_db + step_db
        wanted_db = min(wanted_db, return_db) if rising else max(wanted_db, return_db)
        self._echo_return_db = min(ECHO_RETURN_AT_FIRST_DB, max(ECHO_RETURN_BEST_DB, wanted_db))

    def lately(self) -> Sound:
        """The sound of a turn that the server's VAD has just reported: it began a little earlier."""
        return Sound(self._lead_in)

    def is_above_noise(self, sound: Sound) -> bool:
        """True if a turn was louder than the line's noise, as far as that is known now."""
        return sound.level_dbfs >= self._noise_dbfs + SOUND_ABOVE_NOISE_DB

    def was_echo(self) -> None:
        """Our own voice was taken for the caller: the line is worse than assumed."""
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
