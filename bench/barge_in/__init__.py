"""Barge-in: how exact the truncations are, how soon the caller hears silence, and what another GIVE_UP_MS would do."""
