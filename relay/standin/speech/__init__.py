"""The speech of the stand-ins: recorded clips, voices, and the recognition of clips (clip_recogniser.py)."""
