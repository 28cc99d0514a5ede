"""Barge-in: how exact the truncations are, how soon the caller hears silence, and what other values of GIVE_UP_MS would
do.
"""
