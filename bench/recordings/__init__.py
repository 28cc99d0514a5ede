"""What recording costs the audio path: pairs of runs at 20 calls, with RECORD=on and without."""
