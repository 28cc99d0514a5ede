"""Measures how much recording delays the audio: pairs of runs at 20 calls, with and without RECORD=on."""
