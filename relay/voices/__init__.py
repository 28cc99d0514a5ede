"""Voices that are not the model's own: the model writes, a voice service speaks.

voice.py is all that the call knows of it.
"""
