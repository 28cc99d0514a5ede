"""Barge-in: how exact truncations are, how soon the caller hears silence, and the effect of other GIVE_UP_MS."""
