"""Speech of the stand-ins: recorded clips, their voices, and the recognition of the clips (ear.py)."""
