"""Scenarios: their files, the caller who acts them, and the report."""
