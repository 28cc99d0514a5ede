"""Voices that are not the model's own: the model writes, a voice service speaks. voice.py is what the call knows of it."""
