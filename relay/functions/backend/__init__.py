"""The business's backend over HTTP: the client, its contract, its circuit breaker."""
