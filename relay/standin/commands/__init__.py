"""Does the work of the commands that need stand-ins: demo, call, bench."""
