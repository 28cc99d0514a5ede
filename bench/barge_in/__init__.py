"""Barge-in: how true the model's memory is, how soon the caller hears silence, and what another GIVE_UP_MS would do."""
