"""Decides what happens in a call: an event and the time come in, actions come out.

It does no I/O and reads no clock.
"""
