"""Measures how soon a caller hears the greeting, with real processes over loopback. The cases are in cases.py."""
