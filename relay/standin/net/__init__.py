"""Connections between processes. A stand-in can cut and restore them."""
