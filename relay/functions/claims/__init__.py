"""Compares what the agent says with what functions did."""
