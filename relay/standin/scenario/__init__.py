"""Reads scenario files, plays the caller of a scenario, and reports the result."""
