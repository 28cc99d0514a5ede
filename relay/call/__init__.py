"""Decides what happens in a call: an event and the time come in, actions come out.

The package does no I/O and reads no clock.
"""
