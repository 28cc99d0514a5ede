"""How much recording delays the audio: pairs of runs at 20 calls, with RECORD=on and without."""
