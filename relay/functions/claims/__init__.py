"""Compares what the agent says that it did with what functions did."""
