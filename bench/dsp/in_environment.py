"""Speaks clips for bench/dsp/speech.py, and scores with PESQ what that file has made of them.

This program runs in an environment of its own, out/dsp-venv. It imports nothing of the project, and prints one JSON
object. `voices FOLDER` speaks the clips into NAME.npy. bench/dsp/speech.py converts each clip and writes its versions
into NAME.npz. `pesq FOLDER NAME...` scores these versions.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

VOICES = ["en-us", "en-us+f2", "en-us+f3", "en-us+f4", "en-us+m3", "en-us+m7", "en-gb-scotland"]
TEXT = (
    "Thank you for calling. The kitchen is open from half past eleven until nine. "
    "I can offer you six fifteen or a quarter to eight; which of these suits you best? "
    "Just so I have it right: a table for five, on Thursday the seventh, by the fireplace."
)
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def voices(folder: Path) -> dict[str, int]:
    """Speak the text in every voice into NAME.npy (int16). Return the sampling rate of each."""
    import espeakng_loader  # type: ignore[import-not-found]  # installed in out/dsp-venv only

    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    synchronous, utf8 = 2, 1
    rate_hz = espeak.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), 0)
    heard: list[np.ndarray] = []

    @CALLBACK
    def take(samples, count, _events):  # type: ignore[no-untyped-def]  # called by C
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    espeak.espeak_SetSynthCallback(take)
    made = {}
    for voice in VOICES:
        heard.clear()
        if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            continue  # this build of espeak-ng does not have the voice
        text = TEXT.encode()
        espeak.espeak_Synth(text, len(text) + 1, 0, 0, 0, utf8, None, None)
        espeak.espeak_Synchronize()
        np.save(folder / f"{voice}.npy", np.concatenate(heard))
        made[voice] = rate_hz
    return made


def scores(folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """The narrow-band PESQ of each version in NAME.npz, compared with the version `ideal` of the same clip."""
    import pesq  # type: ignore[import-not-found]  # installed in out/dsp-venv only

    found = {}
    for name in names:
        clip = np.load(folder / f"{name}.npz")
        found[name] = {way: pesq.pesq(8000, clip["ideal"], clip[way], "nb") for way in clip.files if way != "ideal"}
    return found


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    print(json.dumps(voices(Path(where)) if what == "voices" else scores(Path(where), rest)))
