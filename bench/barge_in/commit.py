"""Simulates other values of GIVE_UP_MS: the shipped clips go through the relay's own level VAD and turn-taking.

The sounds are coughs, double coughs (the second begins 470 ms after the first) and short words. A short word is the
first word of a clip, or the whole clip. Each sound is played at five levels, and with eight positions of the frames
relative to the sound. The simulation assumes that the model's VAD reports speech after 60 ms, and the end of the speech
after 500 ms of silence. The words are known 1.25 s after that (docs/protocol/openai.md 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import dsp
from relay.call import turn_taking as floors
from relay.call.level_vad import CallerVoice
from relay.call.turn_taking import Agent, Floor, Step
from relay.call.vocabulary import ItemId
from relay.standin.speech.voice import clips

CHOICES_MS = (150, 250, 400)
VAD_MS, VAD_SILENCE_MS, WORDS_MS = 60, 500, 1_250
SPEAKING = Agent(speaking=True, thinking=False, protected=False, early=False)
GAINS_DB = (-9, -6, -3, 0, 3)
OFFSETS = range(0, 160, 20)
WORDS = {  # for each clip, how many ms at its beginning are one short word; None means the whole clip
    "stop_stop": 420,
    "no_thanks": 480,
    "yes_right": 480,
    "hello": None,
    "bye": None,
    "oh_wait": 560,
    "operator": None,
    "mm_hmm": None,
}


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one value of GIVE_UP_MS. The shares are 0 to 1: how many of these sounds had this effect."""

    commit_ms: int
    coughs_that_cut: float
    double_coughs_that_cut: float
    words_undone: float
    talked_over_ms: float  # if the hold of a word was undone: how long the agent speaks until the word is known
    pause_ms: float  # how long a cough makes the agent silent


def _sound(mulaw: bytes, gain_db: float, offset: int) -> bytes:
    samples = dsp.decode(mulaw).astype(np.float64) * 10 ** (gain_db / 20)
    return b"\xff" * (1_600 + offset) + dsp.encode(np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16))


def _act(sound: bytes) -> tuple[bool, int, int]:
    """Play a sound over an answer. Return whether the answer is given up, how many ms the agent is silent, and after
    how many ms it goes on.
    """
    voice, floor = CallerVoice(), Floor()
    line = sound + b"\xff" * 8_000
    loud_frames = silent_ms = 0
    resumed_at, held = 0, False
    for number in range(len(line) // 160):
        level = dsp.level_dbfs(line[number * 160 : number * 160 + 160])
        voice.hear(level, 20)
        loud_frames += voice.quiet_ms == 0
        move = floor.frame(SPEAKING, voice)
        if floor.speech is None and loud_frames * 20 >= VAD_MS:
            move = floor.spoke(ItemId("c"), SPEAKING, voice)
        if move is Step.GIVE_UP:
            return True, 0, 0
        held = (held or move is Step.HOLD) and move is not Step.RESUME
        silent_ms += 20 * held
        if move is Step.RESUME:
            resumed_at = number * 20
    return False, silent_ms, resumed_at


def _coughs(twice: bool) -> Iterator[bytes]:
    clip = clips()["cough"].mulaw
    for gain_db in GAINS_DB:
        for offset in OFFSETS:
            sound = _sound(clip, gain_db, offset)
            yield sound + b"\xff" * 1_200 + _sound(clip, gain_db, 0)[1_600:] if twice else sound


def _words() -> Iterator[bytes]:
    for name, ms in WORDS.items():
        mulaw = clips()[name].mulaw[: ms * 8 if ms else None]
        for gain_db in GAINS_DB:
            for offset in OFFSETS:
                yield _sound(mulaw, gain_db, offset)


def table() -> list[Row]:
    """One row for each value of GIVE_UP_MS."""
    rows = []
    usual = floors.GIVE_UP_MS
    try:
        for commit_ms in CHOICES_MS:
            floors.GIVE_UP_MS = commit_ms
            coughs, twice = [_act(each) for each in _coughs(False)], [_act(each) for each in _coughs(True)]
            words = [(each, _act(each)) for each in _words()]
            undone = [(len(each) // 8, result[2]) for each, result in words if not result[0]]
            over = [max(0, end + VAD_SILENCE_MS + WORDS_MS - at) for end, at in undone]
            rows.append(
                Row(
                    commit_ms,
                    sum(cut for cut, _, _ in coughs) / len(coughs),
                    sum(cut for cut, _, _ in twice) / len(twice),
                    len(undone) / len(words),
                    sum(over) / len(over) if over else 0.0,
                    sum(ms for _, ms, _ in coughs) / len(coughs),
                )
            )
    finally:
        floors.GIVE_UP_MS = usual
    return rows


def lines() -> list[str]:
    """The table as lines of text."""
    head = "GIVE_UP_MS  coughs that cut  two coughs that cut  short words undone  talked over  pause by a cough"
    return [head] + [
        f"{row.commit_ms:9}  {row.coughs_that_cut:15.0%}  {row.double_coughs_that_cut:19.0%}  {row.words_undone:18.0%}"
        f"  {row.talked_over_ms:8.0f} ms  {row.pause_ms:13.0f} ms"
        for row in table()
    ]
