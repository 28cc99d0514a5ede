"""Scenarios: their files, the caller who plays them, and the report."""
