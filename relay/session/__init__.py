"""Runs one stream of a call: its three tasks, and the rows that it writes."""
