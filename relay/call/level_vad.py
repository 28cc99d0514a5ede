"""The caller's voice, measured by its level: whether somebody speaks, since when, and whether it is only our own echo.

Only the *decision* to stop the agent uses this. The model always gets the audio unchanged.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

# Speech on a phone line has -15 to -35 dBFS (espeak and piper over mu-law, measured). A quiet caller has 15 dB less.
# The noise of a quiet line is below -60 dBFS.
QUIETEST_SPEECH_DBFS = -50.0
# A sound this much louder than the noise counts as a voice. The noise of usual cars and offices varies less.
ABOVE_NOISE_DB = 12.0
LOUDEST_DBFS = 0.0
# Noise cannot raise the threshold above this. Otherwise a caller who shouts in a loud place could not interrupt.
LOUDEST_THRESHOLD_DBFS = -25.0
# Noise has no pauses. Speech and its echo have some in every second. So a level that stayed above one value for this
# long is noise of at least that value. This time is shorter than the words that may interrupt a greeting
# (turn_taking.py, EARLY_WORD_MS).
NOISE_MS = 750
# Pauses up to this long do not end a run of speech. Such pauses come from consonants, and from breath between
# syllables.
BREAK_MS = 120
# The echo's level relative to our own. At first a bad hands-free phone is assumed. Later the measured value is used,
# but never one below -45 dB. It is measured while we speak and the caller does not. Five seconds of greeting are enough
# to get from the worst value to the best.
ECHO_RETURN_AT_FIRST_DB = -10.0
ECHO_RETURN_BEST_DB = -45.0
ECHO_MARGIN_DB = 6.0
ECHO_UP_DB_PER_S = 50.0
ECHO_DOWN_DB_PER_S = 10.0
# The echo is judged by its loudest frame in this time, as our own speech is (echo.py). A soft syllable of the echo says
# nothing about a loud syllable that is still to come back.
ECHO_PEAK_FRAMES = 15
# Below this level we are silent, and no echo comes back.
OWN_SILENCE_DBFS = -60.0
# Above this level our voice is loud enough to learn from.
OWN_SPEECH_DBFS = -40.0


# A click is shorter than SOUND_FRAMES frames, and the shortest word is longer. So this many frames of a turn must be
# louder than the line's noise, by SOUND_ABOVE_NOISE_DB.
SOUND_FRAMES = 3
SOUND_ABOVE_NOISE_DB = 6.0
# The frames before the VAD's report that belong to a turn. The server's VAD reports speech up to 0.3 s after its
# beginning, and a quiet voice later.
LEAD_IN_FRAMES = 30


class Sound:
    """How loud a turn was: the level that SOUND_FRAMES of its frames reached."""

    def __init__(self, levels_dbfs: Iterable[float] = ()) -> None:
        self._loudest_dbfs = heapq.nlargest(SOUND_FRAMES, levels_dbfs)
        self._loudest_dbfs += [-100.0] * (SOUND_FRAMES - len(self._loudest_dbfs))
        heapq.heapify(self._loudest_dbfs)

    def hear(self, level_dbfs: float) -> None:
        """Take in one more frame."""
        if level_dbfs > self._loudest_dbfs[0]:
            heapq.heapreplace(self._loudest_dbfs, level_dbfs)

    @property
    def level_dbfs(self) -> float:
        """The level that `SOUND_FRAMES` of its frames reached."""
        return self._loudest_dbfs[0]


class CallerVoice:
    """The levels of one caller. Times are milliseconds of caller audio, not of a clock."""

    def __init__(self) -> None:
        self._noise_dbfs = -60.0
        # The lowest level of the caller's line in the present NOISE_MS.
        self._lowest_dbfs, self._lowest_for_ms = LOUDEST_DBFS, 0
        self._lowest_before_dbfs = LOUDEST_DBFS  # The lowest level in the NOISE_MS before that.
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
        self._lately = deque[float](maxlen=ECHO_PEAK_FRAMES)
        self._lead_in = deque[float](maxlen=LEAD_IN_FRAMES)
        self.level_dbfs = -100.0  # The level of the latest frame.
        self.run_ms = 0  # The length of the present run of speech, with its breaks.
        self.quiet_ms = BREAK_MS  # The time since the last loud frame.
        self.is_up = False  # True while a run of speech goes on.

    @property
    def threshold_dbfs(self) -> float:
        """A frame above this level counts as voice, if it is no echo."""
        return min(LOUDEST_THRESHOLD_DBFS, max(QUIETEST_SPEECH_DBFS, self._noise_dbfs + ABOVE_NOISE_DB))

    def hear(self, level_dbfs: float, ms: int, echo_dbfs: float = -100.0) -> None:
        """Take in `ms` of caller audio.

        `echo_dbfs` is the level of our own voice that the caller heard, as we sent it.
        """
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
        """Follow the noise. It falls at once, and rises to the lowest level of the last 1 to 2 NOISE_MS."""
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
        """Follow the highest level of the echo: up quickly, down slowly. So one loud syllable is remembered."""
        rising = return_db > self._echo_return_db
        step_db = (ECHO_UP_DB_PER_S if rising else -ECHO_DOWN_DB_PER_S) * ms / 1000
        wanted_db = self._echo_return_db + step_db
        wanted_db = min(wanted_db, return_db) if rising else max(wanted_db, return_db)
        self._echo_return_db = min(ECHO_RETURN_AT_FIRST_DB, max(ECHO_RETURN_BEST_DB, wanted_db))

    def lately(self) -> Sound:
        """The sound of a turn that the server's VAD has just reported. The turn began a little before the report."""
        return Sound(self._lead_in)

    def is_above_noise(self, sound: Sound) -> bool:
        """True if a turn was louder than the line's noise, as far as we know the noise now."""
        return sound.level_dbfs >= self._noise_dbfs + SOUND_ABOVE_NOISE_DB

    def was_echo(self) -> None:
        """Our own voice was taken for the caller's. So the line returns more echo than was assumed."""
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
