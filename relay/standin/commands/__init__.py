"""The commands that need stand-ins: demo, call, bench."""
