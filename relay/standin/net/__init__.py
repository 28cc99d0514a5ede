"""Connections between processes that can be cut and restored."""
