"""Asks the business's backend over HTTP: the client, its contract, and its circuit breaker."""
