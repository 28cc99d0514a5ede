"""Finds the caller's voice by its level: whether somebody speaks, since when, and whether the sound is our own echo.

With these results, other files stop the agent (turn_taking.py), end an open turn (early_answer.py), and find a model
session that does not hear the caller (unheard_speech.py). The model always gets the audio unchanged.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

# No speech is below this level. Speech on a phone line has -15 to -35 dBFS (measured with espeak and piper over
# mu-law). A quiet caller may have 15 dB less. The noise of a quiet line is below -60 dBFS.
QUIETEST_SPEECH_DBFS = -50.0
# A sound counts as a voice if it is louder than the noise by this much. The noise of a usual car or office varies less.
ABOVE_NOISE_DB = 12.0
LOUDEST_DBFS = 0.0
# The threshold never goes above this level. Otherwise a caller who shouts in a loud place could not interrupt.
LOUDEST_THRESHOLD_DBFS = -25.0
# Speech and its echo have pauses in every second, noise has none. So the lowest level in this time is the level of the
# noise. At the beginning of a call, the noise is known after this time. That is before a steady noise could interrupt
# the greeting (EARLY_WORD_MS in turn_taking.py).
NOISE_MS = 750
# A pause shorter than this does not end a run of speech. Consonants, and breath between syllables, make such pauses.
BREAK_MS = 120
# The echo return is the level of the echo minus the level of the agent's voice, in dB. It begins with the value of a
# bad hands-free phone (ECHO_RETURN_AT_FIRST_DB). It is measured while only the agent speaks, and stays between that
# value and ECHO_RETURN_BEST_DB. It can fall from the first value to the best one in 3.5 s. A sound is no echo if it is
# louder than the expected echo by ECHO_MARGIN_DB.
ECHO_RETURN_AT_FIRST_DB = -10.0
ECHO_RETURN_BEST_DB = -45.0
ECHO_MARGIN_DB = 6.0
ECHO_UP_DB_PER_S = 50.0
ECHO_DOWN_DB_PER_S = 10.0
# The echo is measured by the loudest of the last 15 frames, because echo.py also gives the loudest level of the agent's
# voice in 300 ms. A soft syllable of the echo does not show how loud the next syllable comes back.
ECHO_PEAK_FRAMES = 15
# If the agent's voice is below this level, no echo comes back.
OWN_SILENCE_DBFS = -60.0
# The echo return is measured only while the agent's voice is above this level.
OWN_SPEECH_DBFS = -40.0


# A turn counts as louder than the noise if this many of its frames are louder by SOUND_ABOVE_NOISE_DB. A click has
# fewer such frames, the shortest word has more.
SOUND_FRAMES = 3
SOUND_ABOVE_NOISE_DB = 6.0
# This many frames before the VAD's report belong to the turn, too. The server's VAD reports speech 0.3 s after the
# speech began. It reports a quiet voice even later.
LEAD_IN_FRAMES = 30


class Sound:
    """The loudness of a turn: the level of its third loudest frame (SOUND_FRAMES)."""

    def __init__(self, levels_dbfs: Iterable[float] = ()) -> None:
        self._loudest_dbfs = heapq.nlargest(SOUND_FRAMES, levels_dbfs)
        self._loudest_dbfs += [-100.0] * (SOUND_FRAMES - len(self._loudest_dbfs))
        heapq.heapify(self._loudest_dbfs)

    def hear(self, level_dbfs: float) -> None:
        """Add one frame."""
        if level_dbfs > self._loudest_dbfs[0]:
            heapq.heapreplace(self._loudest_dbfs, level_dbfs)

    @property
    def level_dbfs(self) -> float:
        return self._loudest_dbfs[0]


class CallerVoice:
    """Measures the voice of one caller. Times are milliseconds of caller audio, not of a clock."""

    def __init__(self) -> None:
        self._noise_dbfs = -60.0
        # The lowest level in the present period of NOISE_MS, and how long this period has lasted.
        self._lowest_dbfs, self._lowest_for_ms = LOUDEST_DBFS, 0
        self._lowest_before_dbfs = LOUDEST_DBFS  # The lowest level in the period before.
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
        self._lately = deque[float](maxlen=ECHO_PEAK_FRAMES)
        self._lead_in = deque[float](maxlen=LEAD_IN_FRAMES)
        self.level_dbfs = -100.0  # The level of the newest frame.
        self.run_ms = 0  # The length of the present run of speech, with its pauses.
        self.quiet_ms = BREAK_MS  # The time since the last loud frame.
        self.is_up = False  # True while a run of speech lasts.

    @property
    def threshold_dbfs(self) -> float:
        """A frame above this level is a voice, if it is not an echo."""
        return min(LOUDEST_THRESHOLD_DBFS, max(QUIETEST_SPEECH_DBFS, self._noise_dbfs + ABOVE_NOISE_DB))

    def hear(self, level_dbfs: float, ms: int, echo_dbfs: float = -100.0) -> None:
        """Measure `ms` of caller audio.

        `echo_dbfs` is the level of the agent's words whose echo may come back now. It is the level at which they were
        sent.
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
        """Measure the noise. The value falls at once to the level of a quieter frame, but not below -70 dBFS.

        It rises only to the lowest level of the last two periods of NOISE_MS.
        """
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
        """Measure the echo return.

        The value rises fast and falls slowly, so that one loud syllable counts for a while.
        """
        rising = return_db > self._echo_return_db
        step_db = (ECHO_UP_DB_PER_S if rising else -ECHO_DOWN_DB_PER_S) * ms / 1000
        wanted_db = self._echo_return_db + step_db
        wanted_db = min(wanted_db, return_db) if rising else max(wanted_db, return_db)
        self._echo_return_db = min(ECHO_RETURN_AT_FIRST_DB, max(ECHO_RETURN_BEST_DB, wanted_db))

    def lately(self) -> Sound:
        """The loudness of a turn that the server's VAD reports now, from the LEAD_IN_FRAMES before the report."""
        return Sound(self._lead_in)

    def is_above_noise(self, sound: Sound) -> bool:
        """True if a turn was louder than the noise, as far as the noise is known now."""
        return sound.level_dbfs >= self._noise_dbfs + SOUND_ABOVE_NOISE_DB

    def was_echo(self) -> None:
        """The agent's own echo was taken for the caller's voice. So the echo return goes back to its first value."""
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
