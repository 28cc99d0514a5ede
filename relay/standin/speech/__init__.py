"""Speech of the stand-ins: recorded clips, a voice, an ear."""
