"""Barge-in: how true the model's memory is, how soon the caller hears silence, and what another COMMIT_MS would do."""
