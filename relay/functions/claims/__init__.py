"""Compares what the agent says that it did with what was done."""
