"""Writes log lines and metrics, and finds the error that ended a nursery."""
